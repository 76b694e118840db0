"""What needs no network needs no torch."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import sys
sys.modules["torch"] = None
import numpy as np
import widgetkit as wk
store = wk.import_features(np.eye(5, dtype=np.float32), out=sys.argv[1])
assert len(store) == 5
wk.Preprocess(mean=(0.5,), std=(0.5,)).to_dict()
try:
    wk.extract
except wk.errors.MissingDependency as error:
    print(error)
"""


def test_features_and_presets_work_without_torch_and_extract_says_what_to_install(repo, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tmp_path / "f.wk")],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "pip install 'widgetkit[torch]'" in result.stdout


def test_the_package_itself_imports_nothing_heavy(repo):
    code = (
        "import sys, widgetkit.extraction; print(sorted({'torch', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
