"""Densities in many dimensions from few samples: local rodeo and a shrunk normal, in logarithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, pi
from typing import ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_finite, choice
from widgetkit.analysis._estimator import Estimator
from widgetkit.concepts._rodeo import Array, Estimate, Rows, Rule, Samples
from widgetkit.errors import InvalidInput, TooFew

# A density, and a spread, needs two samples.
_LEAST = 2

# Variance of directions in which nothing was seen, as a share of the mean variance, where shrinkage
# leaves none: 1/1000 of a standard deviation is far below what activations resolve (float16).
_FLOOR = 1e-6


@dataclass(frozen=True)
class Parts:
    """Densities of several parts of the samples.

    Attributes
    ----------
    log_density : called with points (m, d), gives (m, parts)
    note : what the reader has to know, or ""
    """

    log_density: Callable[[npt.ArrayLike], Array]
    note: str = ""


class Density(Protocol):
    """What :class:`~widgetkit.concepts.DensityRatioConcepts` asks of a density."""

    note_: str

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self: ...
    def log_density(self, Q: npt.ArrayLike) -> Array: ...
    def parts(self, rows: Sequence[Rows | None]) -> Parts: ...


class _Scaled(Estimator):
    """Fitting that both densities share: units brought to one scale, those that never vary left out."""

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "transformer"

    scale: Literal["sd", "none"]
    scale_: Array
    varies_: npt.NDArray[np.bool_]
    note_: str

    def _scaled(self, X: npt.ArrayLike) -> Array:
        how = choice(self.scale, ("sd", "none"), "scale")
        given = as_matrix(X, least=_LEAST)
        check_finite(given)
        values = given.astype(np.float64)
        varies = values.min(axis=0) < values.max(axis=0)
        if not varies.any():
            raise InvalidInput(
                f"All {values.shape[1]} units are constant over {len(values)} samples: they have no "
                "density. Were activations of one image given, or a dead layer?"
            )
        self._remember_features(X, values)
        self.varies_ = varies
        self.scale_ = values[:, varies].std(axis=0) if how == "sd" else np.ones(int(varies.sum()))
        still = int((~varies).sum())
        self.note_ = (
            f"{still} of {len(varies)} units are constant and were left out." if still else ""
        )
        scaled: Array = values[:, varies] / self.scale_
        return scaled

    def _points(self, Q: npt.ArrayLike) -> Array:
        self._check_fitted()
        given = as_matrix(Q, "Q", least=0)
        check_finite(given, "Q")
        self._check_features(Q, given)
        scaled: Array = given.astype(np.float64)[:, self.varies_] / self.scale_
        return scaled

    def _in_own_units(self, found: Array) -> Array:
        """Densities a scaled unit become densities a unit of the data."""
        moved: Array = found - np.log(self.scale_).sum()
        return moved


class LocalRodeo(_Scaled):
    """Kernel density whose bandwidths are chosen at each point, dimension by dimension.

    All bandwidths start large and shrink by ``shrink`` while the derivative of the density by the
    bandwidth is further from 0 than noise explains: dimensions in which the density is flat keep
    large bandwidths, which cost no variance.

    With ``K_i`` the product over dimensions of Gaussian kernels of bandwidths ``h_j`` at sample
    ``i``, and ``Z_ji = ((x_j - X_ij)^2 - h_j^2) K_i``, bandwidth ``j`` shrinks while ``|mean Z_j| >
    s_j sqrt(2 log(n c_n))``, where ``s_j`` is the standard error of that mean and ``c_n = log d`` (1
    for one dimension).

    Parameters
    ----------
    start : float
        First bandwidth. 50 as published.
    shrink : float
        0.9 as published.
    scale : "sd" or "none"
        What a bandwidth of 1 is: a standard deviation of the unit over the samples fitted to, so
        that ``start`` does not depend on the size of activations; or 1 as published.
    least : float
        Smallest bandwidth. 0.3 standard deviations is what suits 500 samples of one normal dimension. As
        published there is none: where samples share one value, as rectified units share 0, a
        bandwidth shrinks for ever, and one point that differs in one unit then has no density at all.

    Attributes
    ----------
    scale_ : (units that vary,) float64
    varies_ : (d,) bool
    note_ : str
        What the reader has to know, or "".
    n_features_in_ : int

    Notes
    -----
    All steps of all points at once, in logarithms; the comparisons are those of the plain loop.
    Memory does not grow with the points asked for.

    References
    ----------
    Liu, Lafferty & Wasserman (2007), Sparse nonparametric density estimation in high dimensions using
    the rodeo, AISTATS. Start and constants: Wang et al. (2019), SPIE Medical Imaging 10950, and
    their code.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.concepts import LocalRodeo
    >>> X = np.random.default_rng(0).normal(size=(2000, 1))
    >>> float(LocalRodeo().fit(X).log_density([[0.0]])[0].round(1))     # -0.92, less the bias of a bandwidth
    -1.0
    """

    def __init__(
        self,
        start: float = 50.0,
        shrink: float = 0.9,
        *,
        scale: Literal["sd", "none"] = "sd",
        least: float = 0.3,
    ) -> None:
        self.start = start
        self.shrink = shrink
        self.scale = scale
        self.least = least

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Keep the samples.

        Parameters
        ----------
        X : (n, d) float, n >= 2

        Raises
        ------
        InvalidInput
            All units constant, or parameters that cannot be used.
        TooFew, BadActivations
        """
        self._rule()
        self._samples = Samples(self._scaled(X))
        return self

    def log_density(self, Q: npt.ArrayLike) -> Array:
        """(m,) logarithm of the density at points ``Q`` (m, d), by unit of the data."""
        return self._in_own_units(self._at(Q).log_density)

    def bandwidths(self, Q: npt.ArrayLike) -> Array:
        """(m, d) bandwidths chosen at points ``Q``, by unit of the data; infinite for constant units."""
        estimate = self._at(Q)
        found = np.full((len(estimate.bandwidths), self.n_features_in_), np.inf)
        found[:, self.varies_] = estimate.bandwidths * self.scale_
        return found

    def parts(self, rows: Sequence[Rows | None]) -> Parts:
        """Densities of parts of the samples, all at once, on the scale of the whole.

        Parameters
        ----------
        rows : sequence of (k,) int or None
            Row numbers of each part; None is the whole.

        Raises
        ------
        TooFew
            A part of fewer than two samples.
        """
        self._check_fitted()
        chosen = [_checked(part) for part in rows]

        def log_densities(Q: npt.ArrayLike) -> Array:
            found = self._samples.estimate(self._points(Q), chosen, self._rule())
            return self._in_own_units(np.stack([one.log_density for one in found], axis=1))

        return Parts(log_densities)

    def _at(self, Q: npt.ArrayLike) -> Estimate:
        points = self._points(Q)
        return self._samples.estimate(points, [None], self._rule())[0]

    def _rule(self) -> Rule:
        start, shrink, least = self.start, self.shrink, self.least
        if not (isinstance(start, (int, float, np.number)) and 0 < float(start) < np.inf):
            raise InvalidInput(f"start must be a positive number, got {start!r}.")
        if not (isinstance(shrink, (int, float, np.number)) and 0 < float(shrink) < 1):
            raise InvalidInput(f"shrink must be a number between 0 and 1, got {shrink!r}.")
        if not (isinstance(least, (int, float, np.number)) and 0 < float(least) <= float(start)):
            raise InvalidInput(
                f"least must be a positive number and not above start ({start!r}); got {least!r}."
            )
        return Rule(float(start), float(shrink), float(least))


