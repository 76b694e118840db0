"""Make what ships of the second demo.

    python -m widgetkit.demos.make_activation [--readings] [FOLDER]

builds the store and the slides anew and packs them into ``data/``, or into FOLDER; occlusion maps take
most of the time. ``--readings`` only adds what the store that is there lacks of factors, maps and the
like. The weights of the classifier are those that ship; ``python -m widgetkit.demos.train_tissue``
trains them again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from widgetkit.demos.activation import activation_model, activation_tiles, build_activation_store
from widgetkit.demos.activation_reading import keep_readings
from widgetkit.demos.regions import write_regions
from widgetkit.demos.ship import DATA, pack, unpack
from widgetkit.extraction import ModelContext
from widgetkit.store import ActivationStore
from widgetkit.tiles.fetch import fetch


def main(folder: Path = DATA, *, only_readings: bool = False) -> None:
    """Build both archives, or add readings to the store of one."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "activation.wk"
        if only_readings:
            unpack(folder / "activation.zip", target)
            store = ActivationStore.open(target)
            model = ModelContext.for_store(activation_model(), store, device="cpu")
            keep_readings(store, model)
        else:
            slides = Path(scratch) / "slides"
            write_regions(fetch("slide"), slides)
            pack(slides, folder / "slides.zip")
            store = build_activation_store(target, tiles=activation_tiles(slides))
        pack(store.path, folder / "activation.zip")


if __name__ == "__main__":
    words = sys.argv[1:]
    folders = [Path(word) for word in words if word != "--readings"]
    main(*folders, only_readings="--readings" in words)
