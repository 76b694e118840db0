"""How a position gets its weights once the prototypes are fixed.

Every rule here needs only the products of a position with the prototypes and the ``(k, k)`` gram
matrix, so a block of tiles is one matrix product and then work on ``(m, k)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.analysis.nnls import GramSolver
from widgetkit.errors import BadActivations, ChannelMismatch

Array: TypeAlias = npt.NDArray[np.float32]
Rule = Literal["nnls", "nearest", "direction", "project"]

# Positions solved at once: their (k, m) weights stay in the cache.
_BLOCK = 16384


@dataclass(frozen=True, eq=False)
class Weigher:
    """Weights of positions in fixed prototypes.

    Attributes
    ----------
    basis : (k, C) float32
        The prototypes.
    rule : {"nnls", "nearest", "direction", "project"}
        "nnls": ``min_w ||x - w H||² + 2 penalty sum(w), w >= 0``, exact. "nearest": 1 for the
        nearest prototype, 0 for the others. "direction": the projection on the prototype with the
        largest cosine, 0 for the others. "project": ``x Hᵀ``, signed; rows of ``H`` orthonormal.
    offset : (C,) float32 or None
        Subtracted from a position before anything else.
    penalty : float
        Of "nnls", in the unit of the activations.
    """

    basis: Array
    rule: Rule = "nnls"
    offset: Array | None = None
    penalty: float = 0.0
    exact: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exact", self.basis.astype(np.float64))

    @property
    def k(self) -> int:
        return len(self.basis)

    @property
    def signed(self) -> bool:
        """Whether weights may be negative."""
        return self.rule == "project"

    @cached_property
    def gram(self) -> npt.NDArray[np.float64]:
        """``H Hᵀ``."""
        return self.exact @ self.exact.T

    @cached_property
    def _solver(self) -> GramSolver:
        return GramSolver(self.gram)

    def __call__(self, X: npt.NDArray[Any]) -> tuple[Array, npt.NDArray[np.float64]]:
        """Weights (p, k) float32 and squared errors (p,) of rows (p, C)."""
        if X.ndim != 2 or X.shape[1] != self.basis.shape[1]:
            raise ChannelMismatch(
                f"Positions of shape {X.shape} and prototypes of {self.basis.shape[1]} channels do "
                "not fit: the prototypes are of another layer."
            )
        weights = np.empty((len(X), self.k), np.float32)
        errors = np.empty(len(X))
        for start in range(0, len(X), _BLOCK):
            rows = X[start : start + _BLOCK].astype(np.float32, copy=False)
            if self.offset is not None:
                rows = rows - self.offset
            part = self.from_products(rows @ self.basis.T)
            weights[start : start + len(rows)] = part
            rest = rows - part @ self.basis
            errors[start : start + len(rows)] = np.einsum("pc,pc->p", rest, rest)
        return weights, errors

    def explained(self, weights: Array, products: Array) -> npt.NDArray[np.float64]:
        """``||x||² - ||x - w H||²`` (offset taken off), summed over the positions of each tile.

        Both (m, k, cells), as :meth:`from_products` relates them. Only "nearest" needs ``H``: all
        other weights are at a minimum, where ``w H Hᵀ w = w . (products - penalty)``.
        """
        found: npt.NDArray[np.float64]
        found = np.einsum("mkc,mkc->m", weights, products).astype(np.float64)
        if self.rule == "nearest":
            found = 2 * found - weights.sum(axis=2, dtype=np.float64) @ np.diag(self.gram)
        elif self.penalty:
            found += self.penalty * weights.sum(axis=(1, 2), dtype=np.float64)
        return found

    def from_products(self, products: npt.NDArray[Any]) -> Array:
        """Weights (m, k) from ``products = (x - offset) Hᵀ`` (m, k).

        Raises
        ------
        BadActivations
            NaN or infinity.
        """
        if not np.isfinite(products).all():
            raise BadActivations(
                "Activations or prototypes hold NaN or infinity, or overflow float32. Look for "
                "them with store.verify()."
            )
        if self.rule == "nnls":
            goal = products - np.float32(self.penalty) if self.penalty else products
            return self._solver(goal).astype(np.float32)
        if self.rule == "project":
            return products.astype(np.float32, copy=False)
        weights = np.zeros(products.shape, np.float32)
        rows = np.arange(len(products))
        squares = np.diag(self.gram)
        if self.rule == "nearest":
            weights[rows, np.argmin(squares - 2 * products, axis=1)] = 1
            return weights
        length = np.sqrt(np.where(squares > 0, squares, np.inf))
        cosine = products / length  # that of the row's own length is the same for all
        best = np.argmax(cosine, axis=1)
        weights[rows, best] = np.maximum(products[rows, best] / length[best] ** 2, 0)
        return weights