@dataclass(frozen=True)
class _Normal:
    """A normal as a mean, the directions in which it was seen to vary, and one variance for the rest.

    Attributes
    ----------
    mean : (d,)
    directions : (d, r) orthonormal
    variances : (r,)
    rest : variance of the d - r others
    floored : whether the rest was set to the least that is allowed
    """

    mean: Array
    directions: Array
    variances: Array
    rest: float
    shrinkage: float
    floored: bool

    @classmethod
    def of(cls, X: Array, shrinkage: float | None) -> _Normal:
        n, d = X.shape
        mean = X.mean(axis=0)
        X = X - mean
        _, singular, directions = np.linalg.svd(X, full_matrices=False)
        seen = singular**2 / n
        kept = seen > seen.max() * 1e-12 if seen.max() > 0 else np.zeros(len(seen), np.bool_)
        if not kept.any():
            raise InvalidInput(
                f"All {n} samples of a normal are equal, so that it has no width. More examples, or "
                "augmentations of the one there is, give it one."
            )
        average = float(seen.sum() / d)
        if shrinkage is None:
            from sklearn.covariance import ledoit_wolf_shrinkage

            shrinkage = float(ledoit_wolf_shrinkage(X, assume_centered=True))
        rest = shrinkage * average
        least = _FLOOR * average
        floored = bool(rest < least and kept.sum() < d)
        return cls(
            mean,
            np.ascontiguousarray(directions[kept].T),
            np.maximum((1 - shrinkage) * seen[kept] + rest, least),
            max(rest, least),
            shrinkage,
            floored,
        )

    def log_density(self, Q: Array) -> Array:
        Q = Q - self.mean
        d, r = self.directions.shape
        along = Q @ self.directions
        # what is left of the length after the directions: never below 0 by rounding
        beside = np.maximum((Q * Q).sum(axis=1) - (along * along).sum(axis=1), 0.0)
        distance = (along * along / self.variances).sum(axis=1)
        volume = np.log(self.variances).sum()
        if r < d:
            distance = distance + beside / self.rest
            volume = volume + (d - r) * log(self.rest)
        found: Array = -0.5 * (distance + volume + d * log(2 * pi))
        return found


