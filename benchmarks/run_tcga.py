"""Do factors follow tissue or stain? Tiles of six slides of four organs, each stained differently.

    python benchmarks/run_tcga.py <tcga-tiles.zip> [--k 8] [--layer head] [--out table.csv]

The archive holds H&E tiles in folders organ/slide; they are read from it and never copied. Each tile
is cut into pieces of 128 px, run through EfficientNet-Lite0 (ImageNet weights), and its activations
factorised three times: as they are, with every channel scaled slide by slide (``normalise="slide"``),
and from pictures whose stains were given one colour and one strength first.

For each it prints how much of the variance of a factor lies between slides, and how much of that is
already between organs: with two slides of lung and two of bowel, what lies between slides of one
organ can only be the slide (stain, scanner, patient), not the organ.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SIDE = 128
#: Amount of stain that the 99th percentile of each slide is brought to, haematoxylin and eosin.
STRENGTH = (0.9, 0.6)


def read(archive: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """(n, 128, 128, 3) pieces and a table with organ and slide; slides are numbered."""
    pieces, rows = [], []
    with zipfile.ZipFile(archive) as file:
        names = sorted(n for n in file.namelist() if n.lower().endswith((".png", ".jpg")))
        slides = sorted({name.rsplit("/", 1)[0] for name in names})
        for number, name in enumerate(names):
            folder = name.rsplit("/", 1)[0]
            with Image.open(io.BytesIO(file.read(name))) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            for y in range(0, pixels.shape[0] - SIDE + 1, SIDE):
                for x in range(0, pixels.shape[1] - SIDE + 1, SIDE):
                    pieces.append(pixels[y : y + SIDE, x : x + SIDE])
                    rows.append((folder.split("/")[0], f"slide {slides.index(folder) + 1}", number))
    return np.stack(pieces), pd.DataFrame(rows, columns=["organ", "slide", "tile"])


def restained(pieces: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """The pieces with the stains of every slide brought to one colour and one strength."""
    from widgetkit.demos.stains import macenko, ruifrok, separate

    wanted = ruifrok(240.0)
    colours = np.stack([wanted.haematoxylin, wanted.eosin])
    out = np.empty_like(pieces)
    for slide in table["slide"].unique():
        rows = np.flatnonzero(table["slide"] == slide)
        stains = macenko(pieces[rows].reshape(-1, SIDE, 3))
        amounts = np.maximum(separate(pieces[rows], stains), 0)
        amounts *= np.divide(STRENGTH, np.percentile(amounts.reshape(-1, 2), 99, axis=0))
        out[rows] = np.clip(np.rint(wanted.white * 10.0 ** -(amounts @ colours)), 0, 255)
    return out


def sheet(pieces: np.ndarray, table: pd.DataFrame, weights: np.ndarray) -> Image.Image:
    """One row a factor: the twelve pieces with the highest mean weight, framed by slide."""
    from widgetkit.palette import colour as hex_colour

    rows = []
    codes = pd.factorize(table["slide"], sort=True)[0]
    for column in weights.T:
        row = []
        for piece in np.argsort(-column)[:12]:
            colour = tuple(int(hex_colour(codes[piece])[i : i + 2], 16) for i in (1, 3, 5))
            framed = np.full((SIDE + 12, SIDE + 12, 3), colour, np.uint8)
            framed[6:-6, 6:-6] = pieces[piece]
            row.append(framed)
        rows.append(np.hstack(row))
    return Image.fromarray(np.vstack(rows)).reduce(2)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("archive", type=Path)
    arguments.add_argument("--k", type=int, default=8)
    arguments.add_argument("--layer", default="head")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--sheet", type=Path, help="folder for pictures of each factor's pieces")
    options = arguments.parse_args()

    import widgetkit as wk
    from widgetkit.demos import demo_model
    from widgetkit.demos.efficientnet import MEAN, SCALE, STD
    from widgetkit.extraction import Preprocess
    from widgetkit.factors import factorise, slide_share

    pieces, table = read(options.archive)
    print(f"{len(pieces)} pieces of {table['tile'].nunique()} tiles")
    print(table.groupby(["organ", "slide"]).size().to_string(), "\n")
    net, results = demo_model(scores=False), []
    preprocess = Preprocess(MEAN, STD, SCALE)
    with tempfile.TemporaryDirectory() as scratch:
        for pictures, title in ((pieces, "as they are"), (restained(pieces, table), "restained")):
            source = wk.tiles.from_array(pictures, source=title, mpp=0.5, metadata=table)
            store = wk.extract(
                net, source, options.layer, out=Path(scratch) / title.replace(" ", "-"),
                preprocess=preprocess, progress=False,
            )  # fmt: skip
            for normalise in (None, "slide"):
                factors = factorise(store, k=options.k, normalise=normalise, seed=0)
                by_slide, by_organ = (slide_share(factors, by) for by in ("slide", "organ"))
                found = pd.DataFrame(
                    {
                        "pictures": title,
                        "normalise": normalise or "none",
                        "factor": by_slide["factor"],
                        "slide": by_slide["adjusted"],
                        "organ": by_organ["adjusted"],
                        "warned": by_slide["warning"] != "",
                    }
                )
                found["within organ"] = (found["slide"] - found["organ"]).clip(lower=0)
                results.append(found)
                if options.sheet:
                    options.sheet.mkdir(parents=True, exist_ok=True)
                    sheet(pictures, table, factors.pooled.mean).save(
                        options.sheet / f"{title.replace(' ', '-')}-{normalise}.png"
                    )
                print(
                    f"{title}, normalise={normalise}: {by_slide.attrs['warning'] or 'no warning'}"
                )
    every = pd.concat(results, ignore_index=True)
    print("\nShare of each factor's variance between slides (chance taken off), largest first:")
    run = every["pictures"] + ", " + every["normalise"]
    ranked = every.assign(run=run).sort_values("slide", ascending=False)
    ranked["rank"] = ranked.groupby("run").cumcount() + 1
    print(ranked.pivot(index="rank", columns="run", values="slide").round(2).to_string())
    print("\nMeans over factors; 'within organ': between slides of one organ, which is not tissue")
    means = every.groupby(["pictures", "normalise"], sort=False)[["slide", "organ", "within organ"]]
    summary = means.mean().round(2)
    summary["factors warned of"] = every.groupby(["pictures", "normalise"], sort=False)[
        "warned"
    ].sum()
    print(summary.to_string())
    if options.out:
        every.round(4).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
