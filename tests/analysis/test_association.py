"""associate: which test a column gets, what is left out and said, and that nobody is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from widgetkit.analysis import Association, associate
from widgetkit.analysis.identifying import IDENTIFYING
from widgetkit.errors import Cancelled, InvalidInput, TooFew, UnknownName
from widgetkit.slides import export_tables

N = 240


def people(seed: int = 0, n: int = N) -> tuple[Any, pd.DataFrame]:
    """Three clusters and columns of every kind; fvc and smoker go with the cluster."""
    g = np.random.default_rng(seed)
    cluster = g.integers(0, 3, n)
    table = pd.DataFrame(
        {
            "fvc": g.normal(80, 10, n) + 6 * (cluster == 2),
            "cost": g.exponential(100, n),
            "gold": g.integers(0, 5, n),
            "sex": g.choice(["f", "m"], n),
            "smoker": g.random(n) < np.where(cluster == 1, 0.6, 0.3),
            "seen": pd.Timestamp("2021-03-01") + pd.to_timedelta(g.integers(0, 400, n), "D"),
            "stage": pd.Categorical(
                g.choice(["low", "mid", "high"], n), ["low", "mid", "high"], ordered=True
            ),
            "rare": np.where(g.random(n) < 0.02, "x", g.choice(["y", "z"], n)),
        }
    )
    return cluster, table


def row(found: Association, variable: str) -> dict[str, Any]:
    (one,) = found.table[found.table["variable"] == variable].to_dict("records")
    return dict(one)


def quick(*arguments: Any, **options: Any) -> Association:
    return associate(*arguments, **{"n_boot": 0, "n_permutations": 199, **options})


# -- the right test ----------------------------------------------------------------------
def test_every_kind_gets_its_test() -> None:
    cluster, table = people()
    found = associate(cluster, table)
    tests = dict(zip(found.table["variable"], found.table["test"], strict=True))
    assert tests == {
        "fvc": "Welch's ANOVA",
        "cost": "Kruskal-Wallis",
        "gold": "chi-square",
        "sex": "chi-square",
        "smoker": "chi-square",
        "seen": "Welch's ANOVA",
        "stage": "Kruskal-Wallis",
        "rare": "Fisher-Freeman-Halton",
    }
    kinds = dict(zip(found.table["variable"], found.table["kind"], strict=True))
    assert kinds["stage"] == "ordinal" and kinds["seen"] == "numeric" and kinds["gold"] == "nominal"
    assert "skewness" in row(found, "cost")["note"] and "days" in row(found, "seen")["note"]
    assert set(found.ranked()["variable"][:2]) == {"fvc", "smoker"}
    assert "2 of 8 tested variables have q below 5%" in " ".join(found.sentences)
    np.testing.assert_allclose(
        found.table["q"], stats.false_discovery_control(found.table["p"]), rtol=1e-12
    )


def test_two_clusters_get_tests_of_two() -> None:
    cluster, table = people()
    found = quick(np.minimum(cluster, 1), table)
    tests = dict(zip(found.table["variable"], found.table["test"], strict=True))
    assert tests["fvc"] == "Welch's t" and tests["stage"] == "Mann-Whitney U"
    assert row(found, "fvc")["effect_name"] == "Cohen's d"
    assert row(found, "stage")["effect_name"] == "rank-biserial r"
    assert row(found, "sex")["effect_name"] == "odds ratio"
    assert found.pairs.empty and list(found.pairs.columns)[:3] == ["variable", "a", "b"]


def test_values_are_those_of_scipy() -> None:
    cluster, table = people()
    found = quick(cluster, table, tests={"fvc": "anova"})
    each = [table["fvc"][cluster == c] for c in range(3)]
    assert row(found, "fvc")["p"] == pytest.approx(stats.f_oneway(*each).pvalue)
    cost = [table["cost"][cluster == c] for c in range(3)]
    assert row(found, "cost")["p"] == pytest.approx(stats.kruskal(*cost).pvalue)
    sex = stats.chi2_contingency(pd.crosstab(cluster, table["sex"]), correction=False)
    assert row(found, "sex")["p"] == pytest.approx(sex.pvalue)


def test_a_selection_is_compared_with_the_rest() -> None:
    cluster, table = people()
    found = associate(cluster == 2, table)
    assert found.selection and found.names == ("selection", "rest")
    fvc = row(found, "fvc")
    assert fvc["effect"] > 0 and 0 < fvc["low"] < fvc["effect"] < fvc["high"]  # higher inside
    inside, rest = table["fvc"][cluster == 2], table["fvc"][cluster != 2]
    assert fvc["p"] == pytest.approx(stats.ttest_ind(inside, rest, equal_var=False).pvalue)
    assert f"{int((cluster == 2).sum())} selected tiles against the other" in found.sentences[0]
    for mask, said in ((np.ones(N, bool), "Everything"), (np.zeros(N, bool), "Nothing")):
        with pytest.raises(TooFew, match=f"{said} is selected"):
            quick(mask, table)


def test_what_is_said_overrides_what_is_found() -> None:
    cluster, table = people()
    found = quick(cluster, table)
    assert any("'gold' holds 5 different whole numbers" in said for said in found.warnings)
    told = quick(cluster, table, kinds={"gold": "ordinal", "sex": ["m", "f"], "fvc": "ordinal"})
    assert not any("gold" in said for said in told.warnings)
    for name in ("gold", "sex", "fvc"):
        assert row(told, name)["kind"] == "ordinal"
        assert row(told, name)["test"] == "Kruskal-Wallis"
    gold = [table["gold"][cluster == c] for c in range(3)]
    assert row(told, "gold")["p"] == pytest.approx(stats.kruskal(*gold).pvalue)
    amounts = quick(cluster, table, kinds={"gold": "numeric", "smoker": "numeric"})
    assert row(amounts, "gold")["test"] == "Welch's ANOVA"
    forced = quick(
        cluster, table, tests={"fvc": "ranks", "sex": "exact", "cost": "welch", "rare": "chi2"}
    )
    assert [row(forced, v)["test"] for v in ("fvc", "sex", "cost", "rare")] == [
        "Kruskal-Wallis",
        "Fisher-Freeman-Halton",
        "Welch's ANOVA",
        "chi-square",
    ]


def test_numbers_are_codes_by_the_rule() -> None:
    """At most ten whole numbers, and on average at least two rows each."""
    cluster = np.arange(40) % 2
    g = np.random.default_rng(0)
    table = {
        "codes": g.integers(1, 11, 40),
        "eleven": np.arange(40) % 11,
        "halves": g.integers(0, 4, 40) / 2,
        "gaps": g.choice([1.0, 4.0, 9.0, np.nan], 40),
        "ages": g.integers(20, 90, 40),
    }
    kinds = quick(cluster, table).table.set_index("variable")["kind"].to_dict()
    assert kinds == {
        "codes": "nominal",
        "eleven": "numeric",
        "halves": "numeric",
        "gaps": "nominal",
        "ages": "numeric",
    }
    few = quick(np.arange(8) % 2, {"ages": [31, 45, 52, 60, 61, 70, 71, 80]})
    assert row(few, "ages")["kind"] == "numeric"


def test_columns_of_any_type_are_read() -> None:
    n = 30
    cluster = np.arange(n) % 2
    objects = pd.Series([1, 2.5, None] * 10, dtype=object)
    table = pd.DataFrame(
        {
            "Int64": pd.array([5, None, 1000] * 10, dtype="Int64"),
            "boolean": pd.array([True, False, None] * 10, dtype="boolean"),
            "objects": objects,
            "truths": pd.Series([True, None, False] * 10, dtype=object),
            "dates": [pd.Timestamp("2020-01-01").date()] * 15 + [pd.NaT] * 5
            + [pd.Timestamp("2020-01-09").date()] * 10,
            "times": pd.to_timedelta(np.arange(n), "h"),
            "infinite": np.where(np.arange(n) == 3, np.inf, np.arange(n) + 0.5),
            "mixed": [1, "a", 2.0] * 10,
            "complex": np.arange(n) + 1j,
            "lists": [[1]] * n,
            "texts": [f"{i}.5" for i in range(n)],
        }
    )  # fmt: skip
    found = quick(cluster, table)
    kinds = found.table.set_index("variable")["kind"].to_dict()
    assert kinds["boolean"] == kinds["truths"] == "nominal"
    assert kinds["objects"] == kinds["dates"] == kinds["times"] == "numeric"
    assert row(found, "dates")["missing"] == 5
    assert row(found, "infinite")["missing"] == 1
    assert "1 infinite values count as missing" in row(found, "infinite")["note"]
    for name, said in (
        ("mixed", "mixes numbers and text"),
        ("complex", "complex"),
        ("lists", "neither numbers nor text"),
        ("texts", "30 different values"),
    ):
        assert np.isnan(row(found, name)["p"]) and said in row(found, name)["note"]
    told = quick(cluster, table, columns=["texts"], kinds={"texts": "numeric"})
    assert row(told, "texts")["kind"] == "numeric" and np.isfinite(row(told, "texts")["p"])


# -- what is missing, constant, single ----------------------------------------------------
def test_missing_values_are_left_out_a_variable_and_counted() -> None:
    cluster, table = people()
    gone = np.random.default_rng(1).random(N) < np.where(cluster == 0, 0.5, 0.1)
    table.loc[gone, "fvc"] = np.nan
    table.loc[::10, "sex"] = None
    table["nothing"] = np.nan
    table["same"] = "x"
    found = associate(cluster, table)
    fvc = row(found, "fvc")
    assert fvc["missing"] == int(gone.sum()) and fvc["n"] == N - fvc["missing"]
    assert row(found, "sex")["missing"] == 24
    assert fvc["missing_p"] < 0.001 and row(found, "sex")["missing_p"] > 0.05
    (said,) = [text for text in found.warnings if "missing more often" in text]
    assert "'fvc'" in said
    for name, why in (("nothing", "all values are missing"), ("same", "all values are equal")):
        one = row(found, name)
        assert np.isnan(one["p"]) and np.isnan(one["q"]) and why in one["note"]
        assert one["test"] == "" and one["clusters"] == 0
    known = found.table["p"].notna()
    np.testing.assert_allclose(
        found.table["q"][known], stats.false_discovery_control(found.table["p"][known])
    )
    assert set(found.ranked()["variable"][-2:]) == {"nothing", "same"}
    everything = found.table.to_dict("records")
    clean = quick(cluster[~gone], table[~gone].reset_index(drop=True), columns=["fvc"])
    assert everything[0]["p"] == pytest.approx(row(clean, "fvc")["p"])


def test_a_cluster_of_one_is_left_out_of_what_needs_a_spread() -> None:
    cluster, table = people()
    lonely = cluster.copy()
    lonely[0] = 3
    found = associate(lonely, table)
    fvc = row(found, "fvc")
    assert fvc["clusters"] == 3 and "1 cluster of a single tile left out" in fvc["note"]
    assert row(found, "sex")["clusters"] == 4  # counts have no spread
    without = quick(lonely[1:], table[1:].reset_index(drop=True))
    assert fvc["p"] == pytest.approx(row(without, "fvc")["p"])
    means = found.means.query("variable == 'fvc' and statistic == 'mean' and number == 3")
    assert means["value"].item() == pytest.approx(table["fvc"][0])
    assert means[["low", "high", "sd"]].isna().all(axis=None)


def test_no_spread_within_a_cluster_is_no_error() -> None:
    cluster = np.repeat([0, 1, 2], 10)
    values = np.concatenate([np.full(10, 2.25), np.linspace(0, 3, 10), np.linspace(5, 9, 10)])
    found = associate(cluster, {"v": values, "apart": cluster + 0.5})
    for name in ("v", "apart"):
        assert row(found, name)["test"] == "Kruskal-Wallis"
        assert "no spread" in row(found, name)["note"] and np.isfinite(row(found, name)["p"])
    forced = quick(cluster, {"v": values}, tests={"v": "welch"})
    assert row(forced, "v")["test"] == "Kruskal-Wallis"  # Welch's divides by the variance


def test_tiles_in_no_cluster_are_left_out_and_counted() -> None:
    cluster, table = people()
    outliers = np.where(np.arange(N) < 20, -1, cluster)
    found = quick(outliers, table)
    assert "20 tiles in no cluster were left out." in found.sentences
    same = quick(cluster[20:], table[20:].reset_index(drop=True))
    np.testing.assert_allclose(found.table["p"], same.table["p"])
    gaps = np.where(np.arange(N) < 20, np.nan, cluster.astype(float))
    np.testing.assert_allclose(quick(gaps, table).table["p"], same.table["p"])
    objects = pd.array(gaps, dtype="Int64").astype(object)
    np.testing.assert_allclose(quick(np.asarray(objects), table).table["p"], same.table["p"])


def test_clusters_without_a_value_do_not_count() -> None:
    cluster, table = people()
    table.loc[cluster == 0, "fvc"] = np.nan
    found = associate(cluster, table)
    assert row(found, "fvc")["clusters"] == 2 and row(found, "fvc")["test"] == "Welch's t"
    assert set(found.means.query("variable == 'fvc'")["number"]) == {1, 2}
    table.loc[cluster == 1, "fvc"] = np.nan
    assert "only one cluster has values" in row(quick(cluster, table), "fvc")["note"]


@pytest.mark.parametrize("clusters", [np.zeros(5, int), np.array([0, 0, 0, -1, -1])])
def test_one_cluster_is_an_error_that_says_so(clusters: Any) -> None:
    with pytest.raises(TooFew, match="There is one cluster"):
        quick(clusters, {"v": np.arange(5.0)})
    with pytest.raises(TooFew, match="No tile is in a cluster"):
        quick(np.full(5, -1), {"v": np.arange(5.0)})


# -- means and pairs ----------------------------------------------------------------------
def test_means_are_what_pandas_says() -> None:
    cluster, table = people()
    found = associate(cluster, table, kinds={"gold": "ordinal"})
    means = found.means.set_index(["variable", "statistic", "number", "level"])
    for c in range(3):
        part = table[cluster == c]
        assert means.loc[("fvc", "mean", c, ""), "value"] == pytest.approx(part["fvc"].mean())
        assert means.loc[("fvc", "mean", c, ""), "sd"] == pytest.approx(part["fvc"].std())
        assert means.loc[("fvc", "median", c, ""), "value"] == pytest.approx(part["fvc"].median())
        share = (part["sex"] == "f").mean()
        assert means.loc[("sex", "share", c, "f"), "value"] == pytest.approx(share)
        middle = str(int(np.floor(part["gold"].median())))
        assert means.loc[("gold", "median", c, middle), "value"] == int(middle)
    shares = found.means.query("statistic == 'share'")
    np.testing.assert_allclose(shares.groupby(["variable", "number"])["value"].sum(), 1)
    known = found.means.dropna(subset="low")
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    assert len(known) == len(found.means)


def test_intervals_of_means_are_close_to_those_of_t() -> None:
    cluster, table = people(n=900)
    found = associate(cluster, table, n_boot=4000)
    for c in range(3):
        part = table["fvc"][cluster == c]
        one = found.means.query(f"variable == 'fvc' and statistic == 'mean' and number == {c}")
        half = stats.t.ppf(0.975, len(part) - 1) * part.sem()
        np.testing.assert_allclose(
            one[["low", "high"]].iloc[0], [part.mean() - half, part.mean() + half], atol=0.15 * half
        )


def test_pairs_are_those_of_scipy_and_corrected() -> None:
    cluster, table = people()
    found = quick(cluster, table)
    pairs = found.pairs
    assert len(pairs) == 3 * len(found.table)
    one = pairs[(pairs["variable"] == "fvc") & (pairs["b"] == "cluster 3")].iloc[0]
    wanted = stats.ttest_ind(
        table["fvc"][cluster == 0], table["fvc"][cluster == 2], equal_var=False
    )
    assert (one["a"], one["test"], one["p"]) == (
        "cluster 1",
        "Welch's t",
        pytest.approx(wanted.pvalue),
    )
    assert set(pairs[pairs["variable"] == "cost"]["test"]) == {"Dunn"}
    assert set(pairs[pairs["variable"] == "sex"]["test"]) <= {"chi-square", "Fisher's exact"}
    sex = pairs[pairs["variable"] == "sex"]["p"].to_numpy()
    order = np.sort(sex)
    holm = np.minimum(np.maximum.accumulate(order * [3, 2, 1]), 1)
    np.testing.assert_allclose(np.sort(pairs[pairs["variable"] == "sex"]["p_adjusted"]), holm)
    bh = quick(cluster, table, posthoc="bh").pairs
    np.testing.assert_allclose(
        bh[bh["variable"] == "sex"]["p_adjusted"], stats.false_discovery_control(sex)
    )
    assert found.pairs is pairs  # once
    alone = found.pairs_of("sex").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, pairs[pairs["variable"] == "sex"].reset_index(drop=True))
    with pytest.raises(UnknownName, match="'sex'"):
        found.pairs_of("sexx")


def test_names_are_put_in_afterwards() -> None:
    cluster, table = people()
    found = quick(cluster, table)
    named = found.named(["a", "b", "c"])
    assert named.names == ("a", "b", "c") and set(named.means["cluster"]) == {"a", "b", "c"}
    assert set(named.pairs["a"]) == {"a", "b"} and set(found.pairs["a"]) == {
        "cluster 1",
        "cluster 2",
    }
    assert found.named(found.names) is found
    given = quick(cluster, table, names={0: "a", 1: "b", 2: "c"})
    pd.testing.assert_frame_equal(given.means, named.means)
    with pytest.raises(InvalidInput, match="a name for each of the 3 clusters"):
        quick(cluster, table, names=["a", "b"])


def test_distributions_hold_what_was_tested() -> None:
    cluster, table = people()
    table.loc[:9, "fvc"] = np.nan
    found = quick(cluster, table)
    got = found.distribution("fvc")
    np.testing.assert_array_equal(got.values, table["fvc"][10:])
    np.testing.assert_array_equal(got.cluster, cluster[10:])
    assert found.distribution("stage").levels == ("low", "mid", "high")
    with pytest.raises(UnknownName, match="'fvc'"):
        found.distribution("fvx")


# -- patients -----------------------------------------------------------------------------
def tiles(seed: int = 0, patients: int = 30, mixed: bool = False) -> tuple[Any, pd.DataFrame]:
    """Tiles of patients; age is the patient's, grey differs from tile to tile."""
    g = np.random.default_rng(seed)
    own = np.repeat(np.arange(patients), g.integers(3, 12, patients))
    kind = np.arange(patients) % 3
    cluster = g.integers(0, 3, len(own)) if mixed else kind[own]
    age = g.normal(60, 5, patients) + 8 * (kind == 1)
    sex = g.choice(["f", "m"], patients)
    table = pd.DataFrame(
        {
            "patient": [f"DOE^JANE {i}" for i in own],
            "age": age[own],
            "sex": sex[own],
            "grey": g.normal(0, 1, patients)[own] + g.normal(0, 1, len(own)),
        }
    )
    return cluster, table


