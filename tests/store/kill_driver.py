"""Kills a run that writes a store at each of its steps in turn, and lets another run finish it.

A step is a call that changes the disk. Run as ``python -m tests.store.kill_driver FOLDER``; prints
the number of steps, and exits with an error where a finished store differs from an uninterrupted one.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import widgetkit.store.writer
from tests.store.builders import MAPS, Content, folder_bytes
from widgetkit.store import ActivationStore
from widgetkit.store.atomic import HashingFile

KILLED = 77


def content() -> Content:
    return Content(n=3, segment_rows=2, shape=(8, 8), encoding="png")


def die_at(step: int) -> Callable[[], int]:
    """Make the ``step``-th change of the disk in this process the last, half done if it can be."""
    count = 0

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal count
            if name == "open" and "r" in (args[1] if len(args) > 1 else "r"):
                return real(*args, **options)
            count += 1
            if count == step:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                    args[0]._file.flush()
                os._exit(KILLED)
            return real(*args, **options)

        setattr(owner, name, counted)

    for name in ("replace", "unlink", "mkdir", "link", "rmdir"):
        wrap(os, name)
    # What a killed process has written stays, synced or not; syncing would take most of the time.
    os.fsync = lambda descriptor: None
    wrap(io, "open")
    wrap(HashingFile, "write")
    return lambda: count


def run(path: Path, step: int) -> int:
    """One attempt in a process of its own; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            die_at(step)
            content().write(path)
            os._exit(0)
        except BaseException as error:
            print(f"step {step}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        content().write(folder / "whole.wk")
        os._exit(0)
    os.waitpid(child, 0)
    reference = folder_bytes(folder / "whole.wk")
    step = 0
    while True:
        step += 1
        path = folder / f"{step}.wk"
        first = run(path, step)
        if first == 0:
            break
        # Sometimes a second kill, at a step that wanders through the run; then one to the end.
        second = run(path, 1 + (step * 37) % 120) if step % 6 == 0 else KILLED
        last = run(path, 10**9)
        if first != KILLED or second not in (0, KILLED) or last != 0:
            sys.exit(f"step {step}: exits {first}, {second}, {last}")
        if folder_bytes(path) != reference:
            sys.exit(f"step {step}: the finished store differs")
        shutil.rmtree(path)
    whole = ActivationStore.open(folder / "whole.wk")
    if not whole.verify().ok or not (whole.activations(MAPS) == content().maps).all():
        sys.exit("the reference itself is wrong")
    print(step - 1)


if __name__ == "__main__":
    assert widgetkit.store.writer  # everything is imported before the forks
    main(Path(sys.argv[1]))
