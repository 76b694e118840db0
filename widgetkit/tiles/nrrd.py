"""NRRD: a text header, then voxels as they are or in gzip.

Format: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from widgetkit.errors import BadImage
from widgetkit.tiles.orient import build
from widgetkit.tiles.rawfile import read_raw
from widgetkit.tiles.volume import Place, Volume
from widgetkit.tiles.voxels import check_size, stack

#: Of the text, at most: a header is a few hundred bytes, with all of a DICOM's fields some 100 kB.
MOST_HEADER = 4 << 20

_TYPES = {
    np.int8: ("signed char", "int8", "int8_t"),
    np.uint8: ("uchar", "unsigned char", "uint8", "uint8_t"),
    np.int16: ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    np.uint16: ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    np.int32: ("int", "signed int", "int32", "int32_t"),
    np.uint32: ("uint", "unsigned int", "uint32", "uint32_t"),
    np.int64: (
        *("longlong", "long long", "long long int", "signed long long"),
        *("signed long long int", "int64", "int64_t"),
    ),
    np.uint64: (
        *("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    ),
    np.float32: ("float",),
    np.float64: ("double",),
}
_DTYPES = {name: np.dtype(kind) for kind, names in _TYPES.items() for name in names}
#: Signs that bring a space to LPS.
_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_UNITS = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "": 1.0}
_ENCODINGS = {"raw": False, "gzip": True, "gz": True}


def read_nrrd(
    path: Place, *, name: str | None = None, modality: str | None = None, warn: bool = True
) -> Volume:
    """A ``.nrrd`` of two or three axes, raw or gzip; the last axis is that of the slices.

    ``space directions`` (or ``spacings``) give spacing and orientation. Fields that may name a
    patient (``content``, key/value pairs, comments) are passed over.

    Raises
    ------
    BadImage
        Truncated, damaged, another encoding, four axes or more, not finite, or a header whose
        voxels lie in another file that is not a plain name in its own folder.
    """
    where = Path(path)
    what = name or "the NRRD"
    fields, offset = _header(where, what)
    sizes = _whole(fields, "sizes", what)
    dimension = _number(_field(fields, "dimension", what), "dimension", what)
    if dimension != len(sizes) or len(sizes) > 16:
        raise BadImage(f"The header of {what} is damaged: dimension and sizes disagree.")
    kept = _spatial(fields, sizes, what)
    if not 2 <= len(kept) <= 3:
        raise BadImage(
            f"{what} has axes of {' x '.join(map(str, sizes))}; one number a voxel and two or three axes "
            "of space are read. Save one volume of it."
        )
    width, height, depth = (*(sizes[axis] for axis in kept), 1)[:3]
    check_size((depth, height, width), what)
    encoding = _field(fields, "encoding", what).lower()
    if encoding not in _ENCODINGS:
        raise BadImage(
            f"{what} is encoded in a way that is not read ({_known(encoding)}). Save it raw or as gzip."
        )
    if "data file" in fields or "datafile" in fields:
        where = _beside(where, fields.get("data file", fields.get("datafile", "")), what)
        offset = 0
    if fields.get("line skip", fields.get("lineskip", "0")) != "0":
        raise BadImage(f"{what} skips lines of text before its voxels, which is not read.")
    skip = _number(fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", what)
    packed, dtype = _ENCODINGS[encoding], _dtype(fields, what)
    count = depth * height * width
    if skip == -1 and not packed:
        offset, skip = where.stat().st_size - count * dtype.itemsize, 0
    if skip < 0 or offset < 0:
        raise BadImage(f"{what} says to skip {skip} bytes, or holds fewer voxels than it says.")
    stored = read_raw(where, offset, dtype, count, what, packed=packed, skip=skip)
    stored = stored.reshape(depth, height, width)
    native = dtype.newbyteorder("=")
    values = stack((image.astype(native, copy=False) for image in stored), stored.shape, what)
    spacing, axes, origin, problems = _geometry(fields, kept, len(sizes), what)
    return build(
        values,
        spacing,
        axes,
        origin,
        units="HU" if modality == "CT" else "",
        modality=modality or "",
        name=name or "series 1",
        problems=problems,
        warn=warn,
    )


def _header(path: Path, what: str) -> tuple[dict[str, str], int]:
    """Fields by lower-case name, and the byte after the blank line that ends them."""
    with path.open("rb") as file:
        text = file.read(MOST_HEADER)
    if not text.startswith(b"NRRD000"):
        raise BadImage(f"{what} is no NRRD: its first bytes are those of something else.")
    fields: dict[str, str] = {}
    at = 0
    while True:
        end = text.find(b"\n", at)
        if end < 0:
            # a header whose voxels lie elsewhere may end without the blank line
            if len(text) < MOST_HEADER and {"data file", "datafile"} & fields.keys():
                return fields, len(text)
            raise BadImage(
                f"The header of {what} does not end within {MOST_HEADER:,} bytes: it is damaged."
            )
        line = text[at:end].rstrip(b"\r").decode("utf-8", "replace")
        at = end + 1
        if not line:
            return fields, at
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in key:
            fields.setdefault(key.strip().lower(), value.strip())


def _spatial(fields: dict[str, str], sizes: list[int], what: str) -> list[int]:
    """Axes that are kept: those of space, and not those of one entry when there are more than three."""
    if min(sizes) < 1:
        raise BadImage(f"{what} has an axis of {min(sizes)} voxels: its header is damaged.")
    directions = _vectors(fields.get("space directions", ""))
    kept = [
        axis
        for axis, size in enumerate(sizes)
        if not (size == 1 and axis < len(directions) and directions[axis] is None)
    ]
    if any(axis < len(directions) and directions[axis] is None for axis in kept):
        return []  # colours, gradients or time
    while len(kept) > 3 and sizes[kept[-1]] == 1:
        kept.pop()
    return kept


def _geometry(
    fields: dict[str, str], kept: list[int], axes_in_file: int, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Spacing, axes (3, 3) and origin of (slices, rows, columns), in LPS; and what is odd."""
    problems: list[str] = []
    space = fields.get("space", "").lower()
    signs = np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))
    directions = _vectors(fields.get("space directions", ""))
    if len(directions) == axes_in_file and all(
        directions[axis] is not None and len(directions[axis] or ()) == 3 for axis in kept
    ):
        if space not in _SPACES:
            problems.append("The NRRD does not say in which space it lies; LPS was taken.")
        steps = np.array([directions[axis] for axis in kept]) * signs
        if len(steps) == 2:
            normal = np.cross(steps[0], steps[1])
            steps = np.vstack([steps, normal / max(float(np.linalg.norm(normal)), 1e-30)])
        found = _vectors(fields.get("space origin", ""))
        first = found[0] if found else None
        origin = np.array(first if first is not None and len(first) == 3 else (0, 0, 0)) * signs
    elif directions:
        raise BadImage(f"The space directions of {what} are not one vector of three for each axis.")
    else:
        problems.append("The NRRD does not say its orientation: axial, left and right are a guess.")
        steps = np.diag(_spacings(fields, kept, axes_in_file, what, problems))
        origin = np.zeros(3)
    unit = fields.get("space units", "").replace('"', " ").split()
    scale = _UNITS.get(unit[0].lower()) if unit else 1.0
    if scale is None:
        problems.append("Its unit of length is not known; millimetres were taken.")
        scale = 1.0
    steps, origin = steps[::-1] * scale, origin * scale
    spacing = np.linalg.norm(steps, axis=1)
    fine = np.isfinite(steps).all() and np.isfinite(origin).all() and spacing.min() > 0
    if not fine or abs(np.linalg.det(steps / spacing[:, None])) < 0.1:
        raise BadImage(
            f"The space directions of {what} are not finite, or two axes run the same way."
        )
    return spacing, steps / spacing[:, None], origin, problems


