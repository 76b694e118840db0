from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import widgetkit.store
from tests.store.builders import MAPS, VECTORS, Content
from widgetkit.errors import (
    InvalidInput,
    NeedsActivations,
    StoreNotFound,
    UnknownLayer,
)
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

SHAPES = [(12, 10), (12, 10, 3), (5, 12, 10), (5, 12, 10, 3), None]


@pytest.fixture(scope="module")
def content() -> Content:
    return Content(n=23, segment_rows=4)


@pytest.fixture(scope="module")
def store(content: Content, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return content.write(tmp_path_factory.mktemp("store") / "a.wk")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_what_is_written_is_what_is_read(
    tmp_path: Path, shape: tuple[int, ...] | None, encoding: str
) -> None:
    content = Content(shape=shape, encoding=encoding)
    content.write(tmp_path / "a.wk")
    store = widgetkit.store.open(tmp_path / "a.wk")
    assert len(store) == 11
    assert store.verify().ok
    assert_array_equal(store.activations(MAPS), content.maps)
    assert_array_equal(store.embeddings(VECTORS), content.vectors)
    assert_array_equal(store.outputs, content.outputs)
    assert store.class_names == ("benign", "malignant")
    weight, bias = store.head(MAPS)
    assert_array_equal(weight, content.head[0])
    assert_array_equal(bias, content.head[1])
    assert store.head(VECTORS) is None
    pd.testing.assert_frame_equal(store.tiles, content.plan.tiles, check_dtype=False)
    assert store.has_images is (shape is not None)
    assert store.image_shape == shape
    if shape is not None:
        assert_array_equal(store.images(), content.images)
        assert store.thumbnails([3, 1], 32).shape == (2, 32, 32, 3)


@pytest.mark.parametrize("encoding", ["jpeg", "webp"])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_encoded_pictures_look_the_same(
    tmp_path: Path, encoding: str, shape: tuple[int, ...]
) -> None:
    content = Content(shape=shape, encoding=encoding)
    store = content.write(tmp_path / "a.wk")
    off = np.abs(store.images([4, 4, 0]).astype(int) - content.images[[4, 4, 0]])
    assert off.mean() < 6


def test_embeddings_are_the_mean_of_the_stored_values(store: ActivationStore) -> None:
    exact = store.activations(MAPS).astype(np.float64).mean(axis=(2, 3))
    assert_array_equal(store.embeddings(MAPS), exact.astype(np.float32))


def test_layer_info(store: ActivationStore, content: Content) -> None:
    info = store.layers[MAPS]
    values = content.maps.astype(np.float64)
    assert (info.channels, info.grid, info.has_maps, info.dtype) == (5, (3, 2), True, "float16")
    assert (info.minimum, info.maximum, info.signed) == (values.min(), values.max(), True)
    assert info.mean == pytest.approx(values.mean())
    assert info.constant_channels == (2,)
    assert store.layers[VECTORS].has_maps is False
    assert store.default_layer == MAPS


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.integers(0, 22), max_size=60))
def test_any_rows_in_any_order(store: ActivationStore, content: Content, rows: list[int]) -> None:
    assert_array_equal(store.activations(MAPS, rows), content.maps[rows])
    assert_array_equal(store.images(rows), content.images[rows])


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 40),
    segment_rows=st.integers(1, 50),
    grid=st.sampled_from([(1, 1), (7, 7), (2, 3, 2), (5,)]),
    data=st.data(),
)
def test_any_segmentation_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    n: int,
    segment_rows: int,
    grid: tuple[int, ...],
    data: st.DataObject,
) -> None:
    content = Content(n, segment_rows=segment_rows, grid=grid)
    store = content.write(tmp_path_factory.mktemp("any") / "a.wk")
    rows = data.draw(st.lists(st.integers(0, n - 1)))
    assert_array_equal(store.activations(MAPS, rows), content.maps[rows])
    joined = [part for _, part in store.iter_activations(MAPS, data.draw(st.integers(1, 50)))]
    assert_array_equal(np.concatenate(joined), content.maps)


