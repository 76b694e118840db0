"""TrainingView: what it shows of a training in a cell and beside it, and how that is ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import widgetkit as wk
from tests.deep_clustering.planted import planted
from tests.widgets.test_clusters import press
from tests.widgets.transport import Wire
from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering
from widgetkit.errors import Cancelled, InvalidInput, StopTraining
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import TrainingView, charts, train
from widgetkit.widgets.training import SECONDS_MOST, duration

IMAGES, TRUTH = planted()


def small(**options: Any) -> ConvAutoencoder:
    return ConvAutoencoder(
        (16, 16), **{"channels": (4, 8), "latent": 4, "device": "cpu", **options}
    )


def weights(ae: ConvAutoencoder) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in ae.module.parameters())


class Slow:
    """Trains by waiting to be told; keeps what fit was given. Knows nothing of this kit."""

    def __init__(self, epochs: int = 3, batches: int = 4) -> None:
        self.epochs, self.batches = epochs, batches
        self.go = threading.Semaphore(0)  # a batch for each release
        self.batch = 0
        self.history_: list[dict[str, Any]] = []

    def fit(
        self,
        images: Any,
        *,
        progress: Callable[[int, int], object],
        cancel: Callable[[], object],
        on_epoch: Callable[[dict[str, Any]], object],
    ) -> Self:
        self.history_ = []
        try:
            for epoch in range(1, self.epochs + 1):
                for _ in range(self.batches):
                    while not self.go.acquire(timeout=0.01):
                        if cancel():
                            raise Cancelled("as it was")
                    self.batch += 1
                    progress(self.batch, self.epochs * self.batches)
                self.history_.append({"epoch": epoch, "loss": 1 / epoch, "validation": None})
                on_epoch(dict(self.history_[-1]))
        except StopTraining:
            pass
        return self


def figure_of(view: TrainingView) -> Any:
    (figure,) = view._chart.children
    return figure


def lines_of(view: TrainingView) -> dict[str, list[float]]:
    return {t.name: [round(float(v), 6) for v in t.y] for t in figure_of(view).data}


async def until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def beside(test: Callable[[], Awaitable[None]]) -> None:
    """Run it in an event loop, as a notebook does: jobs then run on threads."""
    asyncio.run(test())  # type: ignore[arg-type]


# -- in a cell ---------------------------------------------------------------------------
def test_a_fit_in_a_cell_shows_each_of_its_epochs() -> None:
    view = TrainingView()
    assert view.describe() == "Training: not begun." and view.status == "idle"
    seen: list[tuple[str, int, str, str]] = []

    def on_epoch(epoch: dict[str, Any]) -> None:
        view.on_epoch(epoch)
        shown = view._stop_button.layout.display
        seen.append((view.status, len(view.history), view._note.value, str(shown)))

    ae = small().fit(IMAGES, epochs=4, batch_size=16, progress=view.progress, on_epoch=on_epoch)
    assert view.history == tuple(ae.history_)
    assert [count for _, count, *_ in seen] == [1, 2, 3, 4]
    assert seen[0][0] == "running" and "interrupt the kernel" in seen[0][2]
    assert {shown for *_, shown in seen} == {"none"}  # no button can reach the kernel
    assert view.status == "done" and view._note.value == ""
    lines = lines_of(view)
    np.testing.assert_allclose(lines["training"], [e["loss"] for e in ae.history_], rtol=1e-5)
    np.testing.assert_allclose(
        lines["validation"], [e["validation"] for e in ae.history_], rtol=1e-5
    )
    best = ae.history_[ae.best_epoch_ - 1]["validation"]
    assert lines[f"best: epoch {ae.best_epoch_}"] == [pytest.approx(best, rel=1e-5)]
    assert view.describe().startswith("Training: done after 4 epochs; training 1.0")
    assert f"Best epoch: {ae.best_epoch_}" in view.describe()
    assert len(view.describe().split("\n")) == 5
    assert repr(view) == f"<TrainingView: {view.describe().splitlines()[0]}>"


def test_a_view_trains_nothing_and_changes_nothing() -> None:
    view = TrainingView()
    watched = small().fit(IMAGES, epochs=3, progress=view.progress, on_epoch=view.on_epoch)
    assert weights(watched) == weights(small().fit(IMAGES, epochs=3))


def test_a_second_training_in_one_view_begins_anew() -> None:
    view = TrainingView()
    for epochs in (3, 2):
        small().fit(IMAGES, epochs=epochs, progress=view.progress, on_epoch=view.on_epoch)
        assert [e["epoch"] for e in view.history] == list(range(1, epochs + 1))
    small().fit(IMAGES, epochs=1, on_epoch=view.on_epoch)  # no progress: told by the epochs alone
    small().fit(IMAGES, epochs=2, on_epoch=view.on_epoch)
    assert [e["epoch"] for e in view.history] == [1, 2]
    assert view.status == "running"  # nothing has said that it ended


def test_stopping_early_and_a_resumed_checkpoint_in_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    small().fit(IMAGES, epochs=2, checkpoint=path)
    view = TrainingView()
    ae = small().fit(
        IMAGES, epochs=5, checkpoint=path, progress=view.progress, on_epoch=view.on_epoch
    )
    assert [e["epoch"] for e in view.history] == [3, 4, 5]  # no callback tells of the others
    assert view._epochs == 5 and view.status == "done"
    whole = train(small(), IMAGES, epochs=5, checkpoint=path)
    assert whole.history == tuple(ae.history_) and len(whole.history) == 5


def test_no_image_is_promised_for_ever() -> None:
    view = TrainingView()
    view.progress(0, 100)
    assert view._bar.value == 0 and view._bar.layout.display == ""
    view.progress(50, 100)
    view.on_epoch({"epoch": 1, "loss": 2.0})
    assert view._bar.value == 0.5 and "50 of 100 images" in view._text.value
    assert "of at most 2" in view.describe()
    view.progress(100, 100)
    assert view._bar.layout.display == "none" and "left" not in view._text.value


# -- beside the notebook -----------------------------------------------------------------
def test_training_beside_the_notebook_gives_the_same_bytes() -> None:
    async def test() -> None:
        ae = small()
        view = train(ae, IMAGES, epochs=3, batch_size=16)
        assert view.status == "running" and view.result is None
        assert view.wait(60)
        assert view.result is ae and view.status == "done"
        assert view.history == tuple(ae.history_)
        assert weights(ae) == weights(small().fit(IMAGES, epochs=3, batch_size=16))

    beside(test)


def test_the_number_of_threads_is_that_of_the_thread_that_asked() -> None:
    """OpenMP keeps it thread by thread; numba, for one, sets that of the kernel's main thread."""
    torch = pytest.importorskip("torch")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    seen: list[int] = []

    class Counting(Slow):
        def fit(self, images: Any, *, progress: Any, cancel: Any, on_epoch: Any) -> Self:
            seen.append(torch.get_num_threads())
            return self

    async def test() -> None:
        usual = torch.get_num_threads()
        for count in (usual + 1, usual):
            with threadpoolctl.threadpool_limits(count, user_api="openmp"):
                assert torch.get_num_threads() == count
                view = train(Counting(), None)
                assert view.wait(10)
        assert seen == [usual + 1, usual]

    before = torch.get_num_threads()
    try:
        beside(test)
    finally:
        torch.set_num_threads(before)


