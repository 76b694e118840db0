"""Ids and tables: what every source promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit import tiles
from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles.base import RESERVED

places = st.tuples(
    st.text(min_size=1, max_size=12),
    *(st.floats(-1e9, 1e9) for _ in range(3)),
    st.integers(0, 12),
    st.integers(5, 4096),
)


@given(places, places)
@settings(deadline=None, max_examples=60)
def test_ids_are_equal_exactly_where_places_are(one: tuple, other: tuple) -> None:
    same = one[0] == other[0] and all(a == b for a, b in zip(one[1:], other[1:], strict=True))
    assert (tiles.tile_id(*one) == tiles.tile_id(*other)) == same
    assert len(tiles.tile_id(*one)) == 16 and int(tiles.tile_id(*one), 16) >= 0


def test_an_id_is_what_it_always_was() -> None:
    """Stores and selections keep ids for years: this value may never change."""
    assert tiles.tile_id("slide-1", 1024.0, 512.0, 0.0, 0, 256) == "7ed1af491b3f3b76"


def test_numpy_and_negative_zero_give_the_same_id() -> None:
    plain = tiles.tile_id("a", 0.0, 3.0, 0.0, 1, 64)
    assert tiles.tile_id("a", np.float32(-0.0), np.float64(3), np.int64(0), np.int8(1), 64) == plain


def test_a_table_has_its_columns_in_order() -> None:
    table = tiles.make_table("a", n=3, x=[0, 1, 2], size=8)
    assert tuple(table.columns) == (*RESERVED, "slide")
    assert list(table["slide"]) == ["a"] * 3
    assert table["mpp"].isna().all()
    assert tiles.check_table(table) is table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="z"), "lacks 'z'"),
        (lambda t: t.iloc[::-1], "index must be"),
        (lambda t: t.assign(id="xyz"), "16 hexadecimal"),
        (lambda t: t.assign(id=t["id"][0]), "same id"),
        (lambda t: t.assign(x="left"), "must hold numbers"),
        (lambda t: t.assign(y=np.nan), "not finite"),
        (lambda t: pd.concat([t, t[["slide"]]], axis=1), "same name"),
    ],
)
def test_a_broken_table_says_what_is_wrong(change, words: str) -> None:
    with pytest.raises(BadMetadata, match=words):
        tiles.check_table(change(tiles.make_table("a", n=3, x=[0, 1, 2], size=8)))


class Foreign:
    """A source that somebody else wrote, without any class of ours."""

    def __init__(self, n: int = 2, dtype: type = np.uint8, shape: tuple[int, ...] = (8, 8)) -> None:
        self.table = tiles.make_table("f", n=n, x=np.arange(n), size=8)
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.n = n

    def __len__(self) -> int:
        return self.n

    def read(self, rows):
        return np.zeros((len(rows), *self.shape), self.dtype)

    def describe(self) -> dict[str, object]:
        return {"kind": "foreign"}


def test_a_foreign_source_is_one() -> None:
    source = Foreign()
    assert isinstance(source, tiles.TileSource)
    tiles.check_source(source)
    assert tiles.display_of(source, source.read([0, 1])).shape == (2, 8, 8)
    assert len(tiles.concat([source])) == 2
    assert len(tiles.subset(source, [1])) == 1


def test_a_foreign_source_that_breaks_its_promise_is_found() -> None:
    with pytest.raises(NoTissue):
        tiles.check_source(Foreign(0))
    with pytest.raises(BadImage, match="int32"):
        tiles.check_source(Foreign(dtype=np.int32))
    with pytest.raises(BadImage, match="shape"):
        tiles.check_source(Foreign(shape=(8,)))
    short = Foreign()
    short.n = 5
    with pytest.raises(BadMetadata, match="5 tiles"):
        tiles.check_source(short)


def test_rows_are_checked() -> None:
    source = tiles.from_array(np.zeros((4, 8, 8), np.uint8))
    assert source.read([]).shape == (0, 8, 8)
    assert source.read([3, 3, 0]).shape == (3, 8, 8)
    for rows in ([4], [-1], [0.5], [[0]], [True]):
        with pytest.raises(InvalidInput):
            source.read(rows)
