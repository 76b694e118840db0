"""The page about the number of clusters runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from widgetkit import analysis


def test_the_page_runs(repo: Path) -> None:
    page = (repo / "docs" / "choosing-clusters.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/choosing-clusters.md", "exec"), names)
    choice = names["choice"]
    assert isinstance(choice, analysis.ClusterChoice) and choice.recommended == 4
    for column in choice.table.columns:
        assert f"`{column}`" in page or column in ("k", "seconds")
    for picture in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (repo / "docs" / picture).is_file()
