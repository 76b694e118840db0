"""The picture of docs/simulation.md: simulated images with their truth, and maps of their clusters.

python scripts/simulation_picture.py [--out docs/images/simulation.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from widgetkit.explain import upsample
from widgetkit.simulate import lung_abnormalities
from widgetkit.simulate.fitting import explained_rows, fit, maps_of

ROWS = {
    "size": {"vary": "size", "levels": 3},
    "location": {"vary": "location", "levels": 4},
    "intensity": {"vary": "intensity", "levels": 3},
    "shape": {"vary": "shape", "levels": 3},
}
METHODS = {"clam": "CLAM", "scorecam": "Score-CAM", "gradcam": "Grad-CAM", "occlusion": "Occlusion"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path("docs/images/simulation.png"))
    options = arguments.parse_args()
    figure, axes = plt.subplots(len(ROWS), 8, figsize=(12, 6.4), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for line, (name, choice) in zip(axes, ROWS.items(), strict=True):
        fine = lung_abnormalities(24, shape=128, background="ct", **choice)
        shown = explained_rows(fine.groups, fine.k)
        for axis, row in zip(line, shown[np.argsort(fine.groups[shown])], strict=False):
            axis.imshow(fine.windowed()[row], cmap="gray", vmin=0, vmax=255)
            axis.contour(fine.masks[row], [0.5], colors="tab:orange", linewidths=1)
            axis.set_title(fine.table["label"][row], fontsize=8)
        made = lung_abnormalities(240, background="ct", **choice)
        fitted = fit(made)
        # of the last group: the largest, the densest
        rows = np.flatnonzero(made.groups == made.k - 1)[:1]
        for axis, (method, title) in zip(line[4:], METHODS.items(), strict=True):
            values = upsample(np.maximum(maps_of(fitted, rows, method), 0), made.shape)[0]
            axis.imshow(fitted.images[rows[0]], cmap="gray", vmin=0, vmax=255)
            top = max(float(values.max()), 1e-9)
            axis.imshow(values / top, cmap="viridis", alpha=0.6 * np.clip(values / top * 2, 0, 1))
            axis.contour(made.masks[rows[0]], [0.5], colors="tab:orange", linewidths=1)
            axis.set_title(f"{title}\n{made.table['label'][rows[0]]}", fontsize=8)
        print(name, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=100)


if __name__ == "__main__":
    main()
