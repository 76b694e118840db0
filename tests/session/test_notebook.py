"""The session as in a notebook: an event loop runs, and a cell holds it while it works."""

from __future__ import annotations

import asyncio
import itertools
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from widgetkit import explain
from widgetkit.errors import InvalidInput
from widgetkit.session import Job, MapSpec, Session
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]


def in_a_cell(cell: Callable[[], object]) -> None:
    """Run a function with the loop running and blocked, as a notebook runs a cell."""

    async def run() -> None:
        cell()

    asyncio.run(run())


def test_pca_shows_first_and_then_umap(make: Make) -> None:
    store = make(40)

    def cell() -> None:
        session, told = Session(store), []
        assert session.projection is None
        with pytest.raises(InvalidInput, match=r"session.wait\(\)"):
            session.select_polygon([(0, 0), (1, 0), (0, 1)])
        session.observe("projection", lambda p: told.append(p.method))
        assert session.wait()
        assert told == ["pca", "umap"]
        assert session.projection is not None
        assert session.projection.method == "umap"
        assert session.clustering is not None
        assert store.derived.names("projection")
        fresh = Session(store)
        assert fresh.jobs.active == []
        assert fresh.projection is not None
        assert_array_equal(fresh.projection.xy, session.projection.xy)

    in_a_cell(cell)


def test_a_lasso_on_the_preview_is_kept_as_tiles(make: Make) -> None:
    """The final projection puts other tiles there, so the line of history names the tiles."""
    store = make(40)

    def cell() -> None:
        session, lines = Session(store), []

        def lasso(projection: Any) -> None:
            session.select_box((-99, -99, 0, 99))
            lines.append(session.history.steps[-1].code)

        session.observe("projection", lasso)
        session.wait()
        first, last = lines
        assert first.startswith(("session.select([", "session.select(wk.Selection.decode("))
        assert last.startswith("session.select_box(")

    in_a_cell(cell)


def test_the_result_is_that_of_a_script(make: Make) -> None:
    one, two = make(30), make(30)
    script = Session(one)
    script.cluster("kmeans", 3)

    def cell() -> None:
        session = Session(two)
        session.wait()
        session.cluster("kmeans", 3)
        session.wait()
        assert session.clustering is not None
        assert session.clustering.same_as(script.clustering)
        assert session.history.script() == script.history.script()

    in_a_cell(cell)


