"""What clusters, or a selection, go with: the columns of a table, tested one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import _compare, _draws
from widgetkit.analysis._arrays import Floats, Ints, check_count, check_seed, choice
from widgetkit.analysis._columns import Codes, renumbered
from widgetkit.analysis._compare import Compared, Settings, Test
from widgetkit.analysis._draws import Draws, Rows
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis._shuffles import Shuffles
from widgetkit.analysis._tests import benjamini_hochberg, holm
from widgetkit.analysis._units import RULES, Base, Data, Labels, Rule, base_of, data_of, labels_of
from widgetkit.analysis._variables import KindLike, Variable, check_kinds, chosen, read
from widgetkit.analysis.resampling import check_level
from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

Posthoc = Literal["holm", "bh"]

#: Below it (q over the variables) missing values are said to depend on the cluster.
INFORMATIVE = 0.05
#: Below it a variable is named in the sentences.
CALLED = 0.05

_TABLE = (
    "variable", "kind", "n", "rows", "missing", "clusters", "test", "statistic", "df", "df2", "p", "q",
    "effect", "effect_name", "low", "high", "strength", "strength_low", "strength_high", "missing_p",
    "note",
)  # fmt: skip
_MEANS = (
    "variable", "kind", "number", "cluster", "level", "statistic", "value", "low", "high", "n", "sd",
)  # fmt: skip
_PAIRS = (
    "variable", "a", "b", "n_a", "n_b", "test", "statistic", "p", "p_adjusted", "effect", "effect_name",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Distribution:
    """The values of a variable, as they were tested, without what is missing.

    Attributes
    ----------
    kind : "numeric", "ordinal" or "nominal"
    values : (r,) amounts, or numbers of categories
    levels : categories in order; empty for amounts
    cluster : (r,) place of the cluster in ``Association.names``
    weight : (r,) 1, or a patient's share where it is spread over its tiles
    """

    kind: str
    values: Floats
    levels: tuple[str, ...]
    cluster: Ints
    weight: Floats


@dataclass(frozen=True, eq=False)
class Association:
    """What :func:`associate` found.

    Attributes
    ----------
    table : DataFrame
        One row a variable, in the order of the table: ``variable``, ``kind``, ``n`` (units with a value),
        ``rows`` and ``missing`` (rows of the table with and without), ``clusters`` (tested), ``test``,
        ``statistic``, ``df``, ``df2``, ``p``, ``q`` (Benjamini and Hochberg over the variables), ``effect``
        with its ``effect_name`` and interval ``low``, ``high``, ``strength`` from 0 to 1 with its interval,
        ``missing_p`` (that missing values depend on the cluster), ``note``.
    means : DataFrame
        Long: ``variable``, ``kind``, ``number`` and ``cluster`` (its name), ``level`` (category),
        ``statistic`` ("mean", "median" or "share"), ``value``, ``low``, ``high``, ``n`` (units of the
        cluster with a value), ``sd``. The median of ordered categories is the number of one, from 0, and
        ``level`` its name.
    sentences : tuple of str
        What has to be known to read the tables. Not escaped.
    warnings : tuple of str
        What to check first. Not escaped.
    names, numbers : tuples
        Of the clusters.
    selection : bool
        Whether a selection was compared with the rest.
    sizes : (k,) tiles of each cluster that count;  units : how many units, ``unit`` the word for one
    rule : "tiles", "majority" or "share";  level, seed
    """

    table: pd.DataFrame = field(repr=False)
    means: pd.DataFrame = field(repr=False)
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    names: tuple[str, ...]
    numbers: tuple[Any, ...]
    selection: bool
    sizes: npt.NDArray[np.int64] = field(repr=False)
    units: int
    unit: str
    rule: str
    level: float
    seed: int
    _variables: Mapping[str, tuple[Variable, Data]] = field(repr=False)
    _pairs: Callable[[Sequence[str]], pd.DataFrame] = field(repr=False)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Pairs of clusters, one row a variable and pair; computed when first asked for.

        ``variable``, ``a``, ``b`` (names), ``n_a``, ``n_b``, ``test`` (Welch's t, Dunn, chi-square or
        Fisher's exact), ``statistic``, ``p``, ``p_adjusted`` (over the pairs of the variable), ``effect``,
        ``effect_name`` (of a less b). Without rows where two clusters were compared.
        """
        return self._named_pairs(tuple(self._variables))

    def pairs_of(self, variable: str) -> pd.DataFrame:
        """:attr:`pairs` of one variable, without computing those of the others."""
        self._check(variable)
        return self._named_pairs((variable,))

    def _named_pairs(self, variables: Sequence[str]) -> pd.DataFrame:
        table = self._pairs(variables)
        for side in ("a", "b"):
            table[side] = np.array([self.names[i] for i in table[side]], object)
        return table

    def _check(self, variable: str) -> None:
        if variable not in self._variables:
            raise UnknownName(
                f"{variable!r} is no variable here. {near(str(variable), self._variables)}".rstrip()
            )

    def ranked(self) -> pd.DataFrame:
        """The table, smallest q first, among equal ones the strongest; what was not tested last."""
        order = sorted(
            range(len(self.table)),
            key=lambda i: (
                *_last(self.table["q"].iloc[i]),
                *_last(-self.table["strength"].iloc[i]),
                i,
            ),
        )
        return self.table.iloc[order].reset_index(drop=True)

    def distribution(self, variable: str) -> Distribution:
        """The values behind a row of the table."""
        self._check(variable)
        of, data = self._variables[variable]
        return Distribution(of.kind, data.x, of.levels, data.used[data.cluster], data.weight)

    def named(self, names: Sequence[str]) -> Association:
        """The same with other names of the clusters; ``names`` by their number."""
        told = tuple(str(names[number]) for number in self.numbers)
        if told == self.names:
            return self
        means = self.means.copy()
        means["cluster"] = np.array([told[i] for i in _place(self.numbers, means)], object)
        return replace(self, means=means, names=told)

    def __repr__(self) -> str:
        return f"<Association: {len(self.table)} variables, {len(self.names)} clusters, {self.units:,} {self.unit}s>"


