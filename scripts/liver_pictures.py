"""Make docs/images/liver-lesions.png: the six classes and the 14 concepts, semi-synthetic (needs pydicom)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
from widgetkit.simulate import LiverSimulation, liver_lesions  # noqa: E402
from widgetkit.simulate import liver_patterns as p  # noqa: E402

#: What else is on where a concept is shown: what it is usually seen with.
WITH = {
    p.HYPER: (), p.WASHOUT: (p.HYPER,), p.LATE_ISO: (p.HYPER,), p.POOL: (p.HYPER,),
    p.NODULES: (p.POOL,), p.FILLING: (p.POOL, p.NODULES), p.FLUID: (), p.RIM: (p.CORE,),
    p.CAPSULE: (p.HYPER, p.WASHOUT), p.INFILTRATIVE: (), p.SCAR: (p.HYPER, p.LATE_ISO),
    p.FIBROSIS: (p.INFILTRATIVE,), p.CORE: (), p.NECROSIS: (p.RIM,),
}  # fmt: skip
#: The commonest combinations of each class.
USUAL = {
    "cyst": ((p.FLUID,), (p.FLUID,)),
    "haemangioma": ((p.POOL, p.NODULES, p.FILLING), (p.HYPER, p.POOL)),
    "focal nodular hyperplasia": ((p.HYPER, p.LATE_ISO, p.SCAR, p.FIBROSIS), (p.HYPER, p.LATE_ISO)),
    "hepatocellular carcinoma": ((p.HYPER, p.WASHOUT, p.CAPSULE), (p.HYPER, p.WASHOUT, p.NECROSIS)),
    "cholangiocarcinoma": ((p.FIBROSIS, p.INFILTRATIVE, p.RIM), (p.FIBROSIS, p.INFILTRATIVE)),
    "colorectal metastasis": ((p.RIM, p.CORE), (p.RIM, p.CORE, p.NECROSIS)),
}
MIDDLE = 6


def main() -> None:
    concepts = liver_lesions(
        concepts=[(name, *WITH[name]) for name in p.CONCEPTS],
        size_mm=(26, 30), nuisance=0.6, background="liver", seed=2,
    )  # fmt: skip
    classes = liver_lesions(
        concepts=[one for pair in USUAL.values() for one in pair],
        size_mm=(19, 30), background="liver", seed=12,
    )  # fmt: skip
    plt.rcParams.update({"font.size": 7, "font.family": "DejaVu Sans"})
    figure = plt.figure(figsize=(7.2, 10.6), dpi=150)
    grid = figure.add_gridspec(
        2, 1, height_ratios=(2.15, 7), hspace=0.075, left=0.01, right=0.99, top=0.935, bottom=0.005
    )
    top = grid[0].subgridspec(3, 2, wspace=0.03, hspace=0.2)
    for number, name in enumerate(USUAL):
        panel = top[number // 2, number % 2].subgridspec(1, 6, wspace=0.03)
        for column in range(6):
            row = 2 * number + column // 3
            axes = figure.add_subplot(panel[column])
            draw(axes, classes, row, column % 3)
            if number < 2:
                axes.set_xlabel(classes.phases[column % 3].replace("portal ", ""), labelpad=1)
                axes.xaxis.set_label_position("top")
            if column == 0:
                axes.text(
                    0,
                    1.2 if number < 2 else 1.05,
                    name,
                    transform=axes.transAxes,
                    weight="bold",
                    va="bottom",
                )
    bottom = grid[1].subgridspec(7, 2, wspace=0.03, hspace=0.2)
    for number, name in enumerate(p.CONCEPTS):
        panel = bottom[number // 2, number % 2].subgridspec(1, 4, wspace=0.03)
        for column in range(4):
            axes = figure.add_subplot(panel[column])
            places = concepts.masks[name][number]
            # the slice that shows most of it, of the middle ones
            level = 4 + int(places[4:8].sum(axis=(1, 2)).argmax())
            draw(axes, concepts, number, 2 if column == 3 else column, level)
            if column == 3:
                place = places[level].astype(float)
                axes.contourf(place, levels=(0.5, 2), colors=["#f0a30a"], alpha=0.45)
                axes.contour(place, levels=(0.5,), colors="#f0a30a", linewidths=0.8)
            if column == 0:
                said = axes.text(
                    0, 1.04, name, transform=axes.transAxes, weight="bold", va="bottom"
                )
                if WITH[name]:
                    axes.annotate(
                        f" with {', '.join(WITH[name])}",
                        xy=(1, 0),
                        xycoords=said,
                        va="bottom",
                        size=5,
                    )
    figure.suptitle(
        "Semi-synthetic liver lesions: six classes, two examples each (above); 14 concepts in arterial, venous and delayed\n"
        "phase, and the place of each (below). Parenchyma from patches of one real slice; lesions simulated; no patient.",
        size=7.5, y=0.993,
    )  # fmt: skip
    target = REPO / "docs" / "images" / "liver-lesions.png"
    figure.savefig(target, pil_kwargs={"optimize": True})
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


def draw(axes: Any, made: LiverSimulation, row: int, phase: int, level: int = MIDDLE) -> None:
    """One slice in one phase."""
    image = made.images[row, level, :, :, phase]
    axes.imshow(image, cmap="gray", vmin=0, vmax=200, interpolation="bilinear")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