def test_a_new_selection_drops_the_clustering_of_the_older(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session = Session(store)
        session.wait()
        before = session.clustering
        session.select(range(20))
        job = session.cluster("kmeans", 2, on="selection")
        session.select(range(5))
        session.wait()
        assert job is not None
        assert job.status == "cancelled"
        assert session.clustering is before

    in_a_cell(cell)


def test_clustering_all_goes_on_when_the_selection_changes(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session = Session(store)
        session.wait()
        session.cluster("kmeans", 3)
        session.select(range(5))
        session.wait()
        assert session.clustering is not None
        assert session.clustering.k == 3

    in_a_cell(cell)


def test_edits_before_the_clusters_are_there_say_so(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session = Session(store)
        with pytest.raises(InvalidInput, match="still being computed"):
            session.rename_cluster(0, "x")
        assert len(session.composition()) == 0
        assert session.quality() == {}
        got: list[Any] = []
        session.request_maps([0, 1], None, got.append)
        assert [r.status for r in got] == ["waiting"]
        session.wait()
        session.request_maps([0, 1], None, got.append)
        assert got[-1].status == "final"
        session.close()

    in_a_cell(cell)


class Network:
    """What a session asks of a model; the method below never calls it."""

    def forward_to_layer(self, images: Any, layer: str) -> Any:
        return images

    def logits(self, images: Any) -> Any:
        return images

    def activations_and_gradients(self, images: Any, layer: str, target_class: int) -> Any:
        return images, images


@pytest.fixture
def slow_method() -> Any:
    """A registered map method that runs in the background, and a gate it waits at."""
    gate, entered = threading.Event(), threading.Event()

    @explain.register
    @dataclass(frozen=True)
    class Gated:
        name: ClassVar[str] = "gated"
        title: ClassVar[str] = "Gated"
        reference: ClassVar[str] = "A test."
        requires: ClassVar[frozenset[explain.base.Need]] = frozenset({"forward", "activations"})
        targets: ClassVar[frozenset[type]] = frozenset({explain.ClassTarget})
        signed: ClassVar[bool] = False

        def compute(self, batch: explain.Batch, target: explain.ClassTarget) -> Any:
            entered.set()
            gate.wait(60)
            batch.check()
            return batch.need_activations(self.title).mean(axis=1)

    Gated.gate, Gated.entered = gate, entered  # type: ignore[attr-defined]
    yield Gated
    explain.unregister("gated")


def test_background_maps_come_coarse_then_fine(make: Make, slow_method: Any) -> None:
    store = make(30)
    slow_method.gate.set()

    def cell() -> None:
        session, got = Session(store, Network()), []
        session.wait()
        rows = range(20)
        job = session.request_maps(rows, MapSpec("gated", 1), got.append)
        assert job is not None
        session.wait()
        assert [r.status for r in got] == ["coarse", "coarse", "final"]
        assert [int(r.ready.sum()) for r in got] == [8, 16, 20]
        expected = store.activations("features.4", list(rows)).astype(np.float32).mean(axis=1)
        np.testing.assert_allclose(got[-1].values, expected, rtol=1e-5)
        assert got[-1].title == "Gated: yes"
        assert session.maps(rows, MapSpec("gated")).title == "Gated: each tile's predicted class"

    in_a_cell(cell)


def test_a_newer_request_of_maps_wins_also_when_it_is_live(make: Make, slow_method: Any) -> None:
    store = make(30)

    def cell() -> None:
        session, got = Session(store, Network()), []
        session.wait()
        old = session.request_maps([0], MapSpec("gated", 0), got.append)
        assert slow_method.entered.wait(60)
        session.request_maps([1], MapSpec("cluster"), got.append)
        slow_method.gate.set()
        session.wait()
        assert old is not None
        assert old.status == "cancelled"
        assert [r.spec.method for r in got] == ["cluster"]

    in_a_cell(cell)


def test_errors_of_jobs_reach_the_strip_and_wait(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session, strip = Session(store), []
        session.wait()
        session.observe("error", strip.append)
        session.jobs.submit("mine", lambda job: 1 / 0, title="Mine")
        with pytest.raises(ZeroDivisionError):
            session.wait()
        assert [(s.where, s.message) for s in strip] == [
            ("Mine", "ZeroDivisionError: division by zero")
        ]
        session.jobs.submit("mine", lambda job: 1)
        session.wait()
        assert strip[-1] is None  # it has since succeeded: the strip is cleared

    in_a_cell(cell)


def test_errors_nobody_shows_become_a_warning(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session = Session(store)
        session.wait()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            session.jobs.submit("mine", lambda job: 1 / 0, title="Mine")
            with pytest.raises(ZeroDivisionError):
                session.wait()
        assert [str(w.message) for w in caught if w.category is RuntimeWarning] == [
            "Mine: ZeroDivisionError: division by zero"
        ]

    in_a_cell(cell)


def test_a_job_cannot_change_the_session(make: Make) -> None:
    store = make(30)

    def cell() -> None:
        session = Session(store)
        session.wait()
        before = session.selection

        def work(job: Job) -> None:
            session.select([1])

        session.jobs.submit("mine", work)
        with pytest.warns(RuntimeWarning), pytest.raises(InvalidInput, match="another thread"):
            session.wait()
        assert session.selection is before

    in_a_cell(cell)


def test_changes_from_two_threads_never_interleave(make: Make) -> None:
    """JupyterLab may run widget messages on a subshell thread while a cell runs."""
    session = Session(make(30))
    assert session.clustering is not None
    wrong: list[str] = []

    def told(history: Any) -> None:
        steps = history.steps
        for one, two in itertools.pairwise(steps):
            if one.after != two.before:
                wrong.append("a step does not follow the one before it")

    session.observe("history", told)

    def work(start: int) -> None:
        for i in range(60):
            session.select([(start + i) % 30], mode="add" if i % 3 else "replace")
            session.invert()

    threads = [threading.Thread(target=work, args=(i * 7,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_alike_in_a_large_store_is_a_job(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from widgetkit.session import alike

    store = make(30)
    expected = Session(store).select_alike(0, [0], threshold=0.98)
    monkeypatch.setattr(alike, "AT_ONCE", 0)

    def cell() -> None:
        session = Session(store)
        session.wait()
        session.select([1])
        assert session.select_alike(0, [0], threshold=0.98) is None
        session.wait()
        assert session.selection == expected
        session.select_alike(0, [0], threshold=0.98)
        session.select([5])  # the newer gesture wins
        session.wait()
        assert session.selection.rows.tolist() == [5]

    in_a_cell(cell)
