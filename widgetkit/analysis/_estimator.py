"""scikit-learn's conventions without importing scikit-learn.

``import widgetkit.analysis`` must stay cheap, and ``sklearn.base`` takes more than a second. The
conventions are small: parameters are the constructor's arguments, stored untouched; what is
learned ends in ``_``. ``sklearn.base.clone``, pipelines and grid searches need no more, and
``check_estimator`` holds us to it in the tests.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np

from widgetkit.analysis._arrays import Floats, UnknownChoice
from widgetkit.errors import ChannelMismatch, UnknownName, WidgetkitError, near


@functools.cache
def _not_fitted_class() -> type[Exception]:
    """Both ours and scikit-learn's, made on first use because theirs needs their import."""
    from sklearn.exceptions import NotFittedError

    return type("NotFitted", (WidgetkitError, NotFittedError), {"__module__": __name__})


class Estimator:
    """Base of the estimators here: parameters, fitted check, channel check."""

    _kind: ClassVar[Literal["transformer", "clusterer"]]
    _non_negative_input: bool = False

    n_features_in_: int

    # -- parameters --------------------------------------------------------------------
    @classmethod
    def _parameter_names(cls) -> list[str]:
        signature = inspect.signature(cls.__init__)
        return sorted(name for name in signature.parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name. ``deep`` is there for scikit-learn's sake."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        UnknownName
            Not a parameter; the near ones are listed.
        """
        known = self._parameter_names()
        for name in params:
            if name not in known:
                raise _unknown_parameter(name, type(self).__name__, known)
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in defaults
            if name != "self" and repr(getattr(self, name)) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 and later) asks of an estimator it is given."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None if self._kind == "transformer" else self._kind,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"])
            if hasattr(self, "transform")
            else None,
            input_tags=InputTags(positive_only=self._non_negative_input),
        )

    # -- what is learned ---------------------------------------------------------------
    def _check_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            raise _not_fitted_class()(
                f"This {type(self).__name__} instance is not fitted yet. Call fit(X) first."
            )

    def _remember_features(self, given: object, values: Floats) -> None:
        self.n_features_in_ = values.shape[1]
        names = _feature_names(given)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_features(self, given: object, values: Floats) -> None:
        name = type(self).__name__
        names, fitted = _feature_names(given), getattr(self, "feature_names_in_", None)
        if names is not None and fitted is None:
            warnings.warn(
                f"X has feature names, but {name} was fitted without feature names", stacklevel=3
            )
        elif names is None and fitted is not None:
            warnings.warn(
                f"X does not have valid feature names, but {name} was fitted with feature names",
                stacklevel=3,
            )
        elif names is not None and fitted is not None and list(names) != list(fitted):
            raise ChannelMismatch(_names_differ(list(fitted), list(names)))
        if values.shape[1] != self.n_features_in_:
            raise ChannelMismatch(
                f"X has {values.shape[1]} features, but {name} is expecting "
                f"{self.n_features_in_} features as input. Was it fitted on another layer?"
            )


def _feature_names(given: object) -> np.ndarray | None:
    """Column names of a table, when all of them are text."""
    if "pandas" not in sys.modules or not hasattr(given, "columns"):
        return None
    names = np.asarray(given.columns, dtype=object)
    return names if len(names) and all(isinstance(name, str) for name in names) else None


def _names_differ(fitted: Sequence[str], names: Sequence[str]) -> str:
    lines = ["The feature names should match those that were passed during fit."]
    unseen = [name for name in names if name not in set(fitted)]
    missing = [name for name in fitted if name not in set(names)]
    if unseen:
        lines += ["Feature names unseen at fit time:", *(f"- {name}" for name in unseen[:5])]
    if missing:
        lines += ["Feature names seen at fit time, yet now missing:"]
        lines += [f"- {name}" for name in missing[:5]]
    if not unseen and not missing:
        lines += ["Feature names must be in the same order as they were in fit."]
    return "\n".join(lines) + "\n"


def _unknown_parameter(name: str, owner: str, known: Sequence[str]) -> UnknownName:
    return UnknownChoice(f"Invalid parameter {name!r} for estimator {owner}. {near(name, known)}")
