"""associate on planted data: it calls nothing more often than it says, finds what is there as often as
theory has it, and its intervals hold the truth.

Rates are of seeded sets; the tolerance is that of a binomial count at four standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from widgetkit.analysis import associate

SETS = 300
Make = Callable[[np.random.Generator], tuple[Any, dict[str, Any]]]


def called(make: Make, *, sets: int = SETS, **options: Any) -> dict[str, float]:
    """How often each variable has p of at most 5 %."""
    hits: dict[str, list[bool]] = {}
    for seed in range(sets):
        cluster, table = make(np.random.default_rng(10_000 + seed))
        found = associate(
            cluster, table, **{"n_boot": 0, "n_permutations": 199, "seed": seed, **options}
        )
        for name, p in zip(found.table["variable"], found.table["p"], strict=True):
            hits.setdefault(name, []).append(bool(p <= 0.05))
    return {name: float(np.mean(each)) for name, each in hits.items()}


def slack(rate: float, sets: int = SETS) -> float:
    return 4 * float(np.sqrt(rate * (1 - rate) / sets))


# -- nothing there -------------------------------------------------------------------------
def nothing(n: int, k: int, sizes: Any = None) -> Make:
    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        cluster = g.choice(k, n, p=sizes)
        return cluster, {
            "normal": g.normal(0, 1, n),
            "unequal": g.normal(0, 1, n) * np.where(cluster == 0, 1, 3),
            "skewed": g.exponential(1, n),
            "grade": pd.Categorical(g.integers(0, 4, n), ordered=True),
            "class": g.choice(list("abc"), n),
            "rare": g.choice(list("abc"), n, p=[0.88, 0.08, 0.04]),
        }

    return make


@pytest.mark.parametrize(
    ("n", "k", "sizes"), [(120, 3, None), (60, 2, [0.25, 0.75]), (200, 6, None)]
)
def test_five_percent_are_called_where_nothing_is(n: int, k: int, sizes: Any) -> None:
    for name, rate in called(nothing(n, k, sizes)).items():
        assert rate <= 0.05 + slack(0.05), (name, rate)
        if name != "rare":  # exact tests of few counts may call fewer
            assert rate >= 0.05 - slack(0.05), (name, rate)


def test_equal_variances_taken_for_granted_call_too_often() -> None:
    """Why Welch's is the usual one: many of little spread beside few of much."""

    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        cluster = np.repeat([0, 1], [60, 10])
        return cluster, {"v": g.normal(0, 1, 70) * np.where(cluster == 0, 1, 4)}

    assert called(make)["v"] <= 0.05 + slack(0.05)
    assert called(make, tests={"v": "anova"})["v"] > 0.15


def clustered(patients: int, pure: bool) -> Make:
    """Values and clusters both follow the patient, and have nothing to do with each other."""

    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        own = np.repeat(np.arange(patients), g.integers(5, 40, patients))
        n = len(own)
        if pure:
            cluster = np.where(
                g.random(n) < 0.95, g.integers(0, 3, patients)[own], g.integers(0, 3, n)
            )
        else:
            edges = np.cumsum(g.dirichlet(np.full(3, 0.7), patients), axis=1)
            cluster = np.minimum((g.random(n)[:, None] > edges[own]).sum(1), 2)
        level = g.normal(0, 1, patients)[own]
        return cluster, {
            "patient": own,
            "age": g.normal(60, 10, patients)[own],
            "sex": (g.random(patients) < 0.4)[own],
            "cost": g.exponential(1, patients)[own],
            "grey": level + g.normal(0, 1, n),
            "tissue": np.where(level + g.normal(0, 1, n) > 0.5, "t", "s"),
        }

    return make


@pytest.mark.parametrize(("patients", "pure"), [(45, True), (30, False), (14, False)])
def test_tiles_of_a_patient_are_no_evidence_of_their_own(patients: int, pure: bool) -> None:
    ours = called(clustered(patients, pure), sets=200)
    assert set(ours) == {"age", "sex", "cost", "grey", "tissue"}
    for name, rate in ours.items():
        assert rate <= 0.05 + slack(0.05, 200), (name, rate)
        assert rate >= 0.05 - slack(0.05, 200) or patients < 20, (name, rate)


