"""One thread for small matrices, and the process's own number afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from widgetkit.explain.blas import one_thread


def threads() -> list[int]:
    np.linalg.eigh(np.eye(2))
    libraries = ThreadpoolController().info()
    return [one["num_threads"] for one in libraries if one["user_api"] == "blas"]


@pytest.fixture
def before() -> Iterator[list[int]]:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        found = threads()
        if 2 not in found:
            pytest.skip("no BLAS whose threads can be set")
    yield threads()


def test_one_thread_inside_and_as_before_outside(before: list[int]) -> None:
    with one_thread():
        assert set(threads()) == {1}
        with one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert threads() == before


def test_blocks_of_several_threads(before: list[int]) -> None:
    """However they follow on each other, the number that was there is not lost."""
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with one_thread():
                inside.extend(threads())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(inside) >= 80 and set(inside) == {1}
    assert threads() == before
