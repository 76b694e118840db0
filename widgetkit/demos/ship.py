"""What ships with the package: archives, each unpacked into the cache on first use."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from widgetkit.errors import FetchFailed, InvalidInput, StoreCorrupt, StoreError
from widgetkit.tiles.fetch import cache_folder

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

DATA = Path(__file__).with_name("data")
ARCHIVE = DATA / "demo.zip"
ACTIVATION_ARCHIVE = DATA / "activation.zip"
SLIDES_ARCHIVE = DATA / "slides.zip"
#: Names in ``data/`` of the third demo, by the number of dimensions of its images.
LUNG_ARCHIVES: dict[Literal[2, 3], str] = {2: "lung.zip", 3: "lung-volumes.zip"}
#: More than the shipped store holds unpacked (8 MB), and few enough bytes to do no harm.
MOST_BYTES, MOST_FILES = 64 * 2**20, 1000
#: ZIP keeps local times; this one makes equal stores equal archives.
EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE = 0o644 << 16


def demo_store() -> ActivationStore:
    """The shipped demo store; needs neither network nor torch, umap or openslide.

    493 tiles (32 um, every 20 um) of the right part of CMU-1-Small-Region, H&E of skin with a
    margin of green ink (CC0), as ``blocks.7`` of EfficientNet-Lite0 sees them, with pictures, a
    UMAP projection and clusters. Unpacked once into :func:`cache_folder`.

    Raises
    ------
    FetchFailed
        There is no room for it, neither in the cache nor in the folder for temporary files.
    """
    from widgetkit.store import ActivationStore

    return ActivationStore.open(_unpacked(ARCHIVE, ".wk", _sound))


def activation_store() -> ActivationStore:
    """The second demo: a tile classifier on four slides; needs neither network nor torch.

    556 tiles (64 um, every 32 um) of CMU-1-Small-Region (CC0), cut into four slides of their own,
    with the last, non-negative layer ``relu`` (64 channels, 8 x 8) of a classifier of epithelium
    and stroma, its outputs and linear head, pictures, a projection, clusters, and Grad-CAM and
    occlusion maps of the class epithelium. **Its labels are those of SHELL, a model, not of a
    pathologist**; see ``docs/demo-data.md``. The slides' files: :func:`activation_slides`; the
    classifier: :func:`widgetkit.demos.activation_model`.

    Columns beside the usual: ``label``, ``shell_epithelium``, ``shell_stroma``,
    ``shell_background`` (shares of the tile), ``clear`` (one class has 70 % of it), ``split``
    ("training" or "held out", by slide).

    Raises
    ------
    FetchFailed
        There is no room for it, neither in the cache nor in the folder for temporary files.
    """
    from widgetkit.store import ActivationStore

    return ActivationStore.open(_unpacked(ACTIVATION_ARCHIVE, ".wk", _sound))


def lung_store(dims: Literal[2, 3] = 2) -> ActivationStore:
    """The third demo: deep clusters of simulated chest CT and their maps; needs neither network nor torch.

    240 slices (64 x 64) of a drawn thorax, the lungs alone, each with one abnormality: large or
    small, right or left. An autoencoder's layers ``encoder.last`` (32 channels, 16 x 16) and
    ``latent``, its four clusters, and CLAM, Grad-CAM, Score-CAM and occlusion maps of 120 slices.
    ``dims=3``: 30 volumes (24 x 48 x 48), right or left, two clusters. **No patient is in it**: images
    are simulated, and so are the clinical variables in the table.

    The truth: :func:`widgetkit.demos.lung_truth`; the network: :func:`widgetkit.demos.lung_model`.

    Raises
    ------
    InvalidInput
        Another number of dimensions.
    FetchFailed
        There is no room for it, neither in the cache nor in the folder for temporary files.
    """
    from widgetkit.store import ActivationStore

    if dims not in LUNG_ARCHIVES:
        raise InvalidInput(f"dims={dims!r}: 2 for slices or 3 for volumes.")
    return ActivationStore.open(_unpacked(DATA / LUNG_ARCHIVES[dims], ".wk", _sound))


def activation_slides() -> dict[str, Path]:
    """Files of the four slides of :func:`activation_store`, by the name the store has for each.

    Pyramidal TIFF at 0.499 um a pixel, 2220 x 720 or 807 pixels; together the CC0 slide
    CMU-1-Small-Region, pixel for pixel.

    Raises
    ------
    FetchFailed
        As :func:`activation_store`.
    """
    from widgetkit.demos.regions import BANDS, region_file

    folder = _unpacked(SLIDES_ARCHIVE, "", _same_files)
    return {name: folder / region_file(name) for name in BANDS}


def _unpacked(archive: Path, suffix: str, sound: Callable[[Path, Path], bool]) -> Path:
    """The folder of an archive: in the cache, or where that cannot be written, beside the
    temporary files. It is unpacked where ``sound(archive, folder)`` says that it is not there."""
    name = f"{archive.stem}-{_digest(archive)[:16]}{suffix}"
    reason = ""
    for folder in (cache_folder(), Path(tempfile.gettempdir()) / "widgetkit"):
        target = folder / name
        try:
            if not sound(archive, target):
                unpack(archive, target, sound)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            reason = error.strerror or str(error)
            continue  # a cache that cannot be written, such as a read-only home
        return target
    raise FetchFailed(
        f"The shipped {archive.name} cannot be unpacked ({reason}). Make room, or set WIDGETKIT_CACHE to "
        "a folder that can be written."
    )


def pack(store: Path, archive: Path) -> None:
    """Write a store's folder into one ZIP archive; the same store gives the same bytes."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for path in sorted(store.rglob("*")):
            if path.is_file() and path.name != "lock":
                member = zipfile.ZipInfo(path.relative_to(store).as_posix(), EPOCH)
                member.compress_type = zipfile.ZIP_DEFLATED
                member.external_attr = _FILE
                out.writestr(member, path.read_bytes())


