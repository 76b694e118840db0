from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import widgetkit.store
from tests.store.builders import MAPS, VECTORS, Content, folder_bytes
from widgetkit.errors import (
    BadActivations,
    BadImage,
    BadMetadata,
    ChannelMismatch,
    InvalidInput,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreLocked,
    StoreMismatch,
    StoreNotFound,
)
from widgetkit.store import LayerPlan, Plan, StoreWriter
from widgetkit.store.atomic import storing

REPO = Path(__file__).resolve().parent.parent.parent


def test_order_of_segments_does_not_matter(tmp_path: Path) -> None:
    content = Content()
    content.write(tmp_path / "a.wk")
    content.write(tmp_path / "b.wk", order=[2, 0, 1])
    assert folder_bytes(tmp_path / "a.wk") == folder_bytes(tmp_path / "b.wk")


def test_resume_writes_only_what_is_missing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    content = Content()
    content.write(tmp_path / "whole.wk")
    with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
        content.write_segment(writer, 1)
    before = (tmp_path / "a.wk/images/00001.npy").stat().st_mtime_ns
    with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
        assert writer.done_segments() == {1}
        assert writer.missing_segments() == [0, 2]
    content.write(tmp_path / "a.wk")
    assert (tmp_path / "a.wk/images/00001.npy").stat().st_mtime_ns == before
    assert folder_bytes(tmp_path / "a.wk") == folder_bytes(tmp_path / "whole.wk")


def test_a_committed_store_is_done(tmp_path: Path) -> None:
    content = Content()
    store = content.write(tmp_path / "a.wk")
    with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
        assert writer.committed and writer.missing_segments() == []
        with pytest.raises(StoreError, match="cannot change"):
            content.write_segment(writer, 0)
        assert writer.commit().id == store.id


def _write_share(path: Path, share: list[int]) -> None:
    content = Content(n=40)
    writer = StoreWriter.join(path, plan=content.plan)
    for index in share:
        content.write_segment(writer, index)


