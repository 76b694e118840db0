"""UMAP behind one lock: seeded, cancellable, from landmarks when there are many rows."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, sample_rows

# numba's default threading layer ends the process when two threads enter its parallel code at
# once ("Concurrent access has been detected"). A warm-up beside a projection would do just that.
_LOCK = threading.RLock()

# Rows placed at once on a fitted map.
_TRANSFORM_ROWS = 10_000

Report = Callable[[float], object]
"""Called with the share done, 0 to 1; raises to stop."""


def installed() -> bool:
    return importlib.util.find_spec("umap") is not None


def layout(
    scores: Floats,
    *,
    n_neighbors: int,
    min_dist: float,
    n_epochs: int | None,
    seed: int,
    landmarks: int,
    report: Report,
) -> npt.NDArray[np.float32]:
    """(n, 2) places of (n, p) principal components, p >= 1.

    Starts from the first two components (Kobak & Linderman 2021): the large shape of the map then
    means something, is the same for every seed, and no eigenproblem can fail.
    """
    with _LOCK, _quiet():
        import umap

        fitted = sample_rows(len(scores), landmarks, seed)
        model = umap.UMAP(
            n_neighbors=min(n_neighbors, len(fitted) - 1),
            min_dist=min_dist,
            n_epochs=n_epochs,
            init=_start(scores[fitted], seed),
            random_state=seed,
            n_jobs=1,  # a seed needs one thread
        )
        xy = np.empty((len(scores), 2), np.float32)
        share = len(fitted) / len(scores)
        with _each_epoch(lambda done: report(done * share)):
            xy[fitted] = model.fit_transform(scores[fitted])
        if len(fitted) < len(scores):
            others = np.setdiff1d(np.arange(len(scores)), fitted, assume_unique=True)
            for at in range(0, len(others), _TRANSFORM_ROWS):
                report(share + (1 - share) * at / len(others))
                rows = others[at : at + _TRANSFORM_ROWS]
                xy[rows] = model.transform(scores[rows])
        return xy


def warm_up(*, transform: bool = False) -> float:
    """Compile UMAP's numba code, so that the first map need not wait for it.

    Meant for a background thread; a projection asked for meanwhile waits for it instead of
    crashing beside it. Does nothing where umap-learn is not installed.

    Parameters
    ----------
    transform : bool
        Also compile what placing new rows on a map needs (only above 50,000 rows).

    Returns
    -------
    float
        Seconds it took.
    """
    began = time.perf_counter()
    if installed():
        with _LOCK, _quiet():
            import umap

            rows = np.random.default_rng(0).normal(size=(128, 8)).astype(np.float32)
            model = umap.UMAP(
                n_neighbors=5,
                n_epochs=6,  # placing new rows takes a third of them, and needs one
                init=rows[:, :2],
                random_state=0,
                n_jobs=1,
                force_approximation_algorithm=True,  # the neighbour search of more than 4096 rows
            ).fit(rows)
            if transform:
                model.transform(rows[:4])
    return time.perf_counter() - began


def _start(scores: Floats, seed: int) -> npt.NDArray[np.float32]:
    """The first two components. An axis without spread gets a little seeded noise: umap scales
    each axis by its range."""
    start = np.zeros((len(scores), 2), np.float32)
    start[:, : scores.shape[1]] = scores[:, :2]
    spread = np.ptp(start, axis=0)
    flat = spread <= 1e-6 * max(float(spread.max()), 1e-30)
    noise = np.random.default_rng(seed).normal(size=start.shape).astype(np.float32)
    start[:, flat] = (noise * max(float(spread.max()), 1.0) * 1e-3)[:, flat]
    return start


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without umap's remarks on what is meant: one thread for a seed, no tensorflow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*n_jobs value.*overridden.*")
        warnings.filterwarnings("ignore", message=".*[Tt]ensorflow.*")
        warnings.filterwarnings("ignore", message=".*Graph is not fully connected.*")
        yield


@contextlib.contextmanager
def _each_epoch(report: Report) -> Iterator[None]:
    """Call ``report`` between the epochs of umap's layout loop.

    umap has no callback; its loop runs over ``tqdm(range(n_epochs))``. Within this block, and in
    this thread, that name in its module is an iterator of ours. Should a later umap loop in
    another way, maps are made all the same, only without progress in between.
    """
    layouts: Any = importlib.import_module("umap.layouts")
    original = getattr(layouts, "tqdm", None)
    if original is None:
        yield
        return
    mine = threading.get_ident()

    @functools.wraps(original, updated=())
    def epochs(iterable: Iterable[int], *args: Any, **kwargs: Any) -> Iterable[int]:
        if threading.get_ident() != mine:
            shown: Iterable[int] = original(iterable, *args, **kwargs)
            return shown
        return _reporting(iterable, report)

    layouts.tqdm = epochs
    try:
        yield
    finally:
        layouts.tqdm = original


def _reporting(iterable: Iterable[int], report: Report) -> Iterator[int]:
    items = list(iterable)
    for i, item in enumerate(items):
        report(i / len(items))
        yield item
