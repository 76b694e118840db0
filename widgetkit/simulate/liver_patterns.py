"""Which radiological concepts each kind of liver lesion shows, and how often.

A lesion's picture depends on its class through its concepts alone: the class says how likely each
combination of concepts is, and the combination is what is drawn. So every cause of a diagnosis is
one of the concepts (or the planted scanner mark), and what no classifier can tell apart is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.errors import InvalidInput, UnknownName, near

CLASSES = (
    "cyst",
    "haemangioma",
    "focal nodular hyperplasia",
    "hepatocellular carcinoma",
    "cholangiocarcinoma",
    "colorectal metastasis",
)
CONCEPTS = (
    "arterial hyperenhancement",
    "washout",
    "late isointensity",
    "blood-pool enhancement",
    "nodular peripheral enhancement",
    "centripetal filling",
    "thin-walled mass",
    "enhancing rim",
    "delayed capsule",
    "infiltrative margin",
    "central scar",
    "delayed central enhancement",
    "hypoenhancing core",
    "necrosis",
)
#: A concept belongs to a class when at least this share of its lesions shows it.
CHARACTERISTIC = 0.1
#: Readers note the most striking features of a lesion: in Wang et al. (2019) up to four.
LABELLED_MOST = 4

(HYPER, WASHOUT, LATE_ISO, POOL, NODULES, FILLING, FLUID, RIM, CAPSULE, INFILTRATIVE, SCAR, FIBROSIS,
 CORE, NECROSIS) = CONCEPTS  # fmt: skip

#: What most of a lesion does after contrast; exactly one of these. None: darker than liver throughout.
BODIES: dict[str, tuple[str, ...]] = {
    "hypo": (),
    "fluid": (FLUID,),
    "hyper": (HYPER,),
    "hyper, then washout": (HYPER, WASHOUT),
    "hyper, then like liver": (HYPER, LATE_ISO),
    "washout": (WASHOUT,),
    "flash": (HYPER, POOL),
    "nodules that fill": (POOL, NODULES, FILLING),
    "paler nodules that fill": (NODULES, FILLING),
    "nodules that stay": (POOL, NODULES),
}
CENTRES: dict[str, tuple[str, ...]] = {
    "": (),
    "core": (CORE,),
    "scar": (SCAR,),
    "fibrosis": (FIBROSIS,),
    "scar that fills": (SCAR, FIBROSIS),
}
MARGINS: dict[str, tuple[str, ...]] = {
    "": (),
    "capsule": (CAPSULE,),
    "infiltrative": (INFILTRATIVE,),
}
#: What each body leaves room for; the rest is not drawn for it.
_SOLID, _VASCULAR = ("hypo", "hyper", "hyper, then washout", "hyper, then like liver", "washout"), (
    "flash", "nodules that fill", "paler nodules that fill", "nodules that stay",
)  # fmt: skip
ALLOWED: dict[str, frozenset[str]] = {
    "fluid": frozenset(),
    **{body: frozenset({SCAR, CORE}) for body in _VASCULAR},
    **{
        body: frozenset({CAPSULE, INFILTRATIVE, SCAR, FIBROSIS, CORE, NECROSIS})
        | ({RIM} if HYPER not in BODIES[body] else set())
        for body in _SOLID
    },
}


@dataclass(frozen=True)
class Pattern:
    """How often lesions of a class have each body, centre, margin, a rim, and necrosis.

    What the body leaves no room for is left out, so that of the solid lesions alone these are the
    shares. What is not named of bodies, centres and margins has none.
    """

    bodies: Mapping[str, float]
    centres: Mapping[str, float]
    margins: Mapping[str, float]
    rim: float
    necrosis: float


#: After the descriptions in radiological textbooks, with the overlap that makes diagnosis hard: hypo-
#: vascular carcinoma with a rim, hyperplasia without scar, flash-filling haemangioma, cystic metastasis.
PATTERNS: dict[str, Pattern] = {
    "cyst": Pattern({"fluid": 0.95, "hypo": 0.05}, {}, {}, 0.4, 0.5),
    "haemangioma": Pattern(
        {
            "nodules that fill": 0.62,
            "paler nodules that fill": 0.12,
            "nodules that stay": 0.08,
            "flash": 0.15,
            "hypo": 0.03,
        },
        {"scar": 0.08, "core": 0.08},
        {},
        0.0,
        0.0,
    ),
    "focal nodular hyperplasia": Pattern(
        {"hyper, then like liver": 0.82, "hyper": 0.13, "hyper, then washout": 0.05},
        {"scar": 0.3, "scar that fills": 0.42},
        {"capsule": 0.04},
        0.0,
        0.0,
    ),
    "hepatocellular carcinoma": Pattern(
        {
            "hyper, then washout": 0.72,
            "washout": 0.12,
            "hyper": 0.08,
            "hyper, then like liver": 0.05,
            "hypo": 0.03,
        },
        {"scar": 0.04, "core": 0.06},
        {"capsule": 0.6, "infiltrative": 0.16},
        0.05,
        0.25,
    ),
    "cholangiocarcinoma": Pattern(
        {"hypo": 0.84, "washout": 0.1, "hyper": 0.06},
        {"fibrosis": 0.7, "core": 0.12},
        {"infiltrative": 0.66, "capsule": 0.02},
        0.55,
        0.12,
    ),
    "colorectal metastasis": Pattern(
        {"hypo": 0.83, "washout": 0.12, "hyper": 0.03, "fluid": 0.02},
        {"core": 0.58, "fibrosis": 0.08},
        {"infiltrative": 0.1, "capsule": 0.02},
        0.74,
        0.42,
    ),
}


@dataclass(frozen=True, eq=False)
class Combinations:
    """Every combination that can be drawn.

    Attributes
    ----------
    concepts : (m, 14) bool
    probability : (6, m) float64
        Of each combination in each class; rows sum to 1.
    """

    concepts: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]

    def number(self, shown: npt.NDArray[np.bool_]) -> int:
        """Of a combination, -1 where it cannot be drawn."""
        found = np.flatnonzero((self.concepts == shown).all(axis=1))
        return int(found[0]) if len(found) else -1


@lru_cache(maxsize=1)
def combinations() -> Combinations:
    """By enumeration."""
    totals: dict[tuple[bool, ...], npt.NDArray[np.float64]] = {}
    for row, name in enumerate(CLASSES):
        pattern = PATTERNS[name]
        parts = (
            pattern.bodies,
            {"": 1 - sum(pattern.centres.values()), **pattern.centres},
            {"": 1 - sum(pattern.margins.values()), **pattern.margins},
            {True: pattern.rim, False: 1 - pattern.rim},
            {True: pattern.necrosis, False: 1 - pattern.necrosis},
        )
        for body, centre, margin, rim, necrosis in itertools.product(*parts):
            chance = float(
                np.prod([part[key] for part, key in zip(parts, (body, centre, margin, rim, necrosis), strict=True)])  # type: ignore[index]
            )  # fmt: skip
            wanted = {*CENTRES[centre], *MARGINS[margin]}
            wanted |= ({RIM} if rim else set()) | ({NECROSIS} if necrosis else set())
            shown = {*BODIES[body], *(wanted & ALLOWED[body])}
            key = tuple(concept in shown for concept in CONCEPTS)
            totals.setdefault(key, np.zeros(len(CLASSES)))[row] += chance
    # combinations that no class has can be asked for, too
    for body, centre, margin, rim, necrosis in itertools.product(
        BODIES, CENTRES, MARGINS, (False, True), (False, True)
    ):
        wanted = {*CENTRES[centre], *MARGINS[margin]}
        wanted |= ({RIM} if rim else set()) | ({NECROSIS} if necrosis else set())
        if wanted <= ALLOWED[body]:
            shown = {*BODIES[body], *wanted}
            totals.setdefault(tuple(c in shown for c in CONCEPTS), np.zeros(len(CLASSES)))
    keys = sorted(totals)
    return Combinations(np.array(keys, bool), np.stack([totals[key] for key in keys], axis=1))


def concept_frequencies() -> pd.DataFrame:
    """Share of lesions of each class (rows) that show each concept (columns): 0 to 1, exact."""
    every = combinations()
    return pd.DataFrame(
        every.probability @ every.concepts, index=list(CLASSES), columns=list(CONCEPTS)
    )


def best_accuracy() -> float:
    """Share of lesions that is classified correctly from their concepts, all seen without error, when
    all classes are as frequent: no classifier does better without other cues."""
    every = combinations()
    return float(every.probability.max(axis=0).sum() / len(CLASSES))


def draw(labels: npt.NDArray[np.int32], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Concepts (n, 14) of lesions of these classes."""
    every = combinations()
    u = rng.random(len(labels))
    cumulative = every.probability.cumsum(axis=1)
    cumulative[:, -1] = 1.0
    chosen = np.array(
        [np.searchsorted(cumulative[label], x, side="right") for label, x in zip(labels, u, strict=True)],
        np.intp,
    )  # fmt: skip
    return every.concepts[chosen.reshape(-1)]


