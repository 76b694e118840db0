"""Images of lungs with abnormalities of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.errors import InvalidInput
from widgetkit.simulate.background import BackgroundLike, Backgrounds, backgrounds
from widgetkit.simulate.factors import Levels, assign, design, names
from widgetkit.simulate.inserting import Nuisance, Rooms, insert
from widgetkit.tiles.array import from_array
from widgetkit.tiles.windows import WINDOWS

if TYPE_CHECKING:
    from widgetkit.tiles.array import ArrayTiles

Bools = npt.NDArray[np.bool_]

#: Smaller than this many pixels across, they are hardly there.
LEAST_PIXELS = 2.0


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
    rooms = Rooms(found)
    images = np.empty((count, *sides), np.int16)
    masks, lung = np.empty((count, *sides), bool), np.empty((count, *sides), bool)
    rows = []
    records = plan.to_dict("records")
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        drawn = insert(found, rooms, int(which[i]), records[groups[i]], own, rng)
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
