"""Slices of CT and MRI as tiles, or whole volumes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, InvalidInput, NoTissue, WidgetkitError
from widgetkit.tiles.array import SAMPLE
from widgetkit.tiles.base import BaseSource, check_rows, make_table
from widgetkit.tiles.metadata import Metadata, finish
from widgetkit.tiles.pixels import estimate_window
from widgetkit.tiles.prepared import DicomSeries, Grid, Item, Mask, Series, SeriesCache
from widgetkit.tiles.volume import Volume
from widgetkit.tiles.windows import Window, resolve_window

Kind = Literal["slices", "volumes"]
WindowLike: TypeAlias = str | Window | tuple[float, float] | None


def from_volumes(
    volumes: Item | Sequence[Item],
    *,
    as_: Kind = "slices",
    shape: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    window: WindowLike = None,
    mask: Mask | Sequence[Mask | None] | None = None,
    least_mask: float = 0.0,
    crop: bool = False,
    margin: float = 5.0,
    modality: str | None = None,
    names: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
    progress: Callable[[int, int], None] | None = None,
) -> VolumeTiles:
    """CT and MRI as tiles: one a slice, or one a series.

    Parameters
    ----------
    volumes : Volume or path, or a sequence of them
        What :func:`read_volume` gives or reads. Paths are read here once, and again when their
        tiles are needed and no longer in memory. A list of DICOM files that make one series goes
        in a list of its own, or to :func:`from_dicom`.
    as_ : "slices" or "volumes"
        Tiles of (H, W), or of (D, H, W).
    shape : int or (H, W); for volumes int or (D, H, W), optional
        Every image, or the box of its mask with ``crop``, is scaled to it, each axis for itself;
        with ``spacing`` too, it is cut or filled around its middle instead (with its lowest value).
        Needed where the series differ in shape.
    spacing : float or (y, x); for volumes float or (z, y, x), optional
        Resample to this many mm. ``(z, y, x)`` for slices resamples across them as well.
    window : str, Window or (low, high), optional
        What is *shown* as black and white: a preset of :data:`WINDOWS` (CT in HU), or values. The
        model gets the values themselves. Default: from 64 slices, as other sources do.
    mask : array (D, H, W), Volume or path; for several series a sequence, optional
        Of an organ: every value but 0 is inside. A file or a Volume must lie on the same voxels; an
        array is in the axes of :attr:`Volume.values`. None in a sequence: the whole series.
    least_mask : float
        Slices (or volumes) with a smaller share of their pixels in the mask are left out.
    crop : bool
        Cut to the box of the mask and ``margin`` (mm) round it: slices in their plane, with one box
        for the whole series; volumes along all axes.
    modality : str, optional
        ``"CT"`` says that NIfTI and NRRD files are in HU.
    names : sequence of str, optional
        One a series. **Ids come from them, and they are kept in every store.** Default: a Volume's
        own name where these differ, else ``"series 1"``, ``"series 2"``, ...; never a file's name.
    metadata, on, anonymise_patients
        As in :func:`join_metadata` (``on="series"`` joins by name) and :func:`anonymise`.
    progress : callable, optional
        Called with (series done, series in all).

    Returns
    -------
    VolumeTiles
        float32. Columns: ``series``; for slices ``z`` (index in the series), ``z_mm`` (position along
        the normal, LPS), ``position`` (0 first slice, 1 last); with a mask ``mask_share``. ``x`` and
        ``y`` are the corner of the cut, in voxels; ``mpp`` is micrometres a pixel along W.

    Raises
    ------
    BadImage
        Shapes differ and ``shape`` was not given; a volume cannot be read. Says which series.
    InvalidInput
        A mask does not lie on its image; an argument cannot be used.
    NoTissue
        No slice is left.
    """
    if as_ not in ("slices", "volumes"):
        raise InvalidInput(f"as_={as_!r}; it is 'slices' or 'volumes'.")
    if not 0 <= least_mask <= 1:
        raise InvalidInput(f"least_mask={least_mask}; it is a share, from 0 to 1.")
    if not (np.isfinite(margin) and margin >= 0):
        raise InvalidInput(f"margin={margin}; it is a number of mm from 0.")
    items = _items(volumes)
    masks = _masks(mask, len(items))
    if masks is None and (crop or least_mask > 0):
        raise InvalidInput("crop and least_mask need a mask=.")
    grid = Grid.asked(as_, shape, spacing, crop=crop, margin=float(margin))
    cache = SeriesCache()
    wanted = _names(items, names)
    parts: list[Series] = []
    tables: list[pd.DataFrame] = []
    sample: list[np.ndarray] = []
    size: tuple[int, ...] | None = None
    for i, (item, name) in enumerate(zip(items, wanted, strict=True)):
        part = Series(i, name, item, None if masks is None else masks[i], grid, modality)
        try:
            ready = part.prepare(cache)
        except WidgetkitError as error:
            if len(items) == 1:
                raise
            raise type(error)(f"{name}: {error}") from None
        here = ready.values.shape[1:] if as_ == "slices" else ready.values.shape
        if size is not None and here != size:
            raise BadImage(
                f"{name} has {as_} of {' x '.join(map(str, here))} and {wanted[0]} of "
                f"{' x '.join(map(str, size))}. Give shape= to scale all to one"
                + (", such as shape=256." if as_ == "slices" else ", such as shape=(64, 64, 64).")
            )
        size = here
        _check_window_fits(window, part)
        parts.append(part)
        tables.append(_rows(part, as_, least_mask if masks is not None else None))
        few = max(1, -(-SAMPLE // len(items)))
        picked = np.unique(np.linspace(0, len(ready.values) - 1, few).round().astype(int))
        if window is None:
            sample.append(ready.values[picked].astype(np.float32))
        if progress is not None:
            progress(i + 1, len(items))
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        raise NoTissue(f"No tile has a share of {least_mask:g} of its pixels in the mask.")
    shown = estimate_window(np.concatenate(sample)) if window is None else resolve_window(window)
    assert size is not None
    rows = table.pop("_series").to_numpy(np.int64), table.pop("_slice").to_numpy(np.int64)
    table = finish(table, metadata, on, anonymise_patients)
    source = VolumeTiles(table, parts, rows, as_, size, shown, cache)
    _tell(source)
    return source


class VolumeTiles(BaseSource):
    """Slices or volumes; made by :func:`from_volumes`."""

    def __init__(
        self,
        table: pd.DataFrame,
        series: Sequence[Series],
        rows: tuple[np.ndarray, np.ndarray],
        as_: Kind,
        shape: tuple[int, ...],
        window: tuple[float, float],
        cache: SeriesCache | None = None,
    ) -> None:
        self._series = list(series)
        self._of, self._slice = rows
        self._as = as_
        self._cache = cache or SeriesCache()
        super().__init__(table, shape, np.dtype(np.float32), window)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the series."""
        return tuple(part.name for part in self._series)

    @property
    def problems(self) -> pd.DataFrame:
        """What is odd about the series though they could be read: ``series``, ``problem``."""
        return pd.DataFrame(
            [(part.name, problem) for part in self._series for problem in part.facts.problems],
            columns=["series", "problem"],
        )

    def volume(self, series: int | str = 0) -> Volume:
        """A series as read, before it was cut or resampled; by number from 0, or name."""
        if isinstance(series, str):
            if series not in self.names:
                raise InvalidInput(f"There is no series {series!r}; there are {len(self._series)}.")
            series = self.names.index(series)
        if not 0 <= series < len(self._series):
            raise InvalidInput(
                f"Series {series} of {len(self._series)} (0..{len(self._series) - 1})."
            )
        return self._series[series].load()

    def masks(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Which pixels of these tiles are in the mask: (m, *shape) bool; all where there is none."""
        wanted = np.arange(len(self)) if rows is None else check_rows(rows, len(self))
        out = np.ones((len(wanted), *self.shape), bool)
        for at, row in enumerate(wanted.tolist()):
            mask = self._series[self._of[row]].prepare(self._cache).mask
            if mask is not None:
                out[at] = mask[self._slice[row]] if self._as == "slices" else mask
        return out

    def _read_one(self, row: int) -> np.ndarray:
        values = self._series[self._of[row]].prepare(self._cache).values
        tile = values[self._slice[row]] if self._as == "slices" else values
        out: np.ndarray = tile.astype(np.float32, copy=False)
        return out

    def describe(self) -> dict[str, object]:
        """Provenance: grids, modalities, and a hash of each series' voxels. No name, no path."""
        return {
            "kind": "volumes",
            "as": self._as,
            "series": [part.describe() for part in self._series],
            "shape": list(self.shape),
            "window": list(self.window or ()),
        }


def _items(volumes: Item | Sequence[Item]) -> list[Item]:
    if isinstance(volumes, Volume | DicomSeries | str | os.PathLike):
        return [volumes]
    if isinstance(volumes, np.ndarray):
        raise InvalidInput(
            "from_volumes takes Volumes and paths. Wrap an array: wk.tiles.Volume(values, "
            "spacing=(z, y, x)), or give arrays (n, D, H, W) to wk.tiles.from_array(volume=True)."
        )
    items = list(volumes)
    if not items:
        raise NoTissue("No volume was given.")
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray):
            raise InvalidInput(f"Volume {i + 1} is an array; wrap it in wk.tiles.Volume.")
    return items


