"""How long ``import widgetkit`` takes, in processes of its own, over a bare interpreter."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def seconds(code: str, runs: int) -> float:
    """Median wall time of a fresh interpreter that runs ``code``."""
    took = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=7)
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    bare = seconds("pass", options.runs)
    ours = seconds("import widgetkit", options.runs) - bare
    found = {"bare_interpreter_s": bare, "import_widgetkit_s": ours}
    print(f"bare interpreter {bare:.3f} s; import widgetkit adds {ours:.3f} s")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
