"""Killed at any moment, or shared among processes: the bytes are those of one quiet run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import widgetkit as wk
from tests.extraction import runner
from tests.extraction.conftest import hooks_of
from widgetkit.errors import StoreNotFound
from widgetkit.extraction import prepare as preparing

COMMAND = [sys.executable, "-m", "tests.extraction.runner"]


def contents(store: Path) -> dict[str, bytes]:
    """Every file; of the manifest all but the time and the remarks about the run."""
    files = {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
    manifest = json.loads(files["manifest.json"])
    for key in ("created", "info", "checksum"):
        del manifest[key]
    files["manifest.json"] = json.dumps(manifest, sort_keys=True).encode()
    return files


@pytest.fixture
def one_thread(monkeypatch):
    """As the processes run: the order of sums depends on the number of threads."""
    monkeypatch.setattr(preparing, "SEGMENT_ROWS", runner.SEGMENT)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(repo: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=repo, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_at_a_random_moment_then_resumed_gives_the_same_bytes(
    seed, repo, tmp_path, one_thread
):
    generator = random.Random(seed)
    killed = tmp_path / "killed.wk"
    process = start(repo, str(killed))
    assert process.stdout is not None
    after = generator.randrange(3, 70)
    for line in process.stdout:
        if int(line) >= after:
            break
    time.sleep(generator.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    with pytest.raises(StoreNotFound, match="same call again"):
        wk.open(killed)

    store = runner.whole(killed)
    quiet = runner.whole(tmp_path / "quiet.wk")
    assert contents(killed) == contents(tmp_path / "quiet.wk")
    assert store.id == quiet.id and store.verify().ok
    assert store.manifest.info["segments_resumed"] < quiet.manifest.segments


def test_two_processes_write_the_bytes_of_one(repo, tmp_path, one_thread):
    shared = tmp_path / "shared.wk"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt  # begun, and nothing written yet

    with pytest.raises(KeyboardInterrupt):
        network = runner.model()
        wk.extract(
            network,
            runner.Slow(0),
            runner.LAYERS,
            out=shared,
            batch_size=runner.BATCH,
            device="cpu",
            progress=stop,
        )
    assert hooks_of(network) == 0
    workers = [start(repo, str(shared), str(index), "2") for index in range(2)]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    store = runner.whole(shared)
    quiet = runner.whole(tmp_path / "quiet.wk")
    assert store.manifest.info["segments_resumed"] == quiet.manifest.segments
    assert contents(shared) == contents(tmp_path / "quiet.wk")
