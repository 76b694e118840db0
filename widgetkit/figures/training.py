"""Loss curves: what a training said of its epochs, as lines, on paper and for the live chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput
from widgetkit.figures.compose import _page
from widgetkit.figures.spec import FigureSpec
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]

#: What entries of a history are called for people. Unknown numbers keep their own name.
WORDS: Mapping[str, str] = {
    "loss": "loss",
    "validation": "validation",
    "reconstruction": "reconstruction",
    "clustering": "clustering (divergence)",
    "confidence": "mean largest assignment",
    "changed": "changed their cluster",
}
#: Entries between 0 and 1 that are no losses: shares of the images.
SHARES = ("confidence", "changed")
#: From so many epochs on a line alone shows more than its points.
POINTS_MOST = 60


@dataclass(frozen=True)
class Curve:
    """One measure: ``values`` (m,) at ``epochs`` (m,); ``number`` chooses colour and shape."""

    key: str
    name: str
    number: int
    epochs: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The lines of a history: losses, and shares of the images that stand beside them.

    ``best`` is the epoch whose weights are kept, where the history says which count: those with a
    ``validation`` entry. Its loss is ``best_value``.
    """

    losses: tuple[Curve, ...]
    shares: tuple[Curve, ...]
    best: int | None
    best_value: float

    @property
    def epochs(self) -> int:
        """Number of the last epoch; 0 where there is none."""
        every = [int(curve.epochs[-1]) for curve in (*self.losses, *self.shares)]
        return max(every, default=0)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(curve.key for curve in (*self.losses, *self.shares))


def curves(history: History) -> Curves:
    """The lines of a training's history.

    Parameters
    ----------
    history : sequence of dict
        One an epoch: ``epoch`` and numbers; what is None, not finite or no number is left out.
    """
    keys = list(dict.fromkeys(key for epoch in history for key in epoch if key != "epoch"))
    found: dict[bool, list[Curve]] = {False: [], True: []}
    for key in keys:
        at = [
            (int(epoch.get("epoch", i + 1)), float(epoch[key]))
            for i, epoch in enumerate(history)
            if _is_number(epoch.get(key))
        ]
        if not at:
            continue
        group = found[key in SHARES]
        epochs, values = zip(*at, strict=True)
        name = "training" if key == "loss" and "validation" in keys else WORDS.get(key, str(key))
        group.append(Curve(key, name, len(group), np.array(epochs), np.array(values, float)))
    best, value = _best(history)
    return Curves(tuple(found[False]), tuple(found[True]), best, value)


def training(
    history: History | Any, spec: FigureSpec | None = None, *, log: bool = False
) -> Figure:
    """Loss by epoch, the best epoch marked; for a refinement also how sure and how steady it is.

    Parameters
    ----------
    history : sequence of dict, or an estimator with ``history_``
    spec : FigureSpec, optional
    log : bool
        Losses on a logarithmic scale.

    Raises
    ------
    InvalidInput
        No epoch is finished.
    """
    found = curves(history_of(history))
    if not found.keys:
        raise InvalidInput("The history is empty: there is no epoch to draw.")
    spec = spec or FigureSpec(width_mm=89)

    def draw(page: Figure) -> None:
        parts = 1 + bool(found.shares and found.losses)
        each = page.subplots(1, parts, squeeze=False)[0]
        if found.losses:
            _lines(each[0], found.losses)
            each[0].set_ylabel("loss")
            if log:
                each[0].set_yscale("log")
            if found.best is not None:
                each[0].plot(
                    found.best, found.best_value, "*", color="black", ms=6, zorder=3,
                    label=f"best: epoch {found.best}",
                )  # fmt: skip
            each[0].legend(frameon=False)
        if found.shares:
            _lines(each[-1], found.shares)
            each[-1].set_ylabel("share of the images")
            each[-1].set_ylim(-0.02, 1.02)
            each[-1].legend(frameon=False)
        for axes in each:
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)

    shape = 0.42 if found.losses and found.shares else 0.6
    return _page(spec.with_height(shape * spec.width_mm), draw)


def training_sentence(history: History | Any, *, log: bool = False) -> str:
    """What :func:`training` shows, as plain sentences for a caption."""
    found = curves(history_of(history))
    if not found.keys:
        return "No epoch is finished."
    said = [f"Loss by epoch over {found.epochs} epoch{'' if found.epochs == 1 else 's'}"]
    if log:
        said[0] += " (logarithmic scale)"
    if found.best is not None:
        said.append(
            f"The weights of epoch {found.best} are kept (star; loss {found.best_value:.4g})"
        )
    if found.shares:
        said.append("Shares are of the images, before each epoch")
    return ". ".join([*said, f"widgetkit {__version__}."])


def history_of(what: History | Any) -> History:
    """A history, or that of an estimator."""
    found = getattr(what, "history_", what)
    listed = isinstance(found, Sequence) and not isinstance(found, str)
    if not listed or not all(isinstance(epoch, Mapping) for epoch in found):
        raise InvalidInput(
            f"A history is one dict an epoch, or an estimator with history_; got "
            f"{type(what).__name__}."
        )
    return found


def _lines(axes: Axes, found: Sequence[Curve]) -> None:
    for curve in found:
        shown = len(curve.epochs) <= POINTS_MOST
        axes.plot(
            curve.epochs, curve.values, color=colour(curve.number), lw=1, label=curve.name,
            marker="oDs^v"[curve.number % 5] if shown else None, ms=2.5,
        )  # fmt: skip


def _best(history: History) -> tuple[int | None, float]:
    """The epoch with the lowest loss, on the validation images where there are some."""
    at = []
    for i, epoch in enumerate(history):
        if "validation" not in epoch:
            continue
        held = epoch["validation"]
        value = epoch.get("loss") if held is None else held
        if _is_number(value):
            at.append((float(value), int(epoch.get("epoch", i + 1))))  # type: ignore[arg-type]
    if not at:
        return None, float("nan")
    value, number = min(at, key=lambda pair: pair[0])
    return number, value


def _is_number(value: object) -> bool:
    real = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return real and bool(np.isfinite(value))  # type: ignore[call-overload]