def likely_classes(
    concepts: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """A class for each combination, drawn by how probable it makes each; of combinations that no
    class has, the class that shares most of it."""
    every = combinations()
    frequencies = concept_frequencies().to_numpy()
    labels = []
    for shown in concepts:
        chance = every.probability[:, every.number(shown)].copy()
        if not chance.sum():
            agreement = np.where(shown, frequencies, 1 - frequencies).clip(1e-3)
            chance = np.log(agreement).sum(axis=1)
            chance = (chance == chance.max()).astype(np.float64)
        labels.append(rng.choice(len(CLASSES), p=chance / chance.sum()))
    return np.array(labels, np.int32)


def as_concepts(asked: Sequence[Collection[str]] | npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Combinations asked for: names for each lesion, or (n, 14) of 0 and 1.

    Raises
    ------
    UnknownName
        No such concept.
    InvalidInput
        A combination that cannot be drawn; says what excludes what.
    """
    if isinstance(asked, (str, bytes)):
        raise InvalidInput("concepts: one collection of names a lesion, not one text.")
    if isinstance(asked, np.ndarray):
        values = asked
        if (
            values.ndim != 2
            or values.shape[1] != len(CONCEPTS)
            or not np.isin(values, (0, 1)).all()
        ):
            raise InvalidInput(
                f"concepts of shape {values.shape}: (n, {len(CONCEPTS)}) of 0 and 1, or names."
            )
        shown = values.astype(bool)
    else:
        shown = np.zeros((len(list(asked)), len(CONCEPTS)), bool)  # type: ignore[arg-type]
        for row, names in enumerate(asked):  # type: ignore[arg-type]
            if isinstance(names, str) or not isinstance(names, Collection):
                raise InvalidInput(f"concepts of lesion {row}: {names!r}; a collection of names.")
            for name in names:
                if name not in CONCEPTS:
                    raise UnknownName(
                        f"There is no concept {name!r}. {near(str(name), CONCEPTS)} Known: "
                        f"{', '.join(CONCEPTS)}."
                    )
                shown[row, CONCEPTS.index(name)] = True
    every = combinations()
    for row, one in enumerate(shown):
        if every.number(one) < 0:
            said = ", ".join(np.array(CONCEPTS)[one])
            raise InvalidInput(
                f"Lesion {row} cannot show all of this at once: {said}. What most of it does is one of: "
                + "; ".join(" + ".join(parts) or "nothing of these" for parts in BODIES.values())
                + ". Vessel-like lesions have room for a scar or a core only, cysts for nothing; a rim "
                "needs a lesion that is not bright itself; capsule and infiltrative margin exclude each other, "
                "and a core excludes scar and fibrosis."
            )
    return shown


def labelled(shown: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """At most :data:`LABELLED_MOST` of the concepts of each lesion, drawn where there are more."""
    order = rng.random(shown.shape) + ~shown
    rank = order.argsort(axis=1).argsort(axis=1)
    noted: npt.NDArray[np.bool_] = shown & (rank < LABELLED_MOST)
    return noted
