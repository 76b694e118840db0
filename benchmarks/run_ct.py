"""The whole job on 10,000 real CT slices, stage by stage: seconds and memory.

    python benchmarks/run_ct.py --data <folder with mednist-*.zip> [--tiles 10000]

The slices (MedNIST: abdomen and chest CT, 64 x 64, grey) are read from the zips, run through
EfficientNet-Lite0 and opened as a session; the images stay where they are.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

STAGES: dict[str, dict[str, float]] = {}


@contextmanager
def stage(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    STAGES[name] = {"seconds": round(took, 3), "peak_mb": round(peak)}
    print(f"{name:<44}{took:9.2f} s   peak {peak:6.0f} MB", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--tiles", type=int, default=10_000)
    arguments.add_argument("--layer", default="blocks.15")
    arguments.add_argument("--figure", type=Path, help="write the Explorer's figure here")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()

    import widgetkit as wk
    from widgetkit.demos.build import demo_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with stage("unzip"):
            for kind in ("abdomenct", "chestct"):
                with zipfile.ZipFile(options.data / f"mednist-{kind}.zip") as archive:
                    names = sorted(
                        n for n in archive.namelist() if n.lower().endswith((".jpeg", ".jpg"))
                    )
                    (folder / "ct" / kind).mkdir(parents=True)
                    for name in names[: options.tiles * len(names) // 10_000]:
                        (folder / "ct" / kind / Path(name).name).write_bytes(archive.read(name))
        with stage("tiles.from_folder"):
            tiles = wk.tiles.from_folder(folder / "ct", label_from="folder")
        print(
            f"  {len(tiles)} tiles of {tiles.shape}; {tiles.table['label'].value_counts().to_dict()}"
        )
        model = demo_model()
        with stage("extract"):
            store = wk.extract(
                model, tiles, layers=[options.layer], out=folder / "ct.wk",
                preprocess=wk.Preprocess(mean=127.0, std=128.0, scale=1.0, size=96, channels=3), progress=False,
            )  # fmt: skip
        size = sum(p.stat().st_size for p in store.path.rglob("*") if p.is_file())
        print(
            f"  store {size / 1e6:.0f} MB, {size / len(store) / 1e3:.1f} kB a tile; {store.layers}"
        )
        with stage("verify"):
            assert store.verify().ok
        with stage("open"):
            store = wk.open(store.path)
        session = wk.Session(store)
        with stage("projection (first of the process)"):
            projection = session.projection
        assert projection is not None
        trust = float(np.nanmean(projection.trust))
        print(f"  {projection.method}, neighbours kept {trust:.2f}")
        with stage("clustering"):
            clustering = session.clustering
        assert clustering is not None
        labels = store.tiles["label"].to_numpy()
        for i in range(len(clustering.names)):
            inside = clustering.labels == i
            share = (labels[inside] == "chestct").mean() if inside.any() else float("nan")
            print(f"  {clustering.names[i]}: {inside.sum():5d} tiles, chest {share:.2f}")
        with stage("explorer, built"):
            explorer = wk.explore(session)
        centre = np.median(projection.xy[clustering.labels == 0], axis=0)
        angle = np.linspace(0, 2 * np.pi, 60)
        ring = centre + 2.0 * np.column_stack([np.cos(angle), np.sin(angle)])
        for attempt in ("first", "again"):
            with stage(f"lasso to all views, kernel side, {attempt}"):
                session.select_polygon(ring + (0.1 if attempt == "again" else 0.0))
        print("  " + explorer.summary.describe().replace("\n", "\n  "))
        with stage("selection against the rest"):
            session.set_map("selection")
        with stage("re-cluster the selection"):
            session.cluster("auto", k=5, on="selection")
        if options.figure:
            with stage("figure"):
                explorer.save(options.figure, width_mm=180, dpi=200)
    if options.out:
        options.out.write_text(json.dumps(STAGES, indent=1))


if __name__ == "__main__":
    main()
