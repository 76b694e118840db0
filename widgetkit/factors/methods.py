"""The ways to find prototypes, one small class each, all giving a :class:`Fit`.

What a weight means:

``nmf``, ``sparse_nmf``, ``convex_nmf``
    How much of the factor the position holds, by non-negative least squares; factors have length
    1, so a weight has the unit of the activations. Several factors may share a position.
``kmeans``
    1 for the nearest centre and 0 for all others, because then ``W H`` is what k-means takes the
    position for and errors of all methods can be compared. There is no background: what is empty
    makes a cluster of its own.
``spherical_kmeans``
    The projection on the centre whose direction is the nearest, 0 for all others.
``pca``
    Scores on the principal axes, signed; the mean is kept as ``offset``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import NMF, KMeans
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near
from widgetkit.factors.convex import convex_nmf
from widgetkit.factors.sparse import sparse_nmf
from widgetkit.factors.spherical import spherical_kmeans
from widgetkit.factors.weighing import Array, Weigher

Cancel = Callable[[], object]

#: Winners are kept in one byte where they are drawn, and 255 means none.
MOST_FACTORS = 254


@dataclass(frozen=True, eq=False)
class Fit:
    """What a method learned from the rows: the weigher, and its error after each iteration."""

    weigher: Weigher
    errors: tuple[float, ...]


class Method(Protocol):
    """A way to find prototypes."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    takes_negative: ClassVar[bool]
    """Whether signed activations are taken as they are."""
    limited_by_rank: ClassVar[bool]
    """Whether more factors than the rank of the data make no sense."""

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        """Prototypes of the rows (p, C), ``k <= p``; the same bytes for the same seed."""


METHODS: dict[str, Method] = {}


def _register(cls: type[Any]) -> type[Any]:
    METHODS[cls.name] = cls()
    return cls


def method_named(name: object) -> Method:
    """The method of that name; :class:`UnknownName` with the near ones."""
    if isinstance(name, str) and name in METHODS:
        return METHODS[name]
    raise UnknownName(f"There is no method {name!r} to find factors. {near(str(name), METHODS)}")


@_register
class Nmf:
    name: ClassVar[str] = "nmf"
    title: ClassVar[str] = "NMF"
    reference: ClassVar[str] = "Lee & Seung, Nature 401 (1999); HALS: Cichocki & Phan (2009)"
    takes_negative: ClassVar[bool] = False
    limited_by_rank: ClassVar[bool] = True

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        # numpy and not torch: the same bytes with and without torch or a GPU
        model = NMF(k, random_state=seed, max_rows=None, backend="numpy").fit(X, cancel=cancel)
        return Fit(Weigher(_float32(model.components_)), model.errors_)


@_register
class SparseNmf:
    name: ClassVar[str] = "sparse_nmf"
    title: ClassVar[str] = "Sparse NMF"
    reference: ClassVar[str] = "Hoyer (2002), Non-negative sparse coding"
    takes_negative: ClassVar[bool] = False
    limited_by_rank: ClassVar[bool] = True

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        H, penalty, errors = sparse_nmf(X, k, seed=seed, cancel=cancel)
        return Fit(Weigher(H, penalty=penalty), errors)


@_register
class ConvexNmf:
    name: ClassVar[str] = "convex_nmf"
    title: ClassVar[str] = "Convex NMF"
    reference: ClassVar[str] = (
        "Ding, Li & Jordan (2010), IEEE TPAMI 32; on means of rows as Thurau et al. (2011)"
    )
    takes_negative: ClassVar[bool] = True
    limited_by_rank: ClassVar[bool] = True

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        H, errors = convex_nmf(X, k, seed=seed, cancel=cancel)
        return Fit(Weigher(H), errors)


