"""docs/concept-importance.md runs as it stands, and names every column."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.factors.networks import Net, store_of
from widgetkit.factors.completeness import VARIANTS


def test_the_page_runs(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (repo / "docs" / "concept-importance.md").read_text(encoding="utf-8")
    network = Net(linear=False)
    names: dict[str, Any] = {"network": network, "store": store_of(network, tmp_path / "a.wk")}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        exec(compile(block, f"concept-importance.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "sobol" in printed and "keep their class" in printed and "insertion" in printed
    table = names["table"]
    assert isinstance(table, pd.DataFrame)
    for column in table.columns:
        assert f"`{column}`" in page or column == "factor"
    for variant in VARIANTS:
        assert f"| `{variant}` |" in page