def test_a_patient_counts_once() -> None:
    cluster, table = tiles()
    found = associate(cluster, table)
    assert (found.units, found.unit, found.rule) == (30, "patient", "majority")
    first = table["patient"].drop_duplicates().index
    alone = quick(cluster[first], table.loc[first, ["age", "sex"]].reset_index(drop=True))
    for name in ("age", "sex"):
        assert row(found, name)["p"] == pytest.approx(row(alone, name)["p"])
        assert row(found, name)["n"] == 30 and row(found, name)["rows"] == 30
    assert "30 patients (" in found.sentences[0]
    assert "Differs within 30 patients: the mean was taken." in row(found, "grey")["note"]
    whole = table.groupby("patient", sort=False)["grey"].mean().to_numpy()
    np.testing.assert_allclose(found.distribution("grey").values, whole)


def test_most_frequent_and_median_of_a_patient() -> None:
    table = pd.DataFrame(
        {
            "patient": np.repeat(list("abcdefghij"), 5),
            "label": ["x", "x", "x", "y", "y"] * 5 + ["y", "y", "x", "y", "z"] * 5,
            "grade": [0, 0, 1, 2, 2] * 5 + [2, 2, 2, 3, 0] * 5,
        }
    )
    cluster = np.repeat([0, 1], 25)
    found = quick(cluster, table, kinds={"grade": "ordinal"})
    label = found.distribution("label")
    assert [label.levels[int(v)] for v in label.values] == ["x"] * 5 + ["y"] * 5
    assert found.distribution("grade").values.tolist() == [1.0] * 5 + [2.0] * 5


