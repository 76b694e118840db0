"""What is read of a DICOM file: the attributes listed here and no other."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit.errors import BadImage, missing

#: Pixels of one slice, at most; whole-body and mammography detectors stay below it.
MOST_PIXELS = 50_000_000
MOST_FRAMES = 100_000

#: Everything that is parsed. No name, no date, no description, no identifier but that of the series.
GEOMETRY_TAGS = (
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "NumberOfFrames", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
PIXEL_TAGS = (
    *GEOMETRY_TAGS,
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
#: Modalities that may be repeated in a message; a file could hold any text there.
_MODALITIES = frozenset(
    [
        "CT",
        "MR",
        "PT",
        "NM",
        "CR",
        "DX",
        "MG",
        "US",
        "XA",
        "RF",
        "OT",
        "SC",
        "IO",
        "PX",
        "ES",
        "OP",
        "XC",
        "SM",
        "OCT",
        "IVUS",
        "BI",
        "TG",
        "DG",
        "GM",
        "LS",
        "RG",
        "BMD",
    ]
)
#: Kept in series of their own, but no pictures of a patient.
_NO_IMAGES = frozenset(
    [
        "SEG",
        "SR",
        "PR",
        "KO",
        "REG",
        "RTSTRUCT",
        "RTPLAN",
        "RTDOSE",
        "RTRECORD",
        "FID",
        "PLAN",
        "DOC",
        "ECG",
        "AU",
    ]
)
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Frame:
    """One slice of a file: where it lies and how its values are scaled."""

    number: int  # within the file, from 0
    position: tuple[float, float, float] | None  # mm, LPS, centre of the first pixel
    orientation: tuple[float, ...] | None  # of a row, then of a column
    spacing: tuple[float, float] | None  # mm from row to row, from column to column
    thickness: float | None
    slope: float
    intercept: float
    rescaled: bool
    rescale_type: str


@dataclass(frozen=True)
class Header:
    """What a file says, without its pixels."""

    path: Path
    index: int  # among the files, from 0
    series: str  # compared, never shown
    modality: str
    rows: int
    columns: int
    bits: int
    signed: bool
    inverted: bool
    padding: tuple[float, float] | None
    frames: tuple[Frame, ...]
    is_image: bool

    def where(self, files: int) -> str:
        """Which file, without its name."""
        return f"file {self.index + 1} of {files}" if files > 1 else "the DICOM file"


def shown_modality(modality: str) -> str:
    """The modality if it is one of DICOM's; ``"other"`` for any other text."""
    return modality if modality in _MODALITIES else "other"


class _Quiet:
    """How many threads are inside :func:`quiet`, and what to put back after the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside: dict[int, int] = {}  # by thread
        self.before: warnings.catch_warnings[None] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread not in self.inside


_QUIET = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what pydicom reads gets into warnings or logs, where it may repeat values.

    Filters of warnings belong to the process: threads that come and go out of step would leave them
    off, so the first in sets and the last out restores them.
    """
    thread = threading.get_ident()
    logger = logging.getLogger("pydicom")
    with _QUIET.lock:
        if not _QUIET.inside:
            _QUIET.before = warnings.catch_warnings()
            _QUIET.before.__enter__()
            warnings.simplefilter("ignore")
            logger.addFilter(_QUIET.filter)
        _QUIET.inside[thread] = _QUIET.inside.get(thread, 0) + 1
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.inside[thread] -= 1
            if not _QUIET.inside[thread]:
                del _QUIET.inside[thread]
            if not _QUIET.inside and _QUIET.before is not None:
                _QUIET.before.__exit__(None, None, None)
                _QUIET.before = None
                logger.removeFilter(_QUIET.filter)


def read_headers(files: Sequence[Path]) -> list[Header]:
    """Headers of all files, in order.

    Raises
    ------
    BadImage
        A file is damaged, or an image that is no plane of one number a pixel. Says which.
    MissingDependency
        pydicom is not installed.
    """
    return [_header(file, i, len(files)) for i, file in enumerate(files)]


def read_dataset(header: Header, files: int) -> Any:
    """The pydicom dataset with pixels, and nothing but what decoding them takes."""
    dataset = _dataset(header.path, header.where(files), PIXEL_TAGS, pixels=True)
    if (int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0))) != (
        header.rows,
        header.columns,
    ):
        raise BadImage(f"{begun(header.where(files))} has changed while it was read.")
    return dataset


def _dataset(path: Path, where: str, tags: Sequence[str], *, pixels: bool) -> Any:
    try:
        import pydicom
        from pydicom.filereader import read_file_meta_info
    except ImportError:
        raise missing("pydicom", "medical", "Reading DICOM") from None
    try:
        with path.open("rb") as file:
            marked = file.read(132)[128:] == b"DICM"
        with quiet():
            if marked:
                syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
                if syntax == _DEFLATED:
                    raise BadImage(
                        f"{begun(where)} is deflated as a whole, which is not read because it may "
                        "unpack to any size. Convert it with dcmconv +te."
                    )
            return pydicom.dcmread(
                path, specific_tags=list(tags), stop_before_pixels=not pixels, force=not marked
            )
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # a damaged file provokes anything; its text may repeat values
        raise BadImage(
            f"{begun(where)} cannot be read as DICOM ({type(error).__name__}). Remove it or export "
            "it again."
        ) from None


