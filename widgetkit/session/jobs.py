"""Work beside the kernel's main thread: latest wins, progress, cancel, ordered delivery.

A job's function runs on a worker thread and only reads. What it returns is delivered by
the thread of the event loop (in a notebook), or by whoever calls :meth:`Jobs.wait`. With
no event loop running there is nobody to deliver, so the job runs inline, in order.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from widgetkit.errors import Cancelled, InvalidInput

Status = Literal["queued", "running", "done", "failed", "cancelled"]
OnResult = Callable[[Any], object]

#: Job threads at once: enough that a projection does not hold up maps, few enough to leave
#: a core to the kernel.
MAX_WORKERS = 3

_local = threading.local()


def on_worker_thread() -> bool:
    """Whether the caller is the function of a job (which must not change the session)."""
    return bool(getattr(_local, "worker", False))


class Job:
    """A piece of work under way; also what its function is given to report with.

    Attributes
    ----------
    key : str
        A newer job of the same key takes this one's place.
    title : str
        For people.
    status : str
        queued, running, done, failed, or cancelled.
    done, total : int
        Progress; ``total`` is 0 when not known.
    error : Exception or None
        Why it failed.
    revision : int
        Counts the jobs of a :class:`Jobs`.
    """

    def __init__(self, jobs: Jobs, key: str, title: str, revision: int) -> None:
        self._jobs = jobs
        self.key = key
        self.title = title
        self.revision = revision
        self.status: Status = "queued"
        self.done = 0
        self.total = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._said = 0.0

    @property
    def active(self) -> bool:
        return self.status in ("queued", "running")

    @property
    def fraction(self) -> float | None:
        """Progress in 0..1, or None when not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    def cancel(self) -> None:
        """Ask the job to stop; its result, if it still comes, is dropped."""
        self._jobs.cancel_job(self)

    # -- for the function ----------------------------------------------------------------
    @property
    def cancelled(self) -> bool:
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Cancelled when the job was cancelled or replaced."""
        if self._stop.is_set():
            raise Cancelled(f"{self.title or self.key} was cancelled.")

    def progress(self, done: int, total: int) -> None:
        """Report progress, at most ten times a second; also checks for cancellation."""
        self.check()
        self.done, self.total = int(done), int(total)
        now = time.monotonic()
        if now - self._said >= 0.1 or done >= total:
            self._said = now
            self._jobs.post(_Progress(self))

    def emit(self, value: Any) -> None:
        """Deliver an early, coarser result; the returned one follows."""
        self.check()
        self._jobs.post(_Partial(self, value))

    def __repr__(self) -> str:
        part = f" {self.done}/{self.total}" if self.total else ""
        return f"<Job {self.key}: {self.status}{part}>"


@dataclass(frozen=True)
class _Progress:
    job: Job


@dataclass(frozen=True)
class _Partial:
    job: Job
    value: Any


@dataclass(frozen=True)
class _Outcome:
    job: Job
    value: Any = None
    error: BaseException | None = None


_Message = _Progress | _Partial | _Outcome


@dataclass(frozen=True)
class _Work:
    job: Job
    function: Callable[[Job], Any]


class Jobs:
    """Runs jobs; at most one of a key counts, and at most one of a key runs.

    Parameters
    ----------
    on_error : callable (error, title)
        Told of each failed job, on the delivering thread.
    on_change : callable (job)
        Told when a job starts, progresses or ends, on the delivering thread.
    lock : RLock
        Held while results are delivered, so that a delivery and a change by the user
        (which may come from another thread: JupyterLab handles widget messages on
        subshell threads) never interleave.
    """

    def __init__(
        self,
        *,
        on_error: Callable[[BaseException, str], object] = lambda error, title: None,
        on_change: Callable[[Job], object] = lambda job: None,
        lock: threading.RLock | None = None,
    ) -> None:
        self._on_error = on_error
        self._on_change = on_change
        self.lock = lock or threading.RLock()
        self._guard = threading.Lock()  # of the fields below; never held during a callback
        self._current: dict[str, Job] = {}
        self._results: dict[int, OnResult | None] = {}
        self._waiting: dict[str, _Work] = {}
        self._running: dict[str, Job] = {}
        self._workers = 0
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._errors: dict[str, BaseException] = {}
        self._revision = 0
        self._loop = _running_loop() if _on_main_thread() else None
        self._closed = False

    # -- starting and stopping -----------------------------------------------------------
    @property
    def background(self) -> bool:
        """Whether a new job would run beside the caller rather than inline."""
        return self._home() is not None

    @property
    def active(self) -> list[Job]:
        """Jobs that wait or run, oldest first."""
        with self._guard:
            return sorted(
                (job for job in self._current.values() if job.active), key=lambda j: j.revision
            )

    def submit(
        self,
        key: str,
        function: Callable[[Job], Any],
        on_result: OnResult | None = None,
        *,
        title: str = "",
    ) -> Job:
        """Run ``function(job)`` and deliver what it returns; replace the older of that key.

        Parameters
        ----------
        key : str
            The older job of the same key is cancelled; its results are dropped.
        function : callable
            Runs on a worker thread. Reads only; calls ``job.check()`` or
            ``job.progress(done, total)`` between batches.
        on_result : callable, optional
            Given what ``function`` emitted and returned, on the delivering thread.
        title : str
            For people.

        Returns
        -------
        Job

        Raises
        ------
        Exception
            Whatever ``function`` or ``on_result`` raised, when it ran inline.
        """
        with self._guard:
            if self._closed:
                raise InvalidInput("The session is closed: it starts no more jobs.")
            self._revision += 1
            job = Job(self, key, title or key, self._revision)
            older = self._current.get(key)
            self._current[key] = job
            self._results[job.revision] = on_result
            self._errors.pop(key, None)
            self._waiting.pop(key, None)
        if older is not None:
            self._stop(older)
        if self._home() is None:
            self._run_inline(_Work(job, function))
        else:
            with self._guard:
                self._waiting[key] = _Work(job, function)
            self._changed(job)
            self._start_workers()
        return job

    def cancel(self, key: str | None = None) -> None:
        """Cancel the job of a key, or all."""
        with self._guard:
            found = [j for k, j in self._current.items() if j.active and key in (None, k)]
        for job in found:
            self.cancel_job(job)

    def cancel_job(self, job: Job) -> None:
        """Cancel one job; see :meth:`Job.cancel`."""
        with self._guard:
            work = self._waiting.get(job.key)
            if work is not None and work.job is job:
                del self._waiting[job.key]
        if self._stop(job) and not on_worker_thread():
            self._changed(job)

    def close(self) -> None:
        """Cancel everything and accept nothing more."""
        with self._guard:
            self._closed = True
        self.cancel()

    def _stop(self, job: Job) -> bool:
        job._stop.set()
        if not job.active:
            return False
        job.status = "cancelled"
        with self._guard:
            self._results.pop(job.revision, None)
        return True

    # -- running -------------------------------------------------------------------------
    def _run_inline(self, work: _Work) -> None:
        job = work.job
        job.status = "running"
        self._changed(job)
        self._handle(self._outcome(work))
        error = self._take_error(job.key)
        if error is not None:
            raise error

    def _start_workers(self) -> None:
        with self._guard:
            ready = [key for key in self._waiting if key not in self._running]
            count = min(len(ready), MAX_WORKERS - self._workers)
            self._workers += max(count, 0)
        for _ in range(count):
            threading.Thread(target=self._work, name="widgetkit-job", daemon=True).start()

    def _work(self) -> None:
        _local.worker = True
        while True:
            with self._guard:
                key = next((k for k in self._waiting if k not in self._running), None)
                if key is None:
                    self._workers -= 1
                    return
                work = self._waiting.pop(key)
                self._running[key] = work.job
                if work.job.active:
                    work.job.status = "running"
            self.post(_Progress(work.job))
            outcome = self._outcome(work)
            with self._guard:
                del self._running[key]
            self.post(outcome)

    def _outcome(self, work: _Work) -> _Outcome:
        try:
            work.job.check()
            return _Outcome(work.job, work.function(work.job))
        except Exception as error:
            return _Outcome(work.job, error=error)
        except BaseException as error:
            if on_worker_thread():
                return _Outcome(work.job, error=error)
            self._stop(work.job)  # the user interrupted an inline job
            raise

    # -- delivering ----------------------------------------------------------------------
    def post(self, message: _Message) -> None:
        """Queue a message for the delivering thread; inline, deliver it at once."""
        self._inbox.put(message)
        loop = self._home()
        if loop is None:
            if not on_worker_thread():
                self.deliver()
            return
        try:
            loop.call_soon_threadsafe(self.deliver)
        except RuntimeError:  # the loop was closed meanwhile: wait() delivers
            return

    def deliver(self) -> None:
        """Deliver all that has arrived. On the kernel's main thread.

        Errors were sent as events and are kept for ``wait()``: raised here they would only
        reach the log of the event loop.
        """
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._handle(message)

    def wait(self, timeout: float | None = None) -> bool:
        """Deliver until no job is left.

        Works while a notebook cell holds the event loop: it takes the deliveries that the
        loop would have made.

        Parameters
        ----------
        timeout : float, seconds, optional
            Give up after so long; jobs go on.

        Returns
        -------
        bool
            Whether all jobs ended.

        Raises
        ------
        Exception
            The first that a job or a delivery raised since the last call.
        """
        if on_worker_thread():
            raise InvalidInput("wait() was called inside a job: it would wait for itself.")
        end = None if timeout is None else time.monotonic() + timeout
        try:
            finished = self._pump(end)
        except KeyboardInterrupt:
            self.cancel()
            raise
        error = self._take_error()
        if error is not None:
            raise error
        return finished

    def _pump(self, end: float | None) -> bool:
        while True:
            self.deliver()
            if not self._busy():
                return True
            left = 0.05 if end is None else min(end - time.monotonic(), 0.05)
            if left <= 0:
                return False
            try:
                # In steps: another thread may take the message that this one waits for.
                self._handle(self._inbox.get(timeout=left))
            except queue.Empty:
                continue

    def keep_error(self, error: BaseException, key: str = "") -> None:
        """Have the next ``wait()`` raise it."""
        with self._guard:
            self._errors.setdefault(key, error)

    def _take_error(self, key: str | None = None) -> BaseException | None:
        with self._guard:
            if key is not None:
                return self._errors.pop(key, None)
            first = next(iter(self._errors.values()), None)
            self._errors.clear()
            return first

    def _busy(self) -> bool:
        with self._guard:
            return any(job.active for job in self._current.values())

    def _handle(self, message: _Message) -> None:
        job = message.job
        with self.lock:
            try:
                if isinstance(message, _Progress):
                    if job.active:
                        self._on_change(job)
                elif isinstance(message, _Partial):
                    on_result = self._results.get(job.revision)
                    if job.active and on_result is not None:
                        on_result(message.value)
                else:
                    self._finish(message)
            except Exception as error:
                self._failed(job, error)

    def _finish(self, outcome: _Outcome) -> None:
        job = outcome.job
        with self._guard:
            on_result = self._results.pop(job.revision, None)
            stale = self._current.get(job.key) is not job
            if not stale:
                del self._current[job.key]
        if not job.active:  # cancelled or replaced: the result is stale
            return
        if isinstance(outcome.error, Cancelled):
            job.status = "cancelled"
            self._on_change(job)
        elif outcome.error is not None:
            self._failed(job, outcome.error)
        else:
            job.status = "done"
            try:
                if on_result is not None:
                    on_result(outcome.value)
            finally:
                self._on_change(job)

    def _failed(self, job: Job, error: BaseException) -> None:
        if job.status != "cancelled":
            job.status = "failed"
        job.error = error
        job._stop.set()
        with self._guard:
            self._results.pop(job.revision, None)
        self.keep_error(error, job.key)
        try:
            self._on_error(error, job.title)
            self._on_change(job)
        except Exception as second:
            if second is not error:
                self.keep_error(second, f"{job.key} (reporting)")

    def _changed(self, job: Job) -> None:
        with self.lock:
            self._on_change(job)

    def _home(self) -> asyncio.AbstractEventLoop | None:
        """The loop that delivers: the main thread's when it runs, else the caller's."""
        if on_worker_thread():
            return self._loop if self._loop is not None and not self._loop.is_closed() else None
        here = _running_loop()
        if here is not None and (self._loop is None or _on_main_thread()):
            self._loop = here
        if self._loop is not None and (self._loop.is_closed() or not self._loop.is_running()):
            self._loop = here
        return self._loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