def test_in_a_script_it_returns_when_it_has_ended() -> None:
    ae = small()
    view = train(ae, IMAGES, epochs=2)
    assert view.result is ae and view.status == "done" and view.wait()
    assert view._stop_button.layout.display == "none"


def test_the_chart_grows_and_stop_keeps_what_is_finished() -> None:
    async def test() -> None:
        slow = Slow()
        view = train(slow, None)
        assert view._stop_button.layout.display == view._cancel_button.layout.display == ""
        slow.go.release(2)
        await until(lambda: slow.batch == 2)
        press(view, "Stop and keep the best")
        assert view.stopping and view._stop_button.disabled
        assert "Stopping" in view.describe() or "the first epoch" in view.describe()
        slow.go.release(1)
        await until(lambda: slow.batch == 3)
        await asyncio.sleep(0.2)
        assert view.status == "running"  # at least one epoch is waited for
        slow.go.release(1)
        await until(lambda: view.status == "stopped")
        assert slow.batch == 4 and view.result is slow
        assert lines_of(view)["training"] == [1.0]
        assert view.describe().startswith("Training: stopped after 1 epoch; training 1.")
        assert view._stop_button.layout.display == "none"

    beside(test)


def test_stopped_half_way_through_an_epoch() -> None:
    async def test() -> None:
        ae = small()
        view = train(ae, IMAGES, epochs=10_000, batch_size=2, patience=None)
        await until(lambda: len(view.history) >= 2)
        view.stop()
        assert view.wait(60)
        assert view.status == "stopped"
        n = len(ae.history_)
        plain = small().fit(IMAGES, epochs=n, batch_size=2, patience=None)
        assert weights(plain) == weights(ae) and plain.best_epoch_ == ae.best_epoch_

    beside(test)