def test_patients_spread_over_clusters_are_shared_out() -> None:
    cluster, table = tiles(mixed=True)
    found = associate(cluster, table)
    assert found.rule == "share" and found.units == 30
    tests = found.table.set_index("variable")["test"].to_dict()
    assert tests["age"] == "means, patients permuted"
    assert tests["sex"] == "shares, patients permuted"
    assert tests["grey"] == "means, signs of patients flipped"
    # a patient weighs 1, however many tiles it has
    weight = 1 / table.groupby("patient")["age"].transform("size").to_numpy()
    one = found.means.query("variable == 'age' and statistic == 'mean' and number == 0")
    inside = cluster == 0
    wanted = np.average(table["age"][inside], weights=weight[inside])
    assert one["value"].item() == pytest.approx(wanted)
    assert len(found.pairs) == 9 and found.pairs["p"].notna().all()


def test_the_rule_can_be_chosen_and_rows_taken_for_independent() -> None:
    cluster, table = tiles(mixed=True)
    assert quick(cluster, table, rule="majority").rule == "majority"
    apart, whole = tiles()
    assert quick(apart, whole, rule="share").rule == "share"
    naive = quick(apart, whole, groups=range(len(whole)))
    assert naive.rule == "tiles" and naive.units == len(whole)
    assert row(naive, "age")["p"] < row(quick(apart, whole), "age")["p"] / 1000
    with pytest.raises(TooFew, match="rule='share'"):
        quick(np.where(np.arange(len(whole)) == 3, 1, 0), whole, rule="majority")


