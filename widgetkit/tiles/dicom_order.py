"""Slices of a DICOM series in order, or what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from widgetkit.errors import BadImage
from widgetkit.tiles.dicom_header import Frame, Header, begun

#: Cosines that differ by no more are one orientation: headers are rounded, each file for itself.
_ANGLE = 2e-3
#: Share of the spacing by which single distances may differ from it (rounding of positions).
_EVEN = 0.1
#: From this many spacings on, a slice is missing between two.
_GAP = 1.5
#: Distances below this share of a pixel are none.
_SAME_PLACE = 0.01

Slice = tuple[Header, Frame]


@dataclass(frozen=True)
class Arranged:
    """Slices along their normal, and the grid they make."""

    frames: list[Slice]
    spacing: tuple[float, float, float]
    axes: np.ndarray  # (3, 3), of D, H, W
    origin: np.ndarray
    problems: tuple[str, ...]


def arrange(
    headers: Sequence[Header], files: int, spacing: tuple[float, float, float] | None
) -> Arranged:
    """The slices of one series, sorted by position along the normal of their orientation.

    Raises
    ------
    BadImage
        A slice is missing, or there twice, or of another size, spacing or orientation than most;
        a position is not said. Says which file, or between which.
    """
    slices = [(header, frame) for header in headers for frame in header.frames]
    where = _naming(files)
    problems: list[str] = []
    _same(slices, where, "size", lambda s: (s[0].columns, s[0].rows), _size)
    in_plane = _pixel_spacing(slices, where, spacing)
    if len(slices) == 1 and slices[0][1].position is None:
        problems.append(
            "The slice does not say where it lies in the patient; orientation is a guess."
        )
        axes = np.array(((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
        return Arranged(
            slices,
            (_thickness(slices[0], spacing, problems), *in_plane),
            axes,
            np.zeros(3),
            tuple(problems),
        )
    unplaced = [s for s in slices if s[1].position is None or s[1].orientation is None]
    if unplaced:
        raise BadImage(
            f"{len(unplaced)} of {len(slices)} slices do not say where they lie (ImagePositionPatient, "
            f"ImageOrientationPatient), first {where(unplaced[0])}; they cannot be put in order. Leave "
            "them out by giving a list of files, or use wk.tiles.from_folder on images."
        )
    _same(
        slices,
        where,
        "orientation",
        lambda s: tuple(np.round(np.array(s[1].orientation) / _ANGLE / 2).astype(int).tolist()),
        lambda s: "another direction",
        close=lambda a, b: bool(
            np.abs(np.array(a[1].orientation) - np.array(b[1].orientation)).max() <= _ANGLE
        ),
    )
    right, down, normal = _square(slices, where)
    along = np.array([float(np.dot(s[1].position or (0, 0, 0), normal)) for s in slices])
    order = np.argsort(along, kind="stable")
    slices, along = [slices[i] for i in order], along[order]
    if len(slices) == 1:
        step = _thickness(slices[0], spacing, problems)
    else:
        step = _step(slices, along, where, min(in_plane))
        _straight(slices, along, normal, where, min(in_plane), problems)
    axes = np.array((normal, down, right))
    return Arranged(
        slices, (step, *in_plane), axes, np.array(slices[0][1].position), tuple(problems)
    )


def _naming(files: int) -> Callable[[Slice], str]:
    def where(one: Slice) -> str:
        header, frame = one
        if len(header.frames) == 1:
            return header.where(files)
        return f"frame {frame.number + 1} of {header.where(files)}"

    return where


def _same(
    slices: Sequence[Slice],
    where: Callable[[Slice], str],
    what: str,
    key: Callable[[Slice], Hashable],
    say: Callable[[Slice], str],
    close: Callable[[Slice, Slice], bool] | None = None,
) -> None:
    """Raise for the first slice that is not as most are."""
    keys = [key(one) for one in slices]
    usual = slices[keys.index(Counter(keys).most_common(1)[0][0])]
    odd = [
        one
        for one, its in zip(slices, keys, strict=True)
        if (its != key(usual) if close is None else not close(one, usual))
    ]
    if odd:
        others = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise BadImage(
            f"The series mixes slices of different {what}: {where(odd[0])}{others} has {say(odd[0])}, "
            f"most have {'the same' if what == 'orientation' else say(usual)}. A scout or another "
            "reconstruction may be among them; give a list of the files that belong together."
        )


def _size(one: Slice) -> str:
    return f"{one[0].columns}x{one[0].rows} pixels"


def _pixel_spacing(
    slices: Sequence[Slice],
    where: Callable[[Slice], str],
    spacing: tuple[float, float, float] | None,
) -> tuple[float, float]:
    if spacing is not None:
        return float(spacing[1]), float(spacing[2])
    unsaid = [one for one in slices if one[1].spacing is None]
    if unsaid:
        raise BadImage(
            f"{begun(where(unsaid[0]))} does not say its pixel spacing. Give spacing=(z, y, x) in mm to "
            "wk.tiles.read_volume."
        )
    _same(
        slices,
        where,
        "pixel spacing",
        lambda s: tuple(round(step, 3) for step in s[1].spacing or ()),
        lambda s: " x ".join(f"{step:.4g}" for step in s[1].spacing or ()) + " mm",
        close=lambda a, b: bool(np.allclose(a[1].spacing or 0, b[1].spacing or 0, rtol=1e-3)),
    )
    found = slices[0][1].spacing or (0.0, 0.0)
    if min(found) <= 0:
        raise BadImage(
            f"{begun(where(slices[0]))} has a pixel spacing of {min(found):g} mm: it is damaged."
        )
    return found


def _square(
    slices: Sequence[Slice], where: Callable[[Slice], str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, down a column, and their normal; mean of all slices."""
    mean = np.mean([one[1].orientation or (0.0,) * 6 for one in slices], axis=0)
    right, down = mean[:3], mean[3:]
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(float(right @ down)) > 0.01:
        raise BadImage(
            f"The orientation of {where(slices[0])} is not two directions square to each other: its "
            "header is damaged."
        )
    right = right / lengths[0]
    down = down - right * float(right @ down)
    down = down / np.linalg.norm(down)
    return right, down, np.cross(right, down)


