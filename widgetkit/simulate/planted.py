"""Clinical variables to go with simulated images, some of which depend on the group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_seed
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near

if TYPE_CHECKING:
    from widgetkit.simulate.simulation import LungSimulation


@dataclass(frozen=True)
class Variable:
    """A variable as a clinic would note it.

    ``mean`` and ``sd`` of a number; of categories, their names and shares where there is no effect.
    """

    effect: float
    mean: float = 0.0
    sd: float = 1.0
    categories: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


#: Percent of what is predicted for age, sex and height; scores of the extent of fibrosis; and three
#: that have nothing to do with the lungs of the images.
VARIABLES: dict[str, Variable] = {
    "fvc_percent": Variable(-1.2, mean=88, sd=15),
    "dlco_percent": Variable(-0.7, mean=74, sd=17),
    "fibrosis_score": Variable(
        1.2, categories=("none", "mild", "moderate", "severe"), shares=(0.4, 0.3, 0.2, 0.1)
    ),
    "age": Variable(0.0, mean=52, sd=11),
    "height_cm": Variable(0.0, mean=170, sd=9),
    "sex": Variable(0.0, categories=("female", "male"), shares=(0.5, 0.5)),
}


@dataclass(frozen=True, eq=False)
class Covariates:
    """Variables, and what was planted in them.

    Attributes
    ----------
    table : DataFrame (n, variables)
        NaN (numbers) or None (categories) where missing.
    effects : DataFrame (variables, ...)
        ``kind`` ("number" or "category"); ``effect``, the difference of the last group from the
        first in standard deviations within a group; ``eta_squared``, the share of the variance
        that this puts between groups of equal size (of categories: of the variable they are cut
        from); ``planted``, whether there is an effect; ``missing``, a share.
    """

    table: pd.DataFrame
    effects: pd.DataFrame


def covariates(
    simulation: LungSimulation | npt.ArrayLike,
    *,
    effects: Mapping[str, float] | None = None,
    missing: float = 0.05,
    seed: int = 0,
) -> Covariates:
    """Clinical variables for each image, with known effects of its group.

    Every variable comes from a normal one that is moved evenly from the first group to the last, by
    ``effect`` standard deviations in all; categories are cuts through it.

    Parameters
    ----------
    simulation : LungSimulation, or (n,) int
        Or groups from 0.
    effects : mapping, optional
        Other effects for some of ``fvc_percent`` (default -1.2), ``dlco_percent`` (-0.7),
        ``fibrosis_score`` (1.2, four categories), ``age``, ``height_cm`` and ``sex`` (0).
    missing : float
        Share of the values of each variable that is not known, whatever they are; below 1.
    seed : int
        Same seed, same values.

    Raises
    ------
    UnknownName, InvalidInput
    TooFew
        Fewer than two groups.
    """
    groups = np.asarray(getattr(simulation, "groups", simulation))
    if groups.ndim != 1 or groups.dtype.kind not in "iu" or len(groups) == 0 or groups.min() < 0:
        raise InvalidInput("groups must be whole numbers from 0, one an image.")
    k = int(groups.max()) + 1
    if k < 2:
        raise TooFew("Variables can differ between two groups or more; there is one.")
    asked = dict(effects or {})
    for name, value in asked.items():
        if name not in VARIABLES:
            raise UnknownName(f"There is no variable {name!r}. {near(name, VARIABLES)}")
        if not isinstance(value, (int, float)) or not abs(value) < 100:
            raise InvalidInput(
                f"The effect of {name}, {value!r}, is no number between -100 and 100."
            )
    if not isinstance(missing, (int, float)) or not 0 <= missing < 1:
        raise InvalidInput(f"missing={missing!r}: a share from 0 and below 1.")
    seed = check_seed(seed)
    place = groups / (k - 1) - 0.5
    columns: dict[str, pd.Series] = {}
    rows = []
    for number, (name, variable) in enumerate(VARIABLES.items()):
        effect = float(asked.get(name, variable.effect))
        rng = np.random.default_rng([seed, number])
        hidden = rng.permutation(len(groups))[: round(missing * len(groups))]
        latent = rng.standard_normal(len(groups)) + effect * place
        columns[name] = _column(variable, latent, hidden)
        between = effect**2 * float(np.var(np.arange(k) / (k - 1)))
        rows.append(
            {
                "variable": name,
                "kind": "category" if variable.categories else "number",
                "effect": effect,
                "eta_squared": between / (between + 1),
                "planted": effect != 0,
                "missing": len(hidden) / len(groups),
            }
        )
    return Covariates(pd.DataFrame(columns), pd.DataFrame(rows).set_index("variable"))


def _column(
    variable: Variable, latent: npt.NDArray[np.float64], hidden: npt.NDArray[np.intp]
) -> pd.Series:
    if not variable.categories:
        values = (variable.mean + variable.sd * latent).round(1)
        values[hidden] = np.nan
        return pd.Series(values)
    from scipy.stats import norm

    cuts = norm.ppf(np.cumsum(variable.shares)[:-1])
    words = np.array(variable.categories, object)[np.searchsorted(cuts, latent)]
    words[hidden] = None
    return pd.Series(words, dtype=object)
