"""Jobs, run for real: threads, and event loops as in a notebook. Order is held by events of
threading, never by sleeping for a while and hoping."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from widgetkit.errors import Cancelled, InvalidInput
from widgetkit.session import Job, Jobs


def test_without_a_loop_a_job_runs_inline_in_order() -> None:
    jobs, seen = Jobs(), []

    def work(job: Job) -> str:
        job.emit("coarse")
        seen.append("after coarse")
        return "fine"

    job = jobs.submit("maps", work, seen.append)
    assert seen == ["coarse", "after coarse", "fine"]
    assert job.status == "done"
    assert jobs.active == []


def test_inline_an_exception_is_told_and_raised() -> None:
    told: list[Any] = []
    jobs = Jobs(on_error=lambda error, title: told.append((str(error), title)))

    def work(job: Job) -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"):
        jobs.submit("maps", work, title="Maps")
    assert told == [("no", "Maps")]
    assert jobs.wait()  # it was raised once; it is not raised again


def test_inline_an_exception_of_the_receiver_is_told_and_raised() -> None:
    told: list[Any] = []
    jobs = Jobs(on_error=lambda error, title: told.append(str(error)))

    def receive(value: int) -> None:
        raise ValueError("bad receiver")

    with pytest.raises(ValueError, match="bad receiver"):
        jobs.submit("maps", lambda job: 1, receive)
    assert told == ["bad receiver"]


def test_inline_interrupt_leaves_it_cancelled() -> None:
    jobs = Jobs()

    def work(job: Job) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.submit("maps", work)
    assert jobs.active == []
    assert jobs.submit("maps", lambda job: 1).status == "done"


def test_in_a_loop_results_come_on_the_thread_of_the_loop() -> None:
    async def notebook() -> None:
        jobs, done = Jobs(), asyncio.Event()
        where: list[threading.Thread] = []

        def work(job: Job) -> int:
            where.append(threading.current_thread())
            return 42

        def receive(value: int) -> None:
            where.append(threading.current_thread())
            assert value == 42
            done.set()

        jobs.submit("maps", work, receive)
        await asyncio.wait_for(done.wait(), 60)
        assert where[0] is not threading.main_thread()
        assert where[1] is threading.main_thread()

    asyncio.run(notebook())


def test_wait_delivers_while_a_cell_holds_the_loop() -> None:
    async def cell() -> None:
        jobs, seen = Jobs(), []
        jobs.submit("a", lambda job: 1, seen.append)
        jobs.submit("b", lambda job: 2, seen.append)
        assert seen == []  # nothing is delivered before the cell yields or waits
        assert jobs.wait()
        assert sorted(seen) == [1, 2]
        await asyncio.sleep(0)
        assert sorted(seen) == [1, 2]  # the loop's own turn delivers nothing twice

    asyncio.run(cell())


def test_the_latest_of_a_key_wins_and_the_stale_result_is_dropped() -> None:
    async def cell() -> None:
        jobs, seen, go = Jobs(), [], threading.Event()

        def stubborn(job: Job) -> str:
            go.wait(60)  # does not look at job.check()
            return "stale"

        old = jobs.submit("maps", stubborn, seen.append)
        dropped = jobs.submit("maps", lambda job: "never started", seen.append)
        new = jobs.submit("maps", lambda job: "new", seen.append)
        go.set()
        jobs.wait()
        assert seen == ["new"]
        assert (old.status, dropped.status, new.status) == ("cancelled", "cancelled", "done")

    asyncio.run(cell())


def test_two_of_a_key_never_run_at_once() -> None:
    async def cell() -> None:
        jobs, lock = Jobs(), threading.Lock()

        def work(job: Job) -> None:
            assert lock.acquire(blocking=False), "two jobs of one key at once"
            threading.Event().wait(0.002)
            lock.release()

        for _ in range(20):
            jobs.submit("project", work)
        jobs.wait()

    asyncio.run(cell())


def test_cancel_stops_it_and_says_so() -> None:
    async def cell() -> None:
        told: list[tuple[str, str]] = []
        jobs = Jobs(on_change=lambda job: told.append((job.key, job.status)))
        started, stopped = threading.Event(), threading.Event()

        def work(job: Job) -> None:
            started.set()
            try:
                while True:
                    job.progress(1, 2)
            except Cancelled:
                stopped.set()
                raise

        job = jobs.submit("project", work, lambda value: pytest.fail("delivered"))
        assert started.wait(60)
        jobs.cancel("project")
        assert stopped.wait(60)
        assert jobs.wait()
        assert job.status == "cancelled"
        assert told[-1] == ("project", "cancelled")

    asyncio.run(cell())


def test_progress_and_early_results_arrive_in_order() -> None:
    async def cell() -> None:
        seen: list[Any] = []
        jobs = Jobs(on_change=lambda job: seen.append(job.fraction))

        def work(job: Job) -> str:
            job.progress(5, 10)
            job.emit("coarse")
            job.progress(10, 10)
            return "fine"

        jobs.submit("maps", work, seen.append)
        jobs.wait()
        assert [s for s in seen if isinstance(s, str)] == ["coarse", "fine"]
        assert seen[-1] == 1.0

    asyncio.run(cell())


def test_errors_are_told_at_once_and_raised_by_wait() -> None:
    async def cell() -> None:
        told: list[str] = []
        jobs = Jobs(on_error=lambda error, title: told.append(f"{title}: {error}"))
        good: list[int] = []

        def work(job: Job) -> None:
            raise InvalidInput("no")

        jobs.submit("maps", work, title="Maps")
        jobs.submit("other", lambda job: 1, good.append)
        with pytest.raises(InvalidInput, match="no"):
            jobs.wait()
        assert told == ["Maps: no"]
        assert good == [1]
        assert jobs.wait()

    asyncio.run(cell())


def test_an_error_delivered_by_the_loop_is_not_lost_to_wait() -> None:
    async def cells() -> None:
        told = asyncio.Event()
        jobs = Jobs(on_error=lambda error, title: told.set())
        jobs.submit("maps", lambda job: 1 / 0)
        await asyncio.wait_for(told.wait(), 60)
        with pytest.raises(ZeroDivisionError):
            jobs.wait()
        jobs.submit("maps", lambda job: 1 / 0)
        jobs.submit("maps", lambda job: 1)  # replaces the one that failed
        assert jobs.wait()

    asyncio.run(cells())


def test_wait_gives_up_in_time_and_the_job_goes_on() -> None:
    async def cell() -> None:
        jobs, seen, go = Jobs(), [], threading.Event()
        jobs.submit("slow", lambda job: go.wait(60), seen.append)
        assert jobs.wait(timeout=0.01) is False
        go.set()
        assert jobs.wait() is True
        assert seen == [True]

    asyncio.run(cell())


def test_a_loop_that_ended_does_not_strand_results() -> None:
    """asyncio.run() closed the loop while the job ran; a later wait() delivers."""
    jobs, seen, go = Jobs(), [], threading.Event()

    async def cell() -> None:
        jobs.submit("slow", lambda job: go.wait(60), seen.append)

    asyncio.run(cell())
    go.set()
    assert jobs.wait()
    assert seen == [True]
    assert jobs.submit("inline", lambda job: 1, seen.append).status == "done"


def test_a_job_submitted_from_another_thread_is_delivered_by_the_home_loop() -> None:
    """JupyterLab handles widget messages on subshell threads with a loop of their own."""

    async def notebook() -> None:
        jobs, done = Jobs(), asyncio.Event()
        where: list[threading.Thread] = []

        async def message() -> None:
            def receive(value: int) -> None:
                where.append(threading.current_thread())
                done.set()

            jobs.submit("maps", lambda job: 1, receive)

        await asyncio.to_thread(lambda: asyncio.run(message()))
        await asyncio.wait_for(done.wait(), 60)
        assert where == [threading.main_thread()]

    asyncio.run(notebook())


def test_a_job_that_waits_for_jobs_is_refused() -> None:
    async def cell() -> None:
        jobs = Jobs()
        jobs.submit("maps", lambda job: jobs.wait())
        with pytest.raises(InvalidInput, match="wait for itself"):
            jobs.wait()

    asyncio.run(cell())


def test_closed_jobs_start_nothing() -> None:
    jobs = Jobs()
    jobs.close()
    with pytest.raises(InvalidInput, match="closed"):
        jobs.submit("maps", lambda job: 1)
