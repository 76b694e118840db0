"""What is done with negative values before a factorisation, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from widgetkit.analysis._arrays import Floats, check_finite
from widgetkit.errors import InvalidInput

Rule = Literal["error", "shift", "clip", "split"]
RULES: tuple[str, ...] = get_args(Rule)


@dataclass(frozen=True)
class NonNegative:
    """A rule as learned from the rows of a fit.

    ``share`` is the share of negative values there, ``offset`` (C,) what "shift" subtracts.
    """

    rule: Rule
    share: float
    offset: Floats | None = None

    @classmethod
    def learn(cls, X: Floats, rule: Rule) -> tuple[NonNegative, Floats]:
        """The rule and ``X`` prepared by it. ``X`` itself is not changed.

        Raises
        ------
        InvalidInput
            Negative values and the rule is "error".
        BadActivations
            NaN or infinity.
        """
        low, _ = check_finite(X)
        share = float((X < 0).mean()) if low < 0 else 0.0
        offset = np.minimum(X.min(axis=0), 0).astype(X.dtype) if rule == "shift" else None
        learned = cls(rule, share, offset)
        if rule == "error" and low < 0:
            raise InvalidInput(learned._refusal(X, low, 0))
        return learned, learned._prepare(X)

    @property
    def sentence(self) -> str:
        share = f"{self.share:.3%} of the values were negative"
        if self.rule == "error" or (self.share == 0 and self.rule != "split"):
            return "No value was negative; nothing was changed."
        if self.rule == "shift":
            return f"{share}; the smallest value of each channel was subtracted."
        if self.rule == "clip":
            return f"{share} and were set to 0."
        return f"{share}; each channel was split into its positive and its negative part."

    def apply(self, rows: Floats, *, first_row: int = 0) -> Floats:
        """New rows by the same rule. With "shift" they may go below 0, which NNLS can take.

        Raises
        ------
        InvalidInput
            Negative values and the rule is "error".
        """
        if self.rule == "error":
            low = float(rows.min(initial=0.0))
            if low < 0:
                raise InvalidInput(self._refusal(rows, low, first_row))
        else:
            check_finite(rows)
        return self._prepare(rows)

    def undo(self, rows: Floats) -> Floats:
        if self.rule == "split":
            half = rows.shape[1] // 2
            return rows[:, :half] - rows[:, half:]
        return rows if self.offset is None else rows + self.offset.astype(rows.dtype)

    def _prepare(self, rows: Floats) -> Floats:
        if self.rule == "shift" and self.offset is not None:
            return rows - self.offset.astype(rows.dtype)
        if self.rule == "clip":
            return np.maximum(rows, 0)
        if self.rule == "split":
            return np.concatenate([np.maximum(rows, 0), np.maximum(-rows, 0)], axis=1)
        return rows

    @staticmethod
    def _refusal(X: Floats, low: float, first_row: int) -> str:
        negative = X < 0
        row = first_row + int(np.flatnonzero(negative.any(axis=1))[0])
        return (
            f"Negative values in data passed to NMF: {int(negative.sum())} of {X.size} values, "
            f"smallest {low:.3g}, the first in row {row}. Take a layer after a ReLU, or say what "
            "to do: nonnegative='shift', 'clip' or 'split'."
        )
