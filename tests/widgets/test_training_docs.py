"""The page about training runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from widgetkit.widgets import TrainingView


def test_the_page_runs(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs" / "training.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/training.md", "exec"), names)
    view = names["view"]
    assert isinstance(view, TrainingView) and view.status == "done" and len(view.history) == 12
    assert (tmp_path / "loss.pdf").stat().st_size > 1000
    for picture in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (repo / "docs" / picture).is_file()
