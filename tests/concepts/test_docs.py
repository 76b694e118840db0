"""The page about concepts runs as it stands, and names everything public."""

from __future__ import annotations

import re
from pathlib import Path

from widgetkit import concepts


def test_the_page_runs(repo: Path) -> None:
    page = (repo / "docs" / "concepts.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/concepts.md", "exec"), names)
    relevance = names["relevance"]
    assert isinstance(relevance, concepts.Relevance) and relevance.exact
    assert names["report"].of("AUC", "probe")["value"].min() > 0.9  # type: ignore[attr-defined]


def test_every_public_name_is_on_the_page(repo: Path) -> None:
    text = (repo / "docs" / "concepts.md").read_text(encoding="utf-8")
    # what the functions return
    values = {
        "ConceptReport",
        "Distribution",
        "ErrorDetection",
        "Identified",
        "Nearest",
        "Relevance",
        "RiskCoverage",
        "UnitDistributions",
    }
    missing = [name for name in concepts.__all__ if name not in values and name not in text]
    assert missing == []


def test_examples_in_docstrings_run() -> None:
    import doctest
    import importlib

    for name in ("density", "ratio", "probe", "cav"):
        module = importlib.import_module(f"widgetkit.concepts.{name}")
        assert doctest.testmod(module).failed == 0