def test_other_groups_and_their_word() -> None:
    cluster, table = tiles()
    renamed = table.rename(columns={"patient": "scan"})
    found = quick(cluster, renamed, groups="scan")
    same = quick(
        cluster, renamed.drop(columns="scan"), groups=renamed["scan"].to_numpy(), what="scan"
    )
    assert found.unit == same.unit == "scan"
    pd.testing.assert_frame_equal(found.table, same.table)
    assert "scan" not in set(found.table["variable"])
    with pytest.raises(UnknownName, match="'scan'"):
        quick(cluster, renamed, groups="scans")


def test_tiles_without_a_patient_are_left_out_and_few_patients_said() -> None:
    cluster, table = tiles()
    table.loc[:4, "patient"] = None
    found = quick(cluster, table)
    assert "5 tiles without a patient were left out." in found.sentences
    few, small = tiles(patients=4, mixed=True)
    said = associate(few, small)
    assert "Only 4 patients: intervals hold the truth less often than they say." in said.sentences
    assert "4 patients: p cannot fall below 0.12" in row(said, "grey")["note"]
    two, least = tiles(patients=2, mixed=True)
    none = associate(two, least)
    assert none.table["p"].isna().all() and "No interval: 2 patients." in none.sentences
    assert row(none, "grey")["note"] == "No test: 2 patients have values."


