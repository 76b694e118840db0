"""Non-negative matrix factorisation: ``X ≈ W H``, all three without negative values.

HALS (hierarchical alternating least squares): each factor in turn is set to its exact optimum, so
the error can never rise. Each matrix product with ``X`` is followed by several cheap sweeps over
the factors (Gillis & Glineur 2012), and a first fit on a few thousand rows does most of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    choice,
    sample_rows,
    working,
)
from widgetkit.analysis._estimator import Estimator
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis._nonnegative import RULES, NonNegative, Rule
from widgetkit.analysis.hals import BackendName, hals, initial_factors
from widgetkit.analysis.nnls import Solver, nnls
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

# Rows of the first, coarse fit, when there are at least three times as many. 4096 rows keep the
# direction of ten factors to about 1 degree and cost a fifth of 20,000.
_COARSE_ROWS = 4096

# Powers of two outside which float32 squares and grams would lose digits or overflow.
_COMFORTABLE = (2.0**-20, 2.0**20)


class NMF(Estimator):
    """Non-negative matrix factorisation by HALS, with warm start.

    Minimises ``||X - W H||_F`` with ``W >= 0`` and ``H >= 0``. The weights of the training rows
    are finished by exact non-negative least squares, so ``fit_transform(X)`` and
    ``fit(X).transform(X)`` agree. Every factor has length 1 (``||H_j||_2 = 1``), so a weight has
    the unit of the activations; after a cold start factor 0 is the one that explains most.

    Parameters
    ----------
    n_components : int
        Number of factors ``k``, at most the number of rows.
    tol : float
        Stop when one iteration lowers the error by less than this fraction of it.
    max_iter : int
        Most iterations over all rows (and over the sample of the coarse fit).
    random_state : int
        Seed of the initialisation and of row samples. Same seed, same backend, same bytes.
    nonnegative : {"error", "shift", "clip", "split"}
        What to do with negative input, never silently; ``negative_share_`` tells how much there
        was. "error" raises. "shift" subtracts the smallest value of each channel (``offset_``).
        "clip" sets negative values to 0. "split" makes two channels of each, the positive and the
        negative part, so ``components_`` is (k, 2 C): first all positive parts.
    backend : {"auto", "numpy", "torch"}
        "auto" is torch when it is installed (on its GPU when there is one), numpy otherwise; the
        two agree to rounding. On idle processors they are equally fast; on busy ones torch loses
        less (two cores, six busy processes, 20,000 x 512 by 10: 0.4 s against 3 s).
    warm_start : bool
        Start from the factors of the last fit, when they fit; their order is then kept.
    max_rows : int or None
        With more rows than this, learn from a seeded sample of this many and give all rows their
        weights in one pass. None always learns from all.

    Attributes
    ----------
    components_ : (k, C) float32 or float64, (k, 2 C) with ``nonnegative="split"``
        The factors ``H``.
    reconstruction_err_ : float
        ``||X - W H||_F`` over ``n_rows_`` rows, after the rule for negative values was applied.
    relative_err_ : float
        The same divided by ``||X||_F``; 0 when ``X`` is 0.
    errors_ : tuple of float
        Relative error after each iteration over the rows learned from; never rises. In float32
        values below about 0.001 are rounding.
    n_iter_ : int
        Iterations over these rows.
    n_rows_, n_rows_learned_ : int
        Rows that ``reconstruction_err_`` is of, and rows the factors were learned from.
    offset_ : (C,) or None
        What "shift" subtracted.
    negative_share_ : float
        Share of negative values in the rows learned from.
    preparation_ : str
        One sentence: what was done with negative values.
    backend_ : {"numpy", "torch"}
    n_features_in_ : int

    References
    ----------
    Cichocki & Phan (2009), Fast local algorithms for large scale nonnegative matrix and tensor
    factorizations. IEICE Trans. E92-A. Gillis & Glineur (2012), Accelerated multiplicative updates
    and hierarchical ALS algorithms. Neural Computation 24. Boutsidis & Gallopoulos (2008), SVD
    based initialization. Pattern Recognition 41.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.analysis import NMF
    >>> parts = np.array([[1.0, 0, 0, 1], [0, 2, 1, 0]])
    >>> X = np.random.default_rng(0).random((100, 2)) @ parts
    >>> model = NMF(2).fit(X)
    >>> model.components_.shape, bool(model.relative_err_ < 1e-3)
    ((2, 4), True)
    """

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "transformer"

    components_: Floats
    reconstruction_err_: float
    relative_err_: float
    errors_: tuple[float, ...]
    n_iter_: int
    n_rows_: int
    n_rows_learned_: int
    backend_: str

    def __init__(
        self,
        n_components: int = 10,
        *,
        tol: float = 1e-4,
        max_iter: int = 200,
        random_state: int = 0,
        nonnegative: Rule = "error",
        backend: BackendName = "auto",
        warm_start: bool = False,
        max_rows: int | None = 30_000,
    ) -> None:
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.nonnegative = nonnegative
        self.backend = backend
        self.warm_start = warm_start
        self.max_rows = max_rows

    @property
    def _non_negative_input(self) -> bool:  # type: ignore[override]
        return self.nonnegative == "error"

    # -- fitting -----------------------------------------------------------------------
    def fit(
        self,
        X: npt.ArrayLike,
        y: object = None,
        *,
        W: npt.ArrayLike | None = None,
        H: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Self:
        """Learn the factors.

        Parameters
        ----------
        X : (n, C) float
        y : ignored
        W : (n, k) float, optional
            Start weights of these rows. Not used when a sample is learned from.
        H : (k, C) float, optional
            Start factors; their order is kept.
        progress, cancel : callable, optional
            ``progress(done, total)`` and ``cancel() -> bool``, between iterations. Cancelling
            leaves the estimator as it was.

        Raises
        ------
        InvalidInput
            Negative values with ``nonnegative="error"``; a parameter that makes no sense.
        BadActivations
            NaN or infinity.
        TooFew
            Fewer rows than factors.
        ChannelMismatch
            ``W`` or ``H`` does not fit ``X`` and ``n_components``.
        Cancelled
        """
        self._fit(X, W=W, H=H, all_weights=False, progress=progress, cancel=cancel)
        return self

    def fit_transform(
        self,
        X: npt.ArrayLike,
        y: object = None,
        *,
        W: npt.ArrayLike | None = None,
        H: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Floats:
        """Learn the factors and give every row its weights, (n, k). Arguments as :meth:`fit`."""
        weights = self._fit(X, W=W, H=H, all_weights=True, progress=progress, cancel=cancel)
        assert weights is not None
        return weights

    def _fit(
        self,
        X: npt.ArrayLike,
        *,
        W: npt.ArrayLike | None,
        H: npt.ArrayLike | None,
        all_weights: bool,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> Floats | None:
        k, seed = self._check_parameters()
        given, values = X, as_matrix(X)
        n = len(values)
        if k > n:
            raise TooFew(
                f"NMF with n_components={k} needs at least {k} rows; X has n_samples={n}. "
                "Ask for fewer factors or select more tiles."
            )
        rows = sample_rows(n, n if self.max_rows is None else max(self.max_rows, k), seed)
        sampled = len(rows) < n
        learned = working(values[rows] if sampled else values)
        rule, learned = NonNegative.learn(learned, self.nonnegative)
        scale = _scale(learned)
        if scale != 1.0:
            learned = learned / learned.dtype.type(scale)

        start_W, start_H, warm = self._start(learned, W=None if sampled else W, H=H, scale=scale)
        coarse = not warm and len(learned) >= 3 * max(_COARSE_ROWS, 4 * k)
        run = partial(
            hals, tol=self.tol, max_iter=self.max_iter, backend=self.backend, cancel=cancel
        )
        if start_H is None:
            few = sample_rows(len(learned), max(_COARSE_ROWS, 4 * k), seed) if coarse else None
            part = learned if few is None else learned[few]
            start_W, start_H = initial_factors(part, k, seed)
            if coarse:
                first = run(part, start_W, start_H)
                start_W, start_H = None, first.H
        if start_W is None:
            start_W = nnls(learned, start_H, cancel=cancel)
        result = run(learned, start_W, start_H, progress=progress)

        length = np.linalg.norm(result.H, axis=1)
        factors = result.H / np.where(length > 0, length, 1)[:, None]
        solver = Solver(factors)
        weights, squares, total = _weigh(learned, solver, cancel)
        if not warm:
            order = np.argsort(-np.einsum("nk,nk->k", weights, weights), kind="stable")
            factors, weights = factors[order], np.ascontiguousarray(weights[:, order])
        weights *= weights.dtype.type(scale)
        squares, total, counted = squares * scale**2, total * scale**2, len(learned)
        if all_weights and sampled:
            weights, squares, total = _weigh(values, Solver(factors), cancel, rule)
            counted = n

        # nothing of self is touched before this line: a cancelled fit changes nothing
        self._remember_features(given, values)
        self._rule = rule
        self.components_ = factors
        self.offset_ = rule.offset
        self.negative_share_ = rule.share
        self.preparation_ = rule.sentence
        self.reconstruction_err_ = float(np.sqrt(squares))
        self.relative_err_ = float(np.sqrt(squares / total)) if total > 0 else 0.0
        self.errors_ = result.errors
        self.n_iter_ = max(len(result.errors), 1)
        self.n_rows_ = counted
        self.n_rows_learned_ = len(learned)
        self.backend_ = result.backend
        return weights if all_weights else None

    def _check_parameters(self) -> tuple[int, int]:
        k = check_count(self.n_components, "n_components")
        check_count(self.max_iter, "max_iter")
        if self.max_rows is not None:
            check_count(self.max_rows, "max_rows")
        if not (isinstance(self.tol, (int, float, np.number)) and 0 <= float(self.tol) < 1):
            raise InvalidInput(f"tol must be a number from 0 up to 1, got {self.tol!r}.")
        choice(self.nonnegative, RULES, "nonnegative")
        choice(self.backend, ("auto", "numpy", "torch"), "backend")
        return k, check_seed(self.random_state)

    def _start(
        self,
        X: Floats,
        *,
        W: npt.ArrayLike | None,
        H: npt.ArrayLike | None,
        scale: float,
    ) -> tuple[Floats | None, Floats | None, bool]:
        """Checked start values in the units of the scaled ``X``, and whether there are any."""
        k = self.n_components
        if H is None and self.warm_start and hasattr(self, "components_"):
            previous = self.components_
            if previous.shape == (k, X.shape[1]):
                H = previous
        weights = factors = None
        if H is not None:
            factors = self._start_matrix(H, "H", (k, X.shape[1]), X.dtype)
        if W is not None:
            weights = self._start_matrix(W, "W", (len(X), k), X.dtype)
            weights = weights / X.dtype.type(scale)
            if factors is None:
                factors = np.ascontiguousarray(nnls(X.T, weights.T).T)
        return weights, factors, factors is not None

    @staticmethod
    def _start_matrix(
        given: npt.ArrayLike, name: str, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> Floats:
        matrix = as_matrix(given, name)
        if matrix.shape != shape:
            raise ChannelMismatch(
                f"{name} has shape {matrix.shape}, expected {shape} for this X and n_components."
            )
        low, _ = check_finite(matrix, name)
        if low < 0:
            raise InvalidInput(f"{name} has negative values (smallest {low:.3g}); they start NMF.")
        return np.array(matrix, dtype, order="C")

    # -- using -------------------------------------------------------------------------
    def transform(self, X: npt.ArrayLike, *, cancel: Cancel | None = None) -> Floats:
        """Weights of each row by exact non-negative least squares, the factors fixed.

        Parameters
        ----------
        X : (n, C) float
            May be a memory map of any length; it is read block by block.

        Returns
        -------
        (n, k) float32, or float64 when ``X`` is float64
        """
        self._check_fitted()
        values = as_matrix(X)
        self._check_features(X, values)
        return _weigh(values, Solver(self.components_), cancel, self._rule)[0]

    def transform_batches(
        self, batches: Iterable[npt.ArrayLike], *, cancel: Cancel | None = None
    ) -> Iterator[Floats]:
        """:meth:`transform` of each batch in turn, for data that does not fit into memory."""
        self._check_fitted()
        for batch in batches:
            values = as_matrix(batch, least=0)
            self._check_features(batch, values)
            yield _weigh(values, Solver(self.components_), cancel, self._rule)[0]

    def inverse_transform(self, W: npt.ArrayLike) -> Floats:
        """(n, k) weights back to (n, C) activations, shift and split undone."""
        self._check_fitted()
        weights = working(as_matrix(W, "W", least=0))
        if weights.shape[1] != len(self.components_):
            raise ChannelMismatch(
                f"W has {weights.shape[1]} columns; there are {len(self.components_)} factors."
            )
        return self._rule.undo(weights @ self.components_.astype(weights.dtype, copy=False))

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """``nmf0``, ``nmf1``, ... as scikit-learn names outputs."""
        self._check_fitted()
        return np.array([f"nmf{i}" for i in range(len(self.components_))], dtype=object)


def _weigh(
    values: Floats, solver: Solver, cancel: Cancel | None, rule: NonNegative | None = None
) -> tuple[Floats, float, float]:
    """One pass, block by block: exact weights, squared error and squared norm.

    Without a rule the rows are ready as they are.
    """
    weights = np.empty((len(values), solver.k), working(values[:0]).dtype)
    squares = total = 0.0
    for start in range(0, len(values), solver.block):
        checkpoint(cancel)
        block = working(values[start : start + solver.block])
        if rule is not None:
            block = rule.apply(block, first_row=start)
        part, products = solver(block)
        weights[start : start + solver.block] = part
        rest, size = _squares(block, part, products, solver)
        squares, total = squares + rest, total + size
    return weights, squares, total


def _squares(rows: Floats, W: Floats, products: Floats, solver: Solver) -> tuple[float, float]:
    """``||X - W H||²`` and ``||X||²``, the first from the gram matrix where that is accurate."""
    size = float(np.vdot(rows, rows))
    exact = W.astype(np.float64)
    squares = (
        size - 2 * float(np.vdot(exact, products)) + float(np.vdot(exact.T @ exact, solver.gram))
    )
    # The difference of large numbers keeps about 6 digits of float32; below 1 % there are too few.
    if squares < 1e-2 * size:
        rest = rows - W @ solver.H.astype(W.dtype, copy=False)
        squares = float(np.vdot(rest, rest))
    return squares, size


def _scale(X: Floats) -> float:
    """A power of two to divide by, so that squares neither overflow nor vanish; usually 1."""
    high = float(X.max(initial=0.0))
    if high == 0 or _COMFORTABLE[0] <= high <= _COMFORTABLE[1]:
        return 1.0
    return float(2.0 ** np.floor(np.log2(high)))