def associate(
    clusters: npt.ArrayLike,
    table: pd.DataFrame | Mapping[str, Any],
    *,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, KindLike] | None = None,
    tests: Mapping[str, Test] | None = None,
    groups: npt.ArrayLike | str | None = None,
    rule: Rule = "auto",
    what: str | None = None,
    names: Sequence[str] | Mapping[Any, str] | None = None,
    level: float = 0.95,
    n_boot: int = 1000,
    n_permutations: int = 1999,
    posthoc: Posthoc = "holm",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Association:
    """Test which columns of a table go with clusters, or with a selection.

    The test of a variable:

    - **numeric**: Welch's ANOVA (Welch's t for two clusters), never the one that supposes equal
      variances, because choosing by a test of variances is worse than always taking Welch's (Zimmerman
      2004). Ranks (Kruskal-Wallis, Mann-Whitney) instead where the values about the means of their
      clusters have a skewness beyond 1, a cluster fewer than 4 values, or no spread.
    - **ordinal**: ranks.
    - **nominal**: chi-square; where expected counts are small (one below 1, or a fifth below 5; of four
      cells any below 5) Fisher's exact test of four cells, else tables drawn with the same margins.

    Parameters
    ----------
    clusters : (n,)
        Whole numbers (-1: in none, left out), names, or a boolean mask: the selection against the rest.
    table : DataFrame or mapping of columns, n rows
    columns : sequence of str, optional
        By default all that do not say who or where a tile is: no column whose name says that it may
        identify someone (``identifying.IDENTIFYING``) is ever taken unasked. One that is asked for is
        numbered: its values appear nowhere.
    kinds : mapping, optional
        "numeric", "ordinal" or "nominal" by column, or its categories from the lowest to the highest.
        By default text, truth values and categories are nominal (ordered categories ordinal), dates days,
        and numbers numeric, except that at most 10 different whole numbers are taken for codes of
        categories (with a warning), which is right for codes and loses only power for grades.
    tests : mapping, optional
        Forces "welch", "anova" (equal variances), "ranks", "chi2" or "exact" by column.
    groups : (n,) or str, optional
        Patient of each row, or the column that holds it; by default column ``patient`` where there is
        one. Tiles of a patient are not independent, so patients are compared. ``range(n)`` takes rows for
        independent.
    rule : "auto", "majority" or "share"
        "majority" puts each patient into the cluster that most of its tiles lie in and goes on with one
        row a patient. "share" spreads it over clusters as its tiles are, and p is of permutations of whole
        patients (of signs, where the variable differs within patients). "auto" takes the majority where on
        average at least 80 % of a patient's tiles lie there and every cluster gets two patients.
    what : str, optional
        The field's word for a group.
    names : sequence or mapping, optional
        Of the clusters, by their number.
    level, n_boot, seed
        Intervals by drawing units with replacement; 0 draws for none.
    n_permutations : int
        Permutations, and tables drawn.
    posthoc : "holm" or "bh"
        Correction of pairs, within a variable.
    progress, cancel : callable, optional

    Returns
    -------
    Association

    Raises
    ------
    InvalidInput
        Lengths that differ, columns of one name, a kind or a test that does not fit.
    TooFew
        One cluster, or nothing selected.
    UnknownName
        A column that is not there.

    References
    ----------
    Welch (1951). Zimmerman (2004), on choosing by a test of variances. Kruskal & Wallis (1952). Dunn
    (1964). Freeman & Halton (1951); Patefield (1981), on drawing tables. Bergsma (2013), Cramer's V.
    Benjamini & Hochberg (1995). Holm (1979). Cameron, Gelbach & Miller (2008), on flipping signs.
    """
    frame = _frame(table)
    choice(rule, RULES, "rule")
    choice(posthoc, ("holm", "bh"), "posthoc")
    seed, level = check_seed(seed), check_level(level)
    n_boot = check_count(n_boot, "n_boot", least=0)
    n_permutations = check_count(n_permutations, "n_permutations", least=0)
    labels = labels_of(clusters, frame, names)
    reserved = frozenset([groups] if isinstance(groups, str) else [])
    wanted = chosen(frame, columns, reserved)
    said = check_kinds(kinds, wanted)
    forced = _compare.check_tests(tests, wanted)
    base, sentences = base_of(labels, frame, groups, rule, what)
    settings = Settings(
        Shuffles(n_permutations, seed),
        Draws.make(base.units, n_boot, seed, level),
        seed,
        n_permutations,
    )
    rows: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    warnings: list[str] = []
    kept: dict[str, tuple[Variable, Data]] = {}
    compared: list[tuple[Variable, Compared]] = []
    for done, name in enumerate(wanted):
        checkpoint(cancel, progress, done, len(wanted))
        variable = read(frame[name].iloc[base.rows], name, said.get(name), base.units)
        variable = _spread(variable, base, len(frame))
        data = data_of(base, variable)
        found = _compare.compare(
            base, variable, data, forced.get(name), _drawn_for(settings, data, base)
        )
        absent = np.nan if variable.reason else _compare.missing_p(base, data, settings)
        rows.append(_row(variable, data, found, absent))
        means += _means(variable, data, labels, settings.draws, base)
        kept[name] = (variable, data)
        compared.append((variable, found))
        if variable.warning:
            warnings.append(variable.warning)
    checkpoint(cancel, progress, len(wanted), len(wanted))
    import pandas as pd

    out = pd.DataFrame(rows)
    out["q"] = benjamini_hochberg(out["p"].to_numpy(np.float64))
    out["_missing_q"] = benjamini_hochberg(out["missing_p"].to_numpy(np.float64))
    for row in out.to_dict("records"):
        if row["_missing_q"] < INFORMATIVE:
            warnings.append(
                f"Values of {row['variable']!r} are missing more often in some clusters than in others "
                f"(p {_p(row['missing_p'])}): the {row['rows']:,} that are there need not stand for the rest."
            )
    draws_note = settings.draws.note(base.word) if n_boot else ""
    return Association(
        table=out[list(_TABLE)],
        means=pd.DataFrame(means, columns=list(_MEANS)),
        sentences=(
            _opening(labels, base, len(wanted)),
            *sentences,
            *_found(out),
            *filter(None, [draws_note]),
        ),
        warnings=(*_dependence(frame, base), *warnings),
        names=labels.names,
        numbers=labels.numbers,
        selection=labels.selection,
        sizes=np.bincount(base.cluster, minlength=base.k),
        units=base.units,
        unit=base.word,
        rule=base.rule,
        level=level,
        seed=seed,
        _variables=kept,
        _pairs=lambda names: _all_pairs(
            [one for one in compared if one[0].name in names], base, settings, posthoc
        ),
    )


