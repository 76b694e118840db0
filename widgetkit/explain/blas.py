"""Small matrices are quickest on one processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# One at a time: two that overlap could each take the other's limit for what was there before.
_lock = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """numpy's matrix products and decompositions on one thread while the block runs.

    OpenBLAS shares out even a matrix of 100 x 100, and its threads wait for each other: where the
    processors have other work, an eigendecomposition of 1.6 ms then took 10 ms and at times 260.
    Blocks of different threads wait for each other; keep them short.
    """
    with _lock, _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> Any:
    # scikit-learn depends on it; without type information
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
