"""Positioned reads against plain indexing, on every way the system may offer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from widgetkit.errors import StoreCorrupt
from widgetkit.store import segments
from widgetkit.store.atomic import write_array
from widgetkit.store.segments import PositionedFile, SegmentedArray

WAYS = ["preadv", "pread", "seek"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems without preadv, pread or advice: the reader looks at these when it reads."""
    if request.param != "preadv":
        monkeypatch.setattr(segments, "_HAS_PREADV", False)
        monkeypatch.setattr(segments, "_HAS_ADVICE", False)
        monkeypatch.setattr(segments, "_NOWAIT", None)
    if request.param == "seek":
        monkeypatch.setattr(segments, "_HAS_PREAD", False)
    return str(request.param)


def segmented(root: Path, values: np.ndarray, segment_rows: int) -> SegmentedArray:
    files = [
        write_array(root, f"{i:05d}.npy", values[start : start + segment_rows])
        for i, start in enumerate(range(0, len(values), segment_rows))
    ]
    return SegmentedArray(
        root, files, len(values), segment_rows, values.shape[1:], values.dtype.str
    )


def test_all_ways_read_the_same(way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**15, (5000, 3, 2), dtype=np.int16)
    array = segmented(tmp_path, values, 700)
    for _ in range(20):
        rows = rng.integers(0, 5000, rng.integers(1, 4000))
        assert_array_equal(array.take(rows), values[rows])
    everything = np.arange(5000)
    assert_array_equal(array.take(everything), values)
    assert_array_equal(array.take(everything[::-1]), values[::-1])
    assert_array_equal(array.take(everything[::3]), values[::3])


def test_rows_larger_than_one_request(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (5, 5 * 2**20), dtype=np.uint8)
    array = segmented(tmp_path, values, 2)
    assert_array_equal(array.take(np.array([4, 0, 3, 0])), values[[4, 0, 3, 0]])


@settings(deadline=None, max_examples=100)
@given(
    local=st.sets(st.integers(0, 3000), min_size=1, max_size=400),
    width=st.sampled_from([1, 100, 20_000, 3_000_000]),
    seed=st.integers(0, 3),
)
def test_requests_cover_every_row_once(local: set[int], width: int, seed: int) -> None:
    array = SegmentedArray(Path(), [], 3001, 3001, (width,), "|u1")
    rows = np.array(sorted(local))
    targets = (
        np.arange(len(rows)) if seed == 0 else np.random.default_rng(seed).permutation(len(rows))
    )
    got: dict[int, int] = {}
    for request in array._requests(rows, targets):
        position = request[0].row
        for read in request:
            position += read.skip
            assert position == read.row
            for i in range(read.count):
                got[read.target + i] = read.row + i
            position += read.count
        assert (position - request[0].row) * width <= max(width, segments._LARGEST_READ)
        assert 2 * len(request) <= 512
    assert got == dict(zip(targets.tolist(), rows.tolist(), strict=True))


def test_a_file_that_ends_early(way: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with PositionedFile(tmp_path / "a") as file:
        first, second = bytearray(4), bytearray(3)
        file.read_into([memoryview(first), memoryview(second)], 2)
        assert first + second == b"2345678"
        with pytest.raises(StoreCorrupt, match="ends early"):
            file.read_into([memoryview(bytearray(4))], 8)
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        PositionedFile(tmp_path / "none")
