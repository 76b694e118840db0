"""Which test a variable gets, and what it says: of all clusters, and of pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from widgetkit.analysis import _draws, _tests
from widgetkit.analysis._arrays import Floats, choice
from widgetkit.analysis._columns import Codes, renumbered
from widgetkit.analysis._draws import Draws, Effect, Rows
from widgetkit.analysis._shuffles import Shuffled, Shuffles, ridits, shuffled
from widgetkit.analysis._tests import Moments, Ranks, Tested
from widgetkit.analysis._units import Base, Data
from widgetkit.analysis._variables import Variable
from widgetkit.errors import InvalidInput, UnknownName, near

Test = Literal["welch", "anova", "ranks", "chi2", "exact"]
TESTS: tuple[str, ...] = get_args(Test)
_OF_NUMBERS = ("welch", "anova", "ranks")
_OF_CATEGORIES = ("chi2", "exact")

#: Ranks are compared where the skewness of the values about the means of their clusters is beyond it.
SKEWED = 1.0
#: ... and where a cluster has fewer rows. Simulated with nothing there (benchmarks/bench_association.py), a
#: 5 % test of clusters of 20, 10, 4 and 4 calls 6 % by Welch's test and 4 % by ranks, but 7 % and 14 % where
#: the small ones spread three times as much; with 2 in a cluster Welch's calls 11 to 14 % either way.
FEW = 4


@dataclass(frozen=True)
class Settings:
    """What all comparisons of a call share."""

    shuffles: Shuffles
    draws: Draws
    seed: int
    n_permutations: int


@dataclass(frozen=True, eq=False)
class Compared:
    """A variable compared between clusters.

    ``family`` is one of :data:`TESTS`, ``""`` where nothing could be tested; ``data`` are the rows tested.
    """

    tested: Tested
    effect: Effect
    family: str
    clusters: int
    notes: tuple[str, ...]
    data: Data


NO_TEST = Tested("", np.nan, np.nan)
NO_EFFECT = Effect("", *[np.nan] * 6)


def check_tests(tests: Mapping[str, str] | None, columns: Sequence[str]) -> dict[str, str]:
    """``tests``, once every column and every test in it is known."""
    given = dict(tests or {})
    for name, test in given.items():
        if name not in columns:
            raise UnknownName(
                f"tests names {name!r}, which is no variable. {near(str(name), columns)}".rstrip()
            )
        choice(test, TESTS, f"tests[{name!r}]")
    return given


def compare(
    base: Base, variable: Variable, data: Data, wanted: str | None, settings: Settings
) -> Compared:
    """Test a variable against the clusters; where that cannot be done the notes say why."""
    fits = _OF_CATEGORIES if variable.kind == "nominal" else _OF_NUMBERS
    if wanted is not None and wanted not in fits:
        raise InvalidInput(
            f"tests[{variable.name!r}]={wanted!r} does not fit a {variable.kind} variable: use one of "
            f"{', '.join(fits)}, or say another kind in kinds."
        )
    reason = variable.reason or _untestable(data, base)
    if reason:
        return Compared(NO_TEST, NO_EFFECT, "", len(data.used), (reason,), data)
    notes: list[str] = []
    if base.alone and variable.kind != "nominal":
        data, said = _without_singles(data, base)
        notes += said
        reason = _untestable(data, base)
        if reason:
            return Compared(NO_TEST, NO_EFFECT, "", len(data.used), (*notes, reason), data)
    family, why = _family(variable, data, wanted, base.alone)
    notes += why
    if base.alone:
        tested, effect = _alone(variable, data, family, wanted, settings)
        if tested.test.startswith("Fisher"):
            family = "exact"
    else:
        tested, effect, said = _shared(variable, data, family, base.word, settings)
        notes += said
    return Compared(tested, effect, family, len(data.used), tuple(notes), data)


def _untestable(data: Data, base: Base) -> str:
    if not len(data.x):
        return "No test: all values are missing."
    if len(data.used) < 2:
        return "No test: only one cluster has values."
    if data.x.min() == data.x.max():
        return "No test: all values are equal."
    if data.units < 3:
        return f"No test: {data.units} {base.word}s have values."
    return ""


def _without_singles(data: Data, base: Base) -> tuple[Data, list[str]]:
    """Without clusters of one row, which have no spread."""
    sizes = np.bincount(data.cluster)
    single = sizes < 2
    if not single.any():
        return data, []
    kept = ~single[data.cluster]
    used, cluster = renumbered(data.cluster[kept], len(sizes))
    count = int(single.sum())
    left = replace(
        data,
        x=data.x[kept],
        cluster=cluster,
        unit=np.arange(int(kept.sum())),
        weight=data.weight[kept],
        used=data.used[used],
        units=int(kept.sum()),
    )
    what = "1 cluster" if count == 1 else f"{count} clusters"
    return left, [f"{what} of a single {base.word} left out of the test."]


def _family(
    variable: Variable, data: Data, wanted: str | None, alone: bool
) -> tuple[str, list[str]]:
    """The rule: see the docstring of ``associate``."""
    if variable.kind == "nominal":
        return wanted or "chi2", []
    if wanted == "ranks" or (wanted is None and variable.kind == "ordinal"):
        return "ranks", []
    m = Moments.of(data.x, data.cluster, len(data.used))
    if alone and (m.var == 0).any() and (wanted == "welch" or not (m.var > 0).any()):
        return "ranks", ["Ranks compared: no spread within a cluster."]
    if wanted is not None:
        return wanted, []
    skewness = _skewness(data)
    if abs(skewness) > SKEWED:
        return "ranks", [f"Ranks compared: skewness {skewness:.1f}."]
    if alone and (m.n.min() < FEW or (m.var == 0).any()):
        if m.n.min() < FEW:
            return "ranks", [
                f"Ranks compared: a cluster has {int(m.n.min())} values. Where it spreads more than the "
                "others p is too small."
            ]
        return "ranks", ["Ranks compared: no spread within a cluster."]
    return "welch", []


def _skewness(data: Data) -> float:
    """Of the values about the means of their clusters."""
    w = data.weight
    n = np.bincount(data.cluster, weights=w)
    mean = np.bincount(data.cluster, weights=w * data.x) / n
    away = data.x - mean[data.cluster]
    size = float(np.abs(away).max())
    if size == 0:
        return 0.0
    away = away / size
    second = float(np.average(away**2, weights=w))
    return float(np.average(away**3, weights=w) / second**1.5)


# -- rows that are independent -----------------------------------------------------------
def _alone(
    variable: Variable, data: Data, family: str, wanted: str | None, settings: Settings
) -> tuple[Tested, Effect]:
    k = len(data.used)
    rows = Rows(data.x, data.cluster, data.unit, data.weight, k, float(len(data.x)), None)
    if variable.kind == "nominal":
        packed, levels = packed_levels(data.x)
        # the last category comes first, as in the odds ratio
        table = _tests.counts_of(levels - 1 - packed, data.cluster, levels, k)
        tested = table_test(table, wanted, settings)
        return tested, _draws.effect_of_shares(rows, packed, levels, settings.draws)
    if family == "ranks":
        if k == 2:
            tested = _tests.mann_whitney(data.x, data.cluster)
        else:
            tested = _tests.kruskal(Ranks.of(data.x, data.cluster, k))
        return tested, _draws.effect_of_ranks(rows, settings.draws)
    m = Moments.of(data.x, data.cluster, k)
    return means_test(m, family), _draws.effect_of_means(rows, settings.draws)


def means_test(m: Moments, family: str) -> Tested:
    if len(m.n) == 2:
        return _tests.t_test(m, equal=family == "anova")
    return _tests.anova(m) if family == "anova" else _tests.welch_anova(m)


def table_test(table: _tests.Counts, wanted: str | None, settings: Settings) -> Tested:
    if wanted == "chi2" or (wanted is None and not _tests.is_sparse(table)):
        return _tests.chi_square(table)
    if table.shape == (2, 2):
        return _tests.fisher(table)
    return _tests.freeman_halton(table, settings.n_permutations, settings.seed)


def packed_levels(x: Floats) -> tuple[Codes, int]:
    """Categories that are there, numbered without gaps."""
    codes = x.astype(np.intp)
    levels, packed = renumbered(codes, int(codes.max(initial=-1)) + 1)
    return packed, len(levels)


# -- rows that are not -------------------------------------------------------------------
def _shared(
    variable: Variable, data: Data, family: str, word: str, settings: Settings
) -> tuple[Tested, Effect, list[str]]:
    found = shuffle(variable, data, family, word, settings.shuffles)
    what = {"welch": "means", "anova": "means", "ranks": "ranks"}.get(family, "shares")
    chance = found.chance if np.isfinite(found.chance) else 0.0
    rows = Rows(
        data.x, data.cluster, data.unit, data.weight, len(data.used), float(data.units), chance
    )
    if what == "shares":
        packed, levels = packed_levels(data.x)
        effect = _draws.effect_of_shares(rows, packed, levels, settings.draws)
    elif what == "ranks":
        effect = _draws.effect_of_ranks(rows, settings.draws)
    else:
        effect = _draws.effect_of_means(rows, settings.draws)
    notes = []
    if found.how and not data.constant:
        least = 2.0 ** (1 - data.units)
        if least > 0.01:
            notes.append(f"{data.units} {word}s: p cannot fall below {least:.2g}.")
    test = f"{what}, {found.how}" if found.how else what
    return Tested(test, found.eta, found.p), effect, notes


def shuffle(variable: Variable, data: Data, family: str, word: str, shuffles: Shuffles) -> Shuffled:
    total = float(data.weight.sum())
    if variable.kind == "nominal":
        packed, levels = packed_levels(data.x)
        scores = np.zeros((len(packed), levels))
        scores[np.arange(len(packed)), packed] = 1.0
        scale = data.weight @ scores / total
    else:
        x = ridits(data.x, data.weight) if family == "ranks" else data.x
        middle = float(data.weight @ x) / total
        x = x - middle
        scores = (x / np.abs(x).max())[:, None]
        scale = np.array([float(data.weight @ scores[:, 0] ** 2) / total])
    return shuffled(
        scores, scale, data.cluster, len(data.used), data.unit, data.units, data.weight,
        constant=data.constant, shuffles=shuffles, word=word,
    )  # fmt: skip


# -- missing values, and pairs -----------------------------------------------------------
def missing_p(base: Base, data: Data, settings: Settings) -> float:
    """p that values are missing more often in some clusters; NaN where none or all are missing."""
    absent = data.absent
    if not absent.any() or absent.all():
        return np.nan
    if base.rule == "share":
        sizes = np.bincount(base.unit, minlength=base.units)
        whole = np.bincount(base.unit, weights=absent, minlength=base.units)
        asked = Data(
            absent.astype(np.float64), base.cluster, base.unit, 1 / sizes[base.unit],
            np.arange(base.k), base.units, 0, len(absent), absent, "",
            bool(((whole == 0) | (whole == sizes)).all()),
        )  # fmt: skip
        variable = Variable("missing", "nominal", asked.x, ("no", "yes"))
        return shuffle(variable, asked, "chi2", base.word, settings.shuffles).p
    cluster = base.cluster if base.own is None else base.own
    table = _tests.filled(_tests.counts_of(absent.astype(np.intp), cluster, 2, base.k))
    return table_test(table, None, settings).p if min(table.shape) > 1 else np.nan


def pairs(
    variable: Variable, found: Compared, word: str, alone: bool, settings: Settings
) -> list[dict[str, Any]]:
    """Each pair of the clusters that were compared; empty where there are two or nothing was tested."""
    data, k = found.data, len(found.data.used)
    if not found.family or k < 3:
        return []
    ranks = Ranks.of(data.x, data.cluster, k) if alone and found.family == "ranks" else None
    quiet = replace(settings, draws=replace(settings.draws, counts=None))
    rows = []
    for a, b in combinations(range(k), 2):
        part = _pair(data, a, b)
        if not len(part.x) or part.x.min() == part.x.max() or len(np.unique(part.cluster)) < 2:
            tested, effect = NO_TEST, NO_EFFECT
        elif not alone:
            tested, effect, _ = _shared(variable, part, found.family, word, quiet)
        else:
            wanted = found.family if found.family in _OF_NUMBERS else None
            tested, effect = _alone(variable, part, found.family, wanted, quiet)
            if ranks is not None:
                tested = _tests.dunn(ranks, a, b)
        rows.append(
            {
                "variable": variable.name,
                "a": int(data.used[a]),
                "b": int(data.used[b]),
                "n_a": len(np.unique(data.unit[data.cluster == a])),
                "n_b": len(np.unique(data.unit[data.cluster == b])),
                "test": tested.test,
                "statistic": tested.statistic,
                "p": tested.p,
                "effect": effect.value,
                "effect_name": effect.name,
            }
        )
    return rows


def _pair(data: Data, a: int, b: int) -> Data:
    """The rows of two clusters alone; each unit's weight is that of its rows there."""
    kept = (data.cluster == a) | (data.cluster == b)
    present, unit = renumbered(data.unit[kept], data.units)
    sizes = np.bincount(unit, minlength=len(present))
    return replace(
        data,
        x=data.x[kept],
        cluster=(data.cluster[kept] == b).astype(np.intp),
        unit=unit,
        weight=1 / sizes[unit] if len(unit) else data.weight[:0],
        used=data.used[[a, b]],
        units=len(present),
    )
