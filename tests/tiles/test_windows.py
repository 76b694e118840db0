"""Presets of CT windows."""

from __future__ import annotations

import numpy as np
import pytest

from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.tiles import WINDOWS, Window
from widgetkit.tiles.windows import resolve_window


def test_known_presets() -> None:
    assert resolve_window("lung") == (-1350, 150)
    assert resolve_window("mediastinum") == (-125, 225)
    assert resolve_window("bone") == (-500, 1300)
    assert resolve_window("brain") == (0, 80)
    assert resolve_window("liver") == (-45, 105)
    assert resolve_window("Soft_Tissue") == resolve_window("soft tissue") == (-150, 250)
    for window in WINDOWS.values():
        low, high = window.range
        assert high - low == window.width and (high + low) / 2 == window.level


def test_numbers_and_windows() -> None:
    assert resolve_window((-100, 100)) == (-100.0, 100.0)
    assert resolve_window(Window(0, 50)) == (-25.0, 25.0)


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0, np.inf), (1, 2, 3), 5, Window(0, 0)])
def test_no_window(window) -> None:
    with pytest.raises(InvalidInput):
        resolve_window(window)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UnknownName, match="'lung'"):
        resolve_window("lungs")
