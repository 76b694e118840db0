from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to kill a run at each of its steps")
def test_a_run_killed_at_any_step_ends_in_the_same_bytes(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.store.kill_driver", str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout.split()[-1]) > 100
