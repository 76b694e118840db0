"""The volumes of a store: tiles that are volumes, or stacks of slices, and what their source said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.session.scan import Scan, Triple, check_directions

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore

#: Columns that say which slices belong together, and how they follow each other: the first there is.
_GROUPS, _PLACES = ("series", "slide"), ("z_mm", "z", "position")
#: Slices are on a lattice when each is this near to it, in steps; and when it is not mostly holes.
_UNEVEN, _HOLES_MOST = 0.05, 4


class Volumes:
    """The volumes of a store: its tiles, where they are volumes, else its stacks of slices.

    Parameters
    ----------
    store : ActivationStore
    spacing : (z, y, x) mm, optional
        Of all volumes, in place of what the store says.
    directions : three letters such as "SPL", optional
        Where D, H and W run to, in place of what the store says.

    Attributes
    ----------
    reason : str
        Why there is none; else empty.
    """

    def __init__(
        self,
        store: ActivationStore,
        *,
        spacing: Sequence[float] | None = None,
        directions: Sequence[str] | None = None,
    ) -> None:
        self._store = store
        self._spacing = None if spacing is None else _triple(spacing)
        if spacing is not None and self._spacing is None:
            raise InvalidInput(f"spacing={spacing!r}; it is three numbers (z, y, x) above 0 mm.")
        self._directions = check_directions(directions)
        if directions is not None and self._directions is None:
            raise InvalidInput(
                f"directions={directions!r}; it is three letters for D, H and W, one each of L/R, "
                "A/P and S/I, such as 'SPL' for an axial series."
            )
        self.reason = self._why_none()

    @property
    def stacked(self) -> bool:
        """Whether a volume is a stack of tiles."""
        from widgetkit.store.images import is_volume

        shape = self._store.image_shape
        return shape is not None and not is_volume(shape)

    def __len__(self) -> int:
        if self.reason:
            return 0
        return len(self._stacks[1]) - 1 if self.stacked else len(self._store)

    def of(self, row: int) -> int:
        """Number of the volume that a tile is, or is a slice of; -1 for none."""
        if self.reason:
            return -1
        return int(self._stack_of[row]) if self.stacked else row

    def among(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Volumes that hold some tiles, ascending, each once."""
        if self.reason:
            return np.zeros(0, np.int64)
        if not self.stacked:
            return np.asarray(rows, np.int64)
        found = np.unique(self._stack_of[rows])
        return np.asarray(found[found >= 0], np.int64)

    def __getitem__(self, index: int) -> Scan:
        """One volume.

        Raises
        ------
        InvalidInput
            There is none, or its slices make no stack. Says why, without a name.
        """
        if self.reason:
            raise InvalidInput(self.reason)
        if not 0 <= index < len(self):
            raise InvalidInput(f"There is no volume {index}; the store has {len(self):,}, from 0.")
        shape = self._store.image_shape
        assert shape is not None
        colour = len(shape) in (3, 4) and shape[-1] == 3
        sides = [int(side) for side in (shape[:-1] if colour else shape)]
        notes: list[str] = []
        if self.stacked:
            rows, between = self._stack(index, notes)
            first = int(rows[rows >= 0][0])
            sides = [len(rows), *sides]
        else:
            rows, between, first = np.array([index], np.int64), None, index
        record = self._record(first, notes)
        spacing, in_mm = self._spacing_of(first, record, between, notes)
        window = _pair(self._store.manifest.preprocess.get("window"))
        units = "HU" if window and record and record.get("units") == "HU" else ""
        directions = self._directions or check_directions((record or {}).get("directions"))
        if directions is None:
            notes.append(
                "Where the axes run to in the patient is not known: planes have no letters."
            )
        return Scan(
            index, rows, (sides[0], sides[1], sides[2]), colour, self.stacked, spacing, in_mm,
            directions, window, units, tuple(notes),
        )  # fmt: skip

    def named(self, scan: Scan) -> str:
        """What to call it: a number, never a name, which may be a patient's."""
        return f"series {scan.index + 1}" if scan.stacked else f"tile {scan.index}"

    # -- stacks --------------------------------------------------------------------------
    @cached_property
    def _table(self) -> pd.DataFrame:
        return self._store.tiles

    @property
    def _group(self) -> str | None:
        return next((name for name in _GROUPS if name in self._table), None)

    @cached_property
    def _stack_of(self) -> npt.NDArray[np.int64]:
        """(n,) number of each tile's series, by first appearance; -1 without one."""
        import pandas as pd

        codes, _ = pd.factorize(self._table[self._group])
        return np.asarray(codes, np.int64)

    @cached_property
    def _stacks(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows sorted by series, and where each series begins."""
        order = np.argsort(self._stack_of, kind="stable")
        stacks = int(self._stack_of.max(initial=-1)) + 1
        starts = np.searchsorted(self._stack_of[order], np.arange(stacks + 1))
        return order.astype(np.int64), starts.astype(np.int64)

    def _why_none(self) -> str:
        store = self._store
        if not len(store):
            return "The store has no tiles."
        if store.image_shape is None:
            return "The store keeps no pictures of its tiles, so there is no volume to look at."
        if not self.stacked:
            return ""
        places = [name for name in _PLACES if name in self._table]
        if self._group is None or not places:
            lacks = "'series' or 'slide'" if self._group is None else "'z_mm', 'z' or 'position'"
            return (
                "The tiles are pictures. To be shown as slices of volumes their table needs a column "
                f"{lacks}; see wk.tiles.from_volumes."
            )
        if self._group == "slide" and not self._any_stack(places):
            return (
                "The tiles are pictures: no two of one slide have different z, so they are not slices "
                "of volumes."
            )
        return ""

    def _any_stack(self, places: list[str]) -> bool:
        """Whether any two tiles of one slide differ in place."""
        known = self._table[self._stack_of >= 0]
        groups = known.groupby(self._stack_of[self._stack_of >= 0])
        return any(bool((groups[name].nunique() > 1).any()) for name in places)

    def _stack(self, index: int, notes: list[str]) -> tuple[npt.NDArray[np.int64], float | None]:
        """Row of each slice from the first to the last, -1 for holes; mm between slices."""
        order, starts = self._stacks
        rows = order[starts[index] : starts[index + 1]]
        what = f"The tiles of series {index + 1} of {len(self)}"
        for name in ("x", "y"):
            if name in self._table and self._table[name].iloc[rows].nunique(dropna=False) > 1:
                raise InvalidInput(
                    f"{what} lie beside each other (they differ in {name}), so they are no stack of "
                    "slices."
                )
        for name in (name for name in _PLACES if name in self._table):
            place = np.asarray(self._table[name].iloc[rows], np.float64)
            if np.isfinite(place).all() and len(np.unique(place)) == len(place):
                break
        else:
            raise InvalidInput(
                f"{what} are no stack of slices: two lie at one z, or a z is not known."
            )
        rows = rows[np.argsort(place)]
        if len(rows) == 1:
            return rows, None
        gaps = np.diff(np.sort(place))
        step = float(gaps.min())
        steps = np.rint(gaps / step).astype(np.int64)
        slots = np.concatenate([[0], np.cumsum(steps)])
        even = bool((np.abs(gaps / step - steps) <= _UNEVEN).all())
        if not even or slots[-1] + 1 > _HOLES_MOST * len(rows):
            unit = " mm" if name == "z_mm" else ""
            notes.append(
                f"The slices lie {gaps.min():.3g} to {gaps.max():.3g}{unit} apart and are drawn evenly."
            )
            return rows, float(np.median(gaps)) if name == "z_mm" else None
        if slots[-1] + 1 > len(rows):
            lacking = int(slots[-1]) + 1 - len(rows)
            slices = f"{lacking:,} slice{'' if lacking == 1 else 's'}"
            notes.append(f"{slices} between others: not in the store, left empty.")
        out = np.full(int(slots[-1]) + 1, -1, np.int64)
        out[slots] = rows
        if name == "z_mm":
            return out, float((place.max() - place.min()) / slots[-1])
        return out, -step if name == "z" else None  # in slices of the series, not in mm

    # -- millimetres ---------------------------------------------------------------------
    def _record(self, row: int, notes: list[str]) -> Mapping[str, Any] | None:
        """What the source said of a tile's series; None where it is not sure which it was."""
        source = self._store.manifest.source
        records = series_listed(source)
        if not records:
            return None
        if source.get("kind") == "volumes" and "series" in self._table:
            import pandas as pd

            codes, names = pd.factorize(self._table["series"])
            if len(names) == len(records) and codes[row] >= 0:
                return records[int(codes[row])]  # in the order in which the source lists them
        mpp = self._mpp(row)
        if mpp is not None:
            records = [
                record
                for record in records
                if (step := _triple(record.get("to_spacing"))) is not None
                and math.isclose(step[2] * 1000, mpp, rel_tol=1e-3)
            ]
        facts = {repr([r.get(k) for k in ("to_spacing", "units", "directions")]) for r in records}
        if len(facts) == 1:
            return records[0]
        notes.append("The series differ, and the store does not say which of them this is.")
        return None

    def _mpp(self, row: int) -> float | None:
        if "mpp" not in self._table:
            return None
        mpp = float(self._table["mpp"].iloc[row])
        return mpp if math.isfinite(mpp) and mpp > 0 else None

    def _spacing_of(
        self, row: int, record: Mapping[str, Any] | None, between: float | None, notes: list[str]
    ) -> tuple[Triple, bool]:
        """Spacing, and whether it is in millimetres; what is assumed is added to the notes."""
        if self._spacing is not None:
            return self._spacing, True
        said, mpp = _triple((record or {}).get("to_spacing")), self._mpp(row)
        if said is not None:
            across = said[0] if between is None else between if between > 0 else -between * said[0]
            return (across, said[1], said[2]), True
        if mpp is None:
            notes.append("The size of voxels is not known: they are drawn as cubes.")
            return (1.0, 1.0, 1.0), False
        side = mpp / 1000
        if between is not None and between > 0:
            return (between, side, side), True
        notes.append("The distance of slices is not known: it is taken as that of pixels.")
        return (side, side, side), True


def series_listed(described: object) -> list[Mapping[str, Any]]:
    """The series that a source's ``describe()`` lists, all parts counted through."""
    if not isinstance(described, Mapping):
        return []
    parts = described.get("parts")
    if isinstance(parts, list | tuple):
        return [series for part in parts for series in series_listed(part)]
    if "of" in described:
        return series_listed(described["of"])
    listed = described.get("series")
    if described.get("kind") != "volumes" or not isinstance(listed, list | tuple):
        return []
    return [series for series in listed if isinstance(series, Mapping)]


def _triple(values: object) -> Triple | None:
    if not isinstance(values, (list, tuple, np.ndarray)) or len(values) != 3:
        return None
    try:
        one, two, three = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    good = all(math.isfinite(value) and value > 0 for value in (one, two, three))
    return (one, two, three) if good else None


def _pair(values: object) -> tuple[float, float] | None:
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    low, high = float(values[0]), float(values[1])
    return (low, high) if low < high else None
