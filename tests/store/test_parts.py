"""The small modules that the store is made of, each against the obvious way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from PIL import Image

from widgetkit.errors import InvalidInput, StoreCorrupt
from widgetkit.store import images, jsonio, npy, paths, pool, sprites, statistics
from widgetkit.store.atomic import atomic_write

ARRAYS = hnp.arrays(
    st.sampled_from(["<f4", ">f8", "<f2", "|u1", "<i8", ">i4", "|b1", "<U3"]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)


class TestNpy:
    @settings(deadline=None)
    @given(array=ARRAYS)
    def test_numpy_reads_what_we_write_and_we_read_it(self, array: np.ndarray) -> None:
        stored = npy.storable(array)
        data = npy.header(stored.dtype, stored.shape) + stored.tobytes()
        for read in (np.load(io.BytesIO(data), allow_pickle=False), npy.decode(data, "x")):
            assert read.shape == array.shape
            assert_array_equal(read, array)

    @settings(deadline=None)
    @given(array=ARRAYS)
    def test_we_read_what_numpy_writes(self, array: np.ndarray) -> None:
        out = io.BytesIO()
        np.save(out, np.asarray(npy.storable(array)))
        assert_array_equal(npy.decode(out.getvalue(), "x"), array)

    @settings(deadline=None, max_examples=200)
    @given(data=st.binary(max_size=200), at=st.integers(0, 200))
    def test_rubbish_is_refused(self, data: bytes, at: int) -> None:
        good = npy.header(np.dtype("<f4"), (3,)) + bytes(12)
        for bad in (data, good[:at], good[:at] + data, good[: 10 + at % 60] + data):
            try:
                array = npy.decode(bad, "x")
            except StoreCorrupt:
                continue
            assert array.nbytes <= len(bad)

    def test_objects_are_refused_both_ways(self) -> None:
        with pytest.raises(InvalidInput):
            npy.storable(np.array([{}], dtype=object))
        out = io.BytesIO()
        np.save(out, np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(StoreCorrupt):
            npy.decode(out.getvalue(), "x")


class TestPaths:
    @given(a=st.text(max_size=90), b=st.text(max_size=90))
    def test_slugs_are_safe_and_tell_names_apart(self, a: str, b: str) -> None:
        for name in (a, b):
            assert paths.is_relative(paths.slug(name)) and "/" not in paths.slug(name)
            assert paths.slug(name) == paths.slug(name).lower()
            assert len(paths.slug(name)) <= 64
        assert (paths.slug(a) == paths.slug(b)) == (a == b)

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("blocks.15", True),
            ("layer4.1.conv2", True),
            ("A", False),
            ("con", False),
            ("x.", False),
            ("", False),
        ],
    )
    def test_readable_names_stay(self, name: str, kept: bool) -> None:
        assert (paths.slug(name) == name) is kept

    @pytest.mark.parametrize(
        "path", ["", "/", "..", "a/..", "a//b", "/a", "a/", "a\\b", "a:b", "a\nb", "a/./b", "é"]
    )
    def test_what_is_no_path_inside(self, path: str, tmp_path: Path) -> None:
        assert not paths.is_relative(path)
        with pytest.raises(StoreCorrupt):
            paths.inside(tmp_path, path)


class TestJson:
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(codec="utf-8")),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
            ),
        )
    )
    def test_plain_values_come_back(self, value: object) -> None:
        assert jsonio.parse(jsonio.canonical(jsonio.plain(value, "it")), "it") == value

    def test_numpy_values_become_plain(self) -> None:
        value = {
            "a": np.float32(0.5),
            "b": np.arange(2),
            "c": (np.bool_(True), {3, 1}),
            "d": Path("x"),
            4: np.dtype("f4"),
        }
        assert jsonio.plain(value, "it") == {
            "a": 0.5,
            "b": [0, 1],
            "c": [True, [1, 3]],
            "d": "x",
            "4": "float32",
        }

    def test_a_cycle_is_refused(self) -> None:
        value: list[object] = []
        value.append(value)
        with pytest.raises(InvalidInput, match="nested"):
            jsonio.plain(value, "it")


class TestStatistics:
    @settings(deadline=None, max_examples=80)
    @given(
        values=hnp.arrays(
            np.float16,
            st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
            elements=st.floats(-65504, 65504, width=16, allow_nan=False),
        )
    )
    def test_maps(self, values: np.ndarray) -> None:
        found = statistics.of_maps(values)
        wide = values.astype(np.float64)
        assert_array_equal(found.embeddings, wide.mean(axis=(2, 3)).astype(np.float32))
        assert_array_equal(found.ranges[0], wide.min(axis=(0, 2, 3)))
        assert_array_equal(found.ranges[1], wide.max(axis=(0, 2, 3)))
        np.testing.assert_allclose(found.ranges[2], wide.sum(axis=(0, 2, 3)), rtol=1e-12, atol=1e-6)

    @given(bits=st.integers(0, 0xFFFF))
    def test_every_value_that_is_no_number_is_found(self, bits: int) -> None:
        values = np.zeros((2, 1, 2), np.float16)
        values.view(np.uint16)[1, 0, 1] = bits
        finite = bool(np.isfinite(values).all())
        assert (statistics.of_maps(values) is not None) is finite
        assert (statistics.first_not_finite(values) is None) is finite

    def test_the_mean_does_not_depend_on_how_many_are_pooled_together(self) -> None:
        values = np.random.default_rng(0).standard_normal((700, 64, 7, 7)).astype(np.float16)
        whole = statistics.of_maps(values)
        for i in (0, 333, 699):
            assert_array_equal(
                statistics.of_maps(values[i : i + 1]).embeddings[0], whole.embeddings[i]
            )


class TestPictures:
    @pytest.mark.parametrize(
        "shape", [(40, 20), (20, 40, 3), (7, 40, 20), (7, 20, 40, 3), (64, 64), (5, 3)]
    )
    @pytest.mark.parametrize("size", [16, 64, 100])
    def test_thumbnails_keep_proportion_on_black(self, shape: tuple[int, ...], size: int) -> None:
        thumbs = images.thumbnails(np.full((2, *shape), 200, np.uint8), size)
        assert thumbs.shape == (2, size, size, *((3,) if images.is_colour(shape) else ()))
        height, width = shape[-3:-1] if images.is_colour(shape) else shape[-2:]
        share = (thumbs.reshape(2, size, size, -1)[..., 0] > 100).mean()
        assert share == pytest.approx(min(height, width) / max(height, width), abs=0.06)

    def test_a_volume_is_shown_by_its_middle_slice(self) -> None:
        volume = np.zeros((1, 5, 8, 8), np.uint8)
        volume[0, 2] = 255
        assert (images.thumbnails(volume, 8) == 255).all()

    @pytest.mark.parametrize("count", [1, 31, 32, 1024, 1025, 2500])
    @pytest.mark.parametrize("colour", [False, True])
    def test_every_thumbnail_lies_where_the_layout_says(self, count: int, colour: bool) -> None:
        values = (np.arange(count) * 37 % 251).astype(np.uint8)
        thumbs = np.broadcast_to(
            values[:, None, None, None] if colour else values[:, None, None],
            (count, 64, 64, 3) if colour else (count, 64, 64),
        )
        layout = sprites.layout(count)
        cuts = np.array_split(np.arange(count), 7)
        sheets = [
            np.asarray(Image.open(io.BytesIO(data)))
            for data in sprites.pages(thumbs[cut] for cut in cuts)
        ]
        assert len(sheets) == layout.pages
        for row in {0, count // 2, count - 1}:
            line, column = divmod(row % layout.per_page, layout.columns)
            sheet = sheets[row // layout.per_page]
            tile = sheet[line * 64 : line * 64 + 64, column * 64 : column * 64 + 64]
            assert tile.shape[:2] == (64, 64)
            assert abs(tile.astype(int) - int(values[row])).max() <= 2  # no neighbour bleeds in


class TestPool:
    def test_order_and_errors(self) -> None:
        assert pool.in_threads(lambda i: i * i, range(50)) == [i * i for i in range(50)]
        with pytest.raises(ZeroDivisionError):
            pool.in_threads(lambda i: 1 // i, [1, 0, 2])
        assert pool.submit(lambda: 5)() == 5


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