# -- inside ------------------------------------------------------------------------------
def _frame(table: pd.DataFrame | Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        frame = table.copy(deep=False)
    elif isinstance(table, Mapping):
        try:
            frame = pd.DataFrame(dict(table))
        except ValueError as error:
            raise InvalidInput(f"The columns do not make a table: {error}.") from error
    else:
        raise InvalidInput(
            f"table is a {type(table).__name__}; give a DataFrame or a mapping of columns."
        )
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame


def _spread(variable: Variable, base: Base, n: int) -> Variable:
    """Values on the rows that count, put back to all rows of the table."""
    values = np.full(n, np.nan)
    values[base.rows] = variable.values
    return replace(variable, values=values)


def _drawn_for(settings: Settings, data: Data, base: Base) -> Settings:
    """The draws with units numbered as in the data, which leaves out those without a value."""
    draws = settings.draws
    if data.units == base.units:
        return settings
    return replace(settings, draws=replace(draws, block=draws.block[_present(data, base)]))


def _present(data: Data, base: Base) -> Codes:
    """(data.units,) which units of the base have a value."""
    if base.rule == "share":
        return renumbered(base.unit[~data.absent], base.units)[0]
    return np.flatnonzero(~data.absent)


def _row(variable: Variable, data: Data, found: Compared, absent: float) -> dict[str, Any]:
    tested, effect = found.tested, found.effect
    notes = (variable.note, *found.notes, data.note if found.family else "")
    return {
        "variable": variable.name, "kind": variable.kind, "n": data.units, "rows": data.rows,
        "missing": data.missing, "clusters": found.clusters if found.family else 0,
        "test": tested.test, "statistic": tested.statistic, "df": tested.df, "df2": tested.df2,
        "p": tested.p, "q": np.nan, "effect": effect.value, "effect_name": effect.name,
        "low": effect.low, "high": effect.high, "strength": effect.strength,
        "strength_low": effect.strength_low, "strength_high": effect.strength_high,
        "missing_p": absent, "note": " ".join(filter(None, notes)),
    }  # fmt: skip


def _means(
    variable: Variable, data: Data, labels: Labels, draws: Draws, base: Base
) -> list[dict[str, Any]]:
    """What each cluster has of a variable."""
    if variable.reason or not len(data.x):
        return []
    k = len(data.used)
    if data.units != base.units:
        draws = replace(draws, block=draws.block[_present(data, base)])
    shared = None if base.alone else 0.0
    rows = Rows(data.x, data.cluster, data.unit, data.weight, k, float(data.units), shared)
    each = np.zeros((k, data.units), bool)
    each[data.cluster, data.unit] = True
    counts = each.sum(1)

    def line(
        c: int,
        statistic: str,
        value: float,
        low: float,
        high: float,
        level: str = "",
        sd: float = np.nan,
    ) -> dict[str, Any]:
        at = int(data.used[c])
        return {
            "variable": variable.name, "kind": variable.kind, "number": labels.numbers[at],
            "cluster": labels.names[at], "level": level, "statistic": statistic, "value": value,
            "low": low, "high": high, "n": int(counts[c]), "sd": sd,
        }  # fmt: skip

    found = []
    if variable.kind != "nominal":
        parts = _draws.by_cluster(rows)
        medians = np.array([_draws.quantiles(x, w, np.array([0.5]))[0] for x, w in parts])
        if variable.levels:  # a category, not a place between two
            medians = np.floor(medians)
        ends = _draws.median_ends(rows, parts, medians, draws)
        if variable.kind == "numeric":
            mean = [float(np.average(x, weights=w)) for x, w in parts]
            low, high = _draws.mean_ends(rows, draws)
            sds = [_deviation(x, w, m) for (x, w), m in zip(parts, mean, strict=True)]
            found += [line(c, "mean", mean[c], low[c], high[c], sd=sds[c]) for c in range(k)]
        for c in range(k):
            low_c, high_c = float(ends[0][c]), float(ends[1][c])
            if variable.levels:
                low_c, high_c = np.floor(low_c), np.ceil(high_c)
            at = variable.levels[int(medians[c])] if variable.levels else ""
            found.append(line(c, "median", float(medians[c]), low_c, high_c, at))
    if variable.levels:
        m = len(variable.levels)
        cell = data.cluster * m + data.x.astype(np.intp)
        table = np.bincount(cell, weights=data.weight, minlength=k * m).reshape(k, m)
        shares = table / table.sum(1, keepdims=True)
        low2, high2 = _draws.share_ends(rows, m, draws)
        found += [
            line(c, "share", shares[c, j], low2[c, j], high2[c, j], variable.levels[j])
            for j in range(m)
            for c in range(k)
        ]
    return found


def _deviation(x: Floats, weight: Floats, mean: float) -> float:
    """Standard deviation; of equal weights with one degree of freedom less."""
    if len(x) < 2:
        return np.nan
    variance = float(np.average((x - mean) ** 2, weights=weight))
    if weight.min() == weight.max():
        variance *= len(x) / (len(x) - 1)
    return float(np.sqrt(variance))


def _all_pairs(
    compared: list[tuple[Variable, Compared]], base: Base, settings: Settings, posthoc: str
) -> pd.DataFrame:
    import pandas as pd

    adjust = holm if posthoc == "holm" else benjamini_hochberg
    rows: list[dict[str, Any]] = []
    for variable, found in compared:
        part = _compare.pairs(variable, found, base.word, base.alone, settings)
        corrected = adjust(np.array([row["p"] for row in part], np.float64))
        rows += [row | {"p_adjusted": float(p)} for row, p in zip(part, corrected, strict=True)]
    return pd.DataFrame(rows, columns=list(_PAIRS))


def _place(numbers: tuple[Any, ...], means: pd.DataFrame) -> list[int]:
    at = {number: i for i, number in enumerate(numbers)}
    return [at[number] for number in means["number"]]


def _last(value: float) -> tuple[bool, float]:
    """Sorts NaN after all numbers."""
    return (not np.isfinite(value), float(value) if np.isfinite(value) else 0.0)


# -- words -------------------------------------------------------------------------------
def _opening(labels: Labels, base: Base, variables: int) -> str:
    tiles = len(base.rows)
    who = f"{base.units:,} {base.word}{'' if base.units == 1 else 's'}"
    if base.units != tiles:
        who += f" ({tiles:,} tiles)"
    what = f"{variables} variable{'' if variables == 1 else 's'}"
    if labels.selection:
        inside = int((base.cluster == 0).sum())
        return f"{what}, {inside:,} selected tiles against the other {tiles - inside:,}; {who}."
    return f"{what}, {len(labels.names)} clusters, {who}."


def _found(table: pd.DataFrame) -> list[str]:
    known = table[np.isfinite(table["p"].to_numpy(np.float64))]
    if known.empty:
        return ["Nothing could be tested; the notes say why."]
    called = known[known["q"] < CALLED].sort_values(["q", "p"], kind="stable")
    said = f"{len(called)} of {len(known)} tested variables have q below {CALLED:.0%} (Benjamini-Hochberg)"
    if called.empty:
        return [f"{said}."]
    listed = ", ".join(
        f"{row['variable']} (q {_p(row['q'])}, {row['effect_name']} {row['effect']:.2f})"
        for row in called.head(5).to_dict("records")
    )
    more = len(called) - 5
    return [f"{said}: {listed}{f' and {more} more' if more > 0 else ''}."]


def _dependence(frame: pd.DataFrame, base: Base) -> list[str]:
    """That rows were taken for independent although they may not be."""
    if base.word != "tile":
        return []
    for name in ("slide", "source"):
        if name in frame.columns and 1 < frame[name].nunique() < len(frame):
            return [
                f"Tiles were taken for independent, and tiles of one {name} are alike: p is smaller and "
                f"intervals are narrower than they should be. Compare whole ones: groups={name!r}."
            ]
    return []


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
