"""The page about the analysis runs as it stands, and names everything public."""

from __future__ import annotations

import re
from pathlib import Path

from widgetkit import analysis


def test_the_page_runs(repo: Path) -> None:
    page = (repo / "docs" / "analysis.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/analysis.md", "exec"), names)
    model = names["model"]
    assert isinstance(model, analysis.NMF) and model.relative_err_ < 0.01
    assert names["sentence"] == (
        "The 4 tiles with the largest weight, largest first. Chosen from 600 tiles."
    )


def test_every_public_function_is_on_the_page(repo: Path) -> None:
    page = (repo / "docs" / "analysis.md").read_text(encoding="utf-8")
    values = {"Dominance", "Projection", "Representatives"}  # what the functions return
    missing = set(analysis.__all__) - values
    assert [name for name in sorted(missing) if name not in page] == []
