"""Do concept maps find the planted concepts? The semi-synthetic liver lesions, against known places.

    OMP_NUM_THREADS=1 python benchmarks/run_concept_maps.py [--quick] [--out FILE.md]

Profiles and directions of the 150 lesions that the classifier learned from; maps of the 120 of both test
sets, once as they are and once moved off the centre, which takes the prior of the centre away. Prints
the tables of docs/concept-maps.md. Takes some four minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from widgetkit import demos, explain
from widgetkit.concepts.concept_set import patient_codes
from widgetkit.explain import Batch, ClassTarget, ConceptTarget
from widgetkit.explain.concept import ConceptMap
from widgetkit.explain.concept_gradient import ConceptGradient
from widgetkit.explain.concept_plain import ConceptPlain
from widgetkit.explain.localisation import localise
from widgetkit.explain.occlusion import Occlusion

LAYER, AT = "features.last", "dense"
#: Voxels that lesions are moved by, in both directions of the plane.
MOVED = 6
MEASURES = ("energy", "pointing", "iou")
#: The scanner's line: not one of the 14 concepts, and the only one that lies off the centre. By itself.
LINE = "marked"
#: Everything that is compared, in the order of the tables.
METHODS: dict[str, str] = {
    "concept": "`concept`, as published",
    "no lift": "`concept` without the lift",
    "no shells": "the same without shells",
    "concept-plain": "`concept-plain`",
    "concept-gradient": "`concept-gradient`",
    "mean": '`concept-gradient`, `weights="mean"`',
    "covered": "`occlusion` of the concept",
    "other": "`concept` of another concept",
    "other gradient": "`concept-gradient` of another concept",
    "gradcam": "Grad-CAM of the predicted class",
    "occlusion": "occlusion, predicted class",
    "centre": "distance from the centre",
    "random": "random",
    "ceiling": "truth, averaged over each cell",
}


class Remembering:
    """The network, which sees each covered image once: all concepts and the class ask for the same."""

    def __init__(self, context: Any, head: tuple[np.ndarray, np.ndarray]) -> None:
        self.context, self.head = context, head
        self.known: dict[bytes, np.ndarray] = {}

    def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
        assert layer == AT
        keys = [hashlib.blake2b(np.ascontiguousarray(i, np.float32)).digest() for i in images]
        new = [at for at, key in enumerate(keys) if key not in self.known]
        if new:
            for at, h in zip(new, self.context.forward_to_layer(images[new], AT), strict=True):
                self.known[keys[at]] = h
        return np.stack([self.known[key] for key in keys])

    def logits(self, images: np.ndarray) -> np.ndarray:
        weight, bias = self.head
        return self.forward_to_layer(images, AT) @ weight.T + bias


@dataclass(frozen=True, eq=False)
class Lesions:
    """Lesions to explain, with where each concept is in them."""

    rows: np.ndarray
    images: np.ndarray
    activations: np.ndarray
    predicted: np.ndarray
    truth: dict[str, np.ndarray]  # (m, d, h, w) bool each
    shown: np.ndarray  # (m, F)
    patients: np.ndarray


def lesions(store: Any, context: Any, names: list[str], moved: int, most: int | None) -> Lesions:
    """Of both test sets; with ``moved``, rolled so far along both axes of the plane."""
    table = store.tiles
    rows = np.flatnonzero((table["split"] != "training").to_numpy())[:most]
    images = np.asarray(store.images(rows))
    truth = {
        name: demos.lesion_truth(store, "line" if name == LINE else name, rows)
        for name in [*names, "lesion"]
    }
    if moved:
        signs = np.random.default_rng(0).choice([-moved, moved], (len(rows), 2))

        def roll(values: np.ndarray) -> np.ndarray:
            pairs = zip(values, signs, strict=True)
            return np.stack([np.roll(v, tuple(by), axis=(1, 2)) for v, by in pairs])

        images, truth = roll(images), {name: roll(mask) for name, mask in truth.items()}
    activations = context.forward_to_layer(images, LAYER)
    return Lesions(
        rows,
        images,
        activations,
        context.logits(images).argmax(axis=1),
        truth,
        table[names].to_numpy(bool)[rows],
        patient_codes(table["patient"])[rows],
    )


def targets(store: Any, names: list[str]) -> dict[str, list[ConceptTarget]]:
    """Each concept as the methods take it, from the training lesions; with one shell for all, too."""
    train = (store.tiles["split"] == "training").to_numpy()
    labels = np.where(train[:, None], store.tiles[names].to_numpy(np.int8), -1)
    profiles = explain.concept_profiles(store, LAYER, labels, names)
    made = []
    for f in range(len(names)):
        here, later = (
            explain.concept_direction(store.embeddings(at), labels[:, f] == 1, labels[:, f] == 0)
            for at in (LAYER, AT)
        )
        made.append(profiles.target(f, direction=here, towards=later, at=AT))
    place = np.bincount(explain.shells(store.layer(LAYER).grid).ravel(), minlength=4)
    one = np.einsum("s,fsc->fc", place / place.sum(), profiles.means)
    flat = np.repeat(one[:, None], 4, axis=1)
    return {"": made, "no shells": [replace(target, profiles=flat) for target in made]}


def maps_of(
    found: Lesions,
    made: dict[str, list[ConceptTarget]],
    context: Any,
    head: tuple[np.ndarray, np.ndarray],
    layer: Any,
    size: tuple[int, ...],
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Method, concept, places among the lesions, and maps (m, *grid) or at the masks' size."""

    def batch(at: np.ndarray) -> Batch:
        return Batch(
            found.rows[at], found.activations[at], found.images[at], layer=layer, model=context
        )

    covered = Remembering(context, head)
    by_class: dict[str, np.ndarray] = {}
    for name, method in (("gradcam", explain.get("gradcam")), ("occlusion", Occlusion())):
        values = np.zeros((len(found.rows), *layer.grid), np.float32)
        for c in np.unique(found.predicted):
            at = np.flatnonzero(found.predicted == c)
            own = replace(batch(at), model=covered) if name == "occlusion" else batch(at)
            values[at] = method.compute(own, ClassTarget(int(c)))
        by_class[name] = values
    axes = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in size), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    generator = np.random.default_rng(1)
    for f, target in enumerate(made[""]):
        at = np.flatnonzero(found.shown[:, f])
        if not len(at):
            continue
        own = batch(at)
        yield "concept", f, at, ConceptMap().compute(own, target)
        yield "no lift", f, at, ConceptMap(lift=False).compute(own, target)
        yield "no shells", f, at, ConceptMap().compute(own, made["no shells"][f])
        yield "concept-plain", f, at, ConceptPlain().compute(own, target)
        yield "concept-gradient", f, at, ConceptGradient().compute(own, target)
        yield "mean", f, at, ConceptGradient("mean").compute(own, target)
        yield "covered", f, at, Occlusion().compute(replace(own, model=covered), target)
        others = [other for g, other in enumerate(made[""]) if g != f]
        another = others[int(generator.integers(len(others)))]
        yield "other", f, at, ConceptMap().compute(own, another)
        yield "other gradient", f, at, ConceptGradient().compute(own, another)
        for name, values in by_class.items():
            yield name, f, at, values[at]
        yield "centre", f, at, np.broadcast_to(1 - radius / radius.max(), (len(at), *size))
        yield "random", f, at, generator.random((len(at), *layer.grid))
        mask = found.truth[target.name][at].astype(np.float32)
        yield "ceiling", f, at, explain.area_mean(mask, layer.grid)