class ShrunkNormal(_Scaled):
    """Multivariate normal whose covariance is shrunk to a multiple of the identity.

    With fewer examples than units the sample covariance is singular. The amount of shrinkage that
    has the least expected squared error has a closed form (Ledoit & Wolf 2004).

    Parameters
    ----------
    shrinkage : float, optional
        From 0 (the sample covariance) to 1 (a sphere); Ledoit & Wolf's by default.
    scale : "sd" or "none"
        Units are divided by their standard deviation before, so that the identity means the same for
        all of them; or taken as they are.

    Attributes
    ----------
    shrinkage_ : float
    scale_ : (units that vary,) float64
    varies_ : (d,) bool
    note_ : str
        What the reader has to know, or "".
    n_features_in_ : int

    References
    ----------
    Ledoit & Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices,
    J. Multivariate Analysis 88.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.concepts import ShrunkNormal
    >>> X = np.random.default_rng(0).normal(size=(10, 100))
    >>> bool(np.isfinite(ShrunkNormal().fit(X).log_density(X)).all())
    True
    """

    shrinkage_: float

    def __init__(
        self, shrinkage: float | None = None, *, scale: Literal["sd", "none"] = "sd"
    ) -> None:
        self.shrinkage = shrinkage
        self.scale = scale

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Mean and shrunk covariance.

        Parameters
        ----------
        X : (n, d) float, n >= 2

        Raises
        ------
        InvalidInput
            All units constant, or parameters that cannot be used.
        TooFew, BadActivations
        """
        amount = self.shrinkage
        if amount is not None and not (
            isinstance(amount, (int, float, np.number)) and 0 <= float(amount) <= 1
        ):
            raise InvalidInput(
                f"shrinkage must be a number from 0 to 1, or None for Ledoit & Wolf's; got {amount!r}."
            )
        values = self._scaled(X)
        self._values = values
        self._normal = _Normal.of(values, None if amount is None else float(amount))
        self.shrinkage_ = self._normal.shrinkage
        if self._normal.floored:
            self.note_ = " ".join(filter(None, [self.note_, _singular(1)]))
        return self

    def log_density(self, Q: npt.ArrayLike) -> Array:
        """(m,) logarithm of the density at points ``Q`` (m, d), by unit of the data."""
        points = self._points(Q)
        return self._in_own_units(self._normal.log_density(points))

    def parts(self, rows: Sequence[Rows | None]) -> Parts:
        """Normals of parts of the samples, on the scale of the whole. As :meth:`LocalRodeo.parts`."""
        self._check_fitted()
        amount = None if self.shrinkage is None else float(self.shrinkage)
        normals = [
            self._normal if part is None else _Normal.of(self._values[_whole(part)], amount)
            for part in rows
        ]

        def log_densities(Q: npt.ArrayLike) -> Array:
            points = self._points(Q)
            return self._in_own_units(np.stack([n.log_density(points) for n in normals], axis=1))

        count = sum(normal.floored for normal in normals)
        return Parts(log_densities, _singular(count) if count else "")


def _singular(count: int) -> str:
    return (
        f"{count} covariance(s) are singular without shrinkage; directions never seen got a millionth "
        "of the mean variance."
    )


def _checked(part: Rows | None) -> Rows | None:
    return None if part is None else _whole(part)


def _whole(part: Rows) -> Rows:
    rows = np.asarray(part, np.intp)
    if len(rows) < _LEAST:
        raise TooFew(f"A density needs at least {_LEAST} samples; a part has {len(rows)}.")
    return rows
