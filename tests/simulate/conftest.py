"""A simulation on the phantom, made once."""

from __future__ import annotations

import pytest

from widgetkit import simulate


@pytest.fixture(scope="session")
def everything() -> simulate.LungSimulation:
    """All factors at two levels: 32 groups, two images each, of 48 pixels."""
    return simulate.lung_abnormalities(
        64,
        vary=("size", "location", "intensity", "shape", "noise"),
        shape=48,
        background="phantom",
        seed=3,
    )
