from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
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
from widgetkit.errors import InvalidInput, StoreCorrupt, UnknownName
from widgetkit.store import ActivationStore, jsonio

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    return Content(n=3, shape=None).write(tmp_path / "a.wk")


def test_what_is_put_is_got_by_another_process_too(store: ActivationStore) -> None:
    xy = np.arange(6, dtype=">f4").reshape(3, 2)
    arrays = {
        "xy": xy,
        "names": np.array(["ä", "b"]),
        "flag": np.array(True),
        "none": np.empty((0, 2)),
    }
    made = store.derived.put(
        "projection",
        "umap",
        arrays,
        params={"k": np.int64(15), "grid": (1, 2)},
        seed=4,
        parent="factors/nmf",
    )
    for entry in (made, widgetkit.store.open(store.path).derived.get("projection", "umap")):
        assert (entry.kind, entry.name, entry.seed, entry.parent) == (
            "projection",
            "umap",
            4,
            "factors/nmf",
        )
        assert entry.params == {"k": 15, "grid": [1, 2]}
        assert set(entry.arrays) == set(arrays)
        for name, array in arrays.items():
            assert_array_equal(entry.arrays[name], array)
            assert entry.arrays[name].shape == array.shape
        assert entry.arrays["xy"].dtype == np.dtype("<f4")
        with pytest.raises(ValueError):
            entry.arrays["xy"][0, 0] = 1
        with pytest.raises(KeyError):
            entry.arrays["zz"]
    assert store.verify().ok


def test_find_needs_exactly_these_parameters(store: ActivationStore) -> None:
    for k in (5, 15):
        store.derived.put("projection", f"umap {k}", {}, params={"k": k, "d": 0.1}, seed=0)
    assert store.derived.find("projection", {"d": 0.1, "k": 15}, 0).name == "umap 15"
    assert store.derived.find("projection", {"k": 15}, 0) is None
    assert store.derived.find("projection", {"k": 15, "d": 0.1}, 1) is None
    assert store.derived.find("projection", {"k": 15, "d": 0.1}) is None
    assert store.derived.find("factors", {"k": 15, "d": 0.1}, 0) is None
    assert store.derived.names("projection") == ["umap 15", "umap 5"]
    assert store.derived.kinds() == ["projection"]


def test_replacing_and_deleting(store: ActivationStore) -> None:
    old = store.derived.put("k", "a", {"x": np.zeros(3)}, params={})
    new = store.derived.put("k", "a", {"x": np.ones(3)}, params={"v": 2})
    assert_array_equal(new.arrays["x"], 1)
    assert_array_equal(old.arrays["x"], 0)  # whoever still holds the old one can read it
    assert store.derived.get("k", "a").params == {"v": 2}
    store.derived.delete("k", "a")
    assert store.derived.names("k") == []
    with pytest.raises(UnknownName):
        store.derived.delete("k", "a")
    with pytest.raises(UnknownName):
        store.derived.get("k", "a")
    assert_array_equal(new.arrays["x"], 1)


def test_files_of_replaced_results_go_after_an_hour(store: ActivationStore) -> None:
    store.derived.put("k", "a", {"x": np.zeros(3)}, params={})
    folder = store.path / "derived/k/a"
    for file in folder.glob("*.npy"):
        os.utime(file, (0, 0))
    store.derived.put("k", "a", {"x": np.ones(3)}, params={})
    assert len(list(folder.glob("*.npy"))) == 1
    assert store.verify().ok


def test_near_names_are_listed(store: ActivationStore) -> None:
    store.derived.put("projection", "umap", {}, params={})
    with pytest.raises(UnknownName, match="'umap'"):
        store.derived.get("projection", "umpa")


