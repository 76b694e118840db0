"""Parts of sources, and sources together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit import tiles
from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue


def numbered(n: int, name: str, start: int = 0, dtype: type = np.uint8):
    """Tile i is filled with start + i."""
    values = np.arange(start, start + n, dtype=dtype)
    return tiles.from_array(np.broadcast_to(values[:, None, None], (n, 8, 8)), source=name)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=25)
def test_concat_and_subset_are_indexing(sizes: list[int], data: st.DataObject) -> None:
    """Against plain numpy: concatenate, then pick."""
    starts = np.cumsum([0, *sizes])
    whole = tiles.concat([numbered(n, f"s{i}", int(starts[i])) for i, n in enumerate(sizes)])
    total = sum(sizes)
    assert len(whole) == total and whole.table.index.tolist() == list(range(total))
    rows = data.draw(st.lists(st.integers(0, total - 1), max_size=12))
    assert whole.read(rows)[:, 0, 0].tolist() == rows
    picked = data.draw(st.lists(st.integers(0, total - 1), min_size=1, unique=True))
    part = tiles.subset(whole, picked)
    assert part.read(range(len(part)))[:, 0, 0].tolist() == picked
    assert part.table["id"].tolist() == whole.table["id"].iloc[picked].tolist()


def test_a_mask_is_a_subset_too() -> None:
    source = numbered(4, "a")
    assert tiles.subset(source, source.table["z"] > 1).read([0, 1])[:, 0, 0].tolist() == [2, 3]


def test_user_columns_are_joined_with_gaps() -> None:
    one = tiles.from_array(np.zeros((1, 8, 8), np.uint8), source="a", metadata={"stain": "H"})
    both = tiles.concat([one, numbered(1, "b")])
    assert both.table["stain"][0] == "H" and both.table["stain"].isna()[1]


def test_what_does_not_go_together() -> None:
    with pytest.raises(BadMetadata, match="two of the sources"):
        tiles.concat([numbered(2, "a"), numbered(3, "a")])
    with pytest.raises(BadImage, match="uint16"):
        tiles.concat([numbered(2, "a"), numbered(2, "b", dtype=np.uint16)])
    for empty in (lambda: tiles.concat([]), lambda: tiles.subset(numbered(2, "a"), [])):
        with pytest.raises(NoTissue):
            empty()
    for rows in ([0, 0], [7], [True] * 3):
        with pytest.raises(InvalidInput):
            tiles.subset(numbered(2, "a"), rows)


def test_one_window_for_all_parts() -> None:
    dark, bright = numbered(3, "d", 0, np.uint16), numbered(3, "b", 900, np.uint16)
    low, high = tiles.concat([dark, bright]).window
    assert low <= 1 and high >= 901


def test_columns_can_be_added_afterwards() -> None:
    source = numbered(3, "a")
    measured = tiles.annotate(source, {"mean": source.read(range(3)).mean(axis=(1, 2))})
    assert measured.table["mean"].tolist() == [0, 1, 2]
    assert "mean" not in source.table and measured.describe() == source.describe()
    assert measured.read([2, 1])[:, 0, 0].tolist() == [2, 1]
    with pytest.raises(BadMetadata):
        tiles.annotate(source, {"mean": [1]})
