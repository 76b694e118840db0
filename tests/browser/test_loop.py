"""One gesture goes round: scatter, gallery, maps, chart and summary of an Explorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.browser.explorer import ExplorerPage
from tests.browser.views import CHARTS_FIT, UNSURE_PX, Pixels, distance, drag, held, inside


def check_inside(ex: ExplorerPage, path: Pixels, among: list[int] | None = None) -> None:
    """The session's selection is what lies inside the drawn line (and in ``among``)."""
    places, drawn = ex.scatter.places(), np.round(path)
    expected = inside(drawn, places)
    if among is not None:
        expected &= np.isin(np.arange(ex.n), among)
    sure = distance(drawn, places) > UNSURE_PX
    got = np.isin(np.arange(ex.n), ex.selected())
    np.testing.assert_array_equal(got[sure], expected[sure])


def test_a_lasso_reaches_every_view(ex: ExplorerPage, shots: Path) -> None:
    ex.page.wait_for_function(CHARTS_FIT)
    bars, words = ex.bars(), ex.summary_text()
    path = ex.scatter.oval(0.3, 0.5, 0.22, 0.35)
    with ex.gesture():
        ex.scatter.lasso(path)
    chosen = ex.selected()
    assert 0 < len(chosen) < ex.n
    check_inside(ex, path)

    assert ex.scatter.count_text() == f"{len(chosen)} of {ex.n} selected"
    shown = ex.gallery_rows()
    assert shown and set(shown) <= set(chosen)
    assert ex.notebook.value("sorted(ex.gallery.rows.tolist())") == chosen
    counted = ex.gallery.root.locator(".wk-gallery-count").inner_text()
    assert counted == f"{len(chosen)} of {len(chosen)} selected tiles"
    assert set(ex.notebook.value("ex.maps.rows.tolist()")) <= set(chosen)
    ex.until_bars_are_not(bars)
    assert ex.summary_text() != words
    assert f"{len(chosen)} of {ex.n} tiles" in ex.summary_text()
    ex.notebook.screenshot(shots / "loop.png")


def test_a_bow_tie_follows_the_even_odd_rule(ex: ExplorerPage) -> None:
    left, top, width, height = ex.scatter.box()
    corners = np.array([[0.02, 0.02], [0.98, 0.98], [0.98, 0.02], [0.02, 0.98], [0.02, 0.02]])
    path = [left, top] + corners * [width, height]
    with ex.gesture():
        ex.scatter.lasso(path)
    check_inside(ex, path)


def test_shift_adds_alt_takes_away_both_intersect(ex: ExplorerPage) -> None:
    first, second = ex.scatter.oval(0.25, 0.5, 0.2, 0.4), ex.scatter.oval(0.8, 0.5, 0.15, 0.4)
    with ex.gesture():
        ex.scatter.lasso(first)
    one = ex.selected()
    with ex.gesture():
        ex.scatter.lasso(second, ["Shift"])
    both = ex.selected()
    assert set(one) < set(both)
    with ex.gesture():
        ex.scatter.lasso(first, ["Alt"])
    rest = ex.selected()
    assert set(rest) == set(both) - set(one)
    with ex.gesture():
        ex.scatter.lasso(second, ["Shift", "Alt"])
    assert ex.selected() == rest
    check_inside(ex, second, among=both)


def test_undo_and_redo_with_the_keyboard(ex: ExplorerPage) -> None:
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.25, 0.5, 0.2, 0.4))
    chosen = ex.selected()
    assert chosen
    with ex.gesture():
        ex.page.keyboard.press("Control+z")
    assert ex.selected() == []
    with ex.gesture():
        ex.page.keyboard.press("Control+Shift+z")
    assert ex.selected() == chosen
    with ex.gesture():
        ex.page.keyboard.press("Escape")
    assert ex.selected() == []


def test_all_and_invert_with_the_keyboard(ex: ExplorerPage) -> None:
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.25, 0.5, 0.2, 0.4))
    chosen = ex.selected()
    with ex.gesture():
        ex.page.keyboard.press("i")
    assert ex.selected() == sorted(set(range(ex.n)) - set(chosen))
    with ex.gesture():
        ex.page.keyboard.press("a")
    assert len(ex.selected()) == ex.n


def test_escape_drops_a_lasso_that_is_being_drawn(ex: ExplorerPage) -> None:
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.25, 0.5, 0.2, 0.4))
    chosen, revision = ex.selected(), ex.revision
    path = np.round(ex.scatter.oval(0.8, 0.5, 0.15, 0.4))
    ex.page.mouse.move(*path[0])
    ex.page.mouse.down()
    for x, y in path[1:20]:
        ex.page.mouse.move(x, y)
    ex.page.keyboard.press("Escape")
    for x, y in path[20:]:
        ex.page.mouse.move(x, y)
    ex.page.mouse.up()
    # What was sent would come before the next gesture does.
    with ex.gesture():
        ex.scatter.root.locator("[data-command=invert]").click()
    assert ex.revision == revision + 1
    assert ex.selected() == sorted(set(range(ex.n)) - set(chosen))


def test_the_rectangle(ex: ExplorerPage) -> None:
    ex.scatter.root.locator("[data-trait=tool][data-value=box]").click()
    left, top, width, height = ex.scatter.box()
    a, b = np.round([left, top] + np.array([[0.5, 0.05], [0.97, 0.95]]) * [width, height])
    with ex.gesture():
        drag(ex.page, np.array([a, (a + b) / 2, b]))
    assert 0 < len(ex.selected()) < ex.n
    check_inside(ex, np.array([a, [b[0], a[1]], b, [a[0], b[1]]]))
    ex.page.keyboard.press("l")
    ex.notebook.wait_value("ex.scatter.tool", "lasso")


def test_a_click_on_the_legend_selects_a_cluster(ex: ExplorerPage) -> None:
    items = ex.scatter.root.locator(".wk-item")
    with ex.gesture():
        items.nth(1).click()
    assert ex.selected() == ex.notebook.value("ex.session.clustering.mask(1).nonzero()[0].tolist()")
    with ex.gesture(), held(ex.page, ["Shift"]):
        items.nth(2).click()
    assert len(ex.selected()) == ex.notebook.value(
        "int((ex.session.clustering.mask(1) | ex.session.clustering.mask(2)).sum())"
    )


def test_the_wheel_zooms_and_a_lasso_then_means_what_it_shows(ex: ExplorerPage) -> None:
    """Selecting is decided in data coordinates, whatever the camera."""
    places = ex.scatter.places()
    centre = np.round(places[0])
    ex.page.mouse.move(*centre)
    with ex.scatter.redrawn():
        ex.page.mouse.wheel(0, -240)
    zoom = float(np.exp(240 * 0.002))
    turn = np.linspace(0, 2 * np.pi, 30)
    path = centre + 40 * np.column_stack([np.cos(turn), np.sin(turn)])
    with ex.gesture():
        ex.scatter.lasso(path)
    moved = centre + (places - centre) * zoom
    sure = distance(np.round(path), moved) > UNSURE_PX
    got = np.isin(np.arange(ex.n), ex.selected())
    np.testing.assert_array_equal(got[sure], inside(np.round(path), moved)[sure])
    assert got[0]
