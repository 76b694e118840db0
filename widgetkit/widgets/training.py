"""TrainingView: the loss while a network is trained, and the buttons that end it."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets

from widgetkit.errors import InvalidInput, MissingDependency, StopTraining
from widgetkit.figures.training import Curves, curves, history_of, training_sentence
from widgetkit.session.jobs import Job, Jobs
from widgetkit.widgets import charts, training_charts
from widgetkit.widgets.controls import button, choice, escape
from widgetkit.widgets.panel import Column, close_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widgetkit.figures.training import History

Status = Literal["idle", "running", "done", "stopped", "cancelled", "failed"]

#: A person sees no more, and a notebook's socket has better things to carry.
SECONDS_BETWEEN = 0.3
#: Part of the kernel's time that the chart may take: long histories are drawn less often, but at
#: least every so many seconds.
CHART_SHARE, SECONDS_MOST = 0.05, 5.0
#: What the view itself gives to ``fit``.
OWN = ("progress", "cancel", "on_epoch")
#: Shown while a cell runs the training: the kernel reads no button before the cell has ended.
BLOCKED = (
    "The cell is training, so no button can reach it. To end it, interrupt the kernel: all is then "
    "as it was. wk.train(...) trains beside the notebook, with buttons."
)


@dataclass(frozen=True)
class _Epoch:
    """An epoch on its way from the thread that trains, and the images done by then."""

    entry: Mapping[str, Any]
    done: int


class TrainingView(Column):
    """Loss by epoch as it comes, the best epoch marked; progress, and buttons to end it.

    Made by :func:`train`, which trains beside the notebook. Or give its methods to a ``fit`` that
    runs in a cell: ``ae.fit(images, progress=view.progress, on_epoch=view.on_epoch)``.

    Parameters
    ----------
    history : list of dict or an estimator with ``history_``, optional
        A training of before.

    Attributes
    ----------
    status : "idle", "running", "done", "stopped", "cancelled" or "failed"
    history : tuple of dict
        The epochs so far.
    result : object
        The fitted estimator once training in the background has ended; None before, and when it was
        cancelled or failed.
    """

    def __init__(self, history: History | Any | None = None) -> None:
        super().__init__()
        training_charts.warm_up()
        self.status: Status = "idle"
        self._history: list[Mapping[str, Any]] = []
        self.result: Any = None
        self._jobs = Jobs(on_error=self._failed, on_change=self._job_changed)
        self._job: Job | None = None
        self._left = threading.Event()  # the thread that trains has left fit
        self._left.set()
        self._stop = threading.Event()
        self._fresh = 0  # epochs of this run: those of a checkpoint come in no callback
        self._obeyed = False
        self._clear_clock()
        act = self.guard
        self._scale = choice("Loss", [("linear", "linear"), ("logarithmic", "log")], "linear")
        self._bar = widgets.FloatProgress(
            0.0, min=0.0, max=1.0, layout=widgets.Layout(width="160px"), tooltip="Images trained on"
        )
        self._text = widgets.HTML()
        self._stop_button = button(
            "Stop and keep the best",
            "End training now, with the best of the finished epochs",
            act(self.stop),
        )
        self._cancel_button = button(
            "Cancel", "End training; the network stays as it was before", act(self.cancel)
        )
        self._note = widgets.HTML()
        self._chart = widgets.VBox()
        self.children = [
            widgets.HBox(
                [self._bar, self._stop_button, self._cancel_button, self._scale],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._text,
            self._chart,
            charts.Fit(),
            self._note,
            self.error_strip,
        ]
        self._scale.observe(act(lambda _: self._redraw()), "value")
        if history is not None:
            self._history = list(history_of(history))
            self.status = "done" if self._history else "idle"
        self._show_buttons(False)
        self._redraw()
        self._say()

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._history)

    # -- for fit, in a cell --------------------------------------------------------------
    def on_epoch(self, epoch: Mapping[str, Any]) -> None:
        """Give it to ``fit`` as ``on_epoch``: an entry of the history, as soon as there is one."""
        ended = self.status != "running" and 0 < self._total <= self._done
        if self._is_earlier(epoch) or not (ended or self.status == "running"):
            self._begin(blocking=True)  # without a progress nothing else says so
        self._add(_Epoch(dict(epoch), self._done))
        self._fresh += 1
        self._obey_in_a_cell()

    def progress(self, done: int, total: int) -> None:
        """Give it to ``fit`` as ``progress``: images trained on, in all epochs."""
        over = self.status != "running" and (done < total or self.status == "idle")
        if over or done < self._done:
            self._begin(blocking=True)
        self._count(done, total)
        if done >= total:
            self._end("done")
        self._obey_in_a_cell()

    # -- ending it -----------------------------------------------------------------------
    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop and has not yet ended."""
        return self.status == "running" and self._stop.is_set()

    def stop(self) -> None:
        """End training and keep the best of the finished epochs; at least one is waited for."""
        if self.status != "running":
            raise InvalidInput("Nothing is being trained, so there is nothing to stop.")
        self._stop.set()
        self._say()

    def cancel(self) -> None:
        """End training in the background; what was trained stays as it was before."""
        if self._job is None or not self._job.active:
            raise InvalidInput("Nothing is being trained in the background.")
        self._job.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for training in the background; the chart goes on meanwhile.

        Parameters
        ----------
        timeout : float, seconds, optional

        Returns
        -------
        bool
            Whether it has ended. Interrupting the wait cancels the training.

        Raises
        ------
        Exception
            What ``fit`` raised.
        """
        began = time.monotonic()
        ended = self._jobs.wait(timeout)
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        # a cancelled job counts as ended before its thread has left fit
        return self._left.wait(left) and ended

    # -- in the background ---------------------------------------------------------------
    def _train(self, fit: Callable[..., Any]) -> None:
        self._begin(blocking=False)
        reckon = _as_here()

        def run(job: Job) -> Any:
            reckon()
            return self._run(fit, job)

        self._job = self._jobs.submit("training", run, self._deliver, title="Training")

    def _run(self, fit: Callable[..., Any], job: Job) -> Any:
        """On the thread that trains."""
        self._left.clear()
        done = 0

        def progress(now: int, total: int) -> None:
            nonlocal done
            done = now
            self._obey()
            job.progress(now, total)

        def on_epoch(epoch: Mapping[str, Any]) -> None:
            job.emit(_Epoch(dict(epoch), done))
            self._fresh += 1
            self._obey()

        try:
            job.check()
            return fit(progress=progress, cancel=lambda: job.cancelled, on_epoch=on_epoch)
        except StopTraining:
            raise InvalidInput(
                "Training was stopped, but its fit() does not know StopTraining: what was trained "
                "may be half trained. Cancel it instead."
            ) from None
        finally:
            self._left.set()

    def _deliver(self, value: Any) -> None:
        if isinstance(value, _Epoch):
            self._add(value)
            return
        self.result = value
        whole = getattr(value, "history_", None)  # with the epochs before a resumed checkpoint
        if isinstance(whole, list) and len(whole) >= len(self._history):
            self._history = list(whole)
        self._end("stopped" if self._obeyed else "done")

    def _job_changed(self, job: Job) -> None:
        if job.status == "cancelled":
            self._end("cancelled")
        elif job.status == "running" and job.total:
            self._count(job.done, job.total)

    def _failed(self, error: BaseException, _title: str) -> None:
        self._end("failed")
        self.error_strip.show(error)

    def _obey(self) -> None:
        """Raise StopTraining once it is asked for, and an epoch of this run is finished."""
        if self._stop.is_set() and self._fresh:
            self._obeyed = True
            raise StopTraining("Training was stopped; the best so far is kept.")

    def _obey_in_a_cell(self) -> None:
        try:
            self._obey()
        except StopTraining:
            self._end("stopped")
            raise

    # -- what is known -------------------------------------------------------------------
    def _clear_clock(self) -> None:
        self._done = self._total = self._epochs = 0
        self._first: int | None = None
        self._start = self._next_chart = self._said = 0.0
        self._seconds = 0.0

    def _begin(self, *, blocking: bool) -> None:
        self.status, self._history, self.result = "running", [], None
        self._stop.clear()
        self._fresh, self._obeyed = 0, False
        self._clear_clock()
        self.error_strip.clear()
        self._note.value = f"<i>{escape(BLOCKED)}</i>" if blocking else ""
        self._show_buttons(not blocking)
        self._redraw()
        self._say()

    def _is_earlier(self, epoch: Mapping[str, Any]) -> bool:
        last = self._history[-1].get("epoch", 0) if self._history else 0
        return bool(epoch.get("epoch", last + 1) <= last)

    def _count(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:  # what an earlier run did does not count for the rate
            self._first, self._start = done, now
        self._done, self._total = int(done), int(total)
        if now - self._said >= SECONDS_BETWEEN or done >= total:
            self._said = now
            self._say()

    def _add(self, found: _Epoch) -> None:
        self._history.append(found.entry)
        if found.done and self._total:  # how many epochs that many images are
            self._epochs = round(self._total * found.entry.get("epoch", 0) / found.done)
        began = time.monotonic()
        if began < self._next_chart and self.status == "running":
            return
        self._redraw()
        self._say()
        took = time.monotonic() - began
        self._next_chart = began + min(SECONDS_MOST, max(SECONDS_BETWEEN, took / CHART_SHARE))

    def _end(self, status: Status) -> None:
        if self.status == "running":
            self._seconds = time.monotonic() - self._start if self._start else 0.0
        self.status = status
        self._note.value = ""
        self._show_buttons(False)
        self._redraw()
        self._say()

    # -- what is seen --------------------------------------------------------------------
    def _curves(self) -> Curves:
        return curves(self._history)

    def _redraw(self) -> None:
        found, log = self._curves(), self._scale.value == "log"
        before = self._chart.children
        if not found.keys:
            self._put(())
        elif not before or not training_charts.update(before[0], found, log=log):
            self._put((training_charts.chart(found, log=log),))

    def _put(self, figures: tuple[Any, ...]) -> None:
        before, self._chart.children = self._chart.children, figures
        for old in before:  # off the page before it is closed: a closed chart cannot answer
            close_whole(old)

    def _show_buttons(self, shown: bool) -> None:
        for one in (self._stop_button, self._cancel_button):
            one.layout.display = "" if shown else "none"
        self._bar.layout.display = "" if self.status == "running" else "none"

    def _say(self) -> None:
        self._stop_button.disabled = self._stop.is_set()
        self._bar.value = min(1.0, self._done / self._total) if self._total else 0.0
        words = self._words()
        if self.status == "running":
            words += self._pace()
        elif self.status in ("done", "stopped") and self._seconds:
            words += f" Took {duration(self._seconds)}."
        self._text.value = f'<div role="status" style="line-height:1.5">{escape(words)}</div>'

    def _pace(self) -> str:
        """Images and time, which the words of :meth:`describe` leave out."""
        if not self._total:
            return ""
        said = f" {self._done:,} of {self._total:,} images."
        seconds, fresh = time.monotonic() - self._start, self._done - (self._first or 0)
        if fresh > 0 and seconds > 0 and self._done < self._total and not self.stopping:
            left = (self._total - self._done) * seconds / fresh
            said += f" At most {duration(left)} left."
        return said

    def _words(self) -> str:
        found = self._curves()
        count = f"{found.epochs:,} epoch{'' if found.epochs == 1 else 's'}"
        if self.status == "idle":
            return "Training: not begun."
        if not found.keys:
            what = {"running": "the first epoch", "done": "ended without an epoch"}
            return f"Training: {what.get(self.status, self.status)}."
        last = ", ".join(
            f"{curve.name} {curve.values[-1]:.3g}" for curve in (*found.losses, *found.shares)
        )
        best = (
            "" if found.best is None else f" Best epoch: {found.best}, with {found.best_value:.3g}."
        )
        of = f" of at most {self._epochs:,}" if self._epochs else ""
        said = {
            "running": f"Training: epoch {found.epochs:,}{of} is done; {last}.{best}",
            "done": f"Training: done after {count}; {last}.{best}",
            "stopped": f"Training: stopped after {count}; {last}.{best}",
            "cancelled": f"Training: cancelled after {count}; all is as it was.",
            "failed": f"Training: failed after {count}.",
        }[self.status]
        if self.stopping:
            said += " Stopping."
        return said

    # -- what is said --------------------------------------------------------------------
    def describe(self) -> str:
        """State, last epoch and best epoch; then the curves, an epoch a line where they are few."""
        entries = self._history
        shown = entries if len(entries) <= 12 else [*entries[:3], None, *entries[-3:]]
        lines = [
            "..."
            if entry is None
            else ", ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in entry.items()
                if value is not None
            )
            for entry in shown
        ]
        return "\n  ".join([self._words(), *lines])

    def _draw(self, spec: Any) -> Figure:
        from widgetkit import figures

        return figures.training(self._history, spec, log=self._scale.value == "log")

    def caption(self) -> str:
        """Plain sentences that say what the figure shows."""
        return training_sentence(self._history, log=self._scale.value == "log")

    def close(self) -> None:
        """Cancel what is being trained, and leave the page."""
        jobs = getattr(self, "_jobs", None)  # closed when its constructor raised, too
        if jobs is not None:
            jobs.close()
        super().close()


def train(estimator: Any, *arguments: Any, **fit_options: Any) -> TrainingView:
    """Train beside the notebook: returns at once with the view of it.

    ``view = wk.train(ae, images, epochs=60)``; the same for a refinement:
    ``wk.train(DeepClustering(4, refine="dec"), autoencoder=ae, images=images)``. In a script, where
    no event loop runs, it returns when training has ended. The bytes are those of ``fit``.

    Parameters
    ----------
    estimator : object
        Anything with ``fit(..., progress=, cancel=, on_epoch=)``. Leave it alone until it is done.
    *arguments, **fit_options
        Of its ``fit``, without these three.

    Returns
    -------
    TrainingView
        ``.wait()`` blocks, ``.result`` is the fitted estimator.

    Raises
    ------
    InvalidInput
        ``fit`` takes no such options.
    """
    fit = getattr(estimator, "fit", None)
    if not callable(fit):
        raise InvalidInput(f"{type(estimator).__name__} has no fit(), so it cannot be trained.")
    taken = [name for name in OWN if name in fit_options]
    if taken:
        raise InvalidInput(f"train() gives {', '.join(taken)} to fit itself: leave it out.")
    try:
        inspect.signature(fit).bind(*arguments, **fit_options, **dict.fromkeys(OWN))
    except TypeError as error:
        raise InvalidInput(
            f"{type(estimator).__name__}.fit cannot be called so: {error}."
        ) from None
    view = TrainingView()
    view._train(lambda **own: fit(*arguments, **fit_options, **own))
    return view


def _as_here() -> Callable[[], None]:
    """Something to call on another thread, which then reckons as the calling one does.

    OpenMP's number of threads belongs to each thread: a library that sets it (numba does) sets it for
    the kernel's main thread alone, and sums of another number of threads differ in their last bits.
    """
    try:
        # loaded here: two threads that load parts of one package may each meet half-made modules
        from widgetkit.extraction._torch import torch
    except MissingDependency:
        return lambda: None
    count = torch.get_num_threads()
    return lambda: torch.set_num_threads(count)


def duration(seconds: float) -> str:
    """``9 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
