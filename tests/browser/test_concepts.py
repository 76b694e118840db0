"""One key makes a concept of what is selected in the scatter, or picked in the gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.browser.explorer import ExplorerPage
from tests.browser.views import drag

CONCEPTS = (
    "{} if ex.session.concepts is None else "
    "{n: ex.session.concepts.examples(n).tolist() for n in ex.session.concepts.names}"
)


def expect(ex: ExplorerPage, wanted: dict[str, list[int]]) -> None:
    """Wait until the session's concepts have these examples."""
    ex.notebook.wait_value(CONCEPTS, wanted)


def press(ex: ExplorerPage, key: str) -> None:
    ex.page.keyboard.press(key)
    ex.notebook.wait_idle()


def test_a_lasso_and_a_key_make_a_concept_and_undo_takes_it_away(
    ex: ExplorerPage, shots: Path
) -> None:
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    chosen = ex.selected()
    assert chosen
    expect(ex, {})
    press(ex, "k")
    expect(ex, {"concept 1": chosen})
    count = ex.scatter.root.locator(".wk-count")
    ex.scatter.root.locator(".wk-count", has_text=", saved as concept 1").wait_for()
    assert count.inner_text() == f"{len(chosen)} of {ex.n} selected, saved as concept 1"
    ex.notebook.screenshot(shots / "concept.png")
    press(ex, "Control+z")
    expect(ex, {})
    assert ex.selected() == chosen
    press(ex, "Control+Shift+z")
    expect(ex, {"concept 1": chosen})
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.75, 0.5, 0.2, 0.4))
    other = ex.selected()
    assert count.inner_text() == f"{len(other)} of {ex.n} selected"
    press(ex, "k")
    expect(ex, {"concept 1": chosen, "concept 2": other})
    ex.notebook.python("ex.session.rename_concept('concept 2', 'ink <b>')")
    expect(ex, {"concept 1": chosen, "ink <b>": other})


def test_tiles_picked_in_the_gallery_become_a_concept(ex: ExplorerPage) -> None:
    ex.gallery.see()
    first, second = ex.thumb(0), ex.thumb(2)
    rows = sorted(int(one.get_attribute("data-row") or -1) for one in (first, second))
    first.click()
    second.click(modifiers=["Control"])
    press(ex, "k")
    expect(ex, {"concept 1": rows})
    status: Any = ex.gallery.root.locator(".wk-status")
    status.get_by_text("2 tiles saved as concept 1").wait_for()
    assert ex.selected() == [], "the selection is left alone"


def test_what_is_brushed_in_a_tile_becomes_the_place_of_a_concept(ex: ExplorerPage) -> None:
    ex.notebook.python("ex.maps.size = 100")
    ex.maps.until("e => e.querySelector('canvas').width > 0")
    ex.maps.see()
    row = ex.notebook.value("int(ex.maps.rows[0])")
    box = ex.maps.root.locator(".wk-marks").bounding_box()
    cell = 100 / 7  # the tiles begin 4 px inside; the 100 px of the first hold 7 x 7 cells
    start = np.array([box["x"] + 4 + 1.5 * cell, box["y"] + 4 + 2.5 * cell])
    with ex.gesture():
        drag(ex.page, start + np.linspace([0, 0], [2 * cell, 0], 12))
    ex.maps.root.locator(".wk-marks").focus()
    press(ex, "k")
    expect(ex, {"concept 1": [row]})
    where = f"ex.session.concepts.regions['concept 1'][{row}].mask.ravel().nonzero()[0].tolist()"
    assert ex.notebook.value(where) == [2 * 7 + 1, 2 * 7 + 2, 2 * 7 + 3]
    ex.maps.root.locator(".wk-status").get_by_text("3 cells saved as concept 1").wait_for()
    press(ex, "Shift+K")  # again the same place of the same concept: nothing new
    expect(ex, {"concept 1": [row]})
    ex.notebook.python("ex.maps.size = 0")


def test_without_a_selection_the_key_says_what_to_do(ex: ExplorerPage) -> None:
    ex.scatter.see()
    ex.scatter.stage.focus()
    press(ex, "k")
    ex.page.locator(".wk-error:visible", has_text="No tile is selected").wait_for()
    expect(ex, {})
    ex.page.locator(".wk-error:visible [aria-label='Dismiss the error']").click()
    ex.page.locator(".wk-error:visible").wait_for(state="hidden")
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    press(ex, "k")
    expect(ex, {"concept 1": ex.selected()})
    assert ex.errors() == []
