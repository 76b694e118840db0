"""SelectionSummary: the same words for eyes and for describe(), warnings that are seen."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from tests.stores import HOSTILE
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import SelectionSummary


def shown(panel: SelectionSummary) -> str:
    """The words on the page."""
    return html.unescape(re.sub("<[^>]*>", " ", panel._html.value))


def test_while_nothing_is_selected_all_tiles_are_described(session: Session) -> None:
    panel = SelectionSummary(session)
    assert "160  tiles, none selected: all are described" in shown(panel)
    assert panel.describe().startswith("No tile is selected; 160 tiles in the store.")
    assert "bars 40" in shown(panel) and "bars 40" in panel.describe()


def test_it_follows_the_selection(session: Session) -> None:
    panel = SelectionSummary(session)
    session.select(np.arange(0, 160, 40))
    assert "4  of 160 tiles selected" in shown(panel)
    assert panel.describe().startswith("4 of 160 tiles selected.")
    session.undo()
    assert "none selected" in shown(panel)


def test_a_red_warning_is_red_and_says_the_same_in_describe(session: Session) -> None:
    panel = SelectionSummary(session)
    session.select(np.arange(20))  # one slide of three, one patient of two
    found = session.summary()
    assert found.severity == "red" and len(found.warnings) >= 2
    value = panel._html.value
    assert 'class="wk-warning wk-red"' in value and "#D32F2F" in value and 'role="alert"' in value
    for warning in found.warnings:
        assert f"Warning: {warning}" in shown(panel)
        assert warning in panel.describe()


def test_a_lesser_warning_is_not_red(session: Session) -> None:
    panel = SelectionSummary(session)
    session.select([*range(6), 60, 61, 120, 121])  # 60 % of one slide, two patients
    assert session.summary().severity == "yellow"
    assert "wk-red" not in panel._html.value and "wk-yellow" in panel._html.value
    session.select(np.arange(160))
    assert "wk-warning" not in panel._html.value


def test_labels_are_text_not_markup(session: Session) -> None:
    panel = SelectionSummary(session)
    assert HOSTILE not in panel._html.value and html.escape(HOSTILE) in panel._html.value
    assert HOSTILE in panel.describe()  # plain text: whoever shows it escapes it


def test_a_store_of_features_and_a_path_are_described(features_store: ActivationStore) -> None:
    panel = SelectionSummary(features_store.path)
    assert "30" in shown(panel) and "1  slide" in shown(panel)
    assert repr(panel).startswith("<SelectionSummary: No tile is selected; 30 tiles")


def test_closing_ends_it(session: Session) -> None:
    panel = SelectionSummary(session)
    before = panel._html.value
    panel.close()
    session.select([1])
    assert panel._html.value == before
    assert "1 of 160" in panel.describe()


def test_an_error_of_the_session_is_shown_until_it_has_passed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = SelectionSummary(session)
    assert panel.error_strip.layout.display == "none"
    with pytest.raises(RuntimeError):
        session.jobs.submit("j", _fail, title="Failing")
    assert panel.error_strip.layout.display is None or panel.error_strip.layout.display == ""
    assert "RuntimeError: <b>no</b>" in panel.error_strip.message
    assert "<b>no" not in panel.error_strip.value
    session.jobs.submit("j", lambda job: None)
    assert panel.error_strip.message == ""


def _fail(_job: object) -> None:
    raise RuntimeError("<b>no</b>")
