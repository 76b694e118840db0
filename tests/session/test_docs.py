"""The page says what the code does."""

from __future__ import annotations

import inspect
from pathlib import Path

from widgetkit.session import Session
from widgetkit.session.events import PAYLOADS
from widgetkit.session.grouping import METHODS
from widgetkit.session.rank import RULES


def test_the_page_names_every_method_event_and_rule(repo: Path) -> None:
    page = (repo / "docs" / "session.md").read_text(encoding="utf-8")
    public = [
        name
        for name, value in inspect.getmembers(Session, callable)
        if not name.startswith("_") and inspect.isfunction(value)
    ]
    missing = [name for name in public if name not in page]
    missing += [f"| `{name}` | {value} |" for name, value in PAYLOADS.items()]
    missing = [text for text in missing if text not in page]
    missing += [name for name in (*METHODS, *RULES) if f"`{name}`" not in page]
    assert missing == []


def test_every_public_method_is_documented() -> None:
    for name, value in inspect.getmembers(Session):
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            doc = (value.fget if isinstance(value, property) else value).__doc__
            simple = name in {"selection", "layer", "map_spec"}  # the class says what they are
            assert doc or simple, name