def _masks(mask: Mask | Sequence[Mask | None] | None, n: int) -> list[Mask | None] | None:
    if mask is None:
        return None
    single = isinstance(mask, Volume | str | os.PathLike) or (
        isinstance(mask, np.ndarray) and mask.ndim == 3
    )
    masks: list[Mask | None] = [mask] if single else list(mask)  # type: ignore[list-item,arg-type]
    if len(masks) != n:
        raise InvalidInput(
            f"{len(masks)} masks for {n} series; give one each, or None for a series."
        )
    return None if all(one is None for one in masks) else masks


def _names(items: Sequence[Item], names: Sequence[str] | None) -> list[str]:
    if names is not None:
        given = [names] if isinstance(names, str) else [str(name) for name in names]
        if len(given) != len(items):
            raise InvalidInput(f"{len(given)} names for {len(items)} series.")
        if len(set(given)) < len(given) or not all(given):
            raise InvalidInput("names= must be different and not empty; ids come from names.")
        return given
    own = [item.name for item in items if isinstance(item, Volume)]
    if len(own) == len(items) and len(set(own)) == len(own):
        return own
    return [f"series {i + 1}" for i in range(len(items))]


def _rows(part: Series, as_: Kind, least: float | None) -> pd.DataFrame:
    """The table of one series' tiles, with where each lies in ``_series`` and ``_slice``."""
    facts = part.facts
    n = len(facts.z_mm) if as_ == "slices" else 1
    table = make_table(
        part.name,
        n=n,
        x=facts.corner[2],
        y=facts.corner[1],
        z=np.arange(n, dtype=np.float64),
        size=facts.shape[1],
        mpp=facts.spacing[2] * 1000,
    )
    table["series"] = pd.Series([part.name] * n, dtype="str")
    if as_ == "slices":
        table["z_mm"] = facts.z_mm
        table["position"] = np.linspace(0, 1, n) if n > 1 else [0.0]
        shares = facts.mask_shares
    else:
        table["slices"] = facts.shape[0]
        shares = np.array([facts.mask_shares.mean()])
    table["_series"] = part.index
    table["_slice"] = np.arange(n)
    if least is not None:
        table["mask_share"] = shares
        table = table[shares >= least]
    return table


def _check_window_fits(window: WindowLike, part: Series) -> None:
    if isinstance(window, str) and part.facts.modality not in ("", "CT"):
        raise InvalidInput(
            f"window={window!r} is for CT in HU and {part.name} is {part.facts.modality}. Give "
            "(low, high), or leave it out."
        )


def _tell(source: VolumeTiles) -> None:
    problems = source.problems
    if len(problems):
        first = problems.iloc[0]
        more = f" and {len(problems) - 1} more (see .problems)" if len(problems) > 1 else ""
        warnings.warn(f"{first['series']}: {first['problem']}{more}", stacklevel=3)