def test_tiles_of_one_slide_taken_for_independent_are_said() -> None:
    cluster, table = tiles()
    found = quick(cluster, table.rename(columns={"patient": "slide"}))
    assert any("tiles of one slide are alike" in said for said in found.warnings)
    assert not quick(cluster, table).warnings


# -- nothing names anybody ----------------------------------------------------------------
def everything(found: Association) -> str:
    return " ".join(
        [
            repr(found.table.to_dict("records")),
            repr(found.means.to_dict("records")),
            repr(found.pairs.to_dict("records")),
            *found.sentences,
            *found.warnings,
            repr(found),
            *(repr(found.distribution(name).levels) for name in found.table["variable"]),
        ]
    )


def test_identifiers_are_never_variables_and_appear_nowhere() -> None:
    cluster, table = tiles()
    n = len(table)
    for name in sorted(IDENTIFYING):
        table[f"{name.title()} "] = [f"SECRET{i % 3}" for i in range(n)]
    table["Patient ID"] = [f"SECRET{i}" for i in range(n)]
    table["mrn"] = np.arange(n) + 7_000_000
    table["Case-Id"] = "SECRET"
    table["remarks"] = [f"SECRET {i}" for i in range(n)]
    table["number"] = np.random.default_rng(0).permutation(np.arange(n) + 90_000)
    found = associate(cluster, table)
    assert set(found.table["variable"]) == {"age", "sex", "grey", "remarks", "number"}
    said = everything(found)
    assert "SECRET" not in said and "DOE" not in said and "700000" not in said
    for name in ("remarks", "number"):
        assert np.isnan(row(found, name)["p"])
    assert "names, remarks" in row(found, "remarks")["note"]