def test_the_naive_test_calls_almost_everything() -> None:
    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        cluster, table = clustered(30, False)(g)
        own = table.pop("patient")
        return cluster, table | {"scan": own}

    rates = called(
        lambda g: (lambda c, t: (c, {k: v for k, v in t.items() if k != "scan"}))(*make(g)), sets=60
    )
    assert min(rates[name] for name in ("age", "cost", "grey")) > 0.5, rates


# -- something there -----------------------------------------------------------------------
def test_power_is_what_theory_has() -> None:
    n, shift = 90, 0.35

    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        cluster = np.arange(n) % 3
        yes = np.array([0.3, 0.3, 0.6])
        return cluster, {
            "amount": g.normal(0, 1, n) + shift * (cluster - 1),
            "class": np.where(g.random(n) < yes[cluster], "y", "n"),
        }

    rates = called(make)
    noncentral = n / 3 * 2 * shift**2  # sum of squared shifts, 30 each
    wanted = stats.ncf.sf(stats.f.isf(0.05, 2, n - 3), 2, n - 3, noncentral)
    assert rates["amount"] == pytest.approx(wanted, abs=slack(wanted) + 0.02)
    mean = 0.4
    squares = n / 3 * ((np.array([0.3, 0.3, 0.6]) - mean) ** 2).sum() / (mean * (1 - mean))
    wanted = stats.ncx2.sf(stats.chi2.isf(0.05, 2), 2, squares)
    assert rates["class"] == pytest.approx(wanted, abs=slack(wanted) + 0.05)


def test_power_of_two_clusters_is_what_theory_has() -> None:
    n1, n2, d = 30, 40, 0.7

    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        cluster = np.repeat([0, 1], [n1, n2])
        x = g.normal(0, 1, n1 + n2) + d * (cluster == 0)
        return cluster, {"amount": x, "skewed": np.exp(1.5 * x)}

    rates = called(make)
    away = d * np.sqrt(n1 * n2 / (n1 + n2))
    df = n1 + n2 - 2
    edge = stats.t.isf(0.025, df)
    wanted = stats.nct.sf(edge, df, away) + stats.nct.cdf(-edge, df, away)
    assert rates["amount"] == pytest.approx(wanted, abs=slack(wanted) + 0.01)
    # ranks do not see the exponential: close to the power of the t test on its logarithm
    assert rates["skewed"] == pytest.approx(wanted, abs=slack(wanted) + 0.05)