def unpack(archive: Path, target: Path, sound: Callable[[Path, Path], bool] | None = None) -> None:
    """Unpack an archive made by :func:`pack` to a folder that replaces ``target``.

    The folder appears whole or not at all. ``sound(archive, folder)`` says whether a folder that
    another process has put there meanwhile will do; default: whether it is a whole store.

    Raises
    ------
    StoreCorrupt
        The archive is damaged, points outside its folder, or is larger than a demo.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpack-"))
    try:
        with zipfile.ZipFile(archive) as source:
            left = MOST_BYTES
            for member in _checked(source.infolist(), archive.name):
                path = scratch / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with source.open(member) as packed, path.open("wb") as out:
                    # the header may lie about the size, so the bytes are counted
                    while chunk := packed.read(min(1 << 20, left + 1)):
                        left -= len(chunk)
                        if left < 0:
                            raise StoreCorrupt(f"{archive.name} unpacks to more than a demo store.")
                        out.write(chunk)
        _replace(archive, scratch, target, _sound if sound is None else sound)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise StoreCorrupt(
            f"{archive.name} is damaged ({error}). Install widgetkit again."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _checked(members: list[zipfile.ZipInfo], name: str) -> list[zipfile.ZipInfo]:
    """The files of the archive, if each stays inside its folder and all are few and small."""
    files = [member for member in members if not member.is_dir()]
    if len(members) > MOST_FILES or sum(member.file_size for member in files) > MOST_BYTES:
        raise StoreCorrupt(f"{name} unpacks to more than a demo store.")
    for member in files:
        path = PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        odd = "\\" in member.filename or ":" in member.filename or ".." in path.parts
        if path.is_absolute() or odd or kind not in (0, stat.S_IFREG):
            raise StoreCorrupt(f"{name} holds {member.filename!r}, which is no file of a store.")
    return files


def _replace(
    archive: Path, scratch: Path, target: Path, sound: Callable[[Path, Path], bool]
) -> None:
    """Move a finished folder into place; another process may have been first, with the same bytes."""
    try:
        scratch.rename(target)
    except OSError:
        if sound(archive, target):
            return
        if not target.exists():
            raise
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".damaged-"))
        target.rename(aside / "old")
        scratch.rename(target)
        shutil.rmtree(aside, ignore_errors=True)


def _sound(archive: Path, folder: Path) -> bool:
    """Whether a store unpacked earlier is still what it was; 8 MB are hashed in some ms.

    Not compared with the archive: results that were kept in it since may stay.
    """
    from widgetkit.store import ActivationStore

    if not folder.is_dir():
        return False
    try:
        return ActivationStore.open(folder).verify(full=True).ok
    except StoreError:
        return False


def _same_files(archive: Path, folder: Path) -> bool:
    """Whether every file of the archive is in the folder with its size and checksum."""
    with zipfile.ZipFile(archive) as source:
        for member in _checked(source.infolist(), archive.name):
            path = folder / member.filename
            if not path.is_file() or path.stat().st_size != member.file_size:
                return False
            if zlib.crc32(path.read_bytes()) != member.CRC:
                return False
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