def test_a_long_number_of_each_row_or_patient_is_no_amount() -> None:
    cluster, table = tiles()
    numbers = {name: 50_000 + 7 * i for i, name in enumerate(table["patient"].unique())}
    table["chart"] = table["patient"].map(numbers)
    found = quick(cluster, table)
    assert "numbers of files or persons" in row(found, "chart")["note"]
    told = quick(cluster, table, kinds={"chart": "numeric"})
    assert np.isfinite(row(told, "chart")["p"])


def test_an_identifying_column_that_is_asked_for_is_numbered() -> None:
    cluster, table = tiles()
    table["slide"] = [f"DOE-{i % 4}.svs" for i in range(len(table))]
    found = associate(cluster, table, columns=["slide"], groups=range(len(table)))
    assert set(found.means["level"]) == {"slide 1", "slide 2", "slide 3", "slide 4"}
    assert "DOE" not in everything(found)


def test_one_list_of_identifying_names() -> None:
    assert export_tables.IDENTIFYING is IDENTIFYING


def test_columns_of_place_and_remarks_are_no_variables() -> None:
    cluster, table = people()
    table["label"], table["label_note"], table["x"] = "a", "a model's", np.arange(N)
    assert "x" in set(quick(cluster, table).table["variable"])  # of somebody's own table
    assert "label_note" not in set(quick(cluster, table).table["variable"])
    table = table.assign(id="0", level=0, mpp=0.5, size=3, source="s", y=0.0, z=0.0)
    found = set(quick(cluster, table).table["variable"])
    assert not found & {"x", "y", "z", "level", "mpp", "size", "id", "source"}