def test_a_refinement_is_shown_and_stopped() -> None:
    async def test() -> None:
        ae = small().fit(IMAGES, epochs=2)
        deep = DeepClustering(3, refine="dec", refine_epochs=10_000, batch_size=8)
        view = train(deep, autoencoder=ae, images=IMAGES)
        await until(lambda: len(view.history) >= 3)
        view.stop()
        assert view.wait(60) and view.result is deep and view.status == "stopped"
        assert set(lines_of(view)) == {
            "loss", "reconstruction", "clustering (divergence)", "mean largest assignment",
            "changed their cluster", "best",
        }  # fmt: skip
        assert [t.visible for t in figure_of(view).data if t.name == "best"] == [False]
        n = len(deep.history_)
        plain = DeepClustering(3, refine="dec", refine_epochs=n, batch_size=8)
        plain.fit(autoencoder=ae, images=IMAGES)
        assert weights(plain.autoencoder_) == weights(deep.autoencoder_)
        np.testing.assert_array_equal(plain.cluster_centers_, deep.cluster_centers_)

    beside(test)


def test_cancelling_leaves_all_as_it_was() -> None:
    async def test() -> None:
        ae = small().fit(IMAGES, epochs=1)
        before = weights(ae)
        view = train(ae, IMAGES, epochs=10_000, batch_size=2)
        await until(lambda: view.history)
        press(view, "Cancel")
        assert view.wait(60)
        assert view.status == "cancelled" and view.result is None
        assert weights(ae) == before and len(ae.history_) == 1
        assert "all is as it was" in view.describe()

    beside(test)


def test_cancelled_before_it_began() -> None:
    async def test() -> None:
        view = train(Slow(), None)
        view.cancel()
        assert view.wait(10) and view.status == "cancelled"
        with pytest.raises(InvalidInput, match="background"):
            view.cancel()
        with pytest.raises(InvalidInput, match="nothing to stop"):
            view.stop()

    beside(test)


def test_what_fit_raises_is_shown_and_raised() -> None:
    async def test() -> None:
        view = train(small(), IMAGES[:, :8], epochs=1)
        with pytest.raises(InvalidInput, match="shape"):
            view.wait(60)
        assert view.status == "failed" and "shape" in view.error_strip.message
        assert view._stop_button.layout.display == "none"

    beside(test)
    with pytest.raises(InvalidInput, match="shape"):
        train(small(), IMAGES[:, :8])


def test_one_that_does_not_know_how_to_stop() -> None:
    class Stubborn(Slow):
        def fit(self, images: Any, *, progress: Any, cancel: Any, on_epoch: Any) -> Self:
            on_epoch({"epoch": 1, "loss": 1.0})
            self.go.acquire()
            progress(1, 2)
            return self

    async def test() -> None:
        stubborn = Stubborn()
        view = train(stubborn, None)
        await until(lambda: view.history)
        view.stop()
        stubborn.go.release()
        with pytest.raises(InvalidInput, match="half trained"):
            view.wait(10)
        assert view.status == "failed" and view.result is None

    beside(test)


def test_a_wait_gives_up_after_a_while() -> None:
    async def test() -> None:
        slow = Slow(1, 1)
        view = train(slow, None)
        assert not view.wait(0.05)
        slow.go.release()
        assert view.wait(10) and view.status == "done"

    beside(test)


def test_what_cannot_be_trained_is_said_before() -> None:
    with pytest.raises(InvalidInput, match=r"no fit\(\)"):
        train(3, IMAGES)
    with pytest.raises(InvalidInput, match="on_epoch"):
        train(small(), IMAGES, on_epoch=print)
    with pytest.raises(InvalidInput, match="epochz"):
        train(small(), IMAGES, epochz=3)
    with pytest.raises(InvalidInput, match="one dict an epoch"):
        TrainingView(7)


