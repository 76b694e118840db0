"""The wire from the kernel's side; js/tests/codec.test.ts reads the same fixtures."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widgetkit.errors import InvalidInput
from widgetkit.widgets import wire

FIXTURES = json.loads((Path(__file__).parent / "wire_fixtures.json").read_text())
properties = settings(deadline=None, max_examples=25)

coordinates = st.floats(-1e6, 1e6, allow_nan=False, width=32)
clouds = st.integers(0, 60).flatmap(lambda n: hnp.arrays(np.float64, (n, 2), elements=coordinates))


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def array(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes NaN


# -- the same bytes as the browser's ---------------------------------------------------------
@pytest.mark.parametrize("case", FIXTURES["positions"])
def test_positions_of_the_fixtures(case: dict[str, Any]) -> None:
    xy = array(case["xy"]).reshape(-1, 2)
    data, box = wire.encode_positions(xy)
    assert data == raw(case["data"])
    assert list(box) == case["box"]
    decoded = array(case["decoded"]).reshape(-1, 2)
    np.testing.assert_allclose(wire.decode_positions(data, box), decoded, rtol=1e-12)


@pytest.mark.parametrize("case", FIXTURES["masks"])
def test_masks_of_the_fixtures(case: dict[str, Any]) -> None:
    flags = np.array(case["flags"], dtype=bool)
    assert wire.encode_mask(flags) == raw(case["data"])
    np.testing.assert_array_equal(wire.decode_mask(raw(case["data"]), len(flags)), flags)


@pytest.mark.parametrize("case", FIXTURES["polygons"])
def test_polygons_of_the_fixtures(case: dict[str, Any]) -> None:
    box, data = wire.encode_polygon(array(case["polygon"]))
    assert (box, data) == (case["box"], raw(case["data"]))
    np.testing.assert_allclose(wire.decode_polygon(box, data), case["decoded"], rtol=1e-12)


def test_rows_and_grids_of_the_fixtures() -> None:
    for case in FIXTURES["rows"]:
        assert wire.encode_rows(case["rows"]) == raw(case["data"])
        assert wire.decode_rows(raw(case["data"]), 2**32).tolist() == case["rows"]
    for case in FIXTURES["grids"]:
        made = wire.encode_grid(array(case["values"]), case["low"], case["high"])
        assert made == raw(case["data"])


# -- properties --------------------------------------------------------------------------------
@properties
@given(clouds)
def test_positions_come_back_within_half_a_step(xy: np.ndarray) -> None:
    data, box = wire.encode_positions(xy)
    assert len(data) == 4 * len(xy)
    back = wire.decode_positions(data, box)
    step = np.array([box[2] - box[0], box[3] - box[1]]) / 65534
    assert (np.abs(back - xy) <= step / 2 + 1e-9 * np.abs(xy).max(initial=1)).all()


def test_points_without_a_place_are_missing_and_move_nobody() -> None:
    xy = np.array([[0, 0], [np.nan, 1], [np.inf, 5], [2, 3]])
    data, box = wire.encode_positions(xy)
    assert box == (0, 0, 2, 3)
    codes = np.frombuffer(data, "<u2").reshape(-1, 2)
    assert (codes[1:3] == wire.MISSING_POSITION).all()
    assert (codes[[0, 3]] < wire.MISSING_POSITION).all()


@properties
@given(hnp.arrays(np.bool_, st.integers(0, 200)))
def test_mask_then_unmask_is_identity(mask: np.ndarray) -> None:
    data = wire.encode_mask(mask)
    assert len(data) == (len(mask) + 7) // 8
    np.testing.assert_array_equal(wire.decode_mask(data, len(mask)), mask)
    with pytest.raises(InvalidInput):
        wire.decode_mask(data + b"\0", len(mask))


@properties
@given(hnp.arrays(np.float64, st.tuples(st.integers(3, 80), st.just(2)), elements=coordinates))
def test_polygons_keep_their_vertices_to_a_65535th_of_their_box(polygon: np.ndarray) -> None:
    box, data = wire.encode_polygon(polygon)
    back = wire.decode_polygon(box, data)
    step = np.ptp(polygon, axis=0) / 65535
    assert (np.abs(back - polygon) <= step / 2 + 1e-9 * np.abs(polygon).max(initial=1)).all()


@properties
@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=4, max_side=5), elements=st.floats(-3, 3, width=32)
    )
)
def test_grid_codes_are_within_half_a_step(values: np.ndarray) -> None:
    codes = np.frombuffer(wire.encode_grid(values, -2.0, 2.0), np.uint8).reshape(values.shape)
    back = -2 + 4 * codes.astype(float) / 254
    assert (np.abs(back - np.clip(values, -2, 2)) <= 4 / 508 + 1e-9).all()


# -- hostile messages ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "box",
    [(), (0, 0, 1), None, "0011", {"x": 1}, (0, 0, float("nan"), 1), (0, 0, float("inf"), 1), (1, 0, 0, 1), ("a", 0, 1, 1)],
)  # fmt: skip
def test_a_box_that_is_none_is_refused(box: Any) -> None:
    if box == "0011":  # four characters that are numbers are still a box; no harm in it
        assert wire.decode_box(box) == (0, 0, 1, 1)
        return
    with pytest.raises(InvalidInput):
        wire.decode_box(box)


@pytest.mark.parametrize("size", [0, 4, 8, 13, 4 * wire.VERTICES_MOST + 4])
def test_a_polygon_of_no_sensible_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="vertices"):
        wire.decode_polygon((0, 0, 1, 1), bytes(size))


@pytest.mark.parametrize("value", [-1, 10, True, 1.0, "3", None, 2**70])
def test_a_row_outside_the_store_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        wire.decode_row(value, 10)


def test_rows_outside_the_store_are_refused() -> None:
    assert wire.decode_rows(wire.encode_rows([0, 9]), 10).tolist() == [0, 9]
    with pytest.raises(InvalidInput, match="10"):
        wire.decode_rows(wire.encode_rows([0, 10]), 10)
    with pytest.raises(InvalidInput):
        wire.decode_rows(b"abc", 10)


def test_colour_maps_of_the_browser_are_matplotlibs(repo: Path) -> None:
    """The figures use matplotlib's; what is on the screen must not differ from them."""
    import re

    import matplotlib

    text = (repo / "js/src/shared/colormaps.ts").read_text()
    names = {
        "VIRIDIS": "viridis", "MAGMA": "magma", "INFERNO": "inferno", "CIVIDIS": "cividis",
        "RDBU_R": "RdBu_r", "COOLWARM": "coolwarm",
    }  # fmt: skip
    for name, theirs in names.items():
        anchors = re.search(rf'{name} =\s+"([0-9a-f]+)"', text)
        assert anchors
        rgb = np.frombuffer(bytes.fromhex(anchors[1]), np.uint8).reshape(-1, 3).astype(float)
        at = np.linspace(0, 1, 256)
        ours = np.stack(
            [np.interp(at * (len(rgb) - 1), np.arange(len(rgb)), rgb[:, c]) for c in range(3)], 1
        )
        expected = matplotlib.colormaps[theirs](at)[:, :3] * 255
        assert np.abs(ours - expected).max() <= 5.0  # of 255, at the steep ends


def test_the_browsers_palette_is_the_kits(repo: Path) -> None:
    import re

    from widgetkit import palette

    text = (repo / "js/src/shared/palette.ts").read_text()
    assert tuple(re.findall(r'^  "(#\w{6})",$', text, re.M)) == palette.CATEGORICAL
    assert f'NONE_COLOUR = "{palette.NONE_COLOUR}"' in text
    assert f"NONE_INDEX = {palette.NONE_INDEX};" in text
