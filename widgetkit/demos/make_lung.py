"""Make what ships of the third demo.

    python -m widgetkit.demos.make_lung [FOLDER]

simulates, trains and maps anew, in two dimensions and in three, and packs stores and weights into
``data/``, or into FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from widgetkit.demos.lung import build_lung_store, weights
from widgetkit.demos.ship import DATA, LUNG_ARCHIVES, pack


def main(folder: Path = DATA) -> None:
    """Build both stores, and the weights beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for dims, archive in LUNG_ARCHIVES.items():
            store, encoder = build_lung_store(Path(scratch) / f"lung-{dims}d.wk", dims=dims)
            encoder.save(weights(dims, folder))
            pack(store.path, folder / archive)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