def _header(path: Path, index: int, files: int) -> Header:
    where = f"file {index + 1} of {files}" if files > 1 else "the DICOM file"
    dataset = _dataset(path, where, GEOMETRY_TAGS, pixels=False)
    try:
        with quiet():
            return _understood(dataset, path, index, where)
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(
            f"The header of {where} is damaged ({type(error).__name__}). Remove it or export it again."
        ) from None


def _understood(dataset: Any, path: Path, index: int, where: str) -> Header:
    modality = str(dataset.get("Modality") or "").strip().upper()
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    is_image = rows > 0 and columns > 0 and modality not in _NO_IMAGES
    frames: tuple[Frame, ...] = ()
    if is_image:
        _check_pixels(dataset, rows, columns, where)
        frames = _frames(dataset, where)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    return Header(
        path=path,
        index=index,
        series=str(dataset.get("SeriesInstanceUID") or ""),
        modality=modality,
        rows=rows,
        columns=columns,
        bits=int(dataset.get("BitsStored") or 16),
        signed=bool(dataset.get("PixelRepresentation") or 0),
        inverted=photometric == "MONOCHROME1",
        padding=_padding(dataset) if is_image else None,
        frames=frames,
        is_image=is_image,
    )


def _check_pixels(dataset: Any, rows: int, columns: int, where: str) -> None:
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric not in (
        *("MONOCHROME1", "MONOCHROME2"),
        "",
    ):
        raise BadImage(
            f"{begun(where)} is a colour picture; CT and MRI have one number a pixel. Leave it out, or "
            "save it as an image and use wk.tiles.from_folder."
        )
    if rows * columns > MOST_PIXELS:
        raise BadImage(
            f"{begun(where)} says it holds {columns:,} x {rows:,} pixels, too many to read."
        )
    if dataset.get("ModalityLUTSequence"):
        raise BadImage(
            f"{begun(where)} maps its values through a table (modality LUT), which is not read."
        )


def _frames(dataset: Any, where: str) -> tuple[Frame, ...]:
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= count <= MOST_FRAMES:
        raise BadImage(f"{begun(where)} says it holds {count:,} frames: it is damaged.")
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups and not shared:
        if count > 1:
            raise BadImage(
                f"{begun(where)} holds {count} frames and does not say where each lies (it is no "
                "enhanced CT or MR). Give its frames to wk.tiles.from_array."
            )
        return (_frame(0, [dataset]),)
    if groups and len(groups) != count:
        raise BadImage(
            f"{begun(where)} holds {count} frames and describes {len(groups)}: it is damaged."
        )
    return tuple(
        _frame(i, [*([groups[i]] if groups else []), *([shared] if shared else []), dataset])
        for i in range(count)
    )


def _frame(number: int, places: Sequence[Any]) -> Frame:
    """``places``: the datasets to look into, the most particular first."""

    def value(sequence: str, keyword: str) -> Any:
        for place in places:
            inner = _first(place.get(sequence))
            for dataset in (inner, place):
                if dataset is not None and dataset.get(keyword) not in (None, ""):
                    return dataset.get(keyword)
        return None

    measures, pixels = "PixelMeasuresSequence", "PixelValueTransformationSequence"
    spacing = _numbers(value(measures, "PixelSpacing"), 2)
    if spacing is None:
        spacing = _numbers(value(measures, "ImagerPixelSpacing"), 2)
    thickness = _numbers(value(measures, "SpacingBetweenSlices"), 1)
    if thickness is None:
        thickness = _numbers(value(measures, "SliceThickness"), 1)
    slope = _numbers(value(pixels, "RescaleSlope"), 1)
    intercept = _numbers(value(pixels, "RescaleIntercept"), 1)
    position = _numbers(value("PlanePositionSequence", "ImagePositionPatient"), 3)
    return Frame(
        number=number,
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=_numbers(value("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        thickness=None if thickness is None else abs(thickness[0]),
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        rescaled=slope is not None and intercept is not None,
        rescale_type=str(value(pixels, "RescaleType") or "").strip().upper(),
    )


def _padding(dataset: Any) -> tuple[float, float] | None:
    value = dataset.get("PixelPaddingValue")
    if value in (None, ""):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = float(value), float(value if limit in (None, "") else limit)
    return min(ends), max(ends)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers; None where nothing is said. A ValueError otherwise."""
    if value is None or value == "":
        return None
    many = [value] if np.ndim(value) == 0 else list(value)
    if not many:
        return None
    numbers = tuple(float(one) for one in many)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError
    return numbers


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def begun(where: str) -> str:
    """``where`` at the beginning of a sentence."""
    return where[0].upper() + where[1:]
