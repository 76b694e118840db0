"""The simulation of the CLAM publication, whole: clusters and maps against planted truth.

    OMP_NUM_THREADS=1 python benchmarks/run_clam_simulation.py [--quick] [--out FILE.md] [--resume] [--render]

Images are real chest CT (two patients, fetched once) with abnormalities inserted; each repeat has
its own images, weights and starts. Prints the tables of docs/simulation.md. Two processes of one
thread each. --resume goes on with what an earlier run left beside --out; --render makes its tables.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from widgetkit.simulate import Nuisance, Training, clam_experiment
from widgetkit.simulate.experiments import mean_and_interval

TOGETHER = {"location": 2, "size": (32, 56), "intensity": (-450, 40)}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "size": {"vary": "size", "levels": 3},
    "location": {"vary": "location", "levels": 4},
    "intensity": {"vary": "intensity", "levels": 3},
    "shape": {"vary": "shape", "levels": 2},
    "size, location, intensity": {"vary": tuple(TOGETHER), "levels": TOGETHER},
    "noise": {"vary": "noise", "levels": 2},
}
METHODS = ("clam", "scorecam", "gradcam", "occlusion", "random", "ceiling")
SIZE = EXPERIMENTS["size"]
#: What is changed in the experiment on size to see where it stops.
SWEEP: dict[str, dict[str, Any]] = {
    "as above": {},
    "noise 80 HU": {"noise": 80},
    "noise 160 HU": {"noise": 160},
    "sizes 34, 40, 46 mm": {"levels": {"size": (34, 40, 46)}},
    "sizes 12, 20, 28 mm": {"levels": {"size": (12, 20, 28)}},
    "all that varies varies twice as much": {"nuisance": Nuisance().scaled(2)},
    "four times as much": {"nuisance": Nuisance().scaled(4)},
    "8 slices over 40 % of the lung": {"nuisance": Nuisance(8, heights=(0.3, 0.7))},
    "4 slices of two patients": {"nuisance": Nuisance(patients=2)},
    "60 images": {"n": 60},
    "80 epochs": {"training": Training(epochs=80)},
    "latent of 32": {"training": Training(latent=32)},
    "whole images, not the lungs alone": {"training": Training(lung=None)},
    "phantom": {"background": "phantom"},
}
#: What is changed for maps, in the experiments on location and size.
MAPS: dict[str, dict[str, Any]] = {
    "grid 8 x 8 (three convolutions)": {"training": Training(channels=(8, 16, 32))},
    "whole images, grid 16 x 16": {"training": Training(lung=None)},
    "whole images, grid 8 x 8": {"training": Training(channels=(8, 16, 32), lung=None)},
}


def job(
    kind: str, name: str, options: dict[str, Any]
) -> tuple[str, str, pd.DataFrame, pd.DataFrame, float]:
    start = time.process_time()
    found = clam_experiment(**options)
    return kind, name, found.clustering, found.localisation, time.process_time() - start


def jobs(quick: bool) -> list[tuple[str, str, dict[str, Any]]]:
    # not the seeds that defaults were chosen with
    base: dict[str, Any] = {"background": "ct", "n": 240, "explained": 24, "seed": 100}
    if quick:
        base |= {"n": 48, "explained": 8, "training": replace(Training(), epochs=5)}
    repeats = 2 if quick else 5
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name, options in EXPERIMENTS.items():
        # noise is everywhere: there is no place for a map to point at
        methods = () if name == "noise" else METHODS
        own = {"k": ("below", "at", "above"), "methods": methods, "baselines": ("mean", "black")}
        found.append(("experiment", name, {**base, "repeats": repeats, **own, **options}))
    few = {"repeats": 1 if quick else 3}
    for name, options in SWEEP.items():
        found.append(("sweep", name, {**base, **few, **SIZE, "methods": (), **options}))
    for change, options in MAPS.items():
        for name in ("location", "size"):
            own = {"methods": METHODS[:4], **EXPERIMENTS[name], **options}
            found.append(("maps", f"{name}|{change}", {**base, **few, **own}))
    # a volume teaches as much as a slice does and costs more: fewer, seen more often, a smaller network
    training = Training(channels=(8, 16), epochs=40, batch_size=4)
    volumes = {"dims": 3, "n": 120, "explained": 8, "methods": METHODS, "training": training, **few}
    found.append(("volumes", "location", {**base, **EXPERIMENTS["location"], **volumes}))
    return found


# -- tables ------------------------------------------------------------------------------
def spread(values: pd.Series, *, signed: bool = False, digits: int = 2) -> str:
    """Mean and interval over repeats, or the range where there are too few."""
    mean, low, high = mean_and_interval(values)
    if low != low:
        low, high = float(values.min()), float(values.max())
    sign = "+" if signed else ""
    form = f"{sign}.{digits}f"
    ends = f" ({low:{form}} to {high:{form}})" if high - low > 0.5 * 10**-digits else ""
    return f"{mean:{form}}{ends}"


def rows(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def head(*cells: str) -> list[str]:
    return [rows(*cells), rows(*["--"] * len(cells))]


def clusters_table(found: dict[str, pd.DataFrame]) -> list[str]:
    lines = head("what differs", "groups", "k", "accuracy", "ARI", "NMI", "repeats at 100 %")
    for name, table in found.items():
        for asked, part in table.groupby("asked", sort=False):
            perfect = f"{int((part['accuracy'] == 1).sum())} of {len(part)}"
            cells = [spread(part[measure], digits=3) for measure in ("accuracy", "ari", "nmi")]
            lines.append(
                rows(
                    name,
                    str(part["true_k"].iloc[0]),
                    f"{part['k'].iloc[0]} ({asked})",
                    *cells,
                    perfect,
                )
            )
    return lines


def maps_table(found: dict[str, pd.DataFrame], measure: str, asked: str = "at") -> list[str]:
    lines = head("what differs", "hidden is", *METHODS)
    for name, table in found.items():
        own = table[table["asked"] == asked]
        for baseline, part in own.groupby("baseline", sort=False):
            means = part.groupby(["method", "repeat"])[measure].mean()
            cells = [spread(means[method]) if method in means.index else "" for method in METHODS]
            lines.append(rows(name, str(baseline), *cells))
    return lines


def groups_table(found: dict[str, pd.DataFrame], methods: tuple[str, ...]) -> list[str]:
    lines = head("what differs", "group", *methods)
    for name, table in found.items():
        own = table[(table["asked"] == "at") & (table["baseline"] == "mean")]
        for group, part in own.groupby("group", sort=False):
            means = part.groupby(["method", "repeat"])["iou"].mean()
            lines.append(rows(name, str(group), *(spread(means[method]) for method in methods)))
    return lines


def differences_table(found: dict[str, pd.DataFrame]) -> list[str]:
    """CLAM less each other method in the same repeat, hidden is the mean image."""
    others = ("scorecam", "gradcam", "occlusion", "random")
    lines = head("what differs", "measure", *others, "occlusion by black")
    for name, table in found.items():
        at = table[table["asked"] == "at"]
        for measure in ("iou", "energy", "pointing"):
            means = at.groupby(["baseline", "method", "repeat"])[measure].mean()
            own = means["mean", "clam"]
            cells = [spread(own - means["mean", other], signed=True) for other in others]
            cells.append(spread(own - means["black", "occlusion"], signed=True))
            lines.append(rows(name, measure, *cells))
    return lines


def report(results: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]]) -> str:
    experiments = {
        name: results["experiment", name] for name in EXPERIMENTS if ("experiment", name) in results
    }
    maps = {name: found[1] for name, found in experiments.items() if len(found[1])}
    lines = ["### Clusters", ""]
    lines += clusters_table({name: found[0] for name, found in experiments.items()})
    for measure, title in (("iou", "IoU"), ("energy", "Energy"), ("pointing", "Pointing")):
        lines += ["", f"### {title}, true k", "", *maps_table(maps, measure)]
    lines += [
        "",
        "### CLAM less the others, true k, in the same repeat",
        "",
        *differences_table(maps),
    ]
    for asked in ("below", "above"):
        some = {name: t for name, t in maps.items() if (t["asked"] == asked).any()}
        lines += ["", f"### IoU, k {asked}", "", *maps_table(some, "iou", asked)]
    lines += ["", "### IoU by group, true k, hidden is the mean image", ""]
    lines += groups_table(maps, METHODS)
    lines += ["", "### Where clustering stops: size, 3 groups", ""]
    lines += head("changed", "accuracy", "repeats at 100 %")
    for name in SWEEP:
        if ("sweep", name) in results:
            found = results["sweep", name][0]["accuracy"]
            lines.append(
                rows(name, spread(found, digits=3), f"{int((found == 1).sum())} of {len(found)}")
            )
    lines += ["", "### Where maps stop: IoU, hidden is the mean image", ""]
    lines += head("changed", "what differs", "accuracy", *METHODS[:4])
    for change, name in itertools.product(MAPS, ("location", "size")):
        if ("maps", f"{name}|{change}") in results:
            clusters, table = results["maps", f"{name}|{change}"]
            means = table.groupby(["method", "repeat"])["iou"].mean()
            cells = [spread(means[method]) for method in METHODS[:4]]
            lines.append(rows(change, name, spread(clusters["accuracy"]), *cells))
    if ("volumes", "location") in results:
        clusters, table = results["volumes", "location"]
        lines += ["", "### Volumes: location, 4 groups, 24 x 48 x 48", ""]
        lines += head("accuracy", "measure", *METHODS)
        for measure in ("iou", "energy", "pointing"):
            means = table.groupby(["method", "repeat"])[measure].mean()
            cells = [spread(means[method]) for method in METHODS]
            lines.append(rows(spread(clusters["accuracy"]), measure, *cells))
    return "\n".join(lines) + "\n"


def recorded(out: Path) -> dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]]:
    """What a run with this --out has left."""
    clusters, maps = (pd.read_csv(out.with_suffix(f".{what}.csv")) for what in ("clusters", "maps"))
    return {
        key: (table, maps[(maps["kind"] == key[0]) & (maps["name"] == key[1])])
        for key, table in clusters.groupby(["kind", "name"], sort=False)
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--resume", action="store_true")
    arguments.add_argument("--render", action="store_true")
    options = arguments.parse_args()
    if options.render:
        print(report(recorded(options.out)))
        return
    from widgetkit.tiles.fetch import fetch

    fetch("lung-1")  # once, before both processes ask for it
    start, seconds = time.perf_counter(), 0.0
    results: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]] = {}
    if options.resume:
        results = recorded(options.out)
    elif options.out:  # what an earlier run left would be counted too
        for what in ("clusters", "maps"):
            options.out.with_suffix(f".{what}.csv").unlink(missing_ok=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        left = [one for one in jobs(options.quick) if one[:2] not in results]
        waiting = [pool.submit(job, *one) for one in left]
        for done in as_completed(waiting):
            kind, name, clustering, localisation, took = done.result()
            results[kind, name] = clustering, localisation
            seconds += took
            accuracy = clustering.groupby("asked", sort=False)["accuracy"].mean().round(3).to_dict()
            print(f"{kind:<11}{name:<46}{took:6.0f} s of a core   {accuracy}", flush=True)
            if options.out:
                for what, table in (("clusters", clustering), ("maps", localisation)):
                    file = options.out.with_suffix(f".{what}.csv")
                    first = not file.exists()
                    table.assign(kind=kind, name=name).to_csv(
                        file, mode="a", index=False, header=first
                    )
    text = report(results)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)
    print(f"{time.perf_counter() - start:.0f} s, {seconds:.0f} s of a core")


if __name__ == "__main__":
    main()
