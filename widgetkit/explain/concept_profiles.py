"""What the examples of each concept look like at a layer, shell by shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import checkpoint
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near
from widgetkit.explain.concept_target import ConceptTarget

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Floats: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.intp]
Rows: TypeAlias = npt.NDArray[np.int64]

#: Shells that a grid is split into.
SHELLS = 4
#: Bytes of stored activations that are read at once.
_CHUNK = 64 * 2**20


def shells(grid: Sequence[int]) -> Index:
    """Which shell each position of a grid lies in, from 0 (innermost) to 3.

    Distance from the centre is in units of the grid's sides, so that shells are as long, as wide and as
    deep as the grid. They end at its quartiles; a position at the very quartile belongs to the outer
    one. A small grid has fewer: all positions of a 2 x 2 grid are equally far out, in shell 3.

    Parameters
    ----------
    grid : one int an axis

    Returns
    -------
    (*grid) int
    """
    squared = np.zeros(tuple(grid))
    for along in _from_centre(grid):
        squared = squared + along**2
    # equal distances that were added in another order must not differ
    squared = np.round(squared, 12)
    ends = np.quantile(squared, np.arange(1, SHELLS) / SHELLS, method="linear")
    found: Index = np.searchsorted(np.round(ends, 12), squared, side="right").astype(np.intp)
    return found


def centre_weights(grid: Sequence[int], sd: float | None) -> Floats:
    """Gaussian weight of each position ``(*grid)``, with mean 1; all 1 without ``sd``.

    Of the distance from the centre within the plane, the last two axes, in units of its sides.
    """
    if sd is None:
        return np.ones(tuple(grid))
    squared = np.zeros(tuple(grid))
    for along in _from_centre(grid)[-2:]:
        squared = squared + along**2
    weight = np.exp(-squared / (2 * sd**2))
    found: Floats = weight / weight.mean()
    return found


def _from_centre(grid: Sequence[int]) -> list[Floats]:
    """Distance of each position from the centre along each axis, in units of the axis."""
    along = [(2 * np.arange(side) + 1 - side) / (2 * side) for side in grid]
    return list(np.meshgrid(*along, indexing="ij"))


@dataclass(frozen=True, eq=False)
class ConceptProfiles:
    """Mean activations of the examples of each concept, in each shell of a layer's grid.

    Attributes
    ----------
    names : (F,) str
    layer : str
    means : (F, S, C) float64
        Innermost shell first; 0 for concepts without an example, and for shells without a position.
    counts : (F,) int
        Examples that were read of each concept.
    rest : (S, C) float64, or None
        The same of tiles without the concept, where there is one concept alone to compare with.
    """

    names: tuple[str, ...]
    layer: str
    means: Floats = field(repr=False)
    counts: Index
    rest: Floats | None = field(default=None, repr=False)

    def target(
        self,
        concept: int | str,
        *,
        direction: npt.NDArray[Any] | None = None,
        towards: npt.NDArray[Any] | None = None,
        at: str = "",
        key: str = "",
    ) -> ConceptTarget:
        """The target of one concept, among all that have examples.

        Parameters
        ----------
        concept : int or str
            Its number or name.
        direction, towards, at, key
            As in :class:`ConceptTarget`.

        Raises
        ------
        UnknownName, InvalidInput
            No such concept.
        TooFew
            It has no example.
        """
        number = concept
        if isinstance(number, str):
            if number not in self.names:
                raise UnknownName(f"There is no concept {number!r}. {near(number, self.names)}")
            number = self.names.index(number)
        if not 0 <= number < len(self.names):
            raise InvalidInput(
                f"Concept {number} is not one of the {len(self.names)} concepts, which count from 0."
            )
        if not self.counts[number]:
            raise TooFew(
                f"Concept {self.names[number]!r} has no example: label at least one tile that shows it."
            )
        known = np.flatnonzero(self.counts)
        return ConceptTarget(
            int(np.searchsorted(known, number)),
            tuple(self.names[f] for f in known),
            self.means[known],
            self.rest,
            direction,
            towards,
            at,
            key,
        )


def concept_profiles(
    store: ActivationStore,
    layer: str,
    labels: npt.ArrayLike,
    names: Sequence[str] | None = None,
    *,
    centre_sd: float | None = 1.0,
    most: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Callable[[], object] | None = None,
) -> ConceptProfiles:
    """Read the examples of each concept once and average them, channel by channel and shell by shell.

    Tiles are averaged as they are stored. Who extracted tiles turned or mirrored turns their
    activations back before, or stores them as they are.

    Parameters
    ----------
    store : ActivationStore
    layer : str
        With maps.
    labels : (n, F)
        1 where a tile shows a concept; 0 where not, and -1 or NaN where nobody looked.
    names : (F,) str, optional
        Default: "concept 0" and so on.
    centre_sd : float or None
        Standard deviation of the Gaussian that weights the centre, in sides of the plane. Published: 1,
        which gives a corner 0.78 of the centre's weight. None weights none.
    most : int, optional
        At most so many examples of each concept, evenly spread over the store; bounds the time. Memory is
        bounded anyway, by 64 MiB of activations.
    progress, cancel : callable, optional
        ``progress(done, total)`` in tiles, between batches; a true answer of ``cancel()`` stops.

    Raises
    ------
    UnknownLayer, NeedsActivations
        The store has no such layer, or it has no maps.
    InvalidInput
        Labels that are none of these, or of another number of tiles; a width not above 0.
    Cancelled
    """
    info = store.layer(layer)
    shown, unlike = _labels(labels, len(store))
    count = shown.shape[1]
    called = (
        tuple(f"concept {f}" for f in range(count)) if names is None else tuple(map(str, names))
    )
    if len(called) != count:
        raise InvalidInput(f"{len(called)} names for {count} concepts.")
    if centre_sd is not None and not centre_sd > 0:
        raise InvalidInput(f"centre_sd is {centre_sd}: use a width above 0, or None.")
    if most is not None and most < 1:
        raise InvalidInput(f"most is {most}: at least 1, or None for all.")
    groups = [_spread(np.flatnonzero(shown[:, f]), most) for f in range(count)]
    alone = np.flatnonzero([len(rows) for rows in groups])
    if len(alone) == 1:
        others = np.flatnonzero(unlike[:, alone[0]])
        others = others if len(others) else np.flatnonzero(~shown[:, alone[0]])
        groups.append(_spread(others, most))
    todo = np.unique(np.concatenate([*groups, np.zeros(0, np.int64)]))
    member = np.stack([np.isin(todo, rows) for rows in groups], axis=1) if groups else None
    pool = _pooling(info.grid, centre_sd)
    sums = np.zeros((len(groups), info.channels, SHELLS))
    step = max(1, _CHUNK // max(1, 2 * info.channels * int(np.prod(info.grid))))
    for start in range(0, len(todo), step):
        checkpoint(cancel, progress, start, len(todo))
        rows = todo[start : start + step]
        values = np.asarray(store.activations(layer, rows), np.float32)
        values = values.reshape(len(rows), info.channels, -1)
        assert member is not None
        inside = member[start : start + step].T.astype(np.float64)
        means = (values @ pool.astype(np.float32)).astype(np.float64)
        sums += np.einsum("gm,mcs->gcs", inside, means)
    checkpoint(cancel, progress, len(todo), len(todo))
    counts = np.array([len(rows) for rows in groups], np.intp)
    profiles = np.swapaxes(sums / np.maximum(counts, 1)[:, None, None], 1, 2)
    rest = profiles[count] if len(counts) > count and counts[count] else None
    return ConceptProfiles(called, layer, profiles[:count], counts[:count], rest)


def _labels(labels: npt.ArrayLike, n: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which tiles show each concept, (n, F), and of which somebody said that they do not."""
    values = np.asarray(labels)
    if values.ndim != 2 or len(values) != n or values.dtype.kind not in "biuf":
        raise InvalidInput(
            f"Labels of shape {values.shape} ({values.dtype}): they must be numbers, one row a tile and "
            f"one column a concept, ({n}, F)."
        )
    shown, unlike = values == 1, values == 0
    known = shown | unlike | (values == -1) | (values != values)
    if not known.all():
        row, f = (int(i) for i in np.argwhere(~known)[0])
        raise InvalidInput(
            f"The label of tile {row} for concept {f} is {values[row, f]}: use 1 (shows it), 0 (does "
            "not), or -1 or NaN (nobody looked)."
        )
    return shown, unlike


def _spread(rows: Index, most: int | None) -> Rows:
    """At most so many of ``rows``, evenly spread."""
    if most is None or len(rows) <= most:
        return rows.astype(np.int64)
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)].astype(np.int64)


def _pooling(grid: Sequence[int], sd: float | None) -> Floats:
    """(positions, S): weights whose sum over the positions is the weighted mean of each shell."""
    place, weight = shells(grid).ravel(), centre_weights(grid, sd).ravel()
    pool = np.zeros((len(place), SHELLS))
    pool[np.arange(len(place)), place] = weight
    found: Floats = pool / np.maximum(np.bincount(place, minlength=SHELLS), 1)
    return found
