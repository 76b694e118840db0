"""Ending a training early from any of its callbacks: as if so many epochs had been asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deep_clustering.planted import planted
from tests.deep_clustering.test_autoencoder import small, weights
from widgetkit.deep_clustering import DeepClustering
from widgetkit.errors import Cancelled, StopTraining, WidgetkitError

IMAGES, _ = planted()
#: Batches of an epoch of 43 training images, 16 at a time.
BATCHES = 3


def stopping(where: str, epochs: int, inside: int) -> dict[str, Callable[..., object]]:
    """Callbacks of which ``where`` stops ``inside`` calls after so many epochs have ended."""
    seen = {"epochs": 0, "calls": 0}

    def stop() -> None:
        if seen["epochs"] >= epochs:
            seen["calls"] += 1
            if seen["calls"] > inside:
                raise StopTraining("enough")

    def on_epoch(_: dict[str, Any]) -> None:
        seen["epochs"] += 1
        if where == "on_epoch":
            stop()

    return {
        "on_epoch": on_epoch,
        "progress": (lambda done, total: stop()) if where == "progress" else lambda d, t: None,
        "cancel": (lambda: stop()) if where == "cancel" else lambda: False,
    }


@pytest.mark.parametrize("inside", [0, 1, 2])
@pytest.mark.parametrize("where", ["progress", "cancel"])
def test_stopped_half_way_is_a_run_of_the_finished_epochs(where: str, inside: int) -> None:
    ae = small().fit(IMAGES, epochs=9, batch_size=16, **stopping(where, 2, inside))
    short = small().fit(IMAGES, epochs=2, batch_size=16)
    assert len(ae.history_) == 2 and ae.history_ == short.history_
    assert weights(ae) == weights(short) and ae.best_epoch_ == short.best_epoch_
    np.testing.assert_array_equal(ae.encode(IMAGES), short.encode(IMAGES))
    assert not ae.module.training


def test_stopped_at_the_end_of_an_epoch_keeps_it() -> None:
    ae = small().fit(IMAGES, epochs=9, batch_size=16, **stopping("on_epoch", 3, 0))
    assert weights(ae) == weights(small().fit(IMAGES, epochs=3, batch_size=16))


def test_the_best_is_kept_not_the_last() -> None:
    options = {"batch_size": 4, "lr": 0.02, "patience": None}
    whole = small().fit(IMAGES, epochs=40, **options)
    assert whole.best_epoch_ < 40
    stop = whole.best_epoch_ + 1
    ae = small().fit(IMAGES, epochs=40, **options, **stopping("on_epoch", stop, 0))
    assert len(ae.history_) == stop
    assert ae.best_epoch_ == 1 + int(np.argmin([e["validation"] for e in whole.history_[:stop]]))


@pytest.mark.parametrize("where", ["progress", "cancel"])
def test_stopped_before_an_epoch_is_finished_there_is_nothing_to_keep(where: str) -> None:
    ae = small().fit(IMAGES, epochs=1)
    before, history = weights(ae), ae.history_
    for calls in range(BATCHES):
        with pytest.raises(Cancelled, match="before its first epoch"):
            ae.fit(IMAGES, epochs=2, batch_size=16, **stopping(where, 0, calls))
    assert weights(ae) == before and ae.history_ is history


@pytest.mark.parametrize("where", ["progress", "cancel", "on_epoch"])
def test_the_same_call_goes_on_from_a_stop(where: str, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    whole = small().fit(IMAGES, epochs=5, batch_size=16)
    small().fit(IMAGES, epochs=5, batch_size=16, checkpoint=path, **stopping(where, 2, 0))
    again = small().fit(IMAGES, epochs=5, batch_size=16, checkpoint=path)
    assert weights(again) == weights(whole) and again.history_ == whole.history_


def test_a_resumed_run_that_is_stopped_at_once_is_what_the_checkpoint_held(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    short = small().fit(IMAGES, epochs=2, batch_size=16, checkpoint=path)
    ae = small().fit(IMAGES, epochs=5, batch_size=16, checkpoint=path, **stopping("progress", 0, 0))
    assert weights(ae) == weights(short)


@pytest.mark.parametrize("inside", [0, 1, 2])
@pytest.mark.parametrize("where", ["progress", "on_epoch"])
def test_a_refinement_stops_the_same_way(where: str, inside: int) -> None:
    ae = small().fit(IMAGES, epochs=2)
    before = weights(ae)

    def refined(epochs: int, **hooks: Any) -> DeepClustering:
        deep = DeepClustering(3, refine="dec", refine_epochs=epochs, batch_size=16)
        return deep.fit(autoencoder=ae, images=IMAGES, **hooks)

    stopped = refined(9, **stopping(where, 2, inside))
    finished = 2 + inside if where == "on_epoch" else 2
    short = refined(finished)
    assert stopped.history_ == short.history_ and len(short.history_) == finished
    assert weights(stopped.autoencoder_) == weights(short.autoencoder_)
    np.testing.assert_array_equal(stopped.cluster_centers_, short.cluster_centers_)
    np.testing.assert_array_equal(stopped.labels_, short.labels_)
    with pytest.raises(Cancelled, match="before its first epoch"):
        refined(3, **stopping("progress", 0, 0))
    assert weights(ae) == before


def test_the_signal_is_an_error_of_ours() -> None:
    assert issubclass(StopTraining, WidgetkitError) and issubclass(StopTraining, RuntimeError)
