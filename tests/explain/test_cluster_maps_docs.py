"""The page about maps of clusters runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from widgetkit import explain


def test_the_page_runs(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs" / "cluster-maps.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/cluster-maps.md", "exec"), names)
    found = names["found"]
    assert isinstance(found, explain.ClusterMaps) and found.shape == (36, 36)
    # the planted corners of the organ, wherever it lay
    places = [np.unravel_index(mean.argmax(), mean.shape) for mean in found.mean]
    assert min(places[0]) > 18 > max(places[1])
    assert (tmp_path / "cluster-maps.pdf").stat().st_size > 1000
    for picture in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (repo / "docs" / picture).is_file()
