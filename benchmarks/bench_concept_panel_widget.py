"""ConceptPanel: from a new selection to bars, warnings and table, and a case's card.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_concept_panel_widget
    OMP_NUM_THREADS=1 python -m benchmarks.bench_concept_panel_widget --quick        2,000 tiles

In the kernel, as in a notebook: an event loop runs, so the bars come at once and their intervals as a
job behind them. Milliseconds of wall time beside those of the processor, and the load of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import widgetkit as wk
from benchmarks.bench_concept_panel import planted, timed

TRIES = 15


async def measure(n: int, d: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, concepts = planted(Path(folder) / "s.wk", n, d)
        session = wk.Session(store, layer="dense")
        session.set_concepts(concepts)
        session.read_concepts(n_boot=50)
        await quiet(session)
        panel = wk.ConceptPanel(session)
        rng = np.random.default_rng(0)
        masks = [rng.random(n) < share for share in np.linspace(0.02, 0.6, TRIES + 1)]
        session.select(masks.pop())  # the first one makes the chart, the others change it
        await quiet(session)
        walls, works, later = [], [], []
        for mask in masks:
            work, wall = time.process_time(), time.perf_counter()
            session.select(mask)
            walls.append(time.perf_counter() - wall)
            works.append(time.process_time() - work)
            frame = panel.parts["concepts"].frame
            assert frame is not None and frame.attrs["tiles_in"] == mask.sum()
            await quiet(session)
            later.append(time.perf_counter() - wall)
        say(f"a selection of {n:,} tiles to bars, warnings and table", walls, works)
        say("... to their intervals by patients", later, [])
        panel.question = "case"
        rows = iter(rng.integers(0, n, 1000))
        wall, work = timed(lambda: session.set_focus(int(next(rows))), TRIES)
        print(f"the card of another tile, {wall:.0f} ms ({work:.0f} ms of the processor)")
        panel.close()
        session.close()


async def quiet(session: wk.Session) -> None:
    """Until no job is left."""
    while session.jobs.active:
        await asyncio.sleep(0.005)


def say(what: str, walls: list[float], works: list[float]) -> None:
    tail = f" ({1000 * statistics.median(works):.0f} ms of the processor)" if works else ""
    middle, most = 1000 * statistics.median(walls), 1000 * max(walls)
    print(f"{what}: median {middle:.0f} ms, at most {most:.0f} ms{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 tiles of 64 units")
    quick = parser.parse_args().quick
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    asyncio.run(measure(2_000, 64) if quick else measure(20_000, 100))


if __name__ == "__main__":
    main()
