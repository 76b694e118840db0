"""DICOM series as volumes. Of a file only geometry, modality and pixels are read.

Fields of patients, institutions and physicians are never parsed: pydicom is given the list of what
to read. Names of files and folders may hold a patient's name, so messages count files in order of
path, as :func:`dicom_files` lists them, and errors of pydicom, which may repeat values, are not chained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, InvalidInput, NoTissue
from widgetkit.tiles.dicom_header import (
    Frame,
    Header,
    begun,
    quiet,
    read_dataset,
    read_headers,
    shown_modality,
)
from widgetkit.tiles.dicom_order import Arranged, arrange
from widgetkit.tiles.orient import build
from widgetkit.tiles.volume import Place, Volume
from widgetkit.tiles.voxels import check_size, scaled, stack

#: Air in HU. Scanners fill the corners outside their circle with values below it.
_AIR = -1024


def dicom_files(path: Place | Sequence[Place]) -> list[Path]:
    """The DICOM files of a folder and its sub-folders, in order of path, as messages count them.

    ``dicom_files(folder)[6]`` is what a message calls "file 7". Files that begin as no DICOM does,
    hidden ones and DICOMDIR are passed over. A list of files stays as it is.
    """
    if not isinstance(path, str | os.PathLike):
        files = [Path(file) for file in path]
        for i, file in enumerate(files):
            if not file.is_file():
                raise InvalidInput(f"File {i + 1} of the {len(files)} given is not there.")
        return files
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InvalidInput("There is no file or folder at the path given.")
    found = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                file = Path(folder) / name
                if _is_dicom(file):
                    found.append(file)
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def list_series(path: Place | Sequence[Place]) -> pd.DataFrame:
    """The series of a folder, one row each: what ``series=`` of the readers chooses from.

    Returns
    -------
    DataFrame
        ``series`` (from 1, in order of their first file), ``slices``, ``rows``, ``columns``,
        ``modality``, ``files``. No description: it may name a patient.
    """
    groups = _series(read_headers(dicom_files(path)))
    return pd.DataFrame(
        [
            {
                "series": number,
                "slices": sum(len(header.frames) for header in group),
                "rows": group[0].rows,
                "columns": group[0].columns,
                "modality": shown_modality(group[0].modality),
                "files": len(group),
            }
            for number, group in enumerate(groups, 1)
        ],
        columns=["series", "slices", "rows", "columns", "modality", "files"],
    )


def read_dicom(
    path: Place | Sequence[Place],
    *,
    series: int | None = None,
    name: str | None = None,
    spacing: tuple[float, float, float] | None = None,
    warn: bool = True,
) -> Volume:
    """One series of a folder or of files; see :func:`widgetkit.tiles.read_volume`.

    Slices are sorted by their position along the normal of their orientation, each brought to HU
    (or other real units) with its own slope and intercept. MONOCHROME1 (low is white) is inverted,
    except in HU. Multi-frame (enhanced) files give a slice a frame.
    """
    files = dicom_files(path)
    if not files:
        raise NoTissue("There is no DICOM file at the path given.")
    groups = _series(read_headers(files))
    if not groups:
        raise NoTissue(
            f"None of the {len(files)} DICOM files holds an image (reports, plans, segmentations are "
            "passed over)."
        )
    number = _chosen(groups, series)
    group = groups[number - 1]
    ordered = arrange(group, len(files), spacing)
    problems, facts = list(ordered.problems), list[str]()
    first = group[0]
    check_size((len(ordered.frames), first.rows, first.columns), "The series")
    units = _units(group, problems)
    values = stack(
        _slices(ordered, len(files), units, facts),
        (len(ordered.frames), first.rows, first.columns),
        "the series",
    )
    return build(
        values,
        ordered.spacing,
        ordered.axes,
        ordered.origin,
        units=units,
        modality=first.modality if shown_modality(first.modality) != "other" else "",
        name=name or f"series {number}",
        problems=problems,
        facts=facts,
        warn=warn,
    )


def _series(headers: Sequence[Header]) -> list[list[Header]]:
    """Images grouped by series, in order of their first file."""
    groups: dict[str, list[Header]] = {}
    for header in headers:
        if header.is_image:
            groups.setdefault(header.series, []).append(header)
    return list(groups.values())


def _chosen(groups: Sequence[Sequence[Header]], series: int | None) -> int:
    if series is None and len(groups) == 1:
        return 1
    lines = "; ".join(
        f"series {i}: {_slice_count(group)} "
        f"{group[0].columns}x{group[0].rows}, {shown_modality(group[0].modality)}"
        for i, group in enumerate(groups[:20], 1)
    )
    more = f"; and {len(groups) - 20} more" if len(groups) > 20 else ""
    if series is None:
        raise InvalidInput(
            f"The folder holds {len(groups)} series. {lines}{more}. Choose one with series=1 to "
            f"series={len(groups)} (wk.tiles.from_dicom also takes a list, or 'all')."
        )
    if not isinstance(series, int) or not 1 <= series <= len(groups):
        raise InvalidInput(f"series={series!r}: there are {len(groups)}. {lines}{more}.")
    return series


def _slice_count(group: Sequence[Header]) -> str:
    count = sum(len(header.frames) for header in group)
    return f"{count:,} slice{'s' if count > 1 else ''}"


def _units(group: Sequence[Header], problems: list[str]) -> str:
    if group[0].modality != "CT":
        return ""
    kinds = {frame.rescale_type for header in group for frame in header.frames}
    if kinds <= {"", "HU"} and all(f.rescaled for header in group for f in header.frames):
        return "HU"
    problems.append("This CT does not say how its values become HU; they are as stored.")
    return ""


def _slices(ordered: Arranged, files: int, units: str, facts: list[str]) -> Iterator[np.ndarray]:
    """Slices in order, scaled; a file is read once even if its frames are apart."""
    kept: tuple[Header | None, Any] = (None, None)
    padded = inverted = 0
    for header, frame in ordered.frames:
        if kept[0] is not header:
            kept = (header, read_dataset(header, files))
        stored = _decoded(kept[1], header, frame, files)
        image = scaled(stored, frame.slope, frame.intercept)
        if header.inverted and units != "HU":
            inverted += 1
            image = _inverse(stored, header, frame)
        if units == "HU" and header.padding is not None:
            low, high = header.padding
            outside = (stored >= low) & (stored <= high) & (image < _AIR)
            padded += int(outside.sum())
            image = np.where(outside, image.dtype.type(_AIR), image)
        yield image
    if inverted:
        facts.append("MONOCHROME1, which shows low values white, was inverted.")
    if padded:
        facts.append(f"{padded:,} voxels of padding were set to {_AIR} HU.")


def _inverse(stored: np.ndarray, header: Header, frame: Frame) -> np.ndarray:
    """White and black exchanged within the range that the stored bits have."""
    if stored.dtype.kind == "f":
        return scaled(stored.max() + stored.min() - stored, frame.slope, frame.intercept)
    top = -1 if header.signed else 2**header.bits - 1
    return scaled(np.int64(top) - stored.astype(np.int64), frame.slope, frame.intercept)


def _decoded(dataset: Any, header: Header, frame: Frame, files: int) -> np.ndarray:
    """Stored values (H, W) of one frame."""
    from pydicom.pixels.utils import pixel_array

    where = begun(header.where(files))
    try:
        with quiet():
            array = np.asarray(
                pixel_array(dataset, index=frame.number)
                if len(header.frames) > 1
                else pixel_array(dataset)
            )
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like, and repeat what they read
        raise BadImage(_why(dataset, where, error)) from None
    if array.shape != (header.rows, header.columns):
        raise BadImage(
            f"{where} decodes to {' x '.join(map(str, array.shape))} pixels and says {header.rows} x "
            f"{header.columns}: it is damaged."
        )
    return array


def _why(dataset: Any, where: str, error: Exception) -> str:
    """Why pixels could not be decoded, and the cure."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    said = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))
    syntax = next((one for one in AllTransferSyntaxes if str(one) == said), None)
    if said and syntax is None:
        return (
            f"{where} is stored in a transfer syntax that is not one of DICOM's. Convert it first with "
            "gdcmconv --raw, or export it again."
        )
    if syntax is None or not syntax.is_compressed:
        return (
            f"The pixels of {where[0].lower()}{where[1:]} cannot be read ({type(error).__name__}): fewer "
            "than its header says, or damaged. Export it again."
        )
    try:
        able = get_decoder(syntax).is_available
    except NotImplementedError:
        able = False
    if able:
        return (
            f"{where} ({syntax.name}) cannot be decoded ({type(error).__name__}): it is damaged, or of a "
            "kind that the installed decoder lacks, such as 12 bit. Export it again, or run pip install "
            "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg."
        )
    return (
        f"{where} is compressed as {syntax.name}, which nothing installed can decode. Run pip install "
        "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg (or python-gdcm), or unpack the files first with "
        "gdcmconv --raw or dcmdjpeg."
    )


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
