"""The factors of a layer and the weights of every position, as kept in a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, StoreCorrupt
from widgetkit.explain import ClusterTarget
from widgetkit.factors import preparing
from widgetkit.factors.groups import groups_of
from widgetkit.factors.preparing import Preparation
from widgetkit.factors.streaming import weigh_maps, winners_of
from widgetkit.factors.weighing import Array, Weigher
from widgetkit.store.rows import Rows, row_numbers

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore, Entry

KIND = "factors"
RULES = {"kmeans": "nearest", "spherical_kmeans": "direction", "pca": "project"}


@dataclass(frozen=True, eq=False)
class Pooled:
    """Weights of each tile, over its positions.

    Attributes
    ----------
    mean, max : (n, k) float32
    share : (n, k) float32
        Share of the positions each factor wins; what is missing to 1 is background.
    total : (n,) float32
        Mean of the total weight (of absolute weights for ``pca``).
    """

    mean: Array
    max: Array
    share: Array
    total: Array


class Factors:
    """Prototypes of a layer, and the weights of every position of every tile in them.

    Made by :func:`~widgetkit.factors.factorise` or :func:`~widgetkit.factors.assign`, found again by
    :func:`~widgetkit.factors.load`. Weights stay on disk and are read by position.

    Attributes
    ----------
    store : ActivationStore
    name, layer, method : str
    k, n : int
        Factors; tiles.
    grid : tuple of int
        Spatial shape of a map.
    prototypes : (k, C) float32
        What a weight of 1 stands for, in the (prepared) activations; with ``nonnegative="split"``
        positive minus negative part.
    offset : (C,) float32 or None
        ``activations ~ weights . prototypes + offset``: the mean for ``pca``, what "shift"
        subtracted for others.
    scales : (groups, C) float32 or None
        With ``normalise="slide"``: what the channels of each slide were multiplied by.
    background_level : float
        Positions with at most this total weight have no winner; ``background_rule`` says why.
    negative : str
        What was done with negative activations, one sentence.
    relative_error : float
        ``||X - W H|| / ||X||`` over all positions of the store, prepared, before the weights are
        rounded to float16.
    fit_errors : (iterations,) float64
        The objective over the sample after each iteration of the fit.
    params : mapping
    seed : int
    """

    def __init__(self, store: ActivationStore, entry: Entry) -> None:
        self.store = store
        self.store_id: str = store.id
        self._entry = entry
        self.name = entry.name
        self.params: Mapping[str, Any] = dict(entry.params)
        self.seed = int(entry.seed or 0)
        where = f"Factors {entry.name!r} of {store.path.name}"
        try:
            self.layer = str(self.params["layer"])
            self.method = str(self.params["method"])
            info = store.layer(self.layer)
            arrays = entry.arrays
            basis = _floats(arrays["basis"], 2)
            self.background_level = float(arrays["level"])
            self.background_rule = str(arrays["background"])
            self.negative = str(arrays["negative"])
            self.relative_error = float(arrays["relative_error"])
            self.fit_errors = np.asarray(arrays["fit_errors"], np.float64)
            self._weigher = Weigher(
                basis,
                RULES.get(self.method, "nnls"),  # type: ignore[arg-type]
                _floats(arrays["mean"], 1) if "mean" in arrays else None,
                float(arrays["penalty"]),
            )
            rule = str(self.params.get("nonnegative", "error"))
            codes = (
                groups_of(store, str(self.params["group"])).codes if "scales" in arrays else None
            )
            self._preparation = preparing.from_arrays(arrays, rule, codes)
            weights, pooled = entry.segmented["weights"], entry.segmented["pooled"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StoreCorrupt):
                raise
            raise StoreCorrupt(f"{where} are not readable: {type(error).__name__}.") from None
        self.n, self.k, self.grid = len(store), len(basis), tuple(info.grid)
        doubled = 2 if rule == "split" else 1
        fits = (
            weights.shape == (self.n, self.k, *self.grid)
            and pooled.shape == (self.n, 3 * self.k + 1)
            and basis.shape[1] == info.channels * doubled
        )
        if not fits:
            raise StoreCorrupt(f"{where} do not fit the layer {self.layer!r}. Delete them.")
        self.prototypes: Array = self._preparation.prototypes(basis)
        self.prototypes.flags.writeable = False
        self._weights, self._pooled = weights, pooled

    def __repr__(self) -> str:
        return (
            f"<Factors {self.name!r}: {self.k} of {self.layer} by {self.method}, {self.n} tiles, "
            f"relative error {self.relative_error:.3f}>"
        )

    # -- facts ---------------------------------------------------------------------------
    @property
    def signed(self) -> bool:
        """Whether weights may be negative (``pca``)."""
        return self._weigher.signed

    @property
    def offset(self) -> Array | None:
        found = self._weigher.offset
        return self._preparation.offset if found is None else found

    @property
    def scales(self) -> Array | None:
        return self._preparation.scales

    @property
    def preparation(self) -> Preparation:
        """What was done with activations before."""
        return self._preparation

    @property
    def components(self) -> Array:
        """``prototypes``, under the name estimators have for it."""
        return self.prototypes

    def target(self, index: int) -> ClusterTarget:
        """Factor ``index`` for map methods; with a slide normalisation maps differ in scale."""
        kind = "kmeans" if self.method == "kmeans" else "nmf"
        return ClusterTarget.of(self.prototypes, index, kind=kind, background=self.offset)  # type: ignore[arg-type]

    def describe(self) -> str:
        """What these factors are, in sentences."""
        parts = [
            f"{self.k} factors of layer {self.layer} by {self.method}, of {self.n} tiles with "
            f"{int(np.prod(self.grid))} positions each; relative error {self.relative_error:.3f}.",
            self.negative,
            f"Background: {self.background_rule}.",
        ]
        if self.scales is not None:
            parts.append(
                f"Each channel was scaled by {self.params['group']} to its mean over all "
                f"(factors {float(self.scales.min()):.2f} to {float(self.scales.max()):.2f})."
            )
        return " ".join(parts)

    # -- weights -------------------------------------------------------------------------
    def weights(self, rows: Rows = None) -> Array:
        """(m, k, *grid) float32: weights of some tiles, read by position.

        Parameters
        ----------
        rows : sequence of int, mask, slice or None
            Any order, repeats allowed; None reads those of all tiles into memory.
        """
        return self._weights.take(row_numbers(rows, self.n)).astype(np.float32)

    def iter_weights(self, batch: int = 256) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
        """All weights in store order: ``rows (m,)`` and ``(m, k, *grid)``, ``batch`` tiles each."""
        if batch < 1:
            raise InvalidInput(f"batch is {batch}; it must be at least 1.")
        for start in range(0, self.n, batch):
            rows = np.arange(start, min(start + batch, self.n), dtype=np.int64)
            yield rows, self.weights(rows)

    @cached_property
    def pooled(self) -> Pooled:
        """Weights of each tile over its positions; in memory, ``4 (3 k + 1)`` bytes a tile."""
        values = self._pooled.take(np.arange(self.n, dtype=np.int64))
        values.flags.writeable = False
        k = self.k
        return Pooled(
            values[:, :k], values[:, k : 2 * k], values[:, 2 * k : 3 * k], values[:, 3 * k]
        )

    def winners(self, rows: Rows = None) -> npt.NDArray[np.int16]:
        """(m, *grid) int16: the factor with the largest weight; -1 is background."""
        return winners_of(self.weights(rows), self.background_level, signed=self.signed)

    def tile_errors(self, rows: Rows = None) -> npt.NDArray[np.float64]:
        """(m,) ``||X - W H|| / ||X||`` of each tile: where the factors do not describe the data."""
        squares = self._entry.segmented["squares"].take(row_numbers(rows, self.n))
        ratio = np.divide(
            squares[:, 0], squares[:, 1], out=np.zeros(len(squares)), where=squares[:, 1] > 0
        )
        errors: npt.NDArray[np.float64] = np.sqrt(ratio)
        return errors

    # -- activations ---------------------------------------------------------------------
    def weigh(self, activations: npt.NDArray[Any], rows: Rows) -> Array:
        """Weights (m, k, *grid) of other activations (m, C, *grid) of the tiles ``rows``.

        For tiles that were changed (masked, stained otherwise), computed as the kept ones were.
        """
        tiles = row_numbers(rows, self.n)
        m, *rest = activations.shape
        if m != len(tiles) or tuple(rest) != (self.store.layer(self.layer).channels, *self.grid):
            raise InvalidInput(
                f"Activations of shape {activations.shape} for {len(tiles)} tiles of layer "
                f"{self.layer!r} with grid {self.grid}."
            )
        flat = activations.reshape(m, rest[0], -1)
        found = weigh_maps(flat, self._weigher, self._preparation, tiles)[0]
        return found.reshape(m, self.k, *self.grid)

    def reconstruct(self, rows: Rows, *, without: int | tuple[int, ...] = ()) -> Array:
        """(m, C, *grid) float32: ``W H`` in the units of the stored activations.

        Parameters
        ----------
        rows
        without : int or tuple of int
            Factors to leave out.
        """
        tiles = row_numbers(rows, self.n)
        left_out = (without,) if isinstance(without, int | np.integer) else tuple(without)
        keep = [i for i in range(self.k) if i not in {self._check(j) for j in left_out}]
        return self._preparation.undo(self._product(tiles, keep, offset=True), tiles).reshape(
            len(tiles), -1, *self.grid
        )

    def contribution(self, rows: Rows, index: int) -> Array:
        """(m, C, *grid) float32: what factor ``index`` adds to the stored activations."""
        tiles = row_numbers(rows, self.n)
        part = self._product(tiles, [self._check(index)], offset=False)
        return self._preparation.unscale(part, tiles).reshape(len(tiles), -1, *self.grid)

    def _product(self, tiles: npt.NDArray[np.int64], keep: list[int], *, offset: bool) -> Array:
        weights = self.weights(tiles).reshape(len(tiles), self.k, -1)
        found: Array = np.matmul(self.prototypes[keep].T, weights[:, keep])
        if offset and self._weigher.offset is not None:
            found += self._weigher.offset[:, None]
        return found

    def _check(self, index: int) -> int:
        if (
            isinstance(index, bool)
            or not isinstance(index, int | np.integer)
            or not 0 <= index < self.k
        ):
            raise InvalidInput(f"There is no factor {index!r}; there are {self.k}, from 0.")
        return int(index)


def _floats(array: npt.NDArray[Any], dims: int) -> Array:
    if array.ndim != dims or array.dtype != np.float32 or not np.isfinite(array).all():
        raise ValueError("not finite float32")
    return np.asarray(array)
