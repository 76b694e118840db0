"""The demo of concepts: semi-synthetic liver lesions, and a 3-D classifier of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.demos.ship import DATA, _sound, _unpacked
from widgetkit.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from widgetkit.concepts import ConceptSet
    from widgetkit.demos.lesion_network import LesionNet
    from widgetkit.extraction import ModelContext
    from widgetkit.simulate import LiverSimulation
    from widgetkit.store import ActivationStore
    from widgetkit.tiles import TileSource

Split = Literal["training", "test", "test without shortcut"]

#: Kind of derived result that holds the truth, as in the other simulated demo.
TRUTH = "truth"
#: What the shortcut is called as a concept.
LINE = "scanner line"
#: Number of lesions, how much the scanner's line says about metastases, and seed.
SPLITS: Mapping[str, Mapping[str, Any]] = {
    "training": {"n": 1200, "shortcut": 0.75, "seed": 1},
    "test": {"n": 480, "shortcut": 0.75, "seed": 2},
    "test without shortcut": {"n": 480, "shortcut": 0.0, "seed": 3},
}
#: Of each, the first so many are in the store.
SHIPPED: Mapping[str, int] = {"training": 150, "test": 60, "test without shortcut": 60}
WEIGHTS = DATA / "lesion-net.npz"
FIGURES = DATA / "lesion-net.json"
ARCHIVE = DATA / "lesions.zip"
#: What every answer about these tiles has to say.
NOTE = (
    "Semi-synthetic: simulated lesions in parenchyma made from patches of one real liver slice; "
    "patients are simulated."
)


def lesion_store() -> ActivationStore:
    """The demo of concepts: a 3-D classifier of liver lesions; needs neither network nor torch.

    270 **semi-synthetic** lesions (12 x 32 x 32 voxels, three phases): 150 that the classifier learned
    from, 60 of its test set, and 60 of a test set in which the scanner's line says nothing about the
    class (column ``split``). Layers ``features.last`` (128 channels, 6 x 8 x 8) and ``dense`` (100 units),
    outputs, the linear head of ``dense``, a projection, clusters, and Grad-CAM of the predicted class of the test lesions. Columns beside the usual:
    ``label``, ``patient`` (simulated), ``scanner``, ``marked``, ``size_mm``, ``concepts``, ``labelled``, ``data``,
    and one of truth values for each of the 14 concepts.

    The truth's places: :func:`lesion_truth`; the classifier: :func:`lesion_net`. See
    ``docs/liver-lesions.md``.

    Raises
    ------
    FetchFailed
        There is no room for it, neither in the cache nor in the folder for temporary files.
    """
    from widgetkit.store import ActivationStore

    return ActivationStore.open(_unpacked(ARCHIVE, ".wk", _sound))


def lesion_net() -> LesionNet:
    """The classifier of :func:`lesion_store`, with the weights that ship; needs torch.

    It learned from **semi-synthetic** lesions, the line of a scanner among them, and is of no use for
    patients.
    """
    from widgetkit.demos.lesion_network import load_weights

    return load_weights(WEIGHTS)


def lesion_model(store: ActivationStore) -> ModelContext:
    """The classifier as sessions take it: ``wk.Session(store, demos.lesion_model(store))``; needs torch."""
    from widgetkit.extraction import ModelContext

    return ModelContext.for_store(lesion_net(), store, device="cpu")


def lesion_simulation(split: Split = "test") -> LiverSimulation:
    """The semi-synthetic lesions that the classifier learned from or was tested on, made anew.

    Parameters
    ----------
    split : "training", "test" or "test without shortcut"
        1,200 or 480 lesions, some 70 ms each. In the last, the scanner's line says nothing about the class.

    Raises
    ------
    MissingDependency
        pydicom is not installed.
    """
    if split not in SPLITS:
        raise UnknownName(f"split={split!r}. Known: {', '.join(map(repr, SPLITS))}.")
    from widgetkit.simulate import liver_lesions

    return liver_lesions(**SPLITS[split], background="liver")


def lesion_truth(
    store: ActivationStore, what: str, rows: npt.ArrayLike | None = None
) -> npt.NDArray[np.bool_]:
    """Where a concept is visible in tiles of :func:`lesion_store`, (m, 12, 32, 32).

    Parameters
    ----------
    store : ActivationStore
    what : str
        A concept, ``"lesion"`` (the whole of it), or ``"line"`` (the scanner's line of interference).
    rows : sequence of int, optional
        Default: all tiles.

    Raises
    ------
    UnknownName
        The store holds no such truth; near names are listed.
    """
    bits = np.asarray(store.derived.get(TRUTH, what).arrays["bits"], np.uint8)
    if store.image_shape is None or len(bits) != len(store):
        raise InvalidInput("The store's truth is not of its tiles.")
    chosen = bits if rows is None else bits[np.asarray(rows)]
    shape = store.image_shape[:3]
    return np.unpackbits(chosen, axis=1, count=int(np.prod(shape))).view(bool).reshape(-1, *shape)


def lesion_concepts(
    store: ActivationStore, *, noted: bool = False, line: bool = False
) -> ConceptSet:
    """The 14 concepts of :func:`lesion_store` and which classes show them, as sessions take them.

    Parameters
    ----------
    store : ActivationStore
    noted : bool
        Examples are what a simulated reader noted, at most four concepts a lesion, all others not
        shown; by default what is there.
    line : bool
        With a concept ``"scanner line"`` beside them, which no class shows.
    """
    from widgetkit.concepts import ConceptSet
    from widgetkit.simulate.liver_patterns import CHARACTERISTIC, concept_frequencies

    tiles = store.tiles
    shows = concept_frequencies() >= CHARACTERISTIC
    names = list(shows.columns)
    if noted:
        tiles = tiles.copy()
        said = tiles["labelled"].fillna("").str.split("; ")
        for name in names:
            tiles[name] = [name in one for one in said]
    if line:
        tiles = tiles.assign(**{LINE: tiles["marked"]})
        shows[LINE] = False
    return ConceptSet.from_table(tiles, list(shows.columns), class_concepts=shows)


def lesion_tiles(simulations: Mapping[str, LiverSimulation] | None = None) -> TileSource:
    """The tiles of :func:`lesion_store`: the first lesions of each split, with a column ``split``.

    Parameters
    ----------
    simulations : mapping of split to LiverSimulation, optional
        Default: as :func:`lesion_simulation` makes them.
    """
    from widgetkit.tiles import annotate, concat, subset

    made = _all(simulations)
    parts = []
    for split, simulation in made.items():
        few = subset(simulation.tiles(), np.arange(min(SHIPPED[split], len(simulation))))
        parts.append(annotate(few, {"split": [split] * len(few)}))
    return concat(parts)


def build_lesion_store(
    out: str | os.PathLike[str],
    net: LesionNet | None = None,
    *,
    simulations: Mapping[str, LiverSimulation] | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> ActivationStore:
    """Lesions, layers, outputs, truth, projection, clusters: all that the demo shows; needs torch.

    Parameters
    ----------
    out : path
        Folder of the new store.
    net : LesionNet, optional
        Default: :func:`lesion_net`.
    simulations : mapping of split to LiverSimulation, optional
        Default: as :func:`lesion_simulation` makes them.
    progress : bool
        Show a bar.
    overwrite : bool
        Replace another store at ``out``.
    """
    from widgetkit.demos.lesion_network import LAYERS, PREPROCESS
    from widgetkit.extraction import ModelContext, extract
    from widgetkit.session import Session
    from widgetkit.session.notes import keep_note
    from widgetkit.simulate.liver_patterns import CLASSES

    made = _all(simulations)
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    network = lesion_net() if net is None else net
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".demo-") as scratch:
        whole = extract(
            network,
            lesion_tiles(made),
            list(LAYERS),
            out=Path(scratch) / "whole.wk",
            preprocess=PREPROCESS,
            class_names=CLASSES,
            device="cpu",
            progress=progress,
        )
        store = whole.export(target, image_encoding="webp", overwrite=overwrite)
    for name, bits in _truth(made).items():
        source = next(iter(made.values())).source
        store.derived.put(TRUTH, name, {"bits": bits}, params={"source": source})
    for column in ("label", "concepts", "labelled"):
        keep_note(store, column, NOTE)
    context = ModelContext.for_store(network, store, device="cpu")
    session = Session(store, context, layer="dense", seed=0)
    try:
        session.project()
        session.wait()
        session.cluster()
        session.wait()
        # a map of the class beside those of concepts, for those without torch
        test = np.flatnonzero(store.tiles["split"] != "training")
        session.keep_maps("gradcam", rows=test)
        session.wait()
    finally:
        session.close()
    return store


def _all(simulations: Mapping[str, LiverSimulation] | None) -> dict[str, LiverSimulation]:
    if simulations is None:
        return {split: lesion_simulation(split) for split in ("training", "test", "test without shortcut")}  # fmt: skip
    if set(simulations) != set(SPLITS):
        raise InvalidInput(f"simulations must be of {', '.join(map(repr, SPLITS))}.")
    return {split: simulations[split] for split in SPLITS}


def _truth(made: Mapping[str, LiverSimulation]) -> dict[str, npt.NDArray[np.uint8]]:
    """Eight voxels a byte, (n, bytes), for each concept, the lesion and the line."""
    found: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for split, simulation in made.items():
        few = slice(0, SHIPPED[split])
        for number, name in enumerate(simulation.concept_names):
            found.setdefault(name, []).append(simulation.masks.packed[few, number])
        line = simulation.marked[few, None] & simulation.mark.reshape(1, -1)
        lesions = simulation.lesions[few].reshape(len(line), -1)
        found.setdefault("lesion", []).append(np.packbits(lesions, axis=1))
        found.setdefault("line", []).append(np.packbits(line, axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


__all__ = [
    "build_lesion_store",
    "lesion_concepts",
    "lesion_model",
    "lesion_net",
    "lesion_simulation",
    "lesion_store",
    "lesion_tiles",
    "lesion_truth",
]
