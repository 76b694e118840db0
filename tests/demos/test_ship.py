"""The shipped store: there without network, torch or umap, and never more than it should be."""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from widgetkit.demos import demo, demo_store, ship
from widgetkit.demos.ship import ARCHIVE, pack, unpack
from widgetkit.errors import FetchFailed, StoreCorrupt


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_store_is_whole_and_has_everything(cache) -> None:
    store = demo_store()
    assert store.verify(full=True).ok
    assert store.path.parent == cache
    assert len(store) == 493 and store.has_images and store.sprites is not None
    (layer,) = store.layers.values()
    assert layer.has_maps and layer.grid == (8, 8)
    assert set(store.derived.kinds()) == {"projection", "clustering"}
    assert {"slide", "green", "tissue", "mpp"} <= set(store.tiles.columns)
    assert store.tiles["mpp"].unique() == pytest.approx([0.499])


def test_it_is_small_enough_to_ship() -> None:
    assert ARCHIVE.stat().st_size < 8 * 2**20


def test_the_ink_is_an_island(cache) -> None:
    """The tiles thick with ink lie together, apart from the rest, in the kept projection."""
    store = demo_store()
    (name,) = store.derived.names("projection")
    xy = store.derived.get("projection", name).arrays["xy"]
    green = store.tiles["green"].to_numpy()
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    # single linkage from the greenest tile, with a step of four times the usual to the 3rd neighbour
    reach = 4 * np.median(np.sort(distance, axis=1)[:, 3])
    island = np.zeros(len(xy), bool)
    edge = [int(green.argmax())]
    while edge:
        new = (distance[edge] <= reach).any(axis=0) & ~island
        island |= new
        edge = np.flatnonzero(new).tolist()
    assert 20 <= island.sum() <= 60
    assert (green[island] > 0.05).mean() > 0.9
    assert green[island].mean() > 5 * green[~island].mean()


def test_it_opens_without_torch_umap_and_network(cache) -> None:
    """In a process where importing any of them fails: store, session, maps."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "umap", "numba", "openslide", "h5py"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import socket
def refuse(*args, **kwargs): raise OSError("no network")
socket.create_connection = socket.socket.connect = refuse
from widgetkit.demos import demo_store
from widgetkit.session import Session
session = Session(demo_store())
session.wait()
assert session.projection.method == "umap"
assert session.clustering.k == 8
assert session.maps([0, 5]).values.shape == (2, 8, 8)
session.select(session.store.tiles["green"].to_numpy() > 0.1)
assert session.selection.count > 20
print("fine")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "fine", out.stderr


def test_one_line_opens_the_explorer(cache) -> None:
    explorer = demo()
    assert "493" in explorer.describe()
    explorer.close()
    assert demo(explore=False).path == demo_store().path


def test_what_was_damaged_in_the_cache_is_unpacked_again(cache) -> None:
    store = demo_store()
    victim = next((store.path / "activations").rglob("*.npy"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert demo_store().verify(full=True).ok
    (store.path / "manifest.json").unlink()
    assert demo_store().verify(full=True).ok
    assert [p.name for p in cache.iterdir()] == [store.path.name]


def test_a_read_only_home_uses_the_temporary_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(ship.tempfile, "gettempdir", lambda: str(tmp_path / "temp"))
    assert demo_store().path.parent == tmp_path / "temp" / "widgetkit"
    monkeypatch.setattr(ship.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(FetchFailed, match="WIDGETKIT_CACHE"):
        demo_store()


def test_pack_and_unpack_are_inverse_and_repeatable(tmp_path) -> None:
    folder = tmp_path / "a.wk"
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "x" / "y" / "data.npy").write_bytes(bytes(range(256)) * 99)
    (folder / "manifest.json").write_text("{}")
    (folder / "lock").write_text("someone")
    pack(folder, tmp_path / "one.zip")
    pack(folder, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    unpack(tmp_path / "one.zip", tmp_path / "b.wk")
    files = sorted(
        p.relative_to(tmp_path / "b.wk").as_posix() for p in (tmp_path / "b.wk").rglob("*.*")
    )
    assert files == ["manifest.json", "x/y/data.npy"]
    assert (tmp_path / "b.wk/x/y/data.npy").read_bytes() == bytes(range(256)) * 99


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil", "a/./../../evil"]
)
def test_nothing_leaves_its_folder(tmp_path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("good", "good")
        archive.writestr(name, "evil")
    with pytest.raises(StoreCorrupt, match="no file of a store"):
        unpack(tmp_path / "evil.zip", tmp_path / "deep" / "out")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == []
    assert not list(tmp_path.rglob("evil"))


def test_links_are_refused(tmp_path) -> None:
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(StoreCorrupt):
        unpack(tmp_path / "link.zip", tmp_path / "out")


def test_bombs_are_refused_even_when_they_lie(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ship, "MOST_BYTES", 10_000)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    with pytest.raises(StoreCorrupt, match="more than a demo"):
        unpack(bomb, tmp_path / "out")
    data = bomb.read_bytes().replace((1_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    bomb.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        unpack(bomb, tmp_path / "out")
    monkeypatch.setattr(ship, "MOST_FILES", 3)
    with zipfile.ZipFile(bomb, "w") as archive:
        for i in range(4):
            archive.writestr(str(i), "")
    with pytest.raises(StoreCorrupt):
        unpack(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_archive_is_said_to_be_damaged(tmp_path) -> None:
    for part in (0.3, 0.999):
        data = ARCHIVE.read_bytes()
        (tmp_path / "cut.zip").write_bytes(data[: int(len(data) * part)])
        with pytest.raises(StoreCorrupt, match="damaged"):
            unpack(tmp_path / "cut.zip", tmp_path / "out")
    flipped = bytearray(ARCHIVE.read_bytes())
    flipped[len(flipped) // 2] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(StoreCorrupt, match="damaged"):
        unpack(tmp_path / "flipped.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
