"""The iterations of :class:`~widgetkit.analysis.nmf.NMF`, the same on numpy and torch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from widgetkit.analysis._arrays import Floats
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import missing

BackendName = Literal["auto", "numpy", "torch"]

# Sweeps over the factors for each product with X. A sweep reads (k, n) instead of (C, n): at
# C = 512 and k = 10 eight cost less than half of the product and save more than half of them.
_SWEEPS = 8

# Squared relative error below which float32 cannot tell one iteration from the next.
_NOISE = {"float32": 1e-11, "float64": 1e-28}


@dataclass(frozen=True)
class HalsResult:
    """``W`` (n, k), ``H`` (k, C), the relative error after each iteration, and who computed."""

    W: Floats
    H: Floats
    errors: tuple[float, ...]
    backend: str


@dataclass(frozen=True)
class _Backend:
    name: str
    load: Callable[[Floats], Any]
    fetch: Callable[[Any], Floats]
    clamp: Callable[[Any], Any]
    """Negative values to 0, in place."""
    double: Callable[[Any], Any]


def choose_backend(name: BackendName) -> Literal["numpy", "torch"]:
    """The backend that ``name`` stands for here: "auto" is torch when it is installed.

    Raises
    ------
    MissingDependency
        "torch" is asked for and not installed.
    """
    if name == "numpy":
        return "numpy"
    if "torch" in sys.modules or importlib.util.find_spec("torch") is not None:
        return "torch"
    if name == "torch":
        raise missing("torch", "torch", "NMF(backend='torch')")
    return "numpy"


def _backend(name: BackendName) -> _Backend:
    if choose_backend(name) == "numpy":
        return _Backend(
            "numpy",
            load=np.ascontiguousarray,
            fetch=np.asarray,
            clamp=lambda x: np.maximum(x, 0, out=x),
            double=lambda x: x.astype(np.float64),
        )
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def load(array: Floats) -> torch.Tensor:
        array = np.ascontiguousarray(array)
        if not array.flags.writeable:  # torch warns about read-only memory
            array = array.copy()
        return torch.from_numpy(array).to(device)

    return _Backend(
        "torch",
        load,
        fetch=lambda x: x.cpu().numpy(),
        clamp=lambda x: x.clamp_(min=0),
        double=lambda x: x.double(),
    )


def hals(
    X: Floats,
    W: Floats,
    H: Floats,
    *,
    tol: float,
    max_iter: int,
    backend: BackendName = "numpy",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> HalsResult:
    """Lower ``||X - W H||`` from the given start until an iteration gains less than ``tol``.

    Parameters
    ----------
    X : (n, C) float32 or float64, non-negative
    W : (n, k), H : (k, C)
        Start values of the same type, non-negative. Not changed.
    tol : float
        Smallest relative decrease of the error that is worth another iteration.
    max_iter : int

    Returns
    -------
    HalsResult
        ``errors`` never rises: an iteration that rounding made worse is undone and ends the run.
        They come from the gram matrices; in float32 those below about 0.001 are rounding.
    """
    use = _backend(backend)
    data, norm2 = use.load(X), float(np.vdot(X, X))
    noise = _NOISE[X.dtype.name] * norm2
    weights = use.load(np.array(W.T, X.dtype, order="C"))  # (k, n): each factor one long row
    factors = use.load(np.array(H, X.dtype, order="C"))
    errors: list[float] = []
    best, best2 = (weights, factors), np.inf
    own = factors @ factors.T
    for iteration in range(max_iter):
        checkpoint(cancel, progress, iteration, max_iter)
        weights, factors = weights + 0, factors + 0  # the sweeps write in place; keep the best
        _sweep(weights, factors @ data.T, own, use)
        products, gram = weights @ data, weights @ weights.T
        _sweep(factors, products, gram, use)
        own = factors @ factors.T
        inner = float((use.double(factors) * use.double(products)).sum())
        outer = float((use.double(own) * use.double(gram)).sum())
        error2 = max(norm2 - 2 * inner + outer, 0.0)
        if error2 > best2:
            break
        gained = np.sqrt(best2) - np.sqrt(error2)
        best, best2 = (weights, factors), error2
        errors.append(float(np.sqrt(error2 / norm2)) if norm2 > 0 else 0.0)
        if error2 <= noise or gained < tol * np.sqrt(error2):
            break
    checkpoint(cancel, progress, max_iter, max_iter)
    return HalsResult(
        np.ascontiguousarray(use.fetch(best[0]).T),
        np.ascontiguousarray(use.fetch(best[1])),
        tuple(errors),
        use.name,
    )


def _sweep(rows: Any, target: Any, gram: Any, use: _Backend) -> None:
    """Set each row of ``rows`` (k, m) to its optimum given the others, a few times over.

    Minimises ``||target-side residual||`` where ``target`` (k, m) are the products with the data
    and ``gram`` (k, k) those of the other matrix with itself. A factor whose partner is zero
    (nothing to divide by) is left as it is.
    """
    diagonal = [float(gram[j, j]) for j in range(len(gram))]
    for _ in range(_SWEEPS):
        for j, size in enumerate(diagonal):
            if size > 0:
                step = target[j] - gram[j] @ rows
                step /= size
                step += rows[j]
                rows[j] = use.clamp(step)


def initial_factors(X: Floats, k: int, seed: int) -> tuple[Floats, Floats]:
    """Non-negative double SVD (Boutsidis & Gallopoulos 2008) by a seeded range finder.

    Entries it leaves at zero become a hundredth of the mean, so that no part starts dead.
    Factors beyond the rank of ``X`` start from seeded random rows of ``X``.

    Returns
    -------
    W (n, k), H (k, C)
    """
    generator = np.random.default_rng(seed)
    n, C = X.shape
    rank = min(k, n, C)
    width = min(rank + 10, n, C)
    sketch = X @ generator.standard_normal((C, width)).astype(X.dtype)
    for _ in range(2):
        basis, _ = np.linalg.qr(sketch)
        sketch = X @ (X.T @ basis)
    basis, _ = np.linalg.qr(sketch)
    small, values, right = np.linalg.svd(basis.T @ X, full_matrices=False)
    left = basis @ small
    W, H = np.zeros((n, k), X.dtype), np.zeros((k, C), X.dtype)
    for j in range(rank):
        u, v = left[:, j], right[j]
        positive = np.maximum(u, 0), np.maximum(v, 0)
        negative = np.maximum(-u, 0), np.maximum(-v, 0)
        sizes = [float(np.linalg.norm(a) * np.linalg.norm(b)) for a, b in (positive, negative)]
        (a, b), size = (positive, sizes[0]) if sizes[0] >= sizes[1] else (negative, sizes[1])
        if size > 0:
            root = np.sqrt(values[j] * size)
            W[:, j] = root * a / np.linalg.norm(a)
            H[j] = root * b / np.linalg.norm(b)
    for j in range(rank, k):
        H[j] = X[generator.integers(n)]
        W[:, j] = generator.random(n, dtype=np.float32)
    filler = np.sqrt(X.mean() / k) / 100
    W[W <= 0], H[H <= 0] = filler, filler
    return W, H