@settings(deadline=None, max_examples=40)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=80),
        unique=True,
        min_size=2,
        max_size=4,
    )
)
def test_any_text_is_a_name(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        store = Content(n=1, shape=None).write(Path(folder) / "a.wk")
        for i, name in enumerate(names):
            store.derived.put(name, name, {name: np.array([i])}, params={})
        again = widgetkit.store.open(store.path)
        for i, name in enumerate(names):
            assert again.derived.get(name, name).arrays[name] == [i]
            assert again.derived.names(name) == [name]
        assert again.derived.kinds() == sorted(names)
        outside = [p for p in Path(folder).iterdir() if p.name != "a.wk"]
        assert not outside and store.verify().ok


@pytest.mark.parametrize("name", ["..", "../../x", "/etc", "con", "NUL.txt", "a/b", ".", "A", "a"])
def test_names_that_would_lead_elsewhere(store: ActivationStore, name: str) -> None:
    store.derived.put("k", name, {"x": np.ones(1)}, params={})
    assert store.derived.names("k") == [name]
    folders = [
        p.relative_to(store.path / "derived/k") for p in (store.path / "derived/k").iterdir()
    ]
    assert len(folders) == 1 and (store.path / "derived/k" / folders[0] / "entry.json").is_file()


def test_what_cannot_be_stored(store: ActivationStore) -> None:
    with pytest.raises(InvalidInput, match="dtype object"):
        store.derived.put("k", "a", {"x": np.array([None])}, params={})
    with pytest.raises(InvalidInput, match="params"):
        store.derived.put("k", "a", {}, params={"f": print})
    with pytest.raises(InvalidInput, match="nan"):
        store.derived.put("k", "a", {}, params={"f": float("nan")})
    with pytest.raises(InvalidInput, match="1 to 500"):
        store.derived.put("k", "", {}, params={})
    assert store.derived.names("k") == []


class TestDamage:
    def test_a_flipped_byte_is_found_when_read(self, store: ActivationStore) -> None:
        store.derived.put("k", "a", {"x": np.zeros(3)}, params={"p": 1})
        file = next((store.path / "derived").rglob("*.npy"))
        data = bytearray(file.read_bytes())
        data[-1] ^= 4
        file.write_bytes(data)
        entry = widgetkit.store.open(store.path).derived.get("k", "a")
        with pytest.raises(StoreCorrupt, match="altered"):
            entry.arrays["x"]
        assert not store.verify().ok

    def test_a_missing_array_is_found_and_find_passes_over_it(self, store: ActivationStore) -> None:
        store.derived.put("k", "a", {"x": np.zeros(3)}, params={"p": 1})
        next((store.path / "derived").rglob("*.npy")).unlink()
        with pytest.raises(StoreCorrupt, match=r"k/a.*cannot be reached"):
            store.derived.get("k", "a")
        with pytest.warns(UserWarning, match="cannot be reached"):
            assert store.derived.find("k", {"p": 1}) is None

    def test_a_damaged_entry_does_not_hide_the_others(self, store: ActivationStore) -> None:
        store.derived.put("k", "a", {}, params={"p": 1})
        store.derived.put("k", "b", {}, params={"p": 2})
        (store.path / "derived/k/a/entry.json").write_text("{")
        assert store.derived.names("k") == ["a", "b"]
        with pytest.warns(UserWarning, match=r"entry\.json"):
            assert store.derived.find("k", {"p": 2}).name == "b"
        store.derived.put("k", "a", {}, params={"p": 3})
        assert store.derived.find("k", {"p": 3}).name == "a"

    def test_results_of_another_store_are_refused(
        self, store: ActivationStore, tmp_path: Path
    ) -> None:
        store.derived.put("k", "a", {}, params={})
        other = Content(n=4, shape=None).write(tmp_path / "b.wk")
        (store.path / "derived").rename(other.path / "derived")
        with pytest.raises(StoreCorrupt, match="another store"):
            other.derived.get("k", "a")

    @pytest.mark.parametrize(
        "change",
        [
            {"arrays": {"x": ["../../../manifest.json", 5, "0" * 64]}},
            {"arrays": {"x": ["/etc/passwd", 5, "0" * 64]}},
            {"arrays": {"x": ["x.npy", -5, "0" * 64]}},
            {"arrays": {"x": ["x.npy"]}},
            {"arrays": {"x": None}},
            {"arrays": []},
            {"params": []},
            {"seed": "1"},
            {"version": 2},
            {"kind": "other"},
            {"extra": 1},
        ],
    )
    def test_hostile_entries(self, store: ActivationStore, change: dict[str, object]) -> None:
        store.derived.put("k", "a", {"x": np.zeros(3)}, params={})
        file = store.path / "derived/k/a/entry.json"
        value = json.loads(file.read_bytes()) | change
        del value["checksum"]
        file.write_bytes(jsonio.canonical(jsonio.signed(value)))
        with pytest.raises(StoreCorrupt):
            store.derived.get("k", "a")


class TestReadOnly:
    def test_results_are_kept_in_memory_with_one_warning(self) -> None:
        """As a user who may not write there; the superuser always may, so it steps down."""
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            store = Content(n=3, shape=None).write(Path(folder) / "a.wk")
            store.derived.put("k", "kept", {"x": np.zeros(3)}, params={"p": 0})
            for path in [store.path, *store.path.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            code = (
                "import os, sys, warnings\n"
                "import numpy as np, pyarrow\n"
                "import widgetkit.store\n"
                "os.getuid() == 0 and os.setuid(65534)\n"
                "store = widgetkit.store.open(sys.argv[1])\n"
                "with warnings.catch_warnings(record=True) as seen:\n"
                "    warnings.simplefilter('always')\n"
                "    for name in ('kept', 'a', 'b'):\n"
                "        store.derived.put('k', name, {'x': np.ones(3)}, params={'p': name})\n"
                "assert len(seen) == 1 and 'kept in memory' in str(seen[0].message), seen\n"
                "assert store.derived.names('k') == ['a', 'b', 'kept']\n"
                "assert store.derived.find('k', {'p': 'kept'}).arrays['x'].tolist() == [1, 1, 1]\n"
                "store.derived.delete('k', 'a')\n"
                "assert store.derived.names('k') == ['b', 'kept']\n"
                "assert store.verify().ok\n"
            )
            try:
                run = subprocess.run(
                    [sys.executable, "-c", code, str(store.path)],
                    cwd=REPO,
                    capture_output=True,
                    text=True,
                )
            finally:
                for path in [store.path, *store.path.rglob("*")]:
                    path.chmod(0o755)
            assert run.returncode == 0, run.stderr
            assert store.derived.names("k") == ["kept"]
            assert_array_equal(store.derived.get("k", "kept").arrays["x"], 0)


def _put_many(path: Path, value: int) -> None:
    store = widgetkit.store.open(path)
    for _ in range(15):
        store.derived.put(
            "k", "a", {"x": np.full(500, value), "y": np.full(500, value)}, params={"v": value}
        )


def test_many_writers_of_one_name_leave_a_whole_result(store: ActivationStore) -> None:
    _put_many(store.path, 9)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_put_many, args=(store.path, value)) for value in range(3)]
    threads = [threading.Thread(target=_put_many, args=(store.path, value)) for value in (3, 4)]
    for worker in (*workers, *threads):
        worker.start()
    while any(worker.is_alive() for worker in (*workers, *threads)):
        entry = store.derived.get("k", "a")
        assert (entry.arrays["x"] == entry.params["v"]).all()
        assert (entry.arrays["y"] == entry.params["v"]).all()
    for worker in (*workers, *threads):
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    assert store.verify().ok


def test_no_warning_in_ordinary_use(store: ActivationStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.derived.put("k", "a", {"x": np.zeros(2)}, params={})
        store.derived.find("k", {})