# -- the same whatever the order -----------------------------------------------------------
COMPARED = [
    "n",
    "missing",
    "clusters",
    "test",
    "statistic",
    "df",
    "df2",
    "p",
    "q",
    "effect",
    "strength",
]


@pytest.mark.parametrize("make", [people, tiles, lambda seed: tiles(seed, mixed=True)])
@pytest.mark.parametrize("seed", [0, 1])
def test_order_and_names_change_nothing(make: Any, seed: int) -> None:
    cluster, table = make(seed)
    drawn = {"rare"}  # tables are drawn in the order of their rows
    first = associate(cluster, table, seed=seed)
    wanted = first.table.set_index("variable")

    def same(found: Association, exact: list[str], within: float = 0.0) -> None:
        got = found.table.set_index("variable").loc[wanted.index]
        for name in wanted.index:
            for column in exact:
                a, b = wanted.loc[name, column], got.loc[name, column]
                if isinstance(a, str):
                    assert a == b, (name, column)
                    continue
                shuffled = first.rule == "share" or name in drawn
                loose = within if shuffled and column not in ("n", "missing", "statistic") else 0.0
                np.testing.assert_allclose(
                    b, a, rtol=1e-7, atol=1e-9 + loose, err_msg=f"{name} {column}"
                )

    columns = np.random.default_rng(seed).permutation(list(table.columns))
    same(associate(cluster, table[columns], seed=seed), [*COMPARED, "low", "high"])
    same(associate(cluster, table, seed=seed, names=["z", "y", "x"]), [*COMPARED, "low", "high"])
    texts = np.array(["one", "three", "two"])[cluster]
    same(associate(texts, table, seed=seed), COMPARED, within=0.06)
    relabelled = np.array([7, 2, 5])[cluster]
    same(associate(relabelled, table, seed=seed), COMPARED, within=0.06)
    order = np.random.default_rng(seed).permutation(len(table))
    moved = associate(cluster[order], table.iloc[order].reset_index(drop=True), seed=seed)
    same(moved, COMPARED, within=0.06)
    got = moved.table.set_index("variable").loc[wanted.index]
    np.testing.assert_allclose(got["strength_high"], wanted["strength_high"], atol=0.12)
    if "patient" in table:
        renamed = table.assign(patient="p" + table["patient"].str[::-1])
        same(associate(cluster, renamed, seed=seed), [*COMPARED, "low", "high"])


def test_the_seed_decides() -> None:
    cluster, table = people()
    first, again = associate(cluster, table, seed=3), associate(cluster, table, seed=3)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    pd.testing.assert_frame_equal(first.means, again.means, check_exact=True)
    other = associate(cluster, table, seed=4)
    assert (first.table["low"] != other.table["low"]).any()
    fixed = ["fvc", "sex", "stage"]
    np.testing.assert_array_equal(
        first.table.set_index("variable").loc[fixed, "p"],
        other.table.set_index("variable").loc[fixed, "p"],
    )


