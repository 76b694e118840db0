"""Kills a run that fills a derived result at each of its steps, and lets another run finish it.

As ``kill_driver``: ``python -m tests.store.resumable_driver FOLDER`` prints the number of steps, and
exits with an error where a finished result differs from an uninterrupted one, or where anything was
visible before the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from tests.store.builders import Content
from tests.store.kill_driver import KILLED, die_at
from widgetkit.store import ActivationStore, Column, Entry

ROWS, STEP = 5, 2
COLUMNS = {"weights": Column((2, 3), "<f2"), "Total": Column((), "<f4")}


def values(rows: range) -> dict[str, np.ndarray]:
    at = np.arange(rows.start, rows.stop)
    weights = (at[:, None, None] + np.arange(6).reshape(2, 3) / 8).astype(np.float16)
    return {"weights": weights, "Total": at.astype(np.float32)}


def fill(store: ActivationStore, name: str = "nmf") -> Entry:
    writer = store.derived.begin(
        "factors", name, COLUMNS, rows=ROWS, segment_rows=STEP, params={"k": 2}, seed=1,
        make=lambda: {"H": np.arange(8.0)},
    )  # fmt: skip
    for index in writer.missing_segments():
        writer.write_segment(index, values(writer.range(index)))
    return writer.commit({"error": np.float64(0.5)})


def result_bytes(store: ActivationStore) -> dict[str, str]:
    """SHA-256 of the entry without its time and of the files it lists."""
    folder = store.path / "derived/factors/nmf"
    entry = json.loads((folder / "entry.json").read_bytes())
    listed = [file for file, _, _ in entry["arrays"].values()]
    listed += [f for column in entry["segmented"].values() for f, _, _ in column["files"]]
    del entry["created"], entry["checksum"]
    found = {"entry.json": json.dumps(entry, sort_keys=True)}
    for file in listed:
        found[file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    return found


def run(path: Path, step: int) -> int:
    """One attempt in a process of its own; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            store = ActivationStore.open(path)
            die_at(step)
            fill(store)
            os._exit(0)
        except BaseException as error:
            print(f"step {step}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    whole = folder / "whole.wk"
    Content(n=3, shape=None).write(whole)
    empty = folder / "empty.wk"
    shutil.copytree(whole, empty)
    if run(whole, 10**9) != 0:
        sys.exit("the uninterrupted run failed")
    reference = result_bytes(ActivationStore.open(whole))
    step = 0
    while True:
        step += 1
        path = folder / f"{step}.wk"
        shutil.copytree(empty, path)
        first = run(path, step)
        store = ActivationStore.open(path)
        visible = bool(store.derived.names("factors"))  # killed after the entry: it must be whole
        if visible and (result_bytes(store) != reference or not store.verify().ok):
            sys.exit(f"step {step}: something unfinished is visible")
        if first == 0:
            break
        second = run(path, 1 + (step * 37) % 40) if step % 4 == 0 else KILLED
        last = run(path, 10**9)
        if first != KILLED or second not in (0, KILLED) or last != 0:
            sys.exit(f"step {step}: exits {first}, {second}, {last}")
        if result_bytes(store) != reference or not store.verify().ok:
            sys.exit(f"step {step}: the finished result differs")
        shutil.rmtree(path)
    print(step - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
