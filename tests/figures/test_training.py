"""Loss curves on paper."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from widgetkit import figures
from widgetkit.errors import InvalidInput
from widgetkit.figures import FigureSpec
from widgetkit.figures.training import curves

REFINED = [
    {"epoch": i, "loss": 1.0 / i, "reconstruction": 0.9 / i, "clustering": 0.1 / i,
     "confidence": 0.4 + 0.01 * i, "changed": 0.0}
    for i in range(1, 6)
]  # fmt: skip
TRAINED = [
    {"epoch": i, "loss": 1.0 / i, "validation": v} for i, v in enumerate((0.9, 0.5, 0.6, 0.5), 1)
]


def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss() -> None:
    found = curves(TRAINED)
    assert (found.best, found.best_value, found.epochs) == (2, 0.5, 4)
    assert [c.name for c in found.losses] == ["training", "validation"] and not found.shares
    without = curves([{**e, "validation": None} for e in TRAINED])
    assert (without.best, without.best_value) == (4, 0.25)
    assert without.keys == ("loss",)
    assert curves(REFINED).best is None  # the last is kept, not the best
    assert [c.key for c in curves(REFINED).shares] == ["confidence", "changed"]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "much", True, [1.0]], ids=repr)
def test_what_is_no_number_is_left_out(bad: Any) -> None:
    found = curves([{"epoch": 1, "loss": bad}, {"epoch": 2, "loss": 0.5}])
    assert found.losses[0].epochs.tolist() == [2] and found.losses[0].values.tolist() == [0.5]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("history", [TRAINED, REFINED, TRAINED[:1]], ids=["ae", "dec", "one"])
def test_curves_are_drawn_at_exactly_that_size(
    history: list[dict[str, Any]], log: bool, tmp_path: Any
) -> None:
    spec = FigureSpec(width_mm=120, height_mm=60)
    figure = figures.training(history, spec, log=log)
    np.testing.assert_allclose(figure.get_size_inches() * 25.4, (120, 60))
    drawn = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for curve in (*curves(history).losses, *curves(history).shares):
        np.testing.assert_allclose(drawn[curve.name].get_ydata(), curve.values)
    assert figure.axes[0].get_yscale() == ("log" if log else "linear")
    svg = figures.save(figure, tmp_path / "a.svg", spec=spec).read_text()
    assert "epoch" in " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


def test_an_estimator_serves_as_its_history() -> None:
    class Fitted:
        history_ = TRAINED

    assert figures.training_sentence(Fitted()) == figures.training_sentence(TRAINED)
    assert "epoch 2 are kept" in figures.training_sentence(TRAINED)
    assert "Shares are of the images" in figures.training_sentence(REFINED)
    assert figures.training_sentence([]) == "No epoch is finished."
    for bad in (3, "text", [1]):
        with pytest.raises(InvalidInput, match="one dict an epoch"):
            figures.training(bad)
    with pytest.raises(InvalidInput, match="no epoch"):
        figures.training([])