def _thickness(
    one: Slice, spacing: tuple[float, float, float] | None, problems: list[str]
) -> float:
    if spacing is not None:
        return float(spacing[0])
    if one[1].thickness:
        return one[1].thickness
    problems.append("A single slice that does not say its thickness; 1 mm was taken.")
    return 1.0


def _step(
    slices: Sequence[Slice], along: np.ndarray, where: Callable[[Slice], str], pixel: float
) -> float:
    """True distance of the slices; an error where one lacks, is there twice, or they are uneven."""
    steps = np.diff(along)
    twice = np.flatnonzero(steps <= pixel * _SAME_PLACE)
    if len(twice):
        i = int(twice[0])
        more = f", and {len(twice) - 1} more pairs" if len(twice) > 1 else ""
        raise BadImage(
            f"{begun(where(slices[i]))} and {where(slices[i + 1])} lie at the same position "
            f"({along[i]:.2f} mm){more}. The series holds copies, several time points, echoes or "
            "reconstructions; give a list of the files of one of them."
        )
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > _GAP * usual)
    if len(gaps):
        i = int(gaps[0])
        lost = max(1, round(float(steps[i]) / usual) - 1)
        more = f" There are {len(gaps)} gaps in all." if len(gaps) > 1 else ""
        raise BadImage(
            f"{lost} slice{'s are' if lost > 1 else ' is'} missing between {where(slices[i])} "
            f"({along[i]:.2f} mm) and {where(slices[i + 1])} ({along[i + 1]:.2f} mm): slices are "
            f"{usual:.4g} mm apart.{more} Fetch what is missing, or give a list of the files on one side."
        )
    uneven = np.flatnonzero(np.abs(steps - usual) > max(_EVEN * usual, 0.02))
    if len(uneven):
        i = int(uneven[0])
        raise BadImage(
            f"Slices are {usual:.4g} mm apart, but {where(slices[i])} and {where(slices[i + 1])} "
            f"{steps[i]:.4g} mm ({len(uneven)} such pairs). Series of mixed spacing are not one grid; "
            "give a list of the files of one part."
        )
    return float(along[-1] - along[0]) / (len(slices) - 1)


def _straight(
    slices: Sequence[Slice],
    along: np.ndarray,
    normal: np.ndarray,
    where: Callable[[Slice], str],
    pixel: float,
    problems: list[str],
) -> None:
    """Slices must lie on one line; one that leans from the normal is told of."""
    places = np.array([one[1].position for one in slices])
    share = (along - along[0]) / (along[-1] - along[0])
    line = places[0] + share[:, None] * (places[-1] - places[0])
    off = np.linalg.norm(places - line, axis=1)
    if off.max() > max(0.5 * pixel, 0.1):
        i = int(off.argmax())
        raise BadImage(
            f"The slices are shifted against each other: {where(slices[i])} lies {off[i]:.3g} mm beside "
            "the line of the others. Give a list of the files that belong together."
        )
    lean = places[-1] - places[0]
    angle = float(np.degrees(np.arccos(np.clip(lean @ normal / np.linalg.norm(lean), -1, 1))))
    if angle > 0.5:
        problems.append(
            f"Slices lean by {angle:.1f} degrees (a tilted gantry): slices are right, sections across "
            "them are sheared."
        )
