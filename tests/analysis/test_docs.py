"""The pages about the analysis run as they stand, and name everything public."""

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


def test_the_page_on_reading_factors_runs(repo: Path) -> None:
    page = (repo / "docs" / "reading-factors.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/reading-factors.md", "exec"), names)


def test_the_page_on_associations_runs(repo: Path) -> None:
    page = (repo / "docs" / "association.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/association.md", "exec"), names)
    found = names["found"]
    assert isinstance(found, analysis.Association)
    assert set(found.table.query("q < 0.05")["variable"]) == {"fvc", "smoker"}
    for name in re.findall(r"\(images/([^)]+)\)", page):
        assert (repo / "docs" / "images" / name).is_file()


def test_every_public_function_is_on_a_page(repo: Path) -> None:
    pages = [
        repo / "docs" / name
        for name in ("analysis.md", "reading-factors.md", "choosing-clusters.md", "association.md")
    ]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    # what the functions return
    values = {
        "Association",
        "Distribution",
        "ClusterChoice",
        "Correlation",
        "Dominance",
        "KChoice",
        "Prediction",
        "Projection",
        "Representatives",
    }
    missing = set(analysis.__all__) - values
    assert [name for name in sorted(missing) if name not in text] == []