def test_many_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    content = Content(n=40)
    content.write(tmp_path / "one.wk")
    spawn = multiprocessing.get_context("spawn")
    with StoreWriter.open(tmp_path / "many.wk", plan=content.plan) as writer:
        workers = [
            spawn.Process(target=_write_share, args=(tmp_path / "many.wk", list(range(i, 10, 3))))
            for i in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        store = writer.commit(head={MAPS: content.head}, info={"device": "cpu"})
    assert_array_equal(store.activations(MAPS), content.maps)
    assert folder_bytes(tmp_path / "many.wk") == folder_bytes(tmp_path / "one.wk")


class TestPlans:
    def test_another_plan_does_not_resume_and_says_what_differs(self, tmp_path: Path) -> None:
        content = Content()
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            content.write_segment(writer, 0)
        other = content.changed(model={"class": "Net", "weights_hash": "cd"}, segment_rows=5)
        with pytest.raises(
            StoreMismatch, match=r"model\.weights_hash.*segment_rows \(4 there, 5 now\)"
        ):
            StoreWriter.open(tmp_path / "a.wk", plan=other)
        with pytest.raises(StoreMismatch):
            StoreWriter.join(tmp_path / "a.wk", plan=other)
        moved = content.plan.tiles.assign(x=0.0)
        with pytest.raises(StoreMismatch, match="table of tiles"):
            StoreWriter.open(tmp_path / "a.wk", plan=content.changed(tiles=moved))
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            assert writer.done_segments() == {0}
        with StoreWriter.open(tmp_path / "a.wk", plan=other, overwrite=True) as writer:
            assert writer.done_segments() == set()

    def test_another_committed_store_is_not_overwritten_unasked(self, tmp_path: Path) -> None:
        store = Content().write(tmp_path / "a.wk")
        store.derived.put("projection", "pca", {"xy": np.zeros((11, 2))}, params={})
        other = Content(n=6)
        with pytest.raises(StoreExists, match=r"n \(11 there, 6 now\)"):
            other.write(tmp_path / "a.wk")
        assert store.verify().ok
        with StoreWriter.open(tmp_path / "a.wk", plan=other.plan, overwrite=True) as writer:
            for index in writer.missing_segments():
                other.write_segment(writer, index)
            new = writer.commit()
        assert len(new) == 6 and new.verify().ok and new.derived.kinds() == []

    def test_a_folder_of_other_things_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.jpg").write_bytes(b"x")
        with pytest.raises(StoreExists, match="other files"):
            StoreWriter.open(tmp_path, plan=Content().plan, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]
        with pytest.raises(StoreExists, match="is a file"):
            StoreWriter.open(tmp_path / "holiday.jpg", plan=Content().plan)

    def test_overwriting_keeps_files_that_are_not_a_stores(self, tmp_path: Path) -> None:
        Content().write(tmp_path / "a.wk")
        (tmp_path / "a.wk/notes.txt").write_text("mine")
        with StoreWriter.open(tmp_path / "a.wk", plan=Content(n=3).plan, overwrite=True):
            assert (tmp_path / "a.wk/notes.txt").read_text() == "mine"

    def test_join_needs_something_begun(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFound, match="begun"):
            StoreWriter.join(tmp_path / "a.wk", plan=Content().plan)

    def test_join_may_not_commit(self, tmp_path: Path) -> None:
        content = Content()
        StoreWriter.open(tmp_path / "a.wk", plan=content.plan).close()
        helper = StoreWriter.join(tmp_path / "a.wk", plan=content.plan)
        with pytest.raises(StoreError, match="Only the writer"):
            helper.commit()

    @pytest.mark.parametrize(
        "fields",
        [
            {"layers": []},
            {"layers": [LayerPlan("a", 3), LayerPlan("a", 3)]},
            {"layers": [LayerPlan("a", 0)]},
            {"layers": [LayerPlan("", 1)]},
            {"layers": [LayerPlan("a", 3, (1, 1, 1, 1))]},
            {"layers": [LayerPlan("a", 3, (0, 4))]},
            {"image_shape": (4,)},
            {"image_shape": (4, 4, 4, 4)},
            {"image_shape": (4, 0)},
            {"image_encoding": "bmp"},
            {"image_shape": (2, 20000, 10), "image_encoding": "webp"},
            {"image_shape": (60000, 60000), "image_encoding": "png"},
            {"outputs": 3},
            {"segment_rows": 0},
            {"segment_rows": 2.5},
            {"default_layer": "nope"},
            {"model": {"x": float("nan")}},
            {"model": {"x": object()}},
            {"source": {"name": "\ud800"}},
        ],
    )
    def test_plans_that_cannot_be_stored(self, tmp_path: Path, fields: dict[str, object]) -> None:
        with pytest.raises(InvalidInput):
            StoreWriter.open(tmp_path / "a.wk", plan=Content().changed(**fields))
        assert not (tmp_path / "a.wk").exists()

    @pytest.mark.parametrize(
        "tiles",
        [
            pd.DataFrame({"x": [1]}),
            pd.DataFrame({"id": ["a", "a"]}),
            pd.DataFrame({"id": ["a", None]}),
            pd.DataFrame({"id": ["a", ""]}),
            pd.DataFrame({"id": [1, 2]}),
            pd.DataFrame({"id": ["a"], 3: [1]}),
            pd.DataFrame([["a", 1, 2]], columns=["id", "x", "x"]),
            pd.DataFrame({"id": ["a", "b"], "mixed": [1, "two"]}),
            pd.DataFrame({"id": ["a"], "thing": [object()]}),
        ],
    )
    def test_tables_that_cannot_be_stored_show_before_any_work(
        self, tmp_path: Path, tiles: pd.DataFrame
    ) -> None:
        with pytest.raises(BadMetadata):
            StoreWriter.open(tmp_path / "a.wk", plan=Content().changed(tiles=tiles))

    def test_a_table_read_back_is_the_same_plan(self, tmp_path: Path) -> None:
        content = Content()
        store = content.write(tmp_path / "a.wk")
        with StoreWriter.open(tmp_path / "a.wk", plan=content.changed(tiles=store.tiles)) as writer:
            assert writer.committed


class TestBadValues:
    @pytest.mark.parametrize(
        ("value", "words"),
        [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e6, "1e[+]06, beyond")],
    )
    def test_numbers_that_are_none_name_layer_and_tile(
        self, tmp_path: Path, value: float, words: str
    ) -> None:
        content = Content()
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            content.write_segment(writer, 0)
            good = content.maps.copy()
            content.maps = content.maps.astype(np.float32)
            content.maps[6, 3, 1, 1] = value
            with pytest.raises(BadActivations, match=rf"'features\.Conv', tile 6: .*{words}"):
                content.write_segment(writer, 1)
            assert writer.done_segments() == {0}
            content.maps = good
            content.write_segment(writer, 1)
            content.write_segment(writer, 2)
            assert_array_equal(writer.commit().activations(MAPS), good)

    def test_float16_infinity_and_nan(self, tmp_path: Path) -> None:
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            content = Content()
            content.maps[10, 0, 0, 0] = value
            with pytest.raises(BadActivations, match="tile 10"):
                content.write(tmp_path / "a.wk")

    def test_vectors_and_outputs(self, tmp_path: Path) -> None:
        content = Content()
        content.vectors[2, 1] = np.nan
        with pytest.raises(BadActivations, match="'pool', tile 2"):
            content.write(tmp_path / "a.wk")
        content = Content()
        content.outputs[9, 1] = np.inf
        with pytest.raises(BadActivations, match="output for tile 9"):
            content.write(tmp_path / "a.wk")

    def test_the_largest_numbers_are_kept(self, tmp_path: Path) -> None:
        content = Content()
        content.maps[0, 0, 0] = [65504, -65504]
        content.maps[1, 0, 0] = [6e-8, -0.0]
        store = content.write(tmp_path / "a.wk")
        assert (store.layers[MAPS].minimum, store.layers[MAPS].maximum) == (-65504, 65504)

    def test_wrong_shapes(self, tmp_path: Path) -> None:
        content = Content()
        rows = slice(0, 4)
        good = {MAPS: content.maps[rows], VECTORS: content.vectors[rows]}
        images, outputs = content.images[rows], content.outputs[rows]
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            with pytest.raises(BadActivations, match=r"rows 0 to 3: \(3, 5, 3, 2\)"):
                writer.write_segment(0, good | {MAPS: content.maps[:3]}, images, outputs)
            with pytest.raises(BadActivations, match="int64"):
                writer.write_segment(0, good | {VECTORS: np.ones((4, 3), int)}, images, outputs)
            with pytest.raises(BadImage):
                writer.write_segment(0, good, images[:3], outputs)
            with pytest.raises(BadImage, match="float64"):
                writer.write_segment(0, good, images.astype(float), outputs)
            with pytest.raises(BadActivations):
                writer.write_segment(0, good, images, outputs[:, :1])
            for missing in ((None, outputs), (images, None)):
                with pytest.raises(InvalidInput, match="none were given"):
                    writer.write_segment(0, good, *missing)
            with pytest.raises(InvalidInput, match="the plan has"):
                writer.write_segment(0, {MAPS: content.maps[rows]}, images, outputs)
            with pytest.raises(InvalidInput, match="3 segments"):
                writer.write_segment(3, good, images, outputs)
            assert writer.done_segments() == set()

    def test_heads_that_do_not_fit(self, tmp_path: Path) -> None:
        content = Content()
        weight, bias = content.head
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            for index in range(3):
                content.write_segment(writer, index)
            with pytest.raises(ChannelMismatch):
                writer.commit(head={MAPS: (weight[:, :4], bias)})
            with pytest.raises(InvalidInput):
                writer.commit(head={MAPS: (weight[:1], bias[:1])})
            with pytest.raises(InvalidInput, match="NaN"):
                writer.commit(head={MAPS: (weight * np.nan, bias)})
            with pytest.raises(InvalidInput, match="not in the plan"):
                writer.commit(head={"x": (weight, bias)})
            assert writer.commit(head={MAPS: (weight, bias)}).verify().ok


