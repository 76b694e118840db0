"""Concepts in the map viewer's lists: offered once there are some, chosen by name, gone with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.explorer import ExplorerPage
from tests.stores import HOSTILE

TITLE = "e => e.querySelector('.wk-bar-title').textContent"
METHOD = "e => e.querySelector('option[value=concept]')"


@pytest.fixture
def page(ex: ExplorerPage) -> Iterator[ExplorerPage]:
    yield ex
    ex.notebook.python("ex.session.set_map('cluster'); ex.session.set_concepts(None)")
    ex.settled()


def shows(page: ExplorerPage, title: str) -> None:
    page.maps.until(f"(e, t) => ({TITLE})(e) === t", title)


def test_a_saved_selection_is_drawn_by_name(page: ExplorerPage) -> None:
    method = page.maps.root.get_by_label("method")
    option = method.locator("option[value=concept]")
    assert option.inner_text() == ("Concept, by shells (needs concepts: save a selection as one)")
    assert option.is_disabled()
    page.notebook.python(
        "ex.session.save_as_concept('stripes', range(0, 160, 4)); "
        f"ex.session.save_as_concept({HOSTILE!r}, range(1, 160, 4))"
    )
    page.maps.until(f"e => !({METHOD})(e).disabled")
    method.select_option("concept")
    shows(page, "Concept, by shells: the first concept that each tile is an example of")
    of = page.maps.root.get_by_label("of", exact=True)
    assert of.locator("option").all_inner_texts() == ["each tile's own", "stripes", HOSTILE]
    with page.maps.redrawn():
        of.select_option(label="stripes")
    shows(page, "Concept, by shells: stripes")
    assert page.notebook.value("ex.session.map_spec.target") == 0
    low, high = page.notebook.value(
        "(lambda r: [float(r.vmin), float(r.vmax)])(ex.session.maps(ex.maps.rows))"
    )
    assert high > low == 0
    numbers = page.maps.root.locator(".wk-bar-numbers span").all_inner_texts()
    assert [float(numbers[0]), float(numbers[-1])] == pytest.approx([low, high], rel=0.01)
    of.select_option(label=HOSTILE)
    shows(page, f"Concept, by shells: {HOSTILE}")
    assert page.maps.root.locator("img[src=x]").count() == 0
    # the same concept by another method; what is chosen stays
    method.select_option("concept-plain")
    page.maps.until(f"e => ({TITLE})(e).startsWith('Concept, plain: ')")


def test_a_renamed_and_a_removed_concept_are_followed(page: ExplorerPage) -> None:
    page.notebook.python(
        "ex.session.save_as_concept('one', range(0, 160, 4)); "
        "ex.session.save_as_concept('two', range(1, 160, 4)); ex.session.set_map('concept', 1)"
    )
    shows(page, "Concept, by shells: two")
    page.notebook.python("ex.session.rename_concept('two', 'second')")
    shows(page, "Concept, by shells: second")
    page.notebook.python("ex.session.remove_concept('one')")
    shows(page, "Concept, by shells: second")
    assert page.notebook.value("ex.session.map_spec.target") == 0
    page.notebook.python("ex.session.set_concepts(None)")
    page.maps.until("e => e.textContent.includes('There are no concepts to draw')")
    page.notebook.python("ex.session.undo()")
    shows(page, "Concept, by shells: second")
