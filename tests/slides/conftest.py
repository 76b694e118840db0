"""A real slide, a plain one, and stores cut from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slides import building
from tests.tiles.conftest import pyramid, rng, slide_path  # noqa: F401
from widgetkit import tiles
from widgetkit.store import ActivationStore


@pytest.fixture(scope="session")
def cut(slide_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:  # noqa: F811
    """The real slide in tiles of 128 px, resampled to 1 um a pixel."""
    source = tiles.from_slide(slide_path, size=128, mpp=1.0)
    return building.of_source(tmp_path_factory.mktemp("cut") / "s.wk", source)