def _spacings(
    fields: dict[str, str], kept: list[int], axes_in_file: int, what: str, problems: list[str]
) -> list[float]:
    words = fields.get("spacings", "").split()
    if len(words) != axes_in_file:
        problems.append("The NRRD does not say its spacing; 1 mm was taken.")
        return [1.0, 1.0, 1.0]
    numbers = [_real(words[axis], what) for axis in kept]
    if not all(np.isfinite(numbers)):
        problems.append("The NRRD does not say all of its spacing; 1 mm was taken there.")
    steps = [abs(step) if np.isfinite(step) else 1.0 for step in numbers]
    return [*steps, 1.0][:3]


def _beside(header: Path, named: str, what: str) -> Path:
    """The file of voxels that a header names, if it lies in the same folder and nowhere else."""
    folder = header.resolve().parent
    plain = named and not named.upper().startswith("LIST") and "%" not in named
    if plain and "\0" not in named and Path(named).name == named and named not in (".", ".."):
        target = (folder / named).resolve()
        if target.parent == folder and target.is_file():
            return target
        if target.parent == folder:
            raise BadImage(f"The file of voxels that the header of {what} names is not beside it.")
    raise BadImage(
        f"{what} is a header whose voxels lie in other files than one right beside it. Save it as one "
        ".nrrd."
    )


def _dtype(fields: dict[str, str], what: str) -> np.dtype[np.generic]:
    named = _field(fields, "type", what).lower()
    dtype = _DTYPES.get(named)
    if dtype is None:
        raise BadImage(f"{what} holds {_known(named)}; a volume holds one number a voxel.")
    if dtype.itemsize > 1:
        endian = fields.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise BadImage(f"The header of {what} does not say its byte order (endian).")
        return dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype


def _vectors(text: str) -> list[tuple[float, ...] | None]:
    """``(1,0,0) none (0,1,0)`` as tuples and None; what cannot be read becomes NaN."""
    out: list[tuple[float, ...] | None] = []
    for word in text.replace("(", " (").replace(", ", ",").split():
        if word.lower() == "none":
            out.append(None)
            continue
        numbers = []
        for part in word.strip("()").split(","):
            try:
                numbers.append(float(part))
            except ValueError:
                numbers.append(float("nan"))
        out.append(tuple(numbers))
    return out


def _field(fields: dict[str, str], name: str, what: str) -> str:
    if not fields.get(name):
        raise BadImage(f"The header of {what} lacks {name!r}: it is damaged.")
    return fields[name]


def _whole(fields: dict[str, str], name: str, what: str) -> list[int]:
    return [_number(word, name, what) for word in _field(fields, name, what).split()]


def _number(word: str, name: str, what: str) -> int:
    if len(word) > 18:
        raise BadImage(f"The header of {what} is damaged at {name!r}.")
    try:
        return int(word)
    except ValueError:
        raise BadImage(f"The header of {what} is damaged at {name!r}.") from None


def _real(word: str, what: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise BadImage(f"The header of {what} is damaged at 'spacings'.") from None


def _known(word: str) -> str:
    """A word of the format as it is; anything else is not repeated."""
    return word if word in ("ascii", "text", "txt", "hex", "bzip2", "bz2", "block") else "not known"
