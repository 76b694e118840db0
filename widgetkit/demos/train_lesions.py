"""Make anew what ships of the demo of concepts.

    python -m widgetkit.demos.train_lesions [FOLDER]

simulates the **semi-synthetic** lesions, trains the classifier, and writes ``lesion-net.npz`` (weights),
``lesion-net.json`` (what it gets right and wrong) and ``lesions.zip`` (the store) into ``data/``, or into FOLDER.
Some seven minutes of one core. ``--store`` keeps the weights that are there and makes the store alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from widgetkit.demos.lesions import (
    ARCHIVE,
    FIGURES,
    SPLITS,
    WEIGHTS,
    build_lesion_store,
    lesion_simulation,
)
from widgetkit.demos.ship import DATA, pack

if TYPE_CHECKING:
    from widgetkit.demos.lesion_network import LesionNet
    from widgetkit.simulate import LiverSimulation

SEED = 0


def train(
    simulations: dict[str, LiverSimulation], weights: Path, report: Path, *, seed: int = SEED
) -> LesionNet:
    """Train on the first split, write weights and figures; the network as it is read back."""
    import torch

    from widgetkit.demos import lesion_training as training
    from widgetkit.demos.lesion_network import load_weights, save_weights

    save_weights(
        training.train_lesion_net(simulations["training"], seed=seed, progress=True), weights
    )
    net = load_weights(weights)  # float16: figures are of what ships
    first = next(iter(simulations.values()))
    record = {
        "data": first.source,
        "settings": {
            "seed": seed,
            "epochs": training.EPOCHS,
            "batch": training.BATCH,
            "rate": training.RATE,
            "decay": training.DECAY,
            "sparsity": training.SPARSITY,
            "torch": torch.__version__.split("+")[0],
            "simulations": {name: dict(SPLITS[name]) for name in simulations},
        },
        "classes": list(first.class_names),
        "splits": {name: training.figures(net, made) for name, made in simulations.items()},
    }
    report.write_text(json.dumps(record, indent=1) + "\n")
    return net


def main(folder: Path = DATA, *, only_store: bool = False) -> None:
    """Write weights, figures and store."""
    from widgetkit.demos.lesion_network import load_weights

    simulations = {name: lesion_simulation(name) for name in SPLITS}  # type: ignore[arg-type]
    weights = folder / WEIGHTS.name
    net = (
        load_weights(weights) if only_store else train(simulations, weights, folder / FIGURES.name)
    )
    with tempfile.TemporaryDirectory() as scratch:
        store = build_lesion_store(Path(scratch) / "lesions.wk", net, simulations=simulations)
        pack(store.path, folder / ARCHIVE.name)


if __name__ == "__main__":
    words = sys.argv[1:]
    folders = [Path(word) for word in words if word != "--store"]
    main(*folders, only_store="--store" in words)
