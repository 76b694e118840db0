"""One key makes a concept of what is selected in the scatter, or picked in the gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.explorer import ExplorerPage


def concepts(ex: ExplorerPage) -> dict[str, list[int]]:
    """Examples of each concept of the session."""
    found: dict[str, list[int]] = ex.notebook.value(
        "{} if ex.session.concepts is None else "
        "{n: ex.session.concepts.examples(n).tolist() for n in ex.session.concepts.names}"
    )
    return found


def press(ex: ExplorerPage, key: str) -> None:
    ex.page.keyboard.press(key)
    ex.notebook.wait_idle()


def test_a_lasso_and_a_key_make_a_concept_and_undo_takes_it_away(
    ex: ExplorerPage, shots: Path
) -> None:
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    chosen = ex.selected()
    assert chosen and concepts(ex) == {}
    press(ex, "k")
    assert concepts(ex) == {"concept 1": chosen}
    count = ex.scatter.root.locator(".wk-count")
    assert count.inner_text() == f"{len(chosen)} of {ex.n} selected, saved as concept 1"
    ex.notebook.screenshot(shots / "concept.png")
    press(ex, "Control+z")
    assert concepts(ex) == {} and ex.selected() == chosen
    press(ex, "Control+Shift+z")
    assert concepts(ex) == {"concept 1": chosen}
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.75, 0.5, 0.2, 0.4))
    other = ex.selected()
    assert count.inner_text() == f"{len(other)} of {ex.n} selected"
    press(ex, "k")
    assert concepts(ex) == {"concept 1": chosen, "concept 2": other}
    ex.notebook.python("ex.session.rename_concept('concept 2', 'ink <b>')")
    assert list(concepts(ex)) == ["concept 1", "ink <b>"]


def test_tiles_picked_in_the_gallery_become_a_concept(ex: ExplorerPage) -> None:
    ex.gallery.see()
    first, second = ex.thumb(0), ex.thumb(2)
    rows = sorted(int(one.get_attribute("data-row") or -1) for one in (first, second))
    first.click()
    second.click(modifiers=["Control"])
    press(ex, "k")
    assert concepts(ex) == {"concept 1": rows}
    status: Any = ex.gallery.root.locator(".wk-status")
    assert status.inner_text() == "2 tiles saved as concept 1"
    assert ex.selected() == [], "the selection is left alone"


def test_without_a_selection_the_key_says_what_to_do(ex: ExplorerPage) -> None:
    ex.scatter.see()
    ex.scatter.stage.focus()
    press(ex, "k")
    ex.page.locator(".wk-error:visible", has_text="No tile is selected").wait_for()
    assert concepts(ex) == {}
    ex.page.locator(".wk-error:visible [aria-label='Dismiss the error']").click()
    ex.page.locator(".wk-error:visible").wait_for(state="hidden")
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    press(ex, "k")
    assert list(concepts(ex)) == ["concept 1"] and ex.errors() == []