def test_nothing_is_changed_that_was_given() -> None:
    cluster, table = people()
    before, labels = table.copy(deep=True), cluster.copy()
    associate(cluster, table)
    pd.testing.assert_frame_equal(table, before)
    np.testing.assert_array_equal(cluster, labels)


# -- bad input -----------------------------------------------------------------------------
def test_what_does_not_fit_is_an_error_that_says_so() -> None:
    cluster, table = people()
    shifted = pd.Series(cluster, index=np.arange(N) + 1)
    twice = pd.concat([table[["fvc"]], table[["fvc"]]], axis=1)
    cases: list[tuple[type[Exception], str, Any]] = [
        (InvalidInput, r"shape \(240,\)", lambda: quick(cluster[:-1], table)),
        (InvalidInput, "fractions", lambda: quick(cluster + 0.5, table)),
        (InvalidInput, "numbered from 0", lambda: quick(cluster - 2, table)),
        (InvalidInput, "another index", lambda: quick(shifted, table)),
        (InvalidInput, "mapping of columns", lambda: quick(cluster, [1, 2])),
        (InvalidInput, "do not make a table", lambda: quick(cluster, {"a": [1], "b": [1, 2]})),
        (InvalidInput, "several columns named 'fvc'", lambda: quick(cluster, twice)),
        (InvalidInput, "has no variable", lambda: quick(cluster, table[[]].assign(id=1, name=2))),
        (UnknownName, "'fvc'", lambda: quick(cluster, table, columns=["fvx"])),
        (InvalidInput, "columns is empty", lambda: quick(cluster, table, columns=[])),
        (UnknownName, "no variable", lambda: quick(cluster, table, kinds={"fvx": "numeric"})),
        (UnknownName, "'ordinal'", lambda: quick(cluster, table, kinds={"fvc": "ordinl"})),
        (InvalidInput, "at least two", lambda: quick(cluster, table, kinds={"sex": ["f"]})),
        (InvalidInput, "1 others", lambda: quick(cluster, table, kinds={"rare": ["x", "y"]})),
        (InvalidInput, "no numbers", lambda: quick(cluster, table, kinds={"sex": "numeric"})),
        (InvalidInput, "in order", lambda: quick(cluster, table, kinds={"sex": "ordinal"})),
        (InvalidInput, "not categories", lambda: quick(cluster, table, kinds={"seen": "nominal"})),
        (UnknownName, "'welch'", lambda: quick(cluster, table, tests={"fvc": "welsh"})),
        (UnknownName, "no variable", lambda: quick(cluster, table, tests={"age": "welch"})),
        (InvalidInput, "does not fit", lambda: quick(cluster, table, tests={"sex": "welch"})),
        (UnknownName, "'share'", lambda: quick(cluster, table, rule="shared")),
        (UnknownName, "'holm'", lambda: quick(cluster, table, posthoc="bonferroni")),
        (InvalidInput, "level", lambda: quick(cluster, table, level=95)),
        (InvalidInput, "seed", lambda: quick(cluster, table, seed=None)),
        (InvalidInput, "n_boot", lambda: associate(cluster, table, n_boot=-1)),
        (InvalidInput, "groups", lambda: quick(cluster, table, groups=[1, 2])),
    ]
    for error, said, call in cases:
        with pytest.raises(error, match=said):
            call()


def test_a_message_never_holds_a_value() -> None:
    cluster = np.arange(6) % 2
    table = {"sex": ["SECRET", "f", "m", "f", "m", "f"]}
    for kinds in ({"sex": "numeric"}, {"sex": "ordinal"}, {"sex": ["f", "m"]}):
        with pytest.raises(InvalidInput) as caught:
            quick(cluster, table, kinds=kinds)
        assert "SECRET" not in str(caught.value)


def test_few_rows_are_no_error() -> None:
    for n in (2, 3, 4, 5):
        found = associate(np.arange(n) % 2, {"a": np.arange(n) + 0.5, "b": list("xyxyx")[:n]})
        assert len(found.table) == 2
    with pytest.raises(TooFew):
        quick([], {"a": []})


def test_it_reports_progress_and_can_be_cancelled() -> None:
    cluster, table = people()
    said: list[tuple[int, int]] = []
    quick(cluster, table, progress=lambda done, total: said.append((done, total)))
    assert said[0] == (0, 8) and said[-1] == (8, 8)
    with pytest.raises(Cancelled):
        quick(cluster, table, cancel=lambda: True)