def test_more_segments_than_files_may_be_open(tmp_path: Path) -> None:
    content = Content(n=300, segment_rows=1, shape=None)
    store = content.write(tmp_path / "a.wk")
    assert_array_equal(store.activations(MAPS, np.arange(300)[::-1]), content.maps[::-1])


def test_rows_as_mask_slice_and_number(store: ActivationStore, content: Content) -> None:
    mask = np.arange(23) % 3 == 0
    assert_array_equal(store.activations(MAPS, mask), content.maps[mask])
    assert_array_equal(store.activations(MAPS, slice(2, 9, 2)), content.maps[2:9:2])
    assert_array_equal(store.activations(MAPS, 5), content.maps[[5]])
    assert store.activations(MAPS, []).shape == (0, 5, 3, 2)
    assert store.images([]).shape == (0, 12, 10, 3)
    assert store.thumbnails([], 16).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    "rows", [[-1], [23], [0.5], ["a"], [[1, 2]], [True, False], [2**70], [None]]
)
def test_rows_that_are_not_there(store: ActivationStore, rows: object) -> None:
    with pytest.raises(InvalidInput):
        store.activations(MAPS, rows)  # type: ignore[arg-type]


def test_unknown_layer_lists_the_near_ones(store: ActivationStore) -> None:
    with pytest.raises(UnknownLayer, match=r"features\.Conv"):
        store.activations("features.conv")
    with pytest.raises(UnknownLayer):
        store.embeddings("x")


def test_maps_of_vectors_cannot_be_had(store: ActivationStore) -> None:
    for read in (
        lambda: store.activations(VECTORS),
        lambda: store.sample_positions(VECTORS, 3, 0),
        lambda: next(store.iter_activations(VECTORS)),
    ):
        with pytest.raises(NeedsActivations, match="no maps"):
            read()


def test_a_store_of_vectors_alone(tmp_path: Path) -> None:
    tiles = pd.DataFrame({"id": ["a", "b"]})
    plan = Plan(tiles=tiles, layers=[LayerPlan("h5", 4)])
    with StoreWriter.open(tmp_path / "v.wk", plan=plan) as writer:
        writer.write_segment(0, {"h5": np.eye(2, 4)})
        store = writer.commit()
    assert_array_equal(store.embeddings("h5"), np.eye(2, 4, dtype=np.float32))
    assert not store.has_images and store.sprites is None and store.outputs is None
    assert store.default_layer == "h5"
    with pytest.raises(InvalidInput, match="no images"):
        store.images([0])
    with pytest.raises(InvalidInput, match="no images"):
        store.sprite_page(0)


@pytest.mark.parametrize("n", [0, 1])
def test_no_tile_and_one_tile(tmp_path: Path, n: int) -> None:
    content = Content(n)
    store = content.write(tmp_path / "a.wk")
    assert len(store) == n
    assert store.verify().ok
    assert store.activations(MAPS).shape == (n, 5, 3, 2)
    assert store.embeddings(MAPS).shape == (n, 5)
    assert store.outputs.shape == (n, 2)
    assert store.images().shape == (n, 12, 10, 3)
    assert store.sprites.pages == n
    assert len(store.tiles) == n
    assert len(list(store.iter_activations(MAPS))) == n
    assert store.sample_positions(MAPS, 5, 0)[2].shape == (min(5, 6 * n), 5)


def test_arrays_that_are_kept_cannot_be_changed(store: ActivationStore) -> None:
    for kept in (store.embeddings(MAPS), store.outputs, store.head(MAPS)[0]):
        with pytest.raises(ValueError):
            kept[0, 0] = 1
    table = store.tiles
    table["extra"] = 1
    assert "extra" not in store.tiles


def test_a_store_travels_to_other_processes_as_its_path(store: ActivationStore) -> None:
    again = pickle.loads(pickle.dumps(store))
    assert again.id == store.id and again.path == store.path


