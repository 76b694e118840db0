"""Markdown tables of what ``benchmarks.run_concepts`` measured."""

from __future__ import annotations

from typing import Any

import pandas as pd

TESTS = ("test", "test without shortcut")
#: What stands in both tables by concept.
BY_CONCEPT = (("density ratio, normal", "10 a concept, noted"), ("probe", "all, noted"))


def percent(value: Any, digits: int = 0) -> str:
    return "" if value is None or value != value else f"{100 * value:.{digits}f}"


def with_interval(row: pd.Series, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    ends = (
        f" ({100 * row['low']:.0f} to {100 * row['high']:.0f})" if row["low"] == row["low"] else ""
    )
    return f"{100 * row['value']:{sign}.0f}{ends}"


def row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    return [row(*cells), row(*["--"] * len(cells))]


def _of(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def identification(found: pd.DataFrame) -> list[str]:
    whole = found[found["concept"] == "(all)"]
    lines = ["### Identification, percent (interval by patient)", ""]
    lines += head("estimator", "learned from", "lesions", "test: PPV", "sensitivity", "AUC", "average precision", "without shortcut: PPV", "sensitivity", "AUC")  # fmt: skip
    order = whole[["estimator", "learned from"]].drop_duplicates()
    for _, (estimator, source) in order.sort_values("learned from", kind="stable").iterrows():
        mine = _of(whole, **{"estimator": estimator, "learned from": source})
        cells = [
            with_interval(_of(mine, test=test, measure=measure).iloc[0])
            for test, measures in zip(TESTS, (("PPV", "sensitivity", "AUC", "average precision"), ("PPV", "sensitivity", "AUC")), strict=True)
            for measure in measures
        ]  # fmt: skip
        lines.append(row(estimator, source, mine["labelled"].iloc[0], *cells))
    lines += ["", "### Controls, test set, percent: AUC (PPV)", ""]
    lines += head("estimator", "learned from", "network", "labels dealt out anew", "random weights", "pixels")  # fmt: skip
    for _, (estimator, source) in order.sort_values("learned from", kind="stable").iterrows():
        mine = _of(whole, **{"estimator": estimator, "learned from": source, "test": TESTS[0]})
        auc, ppv = (_of(mine, measure=measure).iloc[0] for measure in ("AUC", "PPV"))
        if auc["permuted"] != auc["permuted"]:
            continue
        cells = [
            f"{percent(auc[c])} ({percent(ppv[c])})" if auc[c] == auc[c] else "not run"
            for c in ("value", "permuted", "random_weights", "pixels")
        ]
        lines.append(row(estimator, source, *cells))
    return lines


def concepts(found: pd.DataFrame) -> list[str]:
    lines = []
    for estimator, source in BY_CONCEPT:
        mine = _of(found, **{"estimator": estimator, "learned from": source, "test": TESTS[0]})
        mine = mine[mine["concept"] != "(all)"]
        lines += ["", f"### By concept, test set, percent: {estimator}, {source}", ""]
        lines += head("concept", "lesions that show it", "AUC", "average precision", "PPV", "sensitivity", "AUC: random weights", "AUC: pixels", "above both")  # fmt: skip
        for _, auc in _of(mine, measure="AUC").sort_values("value").iterrows():
            own = mine[mine["concept"] == auc["concept"]]
            cells = [
                with_interval(_of(own, measure=measure).iloc[0])
                for measure in ("AUC", "average precision", "PPV", "sensitivity")
            ]
            above = auc["low"] > max(auc["random_weights"], auc["pixels"])
            lines.append(
                row(auc["concept"], auc["positive"], *cells, percent(auc["random_weights"]), percent(auc["pixels"]), "yes" if above else "no")
            )  # fmt: skip
    return lines


def quality(found: pd.DataFrame) -> list[str]:
    lines = ["", "### Explanations of correct and of wrong predictions, percent", ""]
    lines += head("estimator", "learned from", "test set", "seed", "misclassified", "PPV: correct", "misclassified", "difference", "p", "sensitivity: correct", "misclassified", "difference", "p")  # fmt: skip
    keys = ["estimator", "source", "test", "seed"]
    for key, mine in found.groupby(keys, sort=False):
        cells: list[str] = []
        for measure in ("PPV", "sensitivity"):
            own = _of(mine, measure=measure).set_index("images")
            cells += [percent(own.loc[side, "value"]) for side in ("correct", "misclassified")]
            cells += [
                with_interval(own.loc["difference"], signed=True),
                f"{own.loc['difference', 'p']:.4f}",
            ]
        wrong = _of(mine, images="misclassified", measure="PPV")["n"].iloc[0]
        total = wrong + _of(mine, images="correct", measure="PPV")["n"].iloc[0]
        lines.append(row(*key, f"{wrong} of {total}", *cells))
    return lines


def detection(found: pd.DataFrame) -> list[str]:
    lines = ["", "### What tells wrong predictions, percent", ""]
    lines += head("detector", "test set", "seed", "AUC", "less confidence's", "risk-coverage area", "less confidence's")  # fmt: skip
    for (test, seed, detector), mine in found.groupby(["test", "seed", "detector"], sort=False):
        cells = []
        for measure, digits in (("AUC", 0), ("risk-coverage area", 1)):
            own = _of(mine, measure=measure).iloc[0]
            cells.append(f"{100 * own['value']:.{digits}f} ({100 * own['low']:.{digits}f} to {100 * own['high']:.{digits}f})")  # fmt: skip
            other = own["difference"]
            cells.append(
                f"{100 * other:+.{digits}f} ({100 * own['difference_low']:+.{digits}f} to {100 * own['difference_high']:+.{digits}f})"
                if other == other
                else ""
            )
        lines.append(row(detector, test, seed, *cells))
    for (test, seed), mine in found.groupby(["test", "seed"], sort=False):
        best, chance = mine[["best", "chance"]].iloc[0]
        lines.append(row("(best possible; chance)", test, seed, "100; 50", "", f"{100 * best:.1f}; {100 * chance:.1f}", ""))  # fmt: skip
    return lines


def relevance(found: dict[str, Any]) -> list[str]:
    lines = ["", f"### Relevance (sum and rest less logit: at most {found['additivity']:.1e}; {found['pairs']} causes)", ""]  # fmt: skip
    lines += head("learned by", "directions", "how", "falls back to", "of the class's concepts, %: correct", "misclassified", "without shortcut: correct", "misclassified", "rank correlation with the cause", "same sign, %", "same concept first, %", "by chance", "slope", "said to true")  # fmt: skip
    for one in found["table"]:
        shares = [percent(one[f"{test}, {side}"]) for test in TESTS for side in ("correct", "misclassified")]  # fmt: skip
        lines.append(
            row(f"{one['estimator']}, {one['source']}", one["directions"], one["how"], one["reference"], *shares, f"{one['rank correlation']:.2f}", percent(one["same sign"]), f"{percent(one['same first'])} of {one['lesions with several']}", percent(one["same first by chance"]), f"{one['slope']:.2f}", f"{one['said to true']:.2f}")
        )  # fmt: skip
    return lines


def shortcut(found: dict[str, Any]) -> list[str]:
    lines = ["", "### The scanner's line as a concept (lesions called metastasis)", ""]
    lines += head("line learned from", "directions", "test set", "lesions", "n", "AUC of the line, %", "line identified, %", "line most relevant, %", "relevance of the line", "of all others together", "share of the line, %")  # fmt: skip
    for one in found["ranking"]:
        lines.append(
            row(one["source"], one["directions"], one["test"], one["lesions"], one["n"], percent(one["AUC of the line"]), percent(one["line identified"]), percent(one["line first"]), f"{one['relevance of the line']:.2f}", f"{one['relevance of the others']:.2f}", percent(one["share of the line"]))
        )  # fmt: skip
    lines += ["", "### TCAV of the class metastasis", ""]
    tcav = pd.DataFrame(found["tcav"])
    line = tcav["concept"] == "scanner line"
    shown = _of(tcav[~line], source=tcav["source"].iloc[0], layer="dense", units="those that vary", covariance="variances alone")  # fmt: skip
    lines += head("concept", "learned from", "layer", "units", "covariance", "score", "random: 95 %", "p", "p corrected")  # fmt: skip
    for _, one in pd.concat([tcav[line], shown]).iterrows():
        lines.append(
            row(one["concept"], one["source"], one["layer"], f"{one['units']} ({one['kept']})", one["covariance"], f"{one['score']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}", f"{one['p']:.4f}", f"{one['p_corrected']:.4f}")
        )  # fmt: skip
    lines += ["", "### Do concepts of what is called metastasis contradict", ""]
    lines += head("test set", "lesions", "called metastasis", "concepts that contradict, %", "lesions with one, %", "the strongest contradicts, %")  # fmt: skip
    for one in found["contradictions"]:
        lines.append(
            row(one["test"], one["lesions"], f"{one['called metastasis']} of {one['of']}", percent(one["share of concepts that contradict"]), percent(one["lesions with a contradiction"]), percent(one["first contradicts"]))
        )  # fmt: skip
    lines += ["", "### The same lesions with and without the line", ""]
    lines += [row("", ""), row("--", "--")]
    for name, value in found["effect"].items():
        lines.append(row(name, value if name == "n" else f"{value:.3f}"))
    lines += ["", f"### Directions of the line beside what it does to the units (a vector of length {found['length']:.2f})", ""]  # fmt: skip
    lines += head("line learned from", "directions", "cosine", "logit of metastasis by 1 along it")
    for one in found["directions"]:
        lines.append(
            row(one["source"], one["directions"], f"{one['cosine']:.2f}", f"{one['logit a unit']:.2f}")
        )  # fmt: skip
    return lines


def render(found: dict[str, Any]) -> str:
    """All tables."""
    table = pd.DataFrame(found["identification"])
    lines = [found["data"], "", f"lesions: {found['lesions']}; the reader left something out in {found['left out by the reader']} of the training lesions; a concept is there in {percent(found['prevalence'], 1)} % of lesions and concepts", ""]  # fmt: skip
    lines += identification(table)
    lines += concepts(table)
    lines += ["", "### Classified correctly, percent", "", *head("seed", *TESTS)]
    accuracy = pd.DataFrame(found["accuracy"]).pivot(
        index="seed", columns="test", values="accuracy"
    )
    lines += [row(seed, *(percent(a[t], 1) for t in TESTS)) for seed, a in accuracy.iterrows()]
    lines += quality(pd.DataFrame(found["quality"]))
    lines += detection(pd.DataFrame(found["detection"]))
    lines += relevance(found["relevance"])
    lines += shortcut(found["shortcut"])
    return "\n".join(lines) + "\n"
