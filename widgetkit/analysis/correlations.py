"""Correlation of factors with maps over all positions, with intervals by slide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    Ints,
    Mask,
    check_count,
    check_seed,
    choice,
)
from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis.moments import Moments
from widgetkit.analysis.rank_correlation import RankSample
from widgetkit.analysis.resampling import Units, check_level, interval, resample, units_of
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["pearson", "spearman"]
METHODS: tuple[str, ...] = ("pearson", "spearman")

MapValues = npt.ArrayLike | Callable[[Ints], npt.ArrayLike]
r"""(n, \*grid) values, or ``f(rows) -> (m, *grid)`` for maps computed while they are read."""

#: Positions that are ranked at the most: ranks need all positions in memory, and sorted.
SPEARMAN_POSITIONS = 200_000

# Bytes of the float64 copy of a batch of weights.
_BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Correlation:
    """A correlation over positions.

    Attributes
    ----------
    r : over all positions; NaN where one side is constant (``note`` says which)
    low, high : its interval by group
    within : the correlation inside groups: both sides taken from the mean of their group. Far from
        ``r`` when groups differ in level, e.g. by stain
    n : positions used
    groups : number of groups
    per_group : the correlation of each group alone; NaN where it is constant
    note : what the reader has to know, or ""
    method : "pearson" or "spearman"
    level : of the interval
    """

    r: float
    low: float
    high: float
    within: float
    n: int
    groups: int
    per_group: dict[Any, float]
    note: str
    method: str
    level: float


def correlation(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    method: Method = "pearson",
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    sample: int = SPEARMAN_POSITIONS,
) -> Correlation:
    """Correlation of two maps over all their positions, with an interval by group.

    Parameters
    ----------
    a, b : (n,) or (n, *grid) float
        NaN means not measured; such positions are left out and counted in the note.
    groups : (n,)
        Slide or patient of each tile, of any type. Whole groups are drawn for the interval
        (:mod:`~widgetkit.analysis.resampling`); with fewer than three, blocks of neighbouring
        tiles are, and the note says so.
    method : {"pearson", "spearman"}
        Spearman is Pearson of the ranks, ties sharing their mean rank. In each draw ranks are
        taken anew, in 64 classes.
    n_boot : int
        Draws; 0 for no interval.
    seed : int
        Of the draws and of the sample.
    level : float
    sample : int
        Positions ranked at the most, drawn at random; the note says so.

    Raises
    ------
    InvalidInput
        Shapes that differ, groups of another length or with missing values.
    BadActivations
        Infinity.

    References
    ----------
    Davison & Hinkley (1997), section 3.8. Hesterberg (2015), The American Statistician 69.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.ndim == 0:
        raise InvalidInput(
            f"a and b must hold the same positions; got shapes {first.shape} and {second.shape}. "
            "Bring maps onto one grid first (explain.upsample or explain.area_mean)."
        )
    names, codes = group_codes(groups, len(first))
    run = _Run(codes, len(names), (choice(method, METHODS, "method"),), n_boot, seed, level, sample)
    run.consume(first[:, None], {"b": second}, ("a",), None, None)
    found = run.results()[0]
    return Correlation(
        r=found.r,
        low=found.low,
        high=found.high,
        within=found.within,
        n=found.n,
        groups=len(names),
        per_group=dict(zip(names, run.per_group(method), strict=True)),
        note=found.note,
        method=method,
        level=run.level,
    )


