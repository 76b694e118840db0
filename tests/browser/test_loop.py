"""One gesture goes round: scatter, gallery, maps, chart and summary of an Explorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import Open
from tests.browser.explorer import ExplorerPage
from tests.browser.views import UNSURE_PX, distance, inside


@pytest.fixture(scope="module")
def opened(open_shared: Open, planted_store: Path) -> ExplorerPage:
    return ExplorerPage.open(open_shared, planted_store)


@pytest.fixture
def ex(opened: ExplorerPage) -> ExplorerPage:
    opened.fresh()
    return opened


def test_a_lasso_reaches_every_view(ex: ExplorerPage, shots: Path) -> None:
    path = ex.scatter.oval(0.3, 0.5, 0.22, 0.35)
    places = ex.scatter.places()
    bars, words = ex.bars(), ex.summary_text()
    ex.scatter.lasso(path)
    ex.settled()
    chosen = ex.selected()
    assert 0 < len(chosen) < ex.n

    drawn = np.round(path)
    expected = inside(drawn, places)
    sure = distance(drawn, places) > UNSURE_PX
    got = np.zeros(ex.n, dtype=bool)
    got[chosen] = True
    np.testing.assert_array_equal(got[sure], expected[sure])

    assert ex.scatter.count_text() == f"{len(chosen)} of {ex.n} selected"
    shown = ex.gallery_rows()
    assert shown and set(shown) <= set(chosen)
    assert ex.notebook.value("sorted(ex.gallery.rows.tolist())") == chosen
    assert set(ex.notebook.value("ex.maps.rows.tolist()")) <= set(chosen)
    assert ex.bars() != bars
    assert ex.summary_text() != words
    assert f"{len(chosen)} of {ex.n} tiles" in ex.summary_text()
    ex.notebook.screenshot(shots / "loop.png")