def test_closing_ends_the_training_and_leaves_no_widget() -> None:
    async def test() -> None:
        before = set(_instances)
        slow = Slow()
        view = train(slow, None)
        slow.go.release(4)
        await until(lambda: view.history)
        view.close()
        assert view._left.wait(10)
        await asyncio.sleep(0)
        assert set(_instances) - before == set()

    beside(test)


# -- the chart ---------------------------------------------------------------------------
def history(n: int) -> list[dict[str, Any]]:
    return [{"epoch": i, "loss": 2.0 / i, "validation": 1 / i + 0.01 * i} for i in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 2, 12, 13, 200])
def test_a_reloaded_page_is_told_what_the_chart_shows(n: int) -> None:
    view = TrainingView(history(1))
    view._history = history(n)
    view._redraw()
    view._scale.value = "log"
    figure = figure_of(view)
    state = gestures.synced(figure)
    assert [len(t["x"]) for t in state["data"]] == [n, n, 1]
    assert state["layout"]["yaxis"]["type"] == "log"
    assert state["layout"]["xaxis"]["dtick"] == {1: 1, 2: 1, 12: 1, 13: 2, 200: 20}[n]
    assert state["config"]["showSendToCloud"] is False
    for array in gestures.arrays(state["data"]):
        assert array.dtype.itemsize <= 4
    assert figure.data[0].mode == ("lines" if n > 60 else "lines+markers")
    view._scale.value = "linear"
    assert gestures.synced(figure)["layout"]["yaxis"]["type"] == "linear"


def test_fast_epochs_are_not_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    view = TrainingView()
    drawn: list[int] = []
    redraw = view._redraw
    monkeypatch.setattr(view, "_redraw", lambda: (drawn.append(len(view._history)), redraw()))
    view.progress(0, 1000)
    for i in range(1, 501):
        view.progress(2 * i, 1000)
        view.on_epoch({"epoch": i, "loss": 1 / i})
    assert len(drawn) < 100
    assert lines_of(view)["loss"][-1] == 0.002 and len(lines_of(view)["loss"]) == 500
    assert SECONDS_MOST >= 1


def test_a_finished_estimator_or_its_history_can_be_shown() -> None:
    ae = small().fit(IMAGES, epochs=2, validation=0)
    view = TrainingView(ae)
    assert lines_of(view) == lines_of(TrainingView(ae.history_))
    assert view.status == "done" and f"best: epoch {ae.best_epoch_}" in lines_of(view)
    assert "validation" not in lines_of(view)  # there was none
    assert TrainingView([]).status == "idle"


def test_names_from_elsewhere_are_escaped() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    view = TrainingView([{"epoch": 1, hostile: 1.0, "text": "x", "lost": float("nan")}])
    assert list(lines_of(view)) == [charts.text(hostile), "best"]
    assert "<img" not in repr(gestures.synced(figure_of(view))) + view._text.value


def test_the_figure_of_a_view_and_its_caption(tmp_path: Path) -> None:
    view = TrainingView(history(9))
    path = view.save(tmp_path / "loss.svg", width_mm=80)
    text = path.read_text()
    assert "best: epoch" in text and "validation" in text
    assert view.caption().startswith("Loss by epoch over 9 epochs. The weights of epoch")
    view._scale.value = "log"
    assert "logarithmic" in view.caption()
    with pytest.raises(InvalidInput, match="no epoch"):
        TrainingView().save(tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3700, "1 h 01 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_public_names() -> None:
    assert wk.train is train and wk.TrainingView is TrainingView


def test_what_plotly_forgets_is_said_anew_and_nothing_else() -> None:
    """A page's report of its own defaults takes properties away from the figure."""
    view = TrainingView(history(5))
    figure = figure_of(view)
    wire = Wire(figure)
    view._redraw()
    quiet = wire.size
    del figure.data[0]._props["name"]
    del figure.data[1]._props["line"]["color"]
    view._redraw()
    assert figure_of(view) is figure
    assert [t.name for t in figure.data] == ["training", "validation", "best: epoch 5"]
    assert figure.data[1].line.color and gestures.synced(figure)["data"][0]["name"] == "training"
    assert wire.size > quiet
