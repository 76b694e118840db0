"""The rule that turns the measures of :func:`~widgetkit.analysis.choose_k` into one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: A number of factors is enough when it explains, of values not seen, all but this share of what
#: the best number explains.
ENOUGH = 0.01

#: Mean matched cosine from which factors are said to come back from other starts.
STABLE_SEEDS = 0.9

#: The same for other halves of the slides, which hold other tissue: less can be asked.
STABLE_SLIDES = 0.8


def recommend(table: pd.DataFrame) -> tuple[int, tuple[str, ...]]:
    """The recommended ``k`` and the reasons, in the order of the rule.

    Parameters
    ----------
    table : DataFrame
        ``k`` ascending, ``error``, ``held_out``, ``seeds``, ``slides``, ``auc``, ``auc_low``; NaN
        where a measure could not be taken.
    """
    lines = table.to_dict("records")
    said: list[str] = []
    ceiling = _enough(lines, said)
    reach = [line for line in lines if line["k"] <= ceiling]
    stable = [line for line in reach if _is_stable(line)]
    if stable:
        best = _by_prediction(stable, said)[-1]
        said.append(f"{_backs(best)}{_what_stops(reach, best)}")
    else:
        best = max(reach, key=lambda line: (_stability(line), -line["k"]))
        said.append(
            f"No number up to {ceiling} is stable; {best['k']} comes nearest. {_backs(best)} Other "
            "starts or slides would give other factors: do not read much into single ones."
        )
    if np.isfinite(best["auc"]):
        said.append(
            f"Its factors predict the class with AUC {best['auc']:.2f} ({best['auc_low']:.2f} to "
            f"{best['auc_high']:.2f}) on slides not learned from."
        )
    if best["k"] == lines[-1]["k"] == ceiling and len(lines) > 1:
        said.append("It is the largest that was tried: try larger ones, too.")
    if len(lines) == 1:
        said.append("It is the only number that was tried.")
    return int(best["k"]), tuple(said)


def _enough(lines: list[dict[Any, Any]], said: list[str]) -> int:
    known = [line for line in lines if np.isfinite(line["held_out"])]
    if not known:
        said.append(
            "The held-out error could not be taken (too few rows or channels), so nothing tells "
            "factors from noise."
        )
        return int(lines[-1]["k"])
    explained = [1 - line["held_out"] ** 2 for line in known]
    top = max(explained)
    # a best number that explains nothing leaves nothing to come near
    at = next(i for i, value in enumerate(explained) if value >= top - ENOUGH * abs(top))
    k = int(known[at]["k"])
    if len(known) == 1:
        return k
    if at == len(known) - 1:
        said.append(
            f"What is explained of values not seen still rises at {k}, the largest number it was "
            f"taken for ({top:.1%})."
        )
    else:
        said.append(
            f"{k} factors are enough: they explain {explained[at]:.1%} of the squares of values not "
            f"seen, and more at most {top:.1%}."
        )
    return k


def _stability(line: dict[Any, Any]) -> float:
    """The smaller of the two, the one for slides on the scale of the one for starts."""
    slides = line["slides"] + STABLE_SEEDS - STABLE_SLIDES
    return float(np.fmin(line["seeds"], slides))


def _is_stable(line: dict[Any, Any]) -> bool:
    return _stability(line) >= STABLE_SEEDS


def _by_prediction(stable: list[dict[Any, Any]], said: list[str]) -> list[dict[Any, Any]]:
    known = [line for line in stable if np.isfinite(line["auc"])]
    if not known:
        return stable
    top = max(known, key=lambda line: line["auc"])
    if not np.isfinite(top["auc_low"]):
        return stable
    kept = [line for line in known if line["auc"] >= top["auc_low"]]
    left = [line["k"] for line in stable if line not in kept]
    if left:
        said.append(
            f"{_list(left)} predict the class worse than {top['k']} (AUC {top['auc']:.2f}, from "
            f"{top['auc_low']:.2f}) and were left out."
        )
    return kept


def _backs(line: dict[Any, Any]) -> str:
    slides = (
        f" and from other halves of the slides at {line['slides']:.2f}"
        if np.isfinite(line["slides"])
        else ""
    )
    return (
        f"The {line['k']} factors come back from other starts with a mean cosine of "
        f"{line['seeds']:.2f}{slides}."
    )


def _what_stops(reach: list[dict[Any, Any]], best: dict[Any, Any]) -> str:
    above = [line for line in reach if line["k"] > best["k"] and not _is_stable(line)]
    if not above:
        return ""
    following = above[0]
    why = (
        f"from other starts ({following['seeds']:.2f})"
        if following["seeds"] < STABLE_SEEDS
        else f"from other slides ({following['slides']:.2f})"
    )
    return f" Those of {following['k']} do not come back {why}."


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
