from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.session.conftest import HOSTILE
from widgetkit.errors import InvalidInput, OutputExists
from widgetkit.session import Selection
from widgetkit.store import ActivationStore

masks = st.lists(st.booleans(), max_size=70).map(lambda v: np.array(v, dtype=bool))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Selection, Selection]:
    n = draw(st.integers(0, 40))
    one, two = (draw(st.lists(st.booleans(), min_size=n, max_size=n)) for _ in range(2))
    return (
        Selection.from_mask(np.array(one, dtype=bool)),
        Selection.from_mask(np.array(two, dtype=bool)),
    )


@settings(deadline=None, max_examples=50)
@given(masks)
def test_mask_bits_rows_and_text_are_the_same_selection(mask: np.ndarray) -> None:
    made = Selection.from_mask(mask)
    assert_array_equal(made.mask, mask)
    assert_array_equal(made.rows, np.flatnonzero(mask))
    assert made.count == len(made) == mask.sum()
    assert made == Selection.from_rows(len(mask), made.rows) == Selection.decode(made.encode())
    assert made.bits == np.packbits(mask, bitorder="little").tobytes()
    assert hash(made) == hash(Selection.decode(made.encode()))


@settings(deadline=None, max_examples=50)
@given(pairs())
def test_algebra_is_that_of_sets(two: tuple[Selection, Selection]) -> None:
    a, b = two
    x, y = set(a.rows.tolist()), set(b.rows.tolist())
    assert set((a | b).rows.tolist()) == x | y
    assert set((a & b).rows.tolist()) == x & y
    assert set((a - b).rows.tolist()) == x - y
    assert set((a ^ b).rows.tolist()) == x ^ y
    assert set((~a).rows.tolist()) == set(range(a.n)) - x
    assert ~~a == a
    assert a - b == a & ~b
    assert a ^ b == (a | b) - (a & b)
    assert all(s.n == a.n for s in (a | b, ~a))


def test_how_says_how_it_came_about_and_cannot_grow_for_ever() -> None:
    a = Selection.from_rows(9, [1, 2], how={"kind": "click"})
    b = Selection.from_rows(9, [5], how={"kind": "box", "box": [0, 0, 1, 1]})
    assert (a | b).how == {
        "kind": "add",
        "of": [{"kind": "click"}, {"kind": "box", "box": [0, 0, 1, 1]}],
    }
    joined = a
    for _ in range(100):
        joined = joined ^ b | a
    assert len(json.dumps(joined.how)) < 5_000


def test_selections_do_not_change() -> None:
    made = Selection.from_rows(9, [1, 2])
    with pytest.raises(ValueError, match="read-only"):
        made.mask[0] = True
    with pytest.raises(AttributeError):
        made.n = 3  # type: ignore[misc]


@pytest.mark.parametrize("rows", [[-1], [9], [0.5], [[1, 2]], ["a"], [True, False]], ids=str)
def test_rows_outside_the_store_are_refused(rows: list) -> None:
    with pytest.raises(InvalidInput):
        Selection.from_rows(9, rows)


def test_masks_and_bits_of_another_form_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one bool a tile"):
        Selection.from_mask([0, 1])
    with pytest.raises(InvalidInput, match="takes 2 bytes"):
        Selection(9, b"\0")
    with pytest.raises(InvalidInput, match="beyond"):
        Selection(9, b"\0\xff")
    with pytest.raises(InvalidInput, match="different stores"):
        Selection.none(3) | Selection.none(4)


@pytest.mark.parametrize(
    "text",
    ["", "9", "9:", "9:!!", "-1:AAAA", "9:eJxjYAAAAAIAAQ", "99999999999999:eJxjYAAAAAIAAQ==", "8:" + Selection.none(900).encode().split(":")[1], "٣:eJxjYAAAAAIAAQ=="],
    ids=range(9),
)  # fmt: skip
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="damaged"):
        Selection.decode(text)


def test_a_bomb_is_not_unpacked() -> None:
    """Ten megabytes of zeros in ten kilobytes, said to be nine tiles."""
    huge = Selection.none(80_000_000).encode().split(":")[1]
    with pytest.raises(InvalidInput):
        Selection.decode("9:" + huge)


def test_export_as_table(shared: ActivationStore, tmp_path: Path) -> None:
    chosen = Selection.from_rows(len(shared), [5, 2, 40])
    frame = chosen.to_frame(shared)
    assert frame.index.tolist() == [2, 5, 40]
    assert frame["label"].tolist() == shared.tiles["label"].iloc[[2, 5, 40]].tolist()
    back = pd.read_csv(chosen.to_csv(shared, tmp_path / "s.csv"), index_col="row")
    assert back["label"].tolist() == frame["label"].tolist()
    assert HOSTILE in back["label"].tolist()
    with pytest.raises(InvalidInput, match="another store"):
        Selection.none(3).to_frame(shared)


def test_a_table_to_share_names_nobody_and_is_not_overwritten(
    shared: ActivationStore, tmp_path: Path
) -> None:
    path = Selection.from_rows(len(shared), [2, 40]).to_csv(shared, tmp_path / "s.csv")
    text = path.read_text()
    for column in ("id", "source", "patient"):
        if column in shared.tiles:
            assert all(str(value) not in text for value in shared.tiles[column].iloc[[2, 40]])
    with pytest.raises(OutputExists):
        Selection.none(len(shared)).to_csv(shared, path)
    assert path.read_text() == text


def test_a_spreadsheet_does_not_run_what_a_file_says(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store = make(3, slides=("=cmd()", "+1", "@x"))
    text = Selection.all(3).to_csv(store, tmp_path / "s.csv", identifiers="keep").read_text()
    assert "'=cmd()" in text
    assert "'+1" in text
    assert ",=" not in text
    assert ",@" not in text


def test_geojson_squares_lie_where_the_tiles_were_cut(shared: ActivationStore) -> None:
    found = Selection.from_rows(len(shared), [12]).to_geojson(shared)
    assert found["type"] == "FeatureCollection"
    (feature,) = found["features"]
    assert feature["geometry"]["coordinates"] == [
        [[32.0, 16.0], [48.0, 16.0], [48.0, 32.0], [32.0, 32.0], [32.0, 16.0]]
    ]
    assert str(uuid.UUID(feature["id"])) == feature["id"]
    # neither the file's name nor the tile's id, which tells it to who guesses it
    text = json.dumps(found)
    assert str(shared.tiles["source"].iloc[12]) not in text
    assert shared.tiles["id"].iloc[12] not in text
    assert json.loads(json.dumps(found)) == found