def test_numpy_alone_can_read_it(store: ActivationStore, content: Content) -> None:
    folder = store.path / "activations" / store.layers[MAPS].slug
    parts = [np.load(path, allow_pickle=False) for path in sorted(folder.iterdir())]
    assert_array_equal(np.concatenate(parts), content.maps)
    assert_array_equal(np.load(store.path / "embeddings" / "pool.npy"), content.vectors)


def test_the_id_is_of_the_content(tmp_path: Path) -> None:
    first = Content().write(tmp_path / "a.wk")
    assert Content().write(tmp_path / "b.wk").id == first.id
    assert Content(seed=1).write(tmp_path / "c.wk").id != first.id
    assert Content(segment_rows=5).write(tmp_path / "d.wk").id != first.id


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="does not exist"):
        widgetkit.store.open(tmp_path / "no.wk")
    with pytest.raises(StoreNotFound, match="no store"):
        widgetkit.store.open(tmp_path)
    content = Content()
    with StoreWriter.open(tmp_path / "half.wk", plan=content.plan) as writer:
        content.write_segment(writer, 0)
    with pytest.raises(StoreNotFound, match="resumes"):
        widgetkit.store.open(tmp_path / "half.wk")


class TestSamplePositions:
    @settings(deadline=None, max_examples=60)
    @given(count=st.integers(0, 160), seed=st.integers(0, 5), per_row=st.integers(1, 9))
    def test_distinct_positions_with_their_values(
        self, store: ActivationStore, content: Content, count: int, seed: int, per_row: int
    ) -> None:
        rows, cells, values = store.sample_positions(MAPS, count, seed, per_row=per_row)
        assert (
            len(rows)
            == len(set(zip(rows.tolist(), cells.tolist(), strict=True)))
            == min(count, 23 * 6)
        )
        assert (np.diff(rows) >= 0).all()
        expected = content.maps.reshape(23, 5, 6)[rows, :, cells].astype(np.float32)
        assert_array_equal(values, expected)
        again = store.sample_positions(MAPS, count, seed, per_row=per_row)
        assert_array_equal(again[0], rows)
        assert_array_equal(again[1], cells)

    def test_every_position_is_as_likely(self, store: ActivationStore) -> None:
        counts = np.zeros((23, 6))
        for seed in range(600):
            rows, cells, _ = store.sample_positions(MAPS, 20, seed, per_row=3)
            np.add.at(counts, (rows, cells), 1)
        expected = 600 * 20 / (23 * 6)
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)

    def test_bad_counts(self, store: ActivationStore) -> None:
        with pytest.raises(InvalidInput):
            store.sample_positions(MAPS, -1, 0)
        with pytest.raises(InvalidInput):
            store.sample_positions(MAPS, 3, 0, per_row=0)


class TestExport:
    def test_some_rows_in_a_new_order(
        self, store: ActivationStore, content: Content, tmp_path: Path
    ) -> None:
        rows = [20, 3, 7, 0]
        part = store.export(tmp_path / "part.wk", rows, image_encoding="png", segment_rows=3)
        assert part.verify().ok
        assert_array_equal(part.activations(MAPS), content.maps[rows])
        assert_array_equal(part.images(), content.images[rows])
        assert_array_equal(part.outputs, content.outputs[rows])
        assert_array_equal(part.head(MAPS)[0], content.head[0])
        assert part.tiles["id"].tolist() == store.tiles["id"].iloc[rows].tolist()
        assert part.manifest.source["exported_from"] == store.id

    def test_one_layer_without_pictures(self, store: ActivationStore, tmp_path: Path) -> None:
        part = store.export(tmp_path / "part.wk", layers=[VECTORS], images=False)
        assert list(part.layers) == [VECTORS] and part.default_layer == VECTORS
        assert not part.has_images and len(part) == 23

    def test_not_onto_itself(self, store: ActivationStore) -> None:
        with pytest.raises(widgetkit.store.writer.StoreExists, match="itself"):
            store.export(store.path, [0], overwrite=True)
        assert store.verify().ok
