"""Tiles of the second demo: four slides, each tile labelled by what SHELL sees in it.

**The labels are a model's, not a pathologist's**: SHELL was trained on prostate and the slide is
skin. It finds the epidermis and calls dermis stroma; it misses the dark sheets of epithelium at the
lower right, and calls torn edges of tissue epithelium, as a gland's edge against its lumen would be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from widgetkit.demos.regions import BANDS, MPP, region_file
from widgetkit.tiles import TileSource, annotate, from_slide
from widgetkit.tiles.fetch import fetch

#: The labels are a model's, and are called so wherever they are shown.
CLASSES = ("epithelium (SHELL)", "stroma (SHELL)")
#: Tiles of 64 um, every 40 um, so that positions 8 um wide of neighbours coincide and most places lie
#: in two to four tiles, whose maps are averaged. Of tiles with less than half of tissue SHELL says
#: little but that an edge is there.
SIZE, STRIDE, TISSUE = 128, 80, 0.5
#: um a pixel at which SHELL sees the slide. At the 2 that it was trained at, it misses the upper half
#: of the epidermis, which is thicker than any prostate gland; at 4 it finds it (by eye, of 1 to 5).
SHELL_MPP = 4.0
#: The classifier learns from two slides and is tested on the other two.
TRAINING = ("CMU-1 A", "CMU-1 C")
#: A tile at least this much of one class is called clear; the rest lie across a border.
CLEAR = 0.7


def labelled_tiles(slides: Path, *, stride: int = STRIDE) -> TileSource:
    """Tiles of the four slides in ``slides`` with what SHELL says of each.

    Columns beside the usual: ``label`` ("epithelium (SHELL)" or "stroma (SHELL)", whichever has the
    larger share), ``shell_epithelium``, ``shell_stroma``, ``shell_background`` (shares of the
    tile), ``clear`` (whether one class has 70 % of it), ``split`` ("training" or "held out", by
    slide).

    Raises
    ------
    FetchFailed
        The slide or SHELL cannot be fetched.
    MissingDependency
        openslide or onnx is not installed.
    """
    names = {Path(region_file(name)).stem: name for name in BANDS}
    tiles = from_slide(
        [slides / region_file(name) for name in BANDS],
        size=SIZE, mpp=0.5, stride=stride, tissue=TISSUE, names=names,
    )  # fmt: skip
    return annotate(tiles, label_columns(tiles))


def label_columns(tiles: TileSource) -> dict[str, np.ndarray]:
    """What SHELL says of tiles of the four slides, as columns."""
    from widgetkit.demos.shell import segment

    table = tiles.table
    # SHELL sees the slide whole: what is tissue and what is glass shows in the whole only
    found = segment(_whole_slide(), mpp=MPP, at=SHELL_MPP)
    top = table["source"].map({name: rows[0] for name, rows in BANDS.items()}).to_numpy(np.float64)
    left, upper = table["x"].to_numpy(), table["y"].to_numpy() + top
    boxes = np.stack([left, upper, left + SIZE, upper + SIZE], axis=1)
    background, epithelium, stroma = found.shares(boxes, MPP).T
    return {
        "label": np.where(epithelium > stroma, *CLASSES),
        "shell_epithelium": epithelium.round(4),
        "shell_stroma": stroma.round(4),
        "shell_background": background.round(4),
        "clear": np.maximum(epithelium, stroma) >= CLEAR,
        "split": np.where(table["source"].isin(TRAINING), "training", "held out"),
    }


def _whole_slide() -> np.ndarray:
    import openslide

    with openslide.OpenSlide(fetch("slide")) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
