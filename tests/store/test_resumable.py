from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import widgetkit.store
from tests.store.builders import Content
from tests.store.resumable_driver import COLUMNS, ROWS, STEP, fill, result_bytes, values
from widgetkit.errors import InvalidInput, StoreCorrupt, StoreError, UnknownName
from widgetkit.store import ActivationStore, Column, jsonio

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    return Content(n=3, shape=None).write(tmp_path / "a.wk")


def begin(store: ActivationStore, **other: object):
    options = {"rows": ROWS, "segment_rows": STEP, "params": {"k": 2}, "seed": 1} | other
    return store.derived.begin("factors", "nmf", COLUMNS, **options)  # type: ignore[arg-type]


class TestUse:
    def test_what_is_written_is_read_by_position(self, store: ActivationStore) -> None:
        fill(store)
        entry = widgetkit.store.open(store.path).derived.get("factors", "nmf")
        whole = values(range(ROWS))
        rows = np.array([4, 0, 4, 2])
        for key, column in entry.segmented.items():
            assert column.shape == whole[key].shape and column.dtype == whole[key].dtype
            assert_array_equal(column.take(rows), whole[key][rows])
        assert_array_equal(entry.arrays["H"], np.arange(8.0))
        assert float(entry.arrays["error"]) == 0.5
        assert store.derived.find("factors", {"k": 2}, 1).name == "nmf"
        assert store.verify().ok

    @settings(deadline=None, max_examples=25)
    @given(
        st.integers(0, 9),
        st.integers(1, 4),
        st.lists(st.integers(0, 3), max_size=2),
        st.sampled_from(["<f2", "<f4", "<i2", "|u1"]),
        st.data(),
    )
    def test_any_rows_in_any_segments(
        self, rows: int, step: int, item: list[int], dtype: str, data: st.DataObject
    ) -> None:
        whole = (np.arange(rows * int(np.prod(item))) % 200).astype(dtype).reshape(rows, *item)
        with TemporaryDirectory() as folder:
            store = Content(n=3, shape=None).write(Path(folder) / "a.wk")
            writer = store.derived.begin(
                "k", "n", {"x": Column(tuple(item), dtype)}, rows=rows, segment_rows=step, params={}
            )
            for index in data.draw(st.permutations(writer.missing_segments())):
                span = writer.range(index)
                writer.write_segment(index, {"x": whole[span.start : span.stop]})
                assert_array_equal(writer.read_segment("x", index), whole[span.start : span.stop])
            array = writer.commit().segmented["x"]
            chosen = np.array(
                data.draw(st.lists(st.integers(0, rows - 1)) if rows else st.just([]))
            )
            assert_array_equal(array.take(chosen.astype(np.int64)), whole[chosen.astype(int)])
            assert array.shape == whole.shape and store.verify().ok

    def test_nothing_is_there_before_the_commit_and_the_old_result_stays(
        self, store: ActivationStore
    ) -> None:
        writer = begin(store)
        writer.write_segment(0, values(writer.range(0)))
        assert store.derived.names("factors") == []
        with pytest.raises(UnknownName):
            store.derived.get("factors", "nmf")
        with pytest.raises(StoreError, match="2 of 3 segments"):
            writer.commit()
        fill(store)
        begin(store, params={"k": 3})
        assert store.derived.get("factors", "nmf").params == {"k": 2}
        assert store.verify().ok

    def test_the_same_run_again_leaves_the_finished_one_readable(
        self, store: ActivationStore
    ) -> None:
        entry = fill(store)
        before = result_bytes(store)
        writer = begin(store, make=lambda: {"H": np.arange(8.0)})
        assert writer.missing_segments() == [0, 1, 2]
        for index in writer.missing_segments():
            assert_array_equal(entry.segmented["Total"].take(np.arange(ROWS)), np.arange(ROWS))
            assert store.verify().ok
            writer.write_segment(index, values(writer.range(index)))
        writer.commit({"error": np.float64(0.5)})
        assert result_bytes(store) == before and store.verify().ok

    def test_a_run_that_could_not_begin_leaves_nothing(self, store: ActivationStore) -> None:
        with pytest.raises(ZeroDivisionError):
            begin(store, make=lambda: {"H": np.array(1 / 0)})
        assert not list((store.path / "derived").rglob("*"))
        fill(store)
        with pytest.raises(ZeroDivisionError):
            begin(store, params={"k": 7}, make=lambda: {"H": np.array(1 / 0)})
        assert store.derived.get("factors", "nmf").params == {"k": 2} and store.verify().ok

    def test_what_was_made_first_is_made_once(self, store: ActivationStore) -> None:
        writer = begin(store, make=lambda: {"H": np.ones(2)})
        writer.write_segment(1, values(writer.range(1)))
        again = begin(store, make=lambda: pytest.fail("made twice"))
        assert_array_equal(again.arrays["H"], 1)
        assert again.missing_segments() == [0, 2]

    @pytest.mark.parametrize("change", [{"params": {"k": 3}}, {"seed": 2}, {"segment_rows": 3}])
    def test_another_run_begins_anew(self, store: ActivationStore, change: dict) -> None:
        writer = begin(store)
        writer.write_segment(0, values(writer.range(0)))
        other = begin(store, **change)
        assert 0 in other.missing_segments()
        assert begin(store).missing_segments() == [1, 2]

    @pytest.mark.parametrize(
        "bad",
        [
            {"weights": np.zeros((2, 2, 3), np.float16)},
            {"weights": np.zeros((2, 2, 3), np.float16), "Total": np.zeros(2)},
            {"weights": np.zeros((1, 2, 3), np.float16), "Total": np.zeros(2, np.float32)},
            {"weights": np.zeros((2, 2, 3)), "Total": np.zeros(2, np.float32)},
        ],
    )
    def test_a_segment_that_was_not_planned_is_refused(
        self, store: ActivationStore, bad: dict[str, np.ndarray]
    ) -> None:
        writer = begin(store)
        with pytest.raises(InvalidInput):
            writer.write_segment(0, bad)
        assert writer.missing_segments() == [0, 1, 2]

    @pytest.mark.parametrize(
        "options",
        [
            {"rows": -1},
            {"segment_rows": 0},
            {"rows": 2**60, "segment_rows": 1},
        ],
    )
    def test_absurd_plans_are_refused(self, store: ActivationStore, options: dict) -> None:
        with pytest.raises(InvalidInput):
            begin(store, **options)

    def test_runs_given_up_go_after_an_hour(self, store: ActivationStore) -> None:
        begin(store, params={"k": 9}).write_segment(0, values(range(STEP)))
        folder = store.path / "derived/factors/nmf"
        (abandoned,) = folder.iterdir()
        old = time.time() - 7200
        for file in abandoned.iterdir():
            os.utime(file, (old, old))
        begin(store, params={"k": 8})
        fill(store)
        assert not abandoned.exists()
        assert len([f for f in folder.iterdir() if f.is_dir()]) == 2  # one result, one young run
        assert store.verify().ok


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to kill a run at each of its steps")
def test_a_run_killed_at_any_step_ends_in_the_same_bytes(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.store.resumable_driver", str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout.split()[-1]) > 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    store = Content(n=3, shape=None).write(tmp_path_factory.mktemp("damage") / "a.wk")
    fill(store)
    return store


class TestDamage:
    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_every_flipped_bit_is_found(
        self, finished: ActivationStore, data: st.DataObject
    ) -> None:
        files = sorted(p for p in (finished.path / "derived").rglob("*") if p.is_file())
        file = data.draw(st.sampled_from(files))
        bit = data.draw(st.integers(0, 8 * file.stat().st_size - 1))
        before = file.read_bytes()
        damaged = bytearray(before)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            report = finished.verify()
            assert not report.ok and report.problems
        finally:
            file.write_bytes(before)
        assert finished.verify().ok

    @settings(deadline=None, max_examples=25)
    @given(st.data())
    def test_damaged_parts_of_a_run_are_made_again(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = Content(n=3, shape=None).write(Path(folder) / "a.wk")
            writer = begin(store, make=lambda: {"H": np.arange(8.0)})
            for index in (0, 2):
                writer.write_segment(index, values(writer.range(index)))
            files = sorted(p for p in (store.path / "derived").rglob("*") if p.is_file())
            file = data.draw(st.sampled_from(files))
            whole = file.read_bytes()
            cut = data.draw(st.integers(0, len(whole)))
            flip = data.draw(st.integers(0, 255))
            rest = whole[cut:]
            file.write_bytes(whole[:cut] + bytes([rest[0] ^ flip]) if rest else whole + b"0")
            fill(store)
            shutil.copytree(store.path, Path(folder) / "b.wk", ignore=lambda *_: ["derived"])
            fresh = ActivationStore.open(Path(folder) / "b.wk")
            fill(fresh)
            assert result_bytes(store) == result_bytes(fresh)
            assert store.verify().ok

    def test_a_missing_file_is_named(self, finished: ActivationStore, tmp_path: Path) -> None:
        shutil.copytree(finished.path, tmp_path / "b.wk")
        store = ActivationStore.open(tmp_path / "b.wk")
        next((store.path / "derived").rglob("weights.00001.*.npy")).unlink()
        with pytest.raises(StoreCorrupt, match=r"weights\.00001.*cannot be reached"):
            store.derived.get("factors", "nmf")

    @pytest.mark.parametrize(
        "change",
        [
            {"rows": 2**39},
            {"rows": 6},
            {"rows": -1},
            {"rows": 5.0},
            {"segment_rows": 0},
            {"segment_rows": 1},
            {"segment_rows": 2**39},
            {"item": [2**39, 3]},
            {"item": [2, -3]},
            {"item": [3, 3]},
            {"item": "23"},
            {"item": [2.0, 3]},
            {"dtype": "<f8"},
            {"dtype": "|O"},
            {"dtype": "<U9999999"},
            {"dtype": 7},
            {"files": []},
            {"files": None},
            {"files": [["../../../../manifest.json", 5, "0" * 64]] * 3},
            {"files": [["/etc/passwd", 5, "0" * 64]] * 3},
            {"extra": 1},
        ],
    )
    def test_hostile_columns_are_refused_before_anything_is_allocated(
        self, finished: ActivationStore, tmp_path: Path, change: dict[str, object]
    ) -> None:
        shutil.copytree(finished.path, tmp_path / "b.wk")
        store = ActivationStore.open(tmp_path / "b.wk")
        file = store.path / "derived/factors/nmf/entry.json"
        value = json.loads(file.read_bytes())
        value["segmented"]["weights"].update(change)
        del value["checksum"]
        file.write_bytes(jsonio.canonical(jsonio.signed(value)))
        with pytest.raises(StoreCorrupt):
            store.derived.get("factors", "nmf")
        assert not store.verify().ok

    def test_a_link_out_of_the_store_is_not_followed(
        self, store: ActivationStore, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (store.path / "derived").mkdir()
        (store.path / "derived/factors").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreCorrupt, match="outside"):
            begin(store)
        assert not list((tmp_path / "elsewhere").iterdir())


class TestReadOnly:
    def test_it_is_kept_in_memory_and_says_how_much(self) -> None:
        """As a user who may not write there; the superuser always may, so it steps down."""
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            store = Content(n=3, shape=None).write(Path(folder) / "a.wk")
            writer = begin(store, make=lambda: {"H": np.arange(8.0)})  # half a run is there
            writer.write_segment(0, values(writer.range(0)))
            code = (
                "import os, sys, warnings\n"
                "import numpy as np, pyarrow\n"
                "import widgetkit.store\n"
                "from tests.store.resumable_driver import fill, values\n"
                "os.getuid() == 0 and os.setuid(65534)\n"
                "store = widgetkit.store.open(sys.argv[1])\n"
                "with warnings.catch_warnings(record=True) as seen:\n"
                "    warnings.simplefilter('always')\n"
                "    entry = fill(store)\n"
                "assert len(seen) == 1 and 'MB' in str(seen[0].message), seen\n"
                "assert 'kept in memory' in str(seen[0].message), seen\n"
                "rows = np.array([4, 0, 4])\n"
                "for key, array in store.derived.get('factors', 'nmf').segmented.items():\n"
                "    assert (array.take(rows) == values(range(5))[key][rows]).all()\n"
                "    assert array.shape == values(range(5))[key].shape\n"
                "assert store.derived.find('factors', {'k': 2}, 1).name == 'nmf'\n"
                "assert store.verify().ok\n"
            )
            paths = [store.path, *store.path.rglob("*")]
            for path in paths:
                path.chmod(0o555 if path.is_dir() else 0o444)
            try:
                run = subprocess.run(
                    [sys.executable, "-c", code, str(store.path)],
                    cwd=REPO,
                    capture_output=True,
                    text=True,
                )
            finally:
                for path in paths:
                    path.chmod(0o755)
            assert run.returncode == 0, run.stderr
            assert store.derived.names("factors") == []


def test_no_warning_in_ordinary_use(store: ActivationStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fill(store)
        fill(store)


def test_results_without_columns_are_still_of_the_first_version(store: ActivationStore) -> None:
    store.derived.put("k", "a", {"x": np.zeros(2)}, params={})
    assert json.loads((store.path / "derived/k/a/entry.json").read_bytes())["version"] == 1
    fill(store)
    assert json.loads((store.path / "derived/factors/nmf/entry.json").read_bytes())["version"] == 2