@pytest.mark.parametrize("pure", [True, False])
def test_what_is_there_is_found_with_patients_too(pure: bool) -> None:
    def make(g: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        patients = 40
        own = np.repeat(np.arange(patients), g.integers(5, 30, patients))
        share = g.random(patients) if not pure else np.arange(patients) % 2
        cluster = (g.random(len(own)) < share[own]).astype(int)
        return cluster, {
            "patient": own,
            "age": (g.normal(0, 1, patients) + 2.0 * share)[own],
            "grey": g.normal(0, 1, patients)[own] * 0.5 + g.normal(0, 1, len(own)) + 0.8 * cluster,
            "nothing": g.normal(0, 1, patients)[own],
        }

    rates = called(make, sets=80)
    assert rates["age"] > 0.85 and rates["grey"] > 0.9, rates
    assert rates["nothing"] <= 0.05 + slack(0.05, 80)


def test_false_discoveries_are_as_few_as_q_says() -> None:
    """Of 20 variables 5 go with the clusters: among those of q below 10 % at most 10 % do not."""
    false = []
    for seed in range(120):
        g = np.random.default_rng(seed)
        cluster = np.arange(90) % 3
        table = {
            f"v{i}": g.normal(0, 1, 90) + (0.8 * (cluster == 2) if i < 5 else 0) for i in range(20)
        }
        found = associate(cluster, table, n_boot=0).table
        hit = found["variable"][found["q"] <= 0.1]
        false.append((hit.str[1:].astype(int) >= 5).mean() if len(hit) else 0.0)
    assert np.mean(false) <= 0.1 + 2 * np.std(false) / np.sqrt(len(false))


# -- intervals -----------------------------------------------------------------------------
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    sets, n = 200, 120
    truth = {"amount": 0.6, "skewed": 2 * stats.norm.cdf(0.6 / np.sqrt(2)) - 1, "yes": 3.0}
    held: dict[str, list[bool]] = {name: [] for name in truth}
    means: list[bool] = []
    medians: list[bool] = []
    for seed in range(sets):
        g = np.random.default_rng(seed)
        cluster = (np.arange(n) % 5 < 2).astype(int)
        x = g.normal(0, 1, n) + 0.6 * (cluster == 0)
        share = np.where(cluster == 0, 0.5, 0.25)  # odds of 1 and 1/3
        found = associate(
            cluster,
            {"amount": x, "skewed": np.exp(2 * x), "yes": g.random(n) < share},
            n_boot=500,
            seed=seed,
        )
        for one in found.table.to_dict("records"):
            held[one["variable"]].append(one["low"] <= truth[one["variable"]] <= one["high"])
        of = found.means.query("variable == 'amount' and number == 0").set_index("statistic")
        means.append(of.loc["mean", "low"] <= 0.6 <= of.loc["mean", "high"])
        medians.append(of.loc["median", "low"] <= 0.6 <= of.loc["median", "high"])
    for name, each in (*held.items(), ("mean", means), ("median", medians)):
        assert np.mean(each) >= 0.95 - slack(0.95, sets), (name, np.mean(each))


def test_intervals_of_shares_hold_the_truth_near_0_and_1_too() -> None:
    sets = 200
    held: dict[str, list[bool]] = {"rows": [], "patients": []}
    own = np.repeat(np.arange(30), 10)
    for seed in range(sets):
        g = np.random.default_rng(seed)
        cluster = np.arange(40) % 2
        yes = g.random(40) < np.where(cluster == 0, 0.93, 0.5)
        half = g.integers(0, 2, 300)
        patient = (g.random(30) < 0.9)[own]
        for name, labels, table in (
            ("rows", cluster, {"v": yes}),
            ("patients", half, {"patient": own, "v": patient}),
        ):
            found = associate(labels, table, n_boot=300, n_permutations=19, seed=seed).means
            one = found.query("number == 0 and level == 'True'").iloc[0]
            held[name].append(one["low"] <= (0.93 if name == "rows" else 0.9) <= one["high"])
    for name, each in held.items():
        assert np.mean(each) >= 0.95 - slack(0.95, sets), (name, np.mean(each))


def test_intervals_of_three_clusters_and_of_patients() -> None:
    sets, shift, patients = 150, 0.4, 30
    omega = (2 / 3 * shift**2) / (1 + 2 / 3 * shift**2)
    of_rows, of_patients = [], []
    for seed in range(sets):
        g = np.random.default_rng(seed)
        cluster = np.arange(150) % 3
        x = g.normal(0, 1, 150) + shift * (cluster - 1)
        one = associate(cluster, {"v": x}, n_boot=500, seed=seed).table.iloc[0]
        of_rows.append(one["low"] <= omega <= one["high"])
        own = np.repeat(np.arange(patients), 12)
        half = g.integers(0, 2, len(own))
        v = g.normal(0, 1, patients)[own] + g.normal(0, 1, len(own)) + 1.0 * (half == 0)
        two = associate(half, {"patient": own, "v": v}, n_boot=500, n_permutations=99, seed=seed)
        d = two.table.iloc[0]
        of_patients.append(d["low"] <= 1 / np.sqrt(2) <= d["high"])
    assert np.mean(of_rows) >= 0.95 - slack(0.95, sets)
    assert np.mean(of_patients) >= 0.95 - slack(0.95, sets)