def correlation_table(
    weights: npt.ArrayLike | Iterable[Any],
    maps: Mapping[str, MapValues],
    groups: npt.ArrayLike,
    names: Sequence[str] | None = None,
    *,
    methods: Method | Sequence[Method] = ("pearson", "spearman"),
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    sample: int = SPEARMAN_POSITIONS,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> pd.DataFrame:
    """Correlation of every factor with every map over all positions, in one pass.

    Pearson by sums a group, so memory does not grow with ``n`` and the draws of the interval cost
    nothing extra; Spearman on at most ``sample`` positions, drawn at random.

    Parameters
    ----------
    weights : (n, k, *grid) array, or an iterator of batches
        A batch is ``(m, k, *grid)`` in the order of the tiles, or ``(rows, (m, k, *grid))``.
        Every tile exactly once.
    maps : dict of name to (n, *grid) array, or to ``f(rows) -> (m, *grid)``
        On the same grid. NaN means not measured.
    groups : (n,)
        Slide or patient of each tile.
    names : sequence of str, optional
        Of the factors; their numbers by default.
    methods, n_boot, seed, level, sample
        As :func:`correlation`.
    progress, cancel : callable, optional
        Between batches, ``progress(tiles, n)``.

    Returns
    -------
    DataFrame
        One row a factor, map and method: ``factor``, ``map``, ``method``, ``r``, ``low``,
        ``high``, ``within`` (the correlation inside groups), ``n`` (positions), ``groups``,
        ``note``.

    Raises
    ------
    ChannelMismatch
        Names that do not fit the factors, batches that differ in k, grids that differ.
    InvalidInput, BadActivations, Cancelled
    """
    import pandas as pd

    wanted = (methods,) if isinstance(methods, str) else tuple(methods)
    if not wanted or not maps:
        raise InvalidInput("Give at least one method and one map.")
    chosen = tuple(choice(method, METHODS, "method") for method in wanted)
    column = np.asarray(groups)
    group_names, codes = group_codes(column, len(column) if column.ndim else 0)
    run = _Run(codes, len(group_names), chosen, n_boot, seed, level, sample)
    run.consume(weights, dict(maps), names, progress, cancel)
    return pd.DataFrame([vars(found) for found in run.results()])


@dataclass(frozen=True)
class _Row:
    factor: Any
    map: str
    method: str
    r: float
    low: float
    high: float
    within: float
    n: int
    groups: int
    note: str


@dataclass
class _Run:
    """One pass over the tiles, then the figures."""

    codes: Codes
    groups: int
    methods: tuple[str, ...]
    n_boot: int
    seed: int
    level: float
    sample: int
    _labels: list[Any] = field(default_factory=list)
    _maps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.n_boot = check_count(self.n_boot, "n_boot", least=0)
        self.sample = check_count(self.sample, "sample", least=3)
        self.seed, self.level = check_seed(self.seed), check_level(self.level)
        if len(self.codes) == 0:
            raise TooFew("There is no tile: a correlation needs at least two positions.")
        self.units: Units = units_of(self.codes, self.groups)
        # sums are kept by unit and by group at once: a block lies inside one group
        self.owner = np.zeros(max(self.units.count, 1), np.intp)
        self.owner[self.units.codes] = self.codes

    def consume(
        self,
        weights: Any,
        maps: dict[str, MapValues],
        names: Sequence[str] | None,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> None:
        n, done = len(self.codes), 0
        given = {name: m if callable(m) else np.asarray(m) for name, m in maps.items()}
        for name, values in given.items():
            if isinstance(values, np.ndarray) and (values.ndim < 1 or len(values) != n):
                raise InvalidInput(
                    f"Map {name!r} has shape {values.shape}; groups hold {n} tiles, so "
                    f"({n}, *grid) is expected."
                )
        seen = np.zeros(n, np.bool_)
        self._maps = list(given)
        shape: tuple[int, ...] | None = None
        for rows, batch in _batches(weights, n):
            checkpoint(cancel, progress, done, n)
            if shape is None:
                shape = batch.shape[1:]
                self._begin(shape, names)
            elif batch.shape[1:] != shape:
                raise ChannelMismatch(
                    f"A batch of weights has (k, *grid) = {batch.shape[1:]}; the first one had {shape}."
                )
            if seen[rows].any() or len(np.unique(rows)) != len(rows):
                raise InvalidInput("A tile came twice in the batches of weights.")
            seen[rows] = True
            done += len(rows)
            self._add(rows, batch, given, shape[1:])
        if done != n:
            raise InvalidInput(
                f"The weights hold {done} tiles and groups {n}: every tile is needed exactly once."
            )
        checkpoint(cancel, progress, n, n)

    def _begin(self, shape: tuple[int, ...], names: Sequence[str] | None) -> None:
        k = shape[0]
        if names is not None and len(names) != k:
            raise ChannelMismatch(f"{len(names)} names for {k} factors.")
        self._labels = list(range(k)) if names is None else list(names)
        self._moments = Moments(len(self.owner), k, len(self._maps))
        positions = int(np.prod(shape[1:], dtype=np.int64))
        self._ranks = (
            RankSample(len(self.codes), positions, self.sample, self.seed)
            if "spearman" in self.methods
            else None
        )

    def _add(self, rows: Ints, batch: Floats, maps: dict[str, Any], grid: tuple[int, ...]) -> None:
        m, k = batch.shape[:2]
        values = np.empty((m, len(maps), batch[0, 0].size), np.float64)
        for j, (name, given) in enumerate(maps.items()):
            part = np.asarray(given(rows) if callable(given) else given[rows])
            if part.shape != (m, *grid):
                raise ChannelMismatch(
                    f"Map {name!r} has the grid {part.shape[1:]}, the weights have {grid}. Bring "
                    "them onto one grid first (explain.upsample or explain.area_mean)."
                )
            values[:, j] = part.reshape(m, -1)
            _refuse_infinity(values[:, j], f"Map {name!r}")
        flat = np.asarray(batch, np.float64).reshape(m, k, -1)
        _refuse_infinity(flat, "The weights")
        self._moments.add(self.units.codes[rows], flat, values)
        if self._ranks is not None:
            self._ranks.add(rows, flat, values, self.units.codes[rows])

    def results(self) -> list[_Row]:
        rows = []
        for method in self.methods:
            moments, note = self._of(method)
            r, within = moments.correlation(), moments.within(self.owner, self.groups)
            low, high = self._ends(method, moments, r)
            for i, factor in enumerate(self._labels):
                for j, name in enumerate(self._maps):
                    rows.append(
                        _Row(
                            factor,
                            name,
                            method,
                            float(r[i, j]),
                            float(low[i, j]),
                            float(high[i, j]),
                            float(within[i, j]),
                            int(moments.n[:, j].sum()),
                            self.groups,
                            " ".join(filter(None, (moments.reason(i, j), note, self._note()))),
                        )
                    )
        order = {method: at for at, method in enumerate(self.methods)}
        return sorted(
            rows,
            key=lambda row: (
                self._labels.index(row.factor),
                self._maps.index(row.map),
                order[row.method],
            ),
        )

    def per_group(self, method: str) -> list[float]:
        """The correlation of the first factor and map in each group alone."""
        if method == "spearman":
            assert self._ranks is not None
            return self._ranks.per_group(self.owner, self.groups)
        alone = self._moments.by_group(self.owner, self.groups)
        return [float(v) for v in alone[:, 0, 0]]

    def _of(self, method: str) -> tuple[Moments, str]:
        if method == "pearson":
            return self._moments, ""
        assert self._ranks is not None
        return self._ranks.moments(len(self.owner)), self._ranks.note

    def _note(self) -> str:
        return self.units.note if self.n_boot else ""

    def _ends(self, method: str, moments: Moments, r: Floats) -> tuple[Floats, Floats]:
        if self.n_boot == 0 or not self.units.usable:
            return np.full(r.shape, np.nan), np.full(r.shape, np.nan)
        if method == "pearson":
            drawn = resample(moments.correlation, self.units.count, self.n_boot, self.seed)
        else:
            assert self._ranks is not None
            drawn = self._ranks.resample(r, self.units.count, self.n_boot, self.seed)
        low, high = interval(drawn, self.units.count, self.level)
        defined = np.isfinite(r)
        return np.where(defined, low, np.nan), np.where(defined, high, np.nan)


def _batches(weights: Any, n: int) -> Iterator[tuple[Ints, Floats]]:
    """Row numbers and weights (m, k, *grid) of each batch."""
    if hasattr(weights, "shape") or isinstance(weights, (list, tuple)):
        array = np.asarray(weights)
        if array.ndim < 2 or len(array) != n:
            raise InvalidInput(
                f"weights have shape {array.shape}; groups hold {n} tiles, so ({n}, k, *grid) is "
                "expected."
            )
        step = max(1, _BATCH_BYTES // max(8 * array[0].size, 1))
        for start in range(0, n, step):
            part = array[start : start + step]
            yield np.arange(start, start + len(part)), _numbers(part)
        return
    at = 0
    for batch in weights:
        if isinstance(batch, tuple) and len(batch) == 2:
            rows, part = np.asarray(batch[0]), np.asarray(batch[1])
        else:
            part = np.asarray(batch)
            rows = np.arange(at, at + len(part))
        if part.ndim < 2 or rows.shape != (len(part),) or rows.dtype.kind not in "iu":
            raise InvalidInput(
                f"A batch must be weights (m, k, *grid) or (rows, weights); got weights of shape "
                f"{part.shape} and rows of shape {rows.shape}."
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= n):
            raise InvalidInput(f"A batch holds tile {int(rows.max())}; groups hold {n} tiles.")
        at += len(part)
        if len(part):
            yield rows.astype(np.intp), _numbers(part)


def _numbers(values: npt.NDArray[Any]) -> Floats:
    if values.dtype.kind not in "fiub":
        raise InvalidInput(f"Weights must be real numbers; got {values.dtype}.")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _refuse_infinity(values: Floats, name: str) -> None:
    bad: Mask = np.isinf(values)
    if bad.any():
        raise BadActivations(
            f"{name} hold infinity in {int(bad.sum())} of {values.size} values of a batch. Mark "
            "what was not measured by NaN."
        )
