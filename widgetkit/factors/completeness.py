"""How much of the network's answer survives when it sees the factors alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import factorial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._columns import codes as coded
from widgetkit.analysis._hooks import Cancel, Progress
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.factors.decompose import Counter, chunks
from widgetkit.factors.groups import values_of
from widgetkit.factors.means import choose_rows, mean_by_group
from widgetkit.factors.parts import Parts
from widgetkit.factors.rest import Network, Rest, listed

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]
Chance = Literal["uniform", "majority"]

#: The rows of the table, in order.
VARIANTS = ("original", "reconstruction", "mean activation", "shuffled factors")


@dataclass(frozen=True, eq=False)
class Completeness:
    """What :func:`completeness` found.

    Attributes
    ----------
    table : DataFrame
        One row a variant of the activations: ``original``, ``reconstruction`` (``W H``), ``mean
        activation`` (the same everywhere, in every tile) and ``shuffled factors`` (weights of one
        factor with the prototype of another). Columns ``variant``; ``agreement``,
        ``agreement_low``, ``agreement_high``: share of tiles whose most probable class is that of
        the original; ``logit_r2``: ``1 - sum (l - l')^2 / sum (l - mean l)^2`` over tiles and
        classes, 1 for the same logits and about 0 for the mean, without a lower bound; with labels
        also ``accuracy``, ``accuracy_low``, ``accuracy_high``.
    score : float
        Completeness of Yeh et al.: ``(p' - a) / (p - a)``, with p the accuracy of the original, p'
        that of the reconstruction and a that of chance. 1: the factors say all that the answer
        needs; 0: no more than chance. Without labels those of the network itself are taken, p = 1.
        NaN where the network is no better than chance.
    chance : float
        ``a``.
    relative_error : float
        ``||A - A'|| / ||A||`` over the tiles looked at.
    tiles, groups : int
    note : str
    """

    table: pd.DataFrame = field(repr=False)
    score: float
    chance: float
    relative_error: float
    tiles: int
    groups: int
    note: str

    def __str__(self) -> str:
        found = self.table.set_index("variant")
        score = f", completeness {self.score:.3f}" if np.isfinite(self.score) else ""
        return (
            f"{self.tiles} tiles: {found.agreement['reconstruction']:.1%} keep their class when the network "
            f"sees W H ({found.agreement['mean activation']:.1%} with the mean activation, "
            f"{found.agreement['shuffled factors']:.1%} with shuffled factors); R² of the logits "
            f"{found.logit_r2['reconstruction']:.3f}{score}."
        )


def completeness(
    model: Network,
    store: ActivationStore,
    factors: Factors,
    *,
    rows: object = None,
    n: int | None = 512,
    y: str | Sequence[int | str] | npt.NDArray[Any] | None = None,
    chance: Chance = "uniform",
    shuffles: int = 3,
    seed: int = 0,
    by: str | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Completeness:
    """Replace a layer's activations by what the factors make of them, and run the rest.

    Parameters
    ----------
    model : ModelContext
        ``ModelContext.for_store(network, store)``.
    store : ActivationStore
    factors : Factors
    rows : sequence of int, mask or None
        Tiles to look at; all by default.
    n : int or None
        At most so many of them, drawn by ``seed``.
    y : str or (len(store),), optional
        True classes, for accuracy: a column of the tiles, or a value each; class numbers or names
        of ``store.class_names``. Tiles without one (missing, negative) count for all but accuracy.
    chance : "uniform" or "majority"
        What completeness is measured from: one in ``n_classes`` as published, or the share of the
        most frequent class, which is the stricter one where classes are uneven.
    shuffles : int
        How often prototypes change places for "shuffled factors", whose row is the mean. Every
        factor gets another's prototype.
    seed : int
    by, n_boot, level
        As :func:`concept_importance`.
    progress, cancel : callable, optional
        Between batches.

    Returns
    -------
    Completeness

    Raises
    ------
    InvalidInput, UnknownName
        A label is no class (the classes are listed), a wrong parameter, or the rest of the network
        cannot be run.
    StoreMismatch, BadActivations, Cancelled
        As :func:`concept_importance`.

    Notes
    -----
    Yeh et al. define completeness with the best function g from concept scores back to
    activations, which they train. Here ``g(W) = W H``, what the factorisation itself says; a trained
    g could only do better, so the score is a lower bound of theirs.

    References
    ----------
    Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks, NeurIPS
    2020, arXiv:1910.07969, definition 3.1.
    """
    import pandas as pd

    if chance not in get_args(Chance):
        raise InvalidInput(f"chance is {chance!r}: use 'uniform' or 'majority'.")
    if shuffles < 1:
        raise InvalidInput(f"shuffles is {shuffles}: use 1 or more.")
    chosen = choose_rows(len(store), rows, n, seed)
    groups, what = values_of(store, chosen, by)
    rest = Rest(model, store, factors.layer)
    orders = derangements(factors.k, shuffles, seed)
    counter = Counter((3 + len(orders)) * len(chosen), progress, cancel)
    middle = _mean_activation(store, factors.layer, chosen)
    found: dict[str, list[Array]] = {name: [] for name in VARIANTS[:3]}
    shuffled: list[list[Array]] = [[] for _ in orders]
    missed = size = 0.0
    for at, parts in chunks(store, factors, chosen):
        here, tick = chosen[at], counter.part((3 + len(orders)) * (at.stop - at.start))
        made = parts.reconstruction()
        missed += float(np.square(made - parts.activations, dtype=np.float64).sum())
        size += float(np.square(parts.activations, dtype=np.float64).sum())
        found["original"].append(rest(parts.activations, here))
        tick(len(here))
        found["reconstruction"].append(rest(made, here))
        tick(2 * len(here))
        flat = np.broadcast_to(middle.reshape(1, -1, *(1,) * (made.ndim - 2)), made.shape)
        found["mean activation"].append(rest(np.ascontiguousarray(flat), here))
        for i, order in enumerate(orders):
            tick((3 + i) * len(here))
            shuffled[i].append(rest(_with(parts, order).reconstruction(), here))
        tick((3 + len(orders)) * len(here))
    logits = {name: np.concatenate(blocks) for name, blocks in found.items()}
    several = [np.concatenate(blocks) for blocks in shuffled]
    original = logits["original"]
    classes = max(2, original.shape[1])
    labels = None if y is None else class_labels(store, y, classes)[chosen]
    options: dict[str, Any] = {"what": what, "n_boot": n_boot, "level": level, "seed": seed}
    own = predicted(original)
    table, notes = [], [rest.note]
    for name in VARIANTS:
        versions = several if name == "shuffled factors" else [logits[name]]
        # several shuffles of a tile are one value of the tile: their mean
        answers = [predicted(version) for version in versions]
        agree = _mean_over([(answer == own).astype(float) for answer in answers], len(own))
        columns = {"agreement": agree}
        if labels is not None:
            right = _mean_over([(answer == labels).astype(float) for answer in answers], len(own))
            columns["accuracy"] = np.where(labels >= 0, right, np.nan)
        means = mean_by_group(np.stack(list(columns.values()), axis=1), groups, **options)
        row: dict[str, Any] = {"variant": name}
        for i, column in enumerate(columns):
            row |= {
                column: means.value[i],
                f"{column}_low": means.low[i],
                f"{column}_high": means.high[i],
            }
        row["logit_r2"] = float(np.mean([logit_r2(original, v) for v in versions] or [np.nan]))
        table.append(row)
    notes.append(means.note)
    frame = pd.DataFrame(table)
    if not orders:
        notes.append("With one factor there is nothing to shuffle.")
    truth = own if labels is None else labels[labels >= 0]
    if labels is not None and len(truth) < len(own):
        notes.append(f"{len(own) - len(truth)} of {len(own)} tiles have no label.")
    column = "agreement" if labels is None else "accuracy"
    level_of_chance = chance_accuracy(truth, classes, chance)
    reached, possible = (
        float(frame.set_index("variant")[column][name]) for name in ("reconstruction", "original")
    )
    if not possible > level_of_chance:
        notes.append("The network itself is no better than chance, so completeness has no value.")
    return Completeness(
        table=frame,
        score=completeness_score(reached, possible, level_of_chance),
        chance=level_of_chance,
        relative_error=float(np.sqrt(missed / size)) if size > 0 else float("nan"),
        tiles=len(chosen),
        groups=means.groups,
        note=" ".join(filter(None, notes)),
    )


# -- on arrays -----------------------------------------------------------------------------
def completeness_score(reached: float, possible: float, chance: float) -> float:
    """``(reached - chance) / (possible - chance)`` (Yeh et al. 2020, definition 3.1).

    NaN where the network itself is no better than chance.
    """
    if not possible > chance:
        return float("nan")
    return (reached - chance) / (possible - chance)


def logit_r2(logits: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Share of the variance of logits ``(m, n_classes)`` over tiles that ``other`` reproduces.

    ``1 - sum (l - l')^2 / sum (l - mean over tiles l)^2`` over all classes. NaN where the logits
    are the same for all tiles.
    """
    first, second = np.asarray(logits, np.float64), np.asarray(other, np.float64)
    around = np.square(first - first.mean(axis=0)).sum()
    if len(first) < 2 or around <= 1e-12 * np.square(first).sum():
        return float("nan")
    return float(1 - np.square(first - second).sum() / around)


def predicted(logits: Array) -> npt.NDArray[np.int64]:
    """The most probable class of each row; of a single output, whether it is above 0."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return np.asarray(logits.argmax(axis=1), np.int64)


def chance_accuracy(truth: npt.NDArray[np.int64], classes: int, rule: Chance) -> float:
    """Accuracy of guessing: one in ``classes``, or always the most frequent class."""
    if rule == "uniform" or len(truth) == 0:
        return 1 / classes
    return float(np.bincount(truth).max() / len(truth))


def derangements(k: int, count: int, seed: int) -> list[npt.NDArray[np.intp]]:
    """Different orders of k things in which none keeps its place: ``count``, or all there are.

    Random cyclic orders (Sattolo's algorithm), of which there are ``(k - 1)!``; none where k is 1.
    """
    generator = np.random.default_rng([seed, 2])
    found: dict[bytes, npt.NDArray[np.intp]] = {}
    wanted = 0 if k < 2 else min(count, factorial(min(k - 1, 12)))
    while len(found) < wanted:
        order = np.arange(k)
        for i in range(k - 1, 0, -1):
            j = int(generator.integers(i))
            order[[i, j]] = order[[j, i]]
        found[order.tobytes()] = order
    return list(found.values())


def class_labels(
    store: ActivationStore,
    y: str | Sequence[int | str] | npt.NDArray[Any],
    classes: int,
) -> npt.NDArray[np.int64]:
    """Class number of every tile of the store, -1 where it has none.

    Raises
    ------
    UnknownName
        No such column.
    InvalidInput
        Another length, or a label that is no class.
    """
    if isinstance(y, str):
        table = store.tiles
        if y not in table.columns:
            raise UnknownName(f"The tiles have no column {y!r}. {near(y, map(str, table.columns))}")
        values = table[y].to_numpy()
    else:
        values = np.asarray(y)
    if values.shape != (len(store),):
        raise InvalidInput(
            f"y has shape {values.shape}; one value for each of the {len(store)} tiles of the store is "
            "needed, also with rows=."
        )
    if values.dtype.kind in "biu":
        numbers = values.astype(np.int64)
    else:
        names, which = coded(values)
        numbers = np.array([_class_of(name, store.class_names) for name in names])[which]
    if len(numbers) and numbers.max() >= classes:
        known = f": {listed(store.class_names)}" if store.class_names else "."
        raise InvalidInput(
            f"y holds class {int(numbers.max())}, and the network has {classes} classes{known}"
        )
    return np.maximum(numbers, -1).astype(np.int64)


def _class_of(label: object, names: Sequence[str] | None) -> int:
    from widgetkit.analysis._columns import MISSING

    text = str(label)
    if text == MISSING:
        return -1
    if names is not None and text in names:
        return list(names).index(text)
    if text.lstrip("-").isdecimal():
        return int(text)
    known = listed(names) if names else "the store has no class names; give class numbers."
    raise InvalidInput(f"y holds {text!r}, which is no class of the network: {known}")


def _mean_over(values: list[Array], n: int) -> Array:
    return np.mean(values, axis=0) if values else np.full(n, np.nan)


def _with(parts: Parts, order: npt.NDArray[np.intp]) -> Parts:
    """The same weights with the prototypes in another order."""
    return Parts(
        parts.activations, parts.weights, parts.prototypes[order], parts.scale, parts.offset
    )


def _mean_activation(
    store: ActivationStore, layer: str, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    mean: npt.NDArray[np.float32] = (
        store.embeddings(layer)[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    )
    return mean