@_register
class KMeansMethod:
    name: ClassVar[str] = "kmeans"
    title: ClassVar[str] = "k-means"
    reference: ClassVar[str] = "Lloyd (1982); k-means++: Arthur & Vassilvitskii (2007)"
    takes_negative: ClassVar[bool] = True
    limited_by_rank: ClassVar[bool] = False

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        model = KMeans(k, random_state=seed).fit(X, cancel=cancel)
        _check_apart(model.cluster_centers_, k)
        error = float(np.sqrt(max(model.inertia_, 0.0) / max(_squares(X), 1e-300)))
        return Fit(Weigher(_float32(model.cluster_centers_), "nearest"), (error,))


@_register
class SphericalKMeans:
    name: ClassVar[str] = "spherical_kmeans"
    title: ClassVar[str] = "Spherical k-means"
    reference: ClassVar[str] = "Dhillon & Modha (2001), Machine Learning 42"
    takes_negative: ClassVar[bool] = True
    limited_by_rank: ClassVar[bool] = False

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        H, errors = spherical_kmeans(X, k, seed=seed, cancel=cancel)
        _check_apart(H, k)
        return Fit(Weigher(H, "direction"), errors)


@_register
class Pca:
    name: ClassVar[str] = "pca"
    title: ClassVar[str] = "PCA (Eigen-CAM)"
    reference: ClassVar[str] = "scikit-learn PCA; Muhammad & Yeasin (2020), Eigen-CAM"
    takes_negative: ClassVar[bool] = True
    limited_by_rank: ClassVar[bool] = True

    def fit(self, X: Array, k: int, seed: int, cancel: Cancel | None = None) -> Fit:
        if len(X) < 2:
            raise TooFew("One position has no principal axes: there is nothing it differs from.")
        from sklearn.decomposition import PCA

        model = PCA(k, random_state=seed).fit(X)
        axes = np.asarray(model.components_, np.float64)
        # equal input gives equal signs: the largest loading of each axis is positive
        at = np.abs(axes).argmax(axis=1)
        axes *= np.where(axes[np.arange(len(axes)), at] < 0, -1.0, 1.0)[:, None]
        weigher = Weigher(_float32(axes), "project", _float32(model.mean_))
        error = float(np.sqrt(weigher(X)[1].sum() / max(_squares(X), 1e-300)))
        return Fit(weigher, (error,))


def check_rows(X: Array, k: int, method: Method, what: str) -> None:
    """Refuse what cannot give ``k`` factors.

    Raises
    ------
    TooFew
        Fewer rows than factors.
    InvalidInput
        More factors than the rank of the rows, which is named.
    """
    if k > len(X):
        raise TooFew(
            f"{k} factors need at least {k} positions; {what} has {len(X)}. Ask for fewer factors."
        )
    if method.limited_by_rank:
        found = rank(X)
        if k > found:
            raise InvalidInput(
                f"{k} factors were asked of {what}, whose {len(X)} sampled positions have rank "
                f"{found}: more than {found} would only split what is there. Use k of at most "
                f"{found}, or method='kmeans'."
            )


def rank(X: Array) -> int:
    """Numerical rank of the rows: singular values above 1e-5 of the largest.

    Activations come from float16, whose rounding (5e-4 of each value, averaged over thousands of
    positions) would otherwise count as information.
    """
    gram = np.zeros((min(X.shape),) * 2)
    tall = len(X) >= X.shape[1]
    step = 4096
    for start in range(0, max(X.shape), step):
        part = (X[start : start + step] if tall else X[:, start : start + step].T).astype(float)
        gram += part.T @ part
    values = np.linalg.eigvalsh(gram)
    return int((values > max(values.max(initial=0.0), 0.0) * 1e-10).sum())


def _check_apart(centres: npt.NDArray[Any], k: int) -> None:
    different = len(np.unique(np.asarray(centres), axis=0))
    if different < k:
        raise TooFew(
            f"The sampled positions have only {different} different values; they do not make {k} "
            f"clusters. Use k of at most {different}."
        )


def _squares(X: npt.NDArray[Any]) -> float:
    return float(np.einsum("pc,pc->", X, X, dtype=np.float64))


def _float32(array: npt.NDArray[Any]) -> Array:
    return np.ascontiguousarray(array, np.float32)
