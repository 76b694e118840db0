"""The page about the concept panel runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lesions import lesion_store
from widgetkit import demos
from widgetkit.widgets import ConceptPanel


def test_the_page_runs(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = lesion_store(tmp_path)
    monkeypatch.setattr(
        demos, "lesion_store", lambda: store
    )  # what is read is not kept in the cache
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs" / "concept-panel.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/concept-panel.md", "exec"), names)
    panel = names["panel"]
    assert isinstance(panel, ConceptPanel) and panel.question == "case"
    assert panel.warnings and "though no class shows it" in panel.warnings[0]
    assert (tmp_path / "case.pdf").stat().st_size > 1000
    for link in re.findall(r"\]\(((?:images/)?[\w./-]+)(?:#[\w-]*)?\)", page):
        assert (repo / "docs" / link).is_file(), link