class TestCommit:
    def test_missing_segments_are_named(self, tmp_path: Path) -> None:
        content = Content()
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan) as writer:
            content.write_segment(writer, 1)
            with pytest.raises(StoreError, match=r"2 of 3 segments.*: 0, 2"):
                writer.commit()

    def test_a_segment_that_changed_since_is_found_and_written_anew(self, tmp_path: Path) -> None:
        content = Content()
        content.write(tmp_path / "whole.wk")
        path = tmp_path / "a.wk"
        with StoreWriter.open(path, plan=content.plan) as writer:
            for index in range(3):
                content.write_segment(writer, index)
        file = next((path / "activations").rglob("00001.npy"))
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(data)
        with pytest.raises(StoreCorrupt, match=r"00001\.npy changed"):
            content.write(path)
        content.write(path)
        assert folder_bytes(path) == folder_bytes(tmp_path / "whole.wk")

    def test_a_segment_with_a_truncated_file_is_not_done(self, tmp_path: Path) -> None:
        content = Content()
        path = tmp_path / "a.wk"
        with StoreWriter.open(path, plan=content.plan) as writer:
            for index in range(3):
                content.write_segment(writer, index)
        file = path / "images/00002.npy"
        os.truncate(file, 200)
        with StoreWriter.open(path, plan=content.plan) as writer:
            assert writer.missing_segments() == [2]

    def test_nothing_temporary_is_left(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        (path / "images").mkdir(parents=True)
        (path / "images/.00000.npy.1-ab.tmp").write_bytes(b"half")
        Content().write(path)
        assert not [
            p for p in path.rglob("*") if p.name.startswith(".") or p.name in ("writing", "lock")
        ]


def test_a_full_disk_says_so() -> None:
    with pytest.raises(StoreError, match=r"No space left .* resumes"), storing("x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_disk_that_fills_up_in_the_middle_is_resumable(tmp_path: Path) -> None:
    """A file size limit of the process stands for the full disk: the system stops the write."""
    content = Content(n=40, shape=(64, 64, 3), segment_rows=20)
    content.write(tmp_path / "whole.wk")
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.store.builders import Content\n"
        "from widgetkit.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "content = Content(n=40, shape=(64, 64, 3), segment_rows=20)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    content.write(Path(sys.argv[1]))\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.wk")],
        cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "No space left" in run.stdout
    assert not list((tmp_path / "a.wk").rglob("*.tmp"))
    content.write(tmp_path / "a.wk")
    assert folder_bytes(tmp_path / "a.wk") == folder_bytes(tmp_path / "whole.wk")


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written to: Not a directory"):
        StoreWriter.open(tmp_path / "file" / "a.wk", plan=Content().plan)


class TestLock:
    def test_a_second_writer_is_told_who_writes(self, tmp_path: Path) -> None:
        content = Content()
        first = StoreWriter.open(tmp_path / "a.wk", plan=content.plan)
        with pytest.raises(StoreLocked, match=rf"process {os.getpid()} on host .+ since 20"):
            StoreWriter.open(tmp_path / "a.wk", plan=content.plan)
        first.close()
        StoreWriter.open(tmp_path / "a.wk", plan=content.plan).close()
        assert not (tmp_path / "a.wk/lock").exists()

    def test_the_lock_of_a_dead_process_is_taken_over(self, tmp_path: Path) -> None:
        code = (
            "import os, sys\n"
            "from tests.store.builders import Content\n"
            "from widgetkit.store import StoreWriter\n"
            "StoreWriter.open(sys.argv[1], plan=Content().plan)\n"
            "os._exit(9)\n"
        )
        path = tmp_path / "a.wk"
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPO, check=False)
        assert (path / "lock").exists()
        assert Content().write(path).verify().ok

    def test_a_number_that_a_later_process_has_got_does_not_hold_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        with StoreWriter.open(path, plan=Content().plan):
            owner = json.loads((path / "lock").read_bytes())
        if owner["start"] is None:
            pytest.skip("this system does not tell when a process began")
        (path / "lock").write_text(json.dumps(owner | {"start": "another boot:1"}))
        assert Content().write(path).verify().ok

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "host": "elsewhere"}']
    )
    def test_a_lock_that_cannot_be_understood_is_respected(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "a.wk"
        path.mkdir()
        (path / "lock").write_text(text)
        with pytest.raises(StoreLocked, match="delete"):
            StoreWriter.open(path, plan=Content().plan)
        assert (path / "lock").exists()

    def test_reading_needs_no_lock(self, tmp_path: Path) -> None:
        content = Content()
        content.write(tmp_path / "a.wk")
        with StoreWriter.open(tmp_path / "a.wk", plan=content.plan):
            assert widgetkit.store.open(tmp_path / "a.wk").verify().ok

    def test_of_many_that_want_a_stale_lock_one_gets_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        content = Content()
        StoreWriter.open(path, plan=content.plan).close()
        with StoreWriter.open(path, plan=content.plan):
            owner = json.loads((path / "lock").read_bytes())
        (path / "lock").write_text(json.dumps(owner | {"start": "another boot:1", "token": "old"}))
        spawn = multiprocessing.get_context("spawn")
        barrier, results = spawn.Barrier(4), spawn.SimpleQueue()
        workers = [spawn.Process(target=_contend, args=(path, barrier, results)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(results.get() for _ in range(4)) == [False, False, False, True]


def _contend(path: Path, barrier: object, results: object) -> None:
    plan = Content().plan
    barrier.wait()  # type: ignore[attr-defined]
    try:
        writer = StoreWriter.open(path, plan=plan)
    except StoreLocked:
        writer = None
    barrier.wait()  # type: ignore[attr-defined]
    results.put(writer is not None)  # type: ignore[attr-defined]


def test_writing_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Content().write(tmp_path / "a.wk")
        assert isinstance(Content().plan, Plan)
