"""The number of clusters on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import widgetkit as wk
from tests.stores import make_store
from widgetkit import analysis, figures
from widgetkit.errors import InvalidInput
from widgetkit.figures import FigureSpec


def made(n: int = 90, ks: Any = (2, 3, 4)) -> analysis.ClusterChoice:
    Z = np.random.default_rng(0).normal(size=(n, 3)) + 8 * np.eye(3)[np.arange(n) % 3]
    return analysis.choose_clusters(Z, ks, n_init=2, gap_references=3, boots=2)


def test_four_measures_with_what_they_name() -> None:
    found = made()
    figure = figures.cluster_choice(found, FigureSpec(width_mm=100))
    assert [a.get_ylabel().split()[0] for a in figure.axes] == [
        "inertia", "silhouette", "gap", "stability",
    ]  # fmt: skip
    for axes, column in zip(
        figure.axes, ("inertia", "silhouette", "gap", "stability"), strict=True
    ):
        values = found.table[column].to_numpy(float)
        drawn = axes.lines[0].get_ydata()
        np.testing.assert_allclose(drawn, values / values[0] if column == "inertia" else values)
        assert any(list(line.get_xdata()) == [3, 3] for line in axes.lines)  # the recommendation
    np.testing.assert_allclose(figure.get_size_inches()[0] * 25.4, 100)


def test_caption_and_files(tmp_path: Path) -> None:
    found = made()
    caption = figures.cluster_choice_caption(found)
    assert "Recommended: 3 clusters. Gap statistic: 3" in caption and "90 rows, seed 0" in caption
    for suffix in ("png", "svg", "pdf"):
        figure = figures.cluster_choice(found)
        assert figures.save(figure, tmp_path / f"a.{suffix}", caption=caption).stat().st_size > 2000


@pytest.mark.parametrize("n", [3, 4])
def test_very_few_rows(n: int) -> None:
    figures.cluster_choice(made(n, (2, 3, 4)))


def test_of_a_session(tmp_path: Path) -> None:
    session = wk.Session(make_store(tmp_path / "s.wk", n=40))
    with pytest.raises(InvalidInput, match=r"session\.choose_clusters\(\)"):
        figures.cluster_choice(session)
    session.choose_clusters([2, 3], gap_references=2, boots=2)
    assert figures.cluster_choice(session).axes
