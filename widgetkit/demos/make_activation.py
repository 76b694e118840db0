"""Make what ships of the second demo.

    python -m widgetkit.demos.make_activation [FOLDER]

builds the store and the slides anew and packs them into ``data/``, or into FOLDER; occlusion maps take
most of the time. The weights of the classifier are those that ship;
``python -m widgetkit.demos.train_tissue`` trains them again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from widgetkit.demos.activation import activation_tiles, build_activation_store
from widgetkit.demos.fetch import fetch
from widgetkit.demos.regions import write_regions
from widgetkit.demos.ship import DATA, pack


def main(folder: Path = DATA) -> None:
    """Build both archives that ship."""
    with tempfile.TemporaryDirectory() as scratch:
        slides = Path(scratch) / "slides"
        write_regions(fetch("slide"), slides)
        pack(slides, folder / "slides.zip")
        store = build_activation_store(
            Path(scratch) / "activation.wk", tiles=activation_tiles(slides)
        )
        pack(store.path, folder / "activation.zip")


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:2]))
