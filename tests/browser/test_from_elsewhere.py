"""Selecting from the gallery, from inside a map and from the chart; renaming; undo of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.browser.explorer import ExplorerPage
from tests.browser.views import drag
from widgetkit.session import Session
from widgetkit.store import ActivationStore


def test_tiles_picked_in_the_gallery_are_selected_in_the_scatter(ex: ExplorerPage) -> None:
    rows = ex.notebook.value("ex.gallery.rows.tolist()")
    ex.gallery.see()
    ex.thumb(0).click()
    ex.thumb(3).click(modifiers=["Control"])
    ex.thumb(5).click(modifiers=["Control"])
    ex.thumb(3).click(modifiers=["Control"])
    with ex.gesture():
        ex.gallery.root.get_by_role("button", name="Select these in the scatter").click()
    assert ex.selected() == sorted([rows[0], rows[5]])
    assert ex.scatter.count_text() == f"2 of {ex.n} selected"
    assert sorted(ex.gallery_rows()) == ex.selected()


def test_a_range_of_tiles_with_shift_and_what_alt_takes_away(ex: ExplorerPage) -> None:
    rows = ex.notebook.value("ex.gallery.rows.tolist()")
    ex.gallery.see()
    ex.thumb(1).click()
    ex.thumb(4).click(modifiers=["Shift"])
    with ex.gesture():
        ex.page.keyboard.press("Enter")
    assert ex.selected() == sorted(rows[1:5])
    first = ex.gallery_rows()[0]
    ex.thumb(0).click()
    with ex.gesture():
        ex.page.keyboard.press("Alt+Enter")
    assert ex.selected() == sorted(set(rows[1:5]) - {first})


def test_the_gallery_with_the_keyboard_alone(ex: ExplorerPage) -> None:
    rows = ex.notebook.value("ex.gallery.rows.tolist()")
    ex.gallery.root.locator(".wk-gallery-scroll").focus()
    for key in ("Home", "Space", "ArrowRight", "ArrowRight", "Space"):
        ex.page.keyboard.press(key)
    with ex.gesture():
        ex.page.keyboard.press("Enter")
    assert ex.selected() == sorted([rows[0], rows[2]])
    ex.notebook.wait_value("ex.session.focus", rows[2])


def test_a_brush_inside_a_tile_selects_what_is_alike(ex: ExplorerPage, planted_store: Path) -> None:
    ex.notebook.python("ex.maps.size = 100")
    ex.maps.until("e => e.querySelector('canvas').width > 0")
    ex.maps.see()
    row = ex.notebook.value("int(ex.maps.rows[0])")
    box = ex.maps.root.locator(".wk-marks").bounding_box()
    # The tiles begin 4 px inside; the 100 px of the first hold 7 x 7 cells.
    cell = 100 / 7
    start = np.array([box["x"] + 4 + 1.5 * cell, box["y"] + 4 + 2.5 * cell])
    with ex.gesture():
        drag(ex.page, start + np.linspace([0, 0], [2 * cell, 0], 12))
    cells = [2 * 7 + 1, 2 * 7 + 2, 2 * 7 + 3]
    assert ex.notebook.value("ex.maps.brush") == {"row": row, "cells": cells}
    expected = Session(ActivationStore.open(planted_store)).select_alike(row, np.array(cells))
    assert expected is not None and 0 < expected.count < ex.n
    assert ex.selected() == expected.rows.tolist()
    assert ex.scatter.count_text() == f"{expected.count} of {ex.n} selected"
    # The brushed tile stays where its outline can be compared with what it found.
    assert ex.notebook.value("int(ex.maps.rows[0])") == row
    ex.notebook.python("ex.maps.size = 0")


def test_a_click_on_a_bar_selects_the_cluster(ex: ExplorerPage) -> None:
    ex.chart.scroll_into_view_if_needed()
    bar = ex.chart.locator(".barlayer .trace").first.locator(".point path").nth(2)
    box = bar.bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 2
    ex.page.mouse.move(x - 2, y)
    ex.page.mouse.move(x, y)
    with ex.gesture():
        ex.page.mouse.click(x, y)
    expected = ex.notebook.value("ex.session.clustering.mask(2).nonzero()[0].tolist()")
    assert ex.selected() == expected
    assert ex.scatter.count_text() == f"{len(expected)} of {ex.n} selected"


def test_a_new_name_is_in_every_view_and_undone(ex: ExplorerPage) -> None:
    box = ex.panel.locator("input[title='Name of cluster 2; Enter renames']")
    assert box.input_value() == "cluster 2"
    box.fill("tumour & stroma")
    box.press("Enter")
    ex.scatter.until(
        "e => [...e.querySelectorAll('.wk-item-name')].some(n => n.textContent === 'tumour & stroma')"
    )
    assert ex.legend() == ["cluster 1", "tumour & stroma", "cluster 3", "cluster 4"]
    ex.page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot').textContent.includes('tumour & stroma')"
    )
    ex.panel.locator("button", has_text="Undo").click()
    ex.scatter.until(
        "e => [...e.querySelectorAll('.wk-item-name')].some(n => n.textContent === 'cluster 2')"
    )
    ex.page.wait_for_function(
        "() => !document.querySelector('.js-plotly-plot').textContent.includes('tumour')"
    )
    ex.notebook.wait_idle()
    assert box.input_value() == "cluster 2"


def test_a_kept_selection_is_found_again(ex: ExplorerPage) -> None:
    with ex.gesture():
        ex.scatter.root.locator(".wk-item").nth(0).click()
    chosen = ex.selected()
    ex.panel.get_by_placeholder("name").fill("mine")
    ex.panel.locator("button", has_text="Keep").click()
    ex.notebook.wait_value("list(ex.session.named)", ["mine"])
    with ex.gesture():
        ex.panel.locator("button", has_text="Clear").click()
    assert ex.selected() == []
    with ex.gesture():
        ex.panel.locator("select", has_text="saved selections").select_option("mine (40)")
    assert ex.selected() == chosen