def measured(found: Lesions, maps: Iterator[Any], names: list[str]) -> pd.DataFrame:
    """One row a lesion, concept, method and view (volume; plane: both added up along the depth)."""
    parts = []
    for method, f, at, values in maps:
        truth, lesion = found.truth[names[f]][at], found.truth["lesion"][at]
        positive = np.maximum(values, 0)
        for view in ("volume", "plane"):
            mask, whole, seen = truth, lesion, positive
            if view == "plane":
                mask, whole, seen = truth.any(axis=1), lesion.any(axis=1), positive.mean(axis=1)
            if seen.shape[1:] != mask.shape[1:]:
                seen = explain.upsample(seen, mask.shape[1:])
            score, inside = localise(seen, mask), localise(seen, whole)
            parts.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "concept": names[f],
                        "view": view,
                        "patient": found.patients[at],
                        "energy": score.energy,
                        "pointing": score.pointing,
                        "iou": score.iou,
                        "area": score.area,
                        "lesion": inside.energy,
                        "empty": score.empty,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def drawn(table: pd.DataFrame, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean over the means of the 14 concepts, with 95 % intervals by drawing patients; and less the centre's."""
    table = table[table["concept"] != LINE]
    patients, who = np.unique(table["patient"], return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(
        len(patients), np.full(len(patients), 1 / len(patients)), draws
    )
    counts = np.concatenate([np.ones((1, len(patients)), int), counts])
    concepts, what = np.unique(table["concept"], return_inverse=True)
    lines = []
    for view in ("volume", "plane"):
        for measure in (*MEASURES, "lesion"):
            found: dict[str, np.ndarray] = {}
            for method in METHODS:
                own = ((table["method"] == method) & (table["view"] == view)).to_numpy()
                sums = np.zeros((len(patients), len(concepts)))
                many = np.zeros_like(sums)
                np.add.at(sums, (who[own], what[own]), table.loc[own, measure])
                np.add.at(many, (who[own], what[own]), 1)
                with np.errstate(invalid="ignore"):
                    found[method] = np.nanmean((counts @ sums) / (counts @ many), axis=1)
            for method, values in found.items():
                apart = values - found["centre"]
                lines.append(
                    {
                        "view": view,
                        "method": method,
                        "measure": measure,
                        "value": values[0],
                        "low": np.quantile(values[1:], 0.025),
                        "high": np.quantile(values[1:], 0.975),
                        "apart": apart[0],
                        "apart_low": np.quantile(apart[1:], 0.025),
                        "apart_high": np.quantile(apart[1:], 0.975),
                    }
                )
    return pd.DataFrame(lines)


def cell(line: pd.Series) -> str:
    """``0.41 (0.38 to 0.44)``, bold where the whole interval of the difference is above the centre's."""
    text = f"{line['value']:.2f} ({line['low']:.2f} to {line['high']:.2f})"
    return f"**{text}**" if line["apart_low"] > 0 else text


def render(tables: dict[str, pd.DataFrame], names: list[str]) -> str:
    out = []
    for title, table in tables.items():
        found = drawn(table)
        for view in ("plane", "volume"):
            out += [
                f"\n{title}, {view}:\n",
                "| | energy inside | pointing | IoU | energy in the lesion |",
            ]
            out.append("|--|--:|--:|--:|--:|")
            for method, words in METHODS.items():
                own = found[(found["view"] == view) & (found["method"] == method)]
                cells = [cell(own[own["measure"] == m].iloc[0]) for m in (*MEASURES, "lesion")]
                out.append(f"| {words} | {' | '.join(cells)} |")
    for title, table in tables.items():
        out += [f"\n{title}, plane, energy inside / pointing of each concept:\n"]
        shown = ("concept", "concept-plain", "concept-gradient", "gradcam", "centre", "random")
        out.append("| concept | lesions | " + " | ".join(METHODS[m] for m in shown) + " |")
        out.append("|--|--:|" + "--:|" * len(shown))
        plane = table[table["view"] == "plane"]
        for name in names:
            cells = []
            for method in shown:
                own = plane[(plane["method"] == method) & (plane["concept"] == name)]
                cells.append(f"{own['energy'].mean():.2f} / {own['pointing'].mean():.2f}")
            out.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
        empty = plane.groupby("method")["empty"].mean()
        out.append("\nempty maps: " + ", ".join(f"{m} {v:.3f}" for m, v in empty.items() if v))
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 lesions")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    start = time.process_time()
    store = demos.lesion_store()
    context = demos.lesion_model(store)
    columns = store.tiles.columns
    names = [str(c) for c in columns if c in store.derived.names("truth")] + [LINE]
    made, layer = targets(store, names), store.layer(LAYER)
    tables = {}
    for title, moved in (("As they are", 0), (f"Moved {MOVED} voxels off the centre", MOVED)):
        found = lesions(store, context, names, moved, 12 if asked.quick else None)
        size = tuple(store.image_shape[:3])
        tables[title] = measured(
            found, maps_of(found, made, context, store.head(AT), layer, size), names
        )
        patients = len(np.unique(found.patients))
        print(f"{title}: {len(found.rows)} lesions, {patients} patients", flush=True)
    text = "Semi-synthetic lesions.\n" + render(tables, names)
    print(text)
    print(f"\n{time.process_time() - start:.0f} s of the processor")
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
