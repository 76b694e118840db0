"""scikit-learn's conventions, held by scikit-learn's own checks; and what importing costs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from widgetkit.analysis import NMF, KMeans
from widgetkit.errors import InvalidInput, UnknownName, WidgetkitError

# nonnegative="shift" takes any input; "error" is checked through the positive_only tag
ESTIMATORS = [
    NMF(2, nonnegative="shift", backend="numpy"),
    NMF(2, backend="numpy"),
    NMF(2, backend="torch"),
    KMeans(2),
]


def named(estimator: Any, check: Any) -> str:
    function = getattr(check, "func", check)
    return f"{estimator!r}-{function.__name__}"


CHECKS = [
    pytest.param(estimator, check, id=named(estimator, check))
    for template in ESTIMATORS
    for estimator, check in estimator_checks_generator(template)
    # needs SCIPY_ARRAY_API=1 before scipy is imported; our arrays are numpy's
    if getattr(check, "func", check).__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_clone_has_the_parameters_and_nothing_learned(estimator: Any) -> None:
    fitted = clone(estimator).fit(np.random.default_rng(0).random((20, 4)))
    copy = clone(fitted)
    assert copy.get_params() == estimator.get_params()
    assert [name for name in vars(copy) if name.endswith("_")] == []


def test_pipeline_and_grid_search() -> None:
    X = np.random.default_rng(0).normal(size=(60, 5))
    assert make_pipeline(MinMaxScaler(), NMF(2)).fit_transform(X).shape == (60, 2)

    def score(estimator: NMF, X: np.ndarray, y: object = None) -> float:
        return -float(np.linalg.norm(X - estimator.inverse_transform(estimator.transform(X))))

    search = GridSearchCV(NMF(), {"n_components": [1, 3]}, scoring=score, cv=2).fit(np.abs(X))
    assert search.best_params_ == {"n_components": 3}


def test_unknown_parameter_lists_the_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"'n_component'.*'n_components'"):
        NMF().set_params(n_component=3)


def test_not_fitted_is_both_kinds_of_error() -> None:
    from sklearn.exceptions import NotFittedError

    for kind in (WidgetkitError, NotFittedError):
        with pytest.raises(kind, match="not fitted"):
            NMF().transform(np.ones((2, 2)))


def test_repr_shows_what_differs_from_the_default() -> None:
    assert repr(NMF(4, tol=1e-5)) == "NMF(n_components=4, tol=1e-05)"
    assert repr(KMeans()) == "KMeans()"


def test_sparse_and_complex_are_refused() -> None:
    from scipy.sparse import csr_matrix

    with pytest.raises(InvalidInput, match="sparse"):
        NMF(2).fit(csr_matrix(np.eye(5)))
    with pytest.raises(InvalidInput, match="Complex"):
        KMeans(2).fit(np.eye(5) * 1j)


def test_importing_is_cheap() -> None:
    code = (
        "import sys, widgetkit.analysis\n"
        "heavy = {'torch', 'sklearn', 'umap', 'numba', 'scipy', 'plotly', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_nmf_without_torch_runs_on_numpy() -> None:
    code = (
        "import sys, numpy as np\n"
        "sys.modules['torch'] = None\n"
        "from importlib import util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "sys.modules.pop('torch')\n"
        "from widgetkit.analysis import NMF\n"
        "from widgetkit.errors import MissingDependency\n"
        "print(NMF(2).fit(np.eye(4)).backend_)\n"
        "try:\n"
        "    NMF(2, backend='torch').fit(np.eye(4))\n"
        "except MissingDependency as error:\n"
        "    print('pip install' in str(error))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["numpy", "True"]
