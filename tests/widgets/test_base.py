"""What all views share: opening, errors, messages, words, figures, closing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import widgetkit.widgets
from tests.widgets.transport import Wire
from widgetkit.errors import InvalidInput, WidgetkitError
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.widgets.base import Handler, View, as_session, mode_of


class Plain(View):
    """The smallest view: it counts what it is told."""

    _esm = "export default { render() {} }"
    figure_kind = "scatter"

    def __init__(self, session: Any) -> None:
        self.seen: list[object] = []
        super().__init__(session)
        self._on("selection", self._selected)

    def _prepare(self) -> None:
        self._relabel()

    def _selected(self, selection: Any) -> None:
        if selection.count == 3:
            raise InvalidInput("three is too many")
        if selection.count == 4:
            raise KeyError("four")
        self.seen.append(selection.count)

    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {"hello": self._hello}

    def _hello(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        self.seen.append((content["to"], buffers))

    def describe(self) -> str:
        return f"{len(self.session.store)} tiles <b>\nand more"


def test_a_view_takes_a_session_a_store_or_a_path(store: ActivationStore, session: Session) -> None:
    assert as_session(session) is session
    assert as_session(store).store is store
    assert len(as_session(store.path).store) == 160
    assert len(as_session(str(store.path)).store) == 160
    with pytest.raises(InvalidInput, match="int"):
        as_session(3)  # type: ignore[arg-type]


def test_the_first_message_is_whole(session: Session) -> None:
    view = Plain(session)
    assert view.label == "160 tiles <b>"
    assert repr(view) == "<Plain: 160 tiles <b>>"


def test_messages_reach_their_handler_as_bytes(session: Session) -> None:
    view = Plain(session)
    view._handle_custom_msg({"kind": "hello", "to": 1}, [memoryview(b"ab")])
    assert view.seen == [(1, [b"ab"])]


@pytest.mark.parametrize(
    "message", [{"kind": "helo"}, {"kind": 3}, {}, None, [], "hello", {"kind": []}]
)
def test_a_message_of_no_known_kind_is_an_error_in_the_strip(
    session: Session, monkeypatch: pytest.MonkeyPatch, message: Any
) -> None:
    view = Plain(session)
    with pytest.raises(InvalidInput):
        view._handle_custom_msg(message, None)
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    view.error = ""
    view._handle_custom_msg(message, None)
    assert "knows no message" in view.error


def test_an_error_of_a_view_is_shown_and_the_others_go_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = Plain(session), Plain(session)
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    session.select([0, 1, 2])
    assert broken.error == "three is too many"
    session.select([0, 1, 2, 3])
    assert broken.error == "KeyError: 'four'"
    session.select([0])
    assert sound.seen == [1]
    monkeypatch.setenv("WIDGETKIT_RAISE", "1")
    with pytest.raises(InvalidInput):
        session.select([0, 1, 2])


def test_an_unknown_mode_is_refused() -> None:
    assert mode_of({}) == "replace"
    assert mode_of({"mode": "add"}) == "add"
    with pytest.raises(InvalidInput, match="replace"):
        mode_of({"mode": "replce"})


def test_the_job_strip_follows_the_newest_job_and_cancels_it(session: Session) -> None:
    view = Plain(session)
    shown: list[dict[str, Any]] = []
    view.observe(lambda change: shown.append(change["new"]), names="job")
    session.jobs.submit("count", lambda job: job.progress(3, 4), title="Counting")
    assert {"key": "count", "title": "Counting", "done": 3, "total": 4} in shown
    assert view.job == {}
    view._handle_custom_msg({"kind": "cancel", "key": "count"}, [])  # none runs: nothing happens


def test_closing_leaves_the_session_and_hears_nothing_more(session: Session) -> None:
    view = Plain(session)
    view.close()
    session.select([5])
    assert view.seen == []
    assert session.selection.count == 1


def test_a_selection_costs_a_view_that_shows_none_no_bytes(session: Session) -> None:
    wire = Wire(Plain(session))
    session.select([5])
    assert wire.size == 0


def test_figures_are_saved_with_their_caption(session: Session, tmp_path: Path) -> None:
    view = Plain(session)
    figure = view.figure(width_mm=90, height_mm=60)
    assert figure.get_size_inches() == pytest.approx([90 / 25.4, 60 / 25.4])
    assert "160 tiles" in view.caption()
    for suffix in (".png", ".svg", ".pdf"):
        target = view.save(tmp_path / f"view{suffix}", width_mm=60, dpi=80)
        assert target.stat().st_size > 1000
    with pytest.raises(WidgetkitError):
        view.save(tmp_path / "view.bmp")


def test_names_are_loaded_when_used_and_unknown_ones_say_so() -> None:
    assert set(widgetkit.widgets.__all__) == set(dir(widgetkit.widgets))
    for name in widgetkit.widgets.__all__:
        assert getattr(widgetkit.widgets, name).__name__ == name
    with pytest.raises(AttributeError, match="Scater"):
        widgetkit.widgets.Scater  # noqa: B018


def test_importing_the_views_loads_nothing_heavy() -> None:
    code = (
        "import sys, widgetkit.widgets, widgetkit.widgets.scatter;"
        "print([m for m in ('torch', 'umap', 'sklearn', 'plotly', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
