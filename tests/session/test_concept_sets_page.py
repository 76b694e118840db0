"""The page about concept sets runs as it stands, on a copy of the demo."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from widgetkit import demos
from widgetkit.session.concept_reading import ConceptReading
from widgetkit.store import ActivationStore


def test_the_page_runs_and_says_what_comes_out(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "lesions.wk"
    shutil.copytree(demos.lesion_store().path, copy, ignore=shutil.ignore_patterns("concept*"))
    monkeypatch.setattr(demos, "lesion_store", lambda: ActivationStore.open(copy))
    page = (repo / "docs" / "concept-sets.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/concept-sets.md", "exec"), names)
    reading = names["reading"]
    assert isinstance(reading, ConceptReading)
    assert "learned from 150 tiles of 142 patients; judged on 120" in reading.note
    said = reading.warnings()[0]  # the weightiest
    assert said.startswith("'marked' counts towards 'colorectal metastasis' though no class")
    top = reading.compare(names["mask"]).iloc[0]
    assert top["concept"] == "marked" and top["low"] > 0
    assert "semi-synthetic" in page
