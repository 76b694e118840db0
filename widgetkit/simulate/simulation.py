"""Images of lungs with abnormalities of which everything is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.errors import InvalidInput
from widgetkit.simulate.background import (
    FINE,
    Background,
    BackgroundLike,
    Backgrounds,
    backgrounds,
)
from widgetkit.simulate.bodies import Body, body
from widgetkit.simulate.factors import COLUMNS, Levels, assign, design, names
from widgetkit.simulate.lungs import SIDES
from widgetkit.tiles.array import from_array
from widgetkit.tiles.windows import WINDOWS

if TYPE_CHECKING:
    from widgetkit.tiles.array import ArrayTiles

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: HU that lung parenchyma has, and at which an abnormality hides all structure behind it.
PARENCHYMA_HU, SOLID_HU = -850.0, 40.0
#: Abnormalities fade out over this, or over one pixel where those are larger.
EDGE_MM = 2.0
#: Of its radius, so much must fit between an abnormality's centre and the edge of the lung.
ROOM = 0.6
#: Smaller than this many pixels across, they are hardly there.
LEAST_PIXELS = 2.0


@dataclass(frozen=True)
class Nuisance:
    """How far images differ in what has nothing to do with their group.

    Attributes
    ----------
    backgrounds : int
        Different slices, by turns of the patients, every group with each of them as often. Volumes:
        one a patient, always.
    patients : int
        At most; there are two real ones. One differs from another by more than a 5 cm mass makes
        out, and so does whether a clustering finds the abnormalities or the patients.
    heights : (low, high)
        Where these slices are taken, as shares of the way from the lungs' base to their tips.
    shift_mm : float
        The whole image is moved by up to this along each axis.
    position_mm : float
        Standard deviation of the abnormality's centre along each axis.
    size : float
        Relative standard deviation of its diameter.
    intensity_hu, density_hu : float
        Standard deviations of its HU, and of those of the lungs (depth of breath).
    """

    backgrounds: int = 4
    patients: int = 1
    heights: tuple[float, float] = (0.45, 0.55)
    shift_mm: float = 2.0
    position_mm: float = 2.0
    size: float = 0.04
    intensity_hu: float = 15.0
    density_hu: float = 10.0

    def __post_init__(self) -> None:
        check_count(self.backgrounds, "backgrounds")
        check_count(self.patients, "patients")
        low, high = self.heights
        if not 0 <= low <= high <= 1:
            raise InvalidInput(f"heights={self.heights}: two shares from 0 to 1, the lower first.")
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            if not 0 <= value < 200:
                raise InvalidInput(f"{field.name}={value}: a number from 0 up to 200.")

    def scaled(self, factor: float) -> Nuisance:
        """All deviations times ``factor``; backgrounds and heights as they are."""
        spread = {f.name: getattr(self, f.name) * factor for f in fields(self)[3:]}
        return replace(self, **spread)


@dataclass(frozen=True, eq=False, repr=False)
class LungSimulation:
    """Simulated images and all that is true of them.

    Attributes
    ----------
    images : (n, *shape) int16
        In HU.
    masks : (n, *shape) bool
        Where the abnormality fills at least half of a pixel; within the lung.
    lung : (n, *shape) bool
        Both lungs.
    groups : (n,) int32
        Combination of levels of the varied factors, 0 to ``k - 1``.
    levels : DataFrame (k, 5)
        The levels asked for, one row a group.
    group_names : tuple of str
    table : DataFrame (n, ...)
        ``label`` and ``group``; what was really planted: ``side``, ``half``, ``shape``, ``size_mm``,
        ``intensity_hu``, ``noise_hu``; ``patient`` and ``slice`` of the background; ``content_mm``,
        mm^2 or mm^3 of the mask.
    vary : tuple of str
    spacing : tuple of float
        mm along each axis of ``shape``.
    source : str
        One sentence to write below a picture: what is real here, and what is not.
    seed : int
    """

    images: npt.NDArray[np.int16]
    masks: Bools
    lung: Bools
    groups: npt.NDArray[np.int32]
    levels: pd.DataFrame
    group_names: tuple[str, ...]
    table: pd.DataFrame
    vary: tuple[str, ...]
    spacing: tuple[float, ...]
    source: str
    seed: int

    @property
    def k(self) -> int:
        """The true number of groups."""
        return len(self.levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"<LungSimulation: {len(self)} images of {size}, {self.k} groups by {', '.join(self.vary)}; {self.source}>"

    def windowed(self) -> npt.NDArray[np.uint8]:
        """As the lung window shows them, (n, *shape) uint8: 0 is -1350 HU or less, 255 150 HU or more."""
        low, high = WINDOWS["lung"].range
        share = (self.images - np.float32(low)) / np.float32(high - low)
        grey: npt.NDArray[np.uint8] = (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
        return grey

    def tiles(self, *, windowed: bool = False) -> ArrayTiles:
        """An ordinary tile source with :attr:`table` as its metadata.

        Parameters
        ----------
        windowed : bool
            8-bit values of the lung window instead of HU. Black then is air; in HU, the 0 that
            several map methods put in place of what they hide is water, as dense as an
            abnormality.
        """
        return from_array(
            self.windowed() if windowed else self.images,
            volume=self.images.ndim == 4,
            source="lung simulation",
            mpp=self.spacing[-1] * 1000,
            window=None if windowed else WINDOWS["lung"].range,
            metadata=self.table,
        )


def lung_abnormalities(
    n: int = 240,
    *,
    vary: Sequence[str] | str = ("size",),
    levels: Levels = 2,
    dims: int = 2,
    shape: Sequence[int] | int | None = None,
    size: float = 44.0,
    location: str = "right-upper",
    intensity: float = -50.0,
    noise: float = 25.0,
    form: str = "round",
    background: BackgroundLike = "auto",
    nuisance: Nuisance | None = None,
    seed: int = 0,
) -> LungSimulation:
    """Chest CT with one abnormality in each image, in groups that differ in known ways.

    The simulation of Ryan et al. (2022): images of one group share the levels of the factors that
    vary; everything else is constant but for what ``nuisance`` says.

    Parameters
    ----------
    n : int
        Images; groups have the same size, or differ by one.
    vary : sequence of str
        Of ``"size"`` (mm across), ``"location"`` (lung, and its upper or lower half), ``"intensity"``
        (HU, from ground glass to solid), ``"shape"`` (round, elongated, spiculated; all of one
        volume) and ``"noise"`` (HU). A group is a combination of their levels.
    levels : int, or mapping from factor to int or values
        How many levels each factor has (numbers: at even steps from 24 to 56 mm, -600 to 40 HU, 20
        to 120 HU of noise), or which. Words are taken in order: ``"right-upper"``, ``"left-upper"``,
        ``"right-lower"``, ``"left-lower"``; ``"round"``, ``"elongated"``, ``"spiculated"``.
    dims : 2 or 3
        Axial slices, or volumes with an abnormality that is a body in space.
    shape : int, (H, W) or (D, H, W), optional
        Default: (64, 64), or (24, 48, 48).
    size, location, intensity, form, noise
        Level of each factor that does not vary; ``form`` is the shape of the abnormality.
    background : "auto", "ct", "phantom", Volume or sequence of them
        ``"ct"``: two real chest CT of pyradiomics' source distribution, downloaded once (34.5 MB).
        ``"phantom"``: a drawn thorax, of which two were made. ``"auto"``: the phantom, with a
        warning, where the CT is not to be had. Or your own CT in HU.
    nuisance : Nuisance, optional
    seed : int
        Same seed, same bytes.

    Returns
    -------
    LungSimulation

    Raises
    ------
    UnknownName
        No such factor, location or shape.
    TooFew
        Fewer than two images a group.
    InvalidInput
        One level only, a negative noise, abnormalities smaller than two pixels or larger than the
        lung has room for, or no CT.
    FetchFailed
        ``background="ct"``, and it is not to be had.

    Notes
    -----
    In a slice the upper half of a lung is the one to the front, which is up in the picture; in a
    volume the one to the head. The abnormality is put where it fits best in that half of all
    backgrounds, and what would reach beyond the lung is cut off, as pleura and fissures do. It is blended on a grid three
    times as fine as the pixels, so that its edge fills pixels in part; what is behind ground glass
    shows through, and behind a solid one it does not. Noise is correlated over neighbouring pixels
    as a soft reconstruction kernel has it.

    References
    ----------
    Ryan et al., Cluster activation mapping with application to computed tomography scans of the
    lung, J Med Imaging 9 (2022) 026001, arXiv:2010.04794.

    Examples
    --------
    >>> from widgetkit import simulate
    >>> made = simulate.lung_abnormalities(8, vary="location", background="phantom")
    >>> made.images.shape, made.k, made.group_names
    ((8, 64, 64), 2, ('right-upper', 'left-upper'))
    """
    count, seed = check_count(n, "n"), check_seed(seed)
    sides = _shape(dims, shape)
    varied = (vary,) if isinstance(vary, str) else tuple(vary)
    constant = {
        "size": size, "location": location, "intensity": intensity, "shape": form, "noise": noise
    }  # fmt: skip
    plan = design(varied, levels, constant)
    groups = assign(count, len(plan), seed)
    own = Nuisance() if nuisance is None else nuisance
    found = backgrounds(
        background,
        shape=sides,
        count=own.backgrounds,
        patients=own.patients,
        heights=own.heights,
        pad_mm=own.shift_mm,
    )
    _check_sizes(plan["size"].tolist(), found)
    which = _spread_backgrounds(groups, len(found.items), seed)
    rooms = _Rooms(found)
    images = np.empty((count, *sides), np.int16)
    masks, lung = np.empty((count, *sides), bool), np.empty((count, *sides), bool)
    rows = []
    records = plan.to_dict("records")
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        drawn = _one(found, rooms, int(which[i]), records[groups[i]], own, rng)
        images[i], masks[i], lung[i] = drawn.image, drawn.mask, drawn.lung
        rows.append(drawn.record)
    called = names(plan, varied)
    table = pd.DataFrame(rows)
    table.insert(0, "label", [called[group] for group in groups])
    table.insert(1, "group", groups)
    table["content_mm"] = masks.reshape(count, -1).sum(1) * float(np.prod(found.spacing))
    for array in (images, masks, lung, groups):
        array.flags.writeable = False
    return LungSimulation(
        images, masks, lung, groups, plan, called, table, varied, found.spacing, found.source, seed
    )


def _shape(dims: int, shape: Sequence[int] | int | None) -> tuple[int, ...]:
    if dims not in (2, 3):
        raise InvalidInput(f"dims={dims!r}: 2 for slices or 3 for volumes.")
    if shape is None:
        return (64, 64) if dims == 2 else (24, 48, 48)
    given = (shape,) * dims if isinstance(shape, (int, np.integer)) else tuple(shape)
    if len(given) != dims:
        raise InvalidInput(f"shape={given}: {dims} sides, as dims={dims} says.")
    sides = tuple(check_count(side, "a side of shape") for side in given)
    if min(sides[-2:]) < 24 or min(sides) < 8 or max(sides) > 512:
        raise InvalidInput(
            f"shape={sides}: lungs need at least 24 pixels a side and 8 slices, and 512 are the most."
        )
    return sides


def _check_sizes(sizes: Sequence[float], found: Backgrounds) -> None:
    pixel = max(found.spacing)
    least = min(sizes)
    if least < LEAST_PIXELS * pixel:
        raise InvalidInput(
            f"An abnormality of {least:g} mm is less than {LEAST_PIXELS:g} pixels of {pixel:.1f} mm across in "
            f"images of {found.shape}: give a larger shape, or a larger size."
        )


def _spread_backgrounds(
    groups: npt.NDArray[np.int32], count: int, seed: int
) -> npt.NDArray[np.intp]:
    """Every group has each background as often as any other, give or take one."""
    which = np.zeros(len(groups), np.intp)
    rng = np.random.default_rng([seed, 2**31 + 1])
    for group in range(int(groups.max()) + 1):
        rows = np.flatnonzero(groups == group)
        which[rows] = rng.permutation((np.arange(len(rows)) + group) % count)
    return which


class _Rooms:
    """Where in each half of each lung there is most room for an abnormality.

    One place for all backgrounds, where it fits into each: a place of its own in every slice would be
    a difference between images that is larger than most of those between groups.
    """

    def __init__(self, found: Backgrounds) -> None:
        self._items = found.items
        self._depth: dict[int, Floats] = {}
        self._centre: dict[tuple[str, float], npt.NDArray[np.float64]] = {}
        self.step = np.array(found.spacing) / FINE

    def centre(self, location: str, radius: float) -> npt.NDArray[np.float64]:
        """In fine points from the first."""
        key = location, radius
        if key not in self._centre:
            self._centre[key] = self._find(location, radius)
        return self._centre[key]

    def _find(self, location: str, radius: float) -> npt.NDArray[np.float64]:
        from scipy import ndimage

        side, half = location.split("-")
        row = SIDES.index(side)
        if row not in self._depth:
            common = np.min([item.lungs[row] for item in self._items], axis=0) > 0.5
            self._depth[row] = ndimage.distance_transform_edt(common, sampling=self.step)
        depth = self._depth[row]
        axis = np.arange(depth.shape[0])
        content = (depth > 0).reshape(len(axis), -1).sum(1).cumsum()
        cut = int(np.searchsorted(content, content[-1] / 2))
        # upper is to the front in a slice (first rows), to the head in a volume (last slices)
        first = (axis < cut) == (half == "upper")
        inside = first if depth.ndim == 2 else ~first
        points = np.argwhere((depth > 0) & inside.reshape(-1, *(1,) * (depth.ndim - 1)))
        room = depth[tuple(points.T)]
        if not len(points) or room.max() < ROOM * radius:
            most = 2 * room.max() if len(points) else 0.0
            raise InvalidInput(
                f"The {half} half of the {side} lung has room for some {most:.0f} mm in every background, "
                f"and the abnormality is {2 * radius:.0f} mm across. Give a smaller size, or backgrounds "
                "that are more alike."
            )
        away = np.linalg.norm((points - points.mean(axis=0)) * self.step, axis=1)
        best: npt.NDArray[np.float64] = points[
            np.argmax(np.minimum(room, radius) - 0.25 * away)
        ].astype(np.float64)
        return best


@dataclass(frozen=True, eq=False)
class _Drawn:
    image: npt.NDArray[np.int16]
    mask: Bools
    lung: Bools
    record: dict[str, Any]


def _one(
    found: Backgrounds,
    rooms: _Rooms,
    which: int,
    levels: Mapping[str, Any],
    nuisance: Nuisance,
    rng: np.random.Generator,
) -> _Drawn:
    """One image. What is drawn from ``rng`` does not depend on the levels, but for the lobes."""
    dims = len(found.shape)
    ground = found.items[which]
    side, half = str(levels["location"]).split("-")
    shift = rng.uniform(-1, 1, dims) * nuisance.shift_mm
    # a normal distribution without its tails, in which abnormalities would leave the lung
    spread = rng.normal(0, 1, dims + 3).clip(-2, 2)
    move = spread[:dims] * nuisance.position_mm
    diameter = levels["size"] * (1 + float(spread[dims]) * nuisance.size)
    hu = levels["intensity"] + float(spread[dims + 1]) * nuisance.intensity_hu
    density = float(spread[dims + 2]) * nuisance.density_hu
    grain = _grain(rng, found.shape)
    shown = body(levels["shape"], diameter, dims, rng)
    centre = rooms.centre(levels["location"], levels["size"] / 2) + move / rooms.step
    fine, share = _blend(ground, SIDES.index(side), centre, shown, hu, density, found, rooms.step)
    start = [
        found.pad * FINE + round(float(d))
        for d in np.clip(shift / rooms.step, -found.pad * FINE, found.pad * FINE)
    ]
    cut = tuple(
        slice(first, first + side_ * FINE) for first, side_ in zip(start, found.shape, strict=True)
    )
    image = _means(fine[cut]) + np.float32(levels["noise"]) * grain
    lung = _means(ground.lungs.sum(0)[cut]) >= 0.5
    filled = np.where(lung, _means(share[cut]), 0)
    # a thin one may fill no pixel by half; its fullest pixel then stands for it
    mask = filled >= min(0.5, float(filled.max()))
    record = {
        "side": side,
        "half": half,
        COLUMNS["shape"]: levels["shape"],
        COLUMNS["size"]: diameter,
        COLUMNS["intensity"]: hu,
        COLUMNS["noise"]: float(levels["noise"]),
        "patient": ground.patient,
        "slice": ground.slice,
    }
    return _Drawn(np.clip(image, -1024, 3071).round().astype(np.int16), mask & lung, lung, record)


def _blend(
    ground: Background,
    row: int,
    centre: npt.NDArray[np.float64],
    shown: Body,
    hu: float,
    density: float,
    found: Backgrounds,
    step: npt.NDArray[np.float64],
) -> tuple[Floats, Floats]:
    """HU with the abnormality, and its share of every fine point."""
    size = ground.hu.shape
    lungs = ground.lungs.sum(0)
    values = ground.hu + np.float32(density) * lungs
    reach = np.ceil((shown.reach + EDGE_MM + max(found.spacing)) / step)
    low = np.clip(np.floor(centre - reach), 0, np.array(size) - 1).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, size).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, step, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    share = np.zeros(size, np.float32)
    share[box] = shown.share(offsets, EDGE_MM) * ground.lungs[row][box]
    # the denser it is, the less of what is behind shows through
    clear = float(np.clip((SOLID_HU - hu) / (SOLID_HU - PARENCHYMA_HU), 0, 1))
    behind = values[box] - np.float32(PARENCHYMA_HU)
    inside = np.float32(hu) + np.float32(clear) * behind
    values[box] += share[box] * (inside - values[box])
    return values, share


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Noise of deviation 1, neighbours correlated by (1, 2, 1) / 4 along the last two axes."""
    wide = (*shape[:-2], shape[-2] + 2, shape[-1] + 2)
    white = rng.standard_normal(wide, np.float32)
    rows = white[..., :-2, :] + 2 * white[..., 1:-1, :] + white[..., 2:, :]
    soft = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    grain: Floats = soft / np.float32(6.0)  # sqrt(1 + 4 + 1) along each axis
    return grain


def _means(fine: Floats) -> Floats:
    """Of FINE points along each axis."""
    split = [part for side in fine.shape for part in (side // FINE, FINE)]
    means: Floats = fine.reshape(split).mean(axis=tuple(range(1, 2 * fine.ndim, 2)))
    return means
