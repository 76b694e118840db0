"""docs/factors.md runs as it stands, and names every method and what is public."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stores import make_store
from widgetkit import factors


def test_the_page_runs(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (repo / "docs" / "factors.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"store": make_store(tmp_path / "a.wk", n=60)}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    for number, block in enumerate(blocks):
        exec(compile(block, f"factors.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "relative error" in printed and "agreement_ari" in printed and "second" in printed
    for name in factors.METHODS:
        assert f"| `{name}` |" in page


def test_every_public_name_is_on_a_page(repo: Path) -> None:
    pages = ("factors.md", "concept-importance.md", "reading-factors.md", "session.md")
    text = "".join((repo / "docs" / name).read_text(encoding="utf-8") for name in pages)
    values = {"ClassPrediction", "Completeness", "ConceptCurves", "Factors", "METHODS", "Pooled"}
    assert [name for name in factors.__all__ if name not in text and name not in values] == []
    for name in factors.__all__:
        value = getattr(factors, name)
        assert name == "METHODS" or (value.__doc__ or "").strip()
