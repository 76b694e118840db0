"""Chest CT with abnormalities of which everything is known: data to test a method on.

``lung_abnormalities`` makes images, ``covariates`` clinical variables that go with them, and
``clam_experiment`` repeats the simulation of the CLAM publication. ``thorax`` draws a chest where
there is no CT; ``lung_labels`` finds the lungs of one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it; loaded when first used. No module may be called like a
# public name: importing it would put the module where the function should be.
_PUBLIC = {
    "ClamExperiment": "widgetkit.simulate.experiments",
    "Covariates": "widgetkit.simulate.planted",
    "LiverSimulation": "widgetkit.simulate.liver",
    "LungSimulation": "widgetkit.simulate.simulation",
    "Nuisance": "widgetkit.simulate.inserting",
    "Phantom": "widgetkit.simulate.phantom",
    "Training": "widgetkit.simulate.fitting",
    "clam_experiment": "widgetkit.simulate.experiments",
    "covariates": "widgetkit.simulate.planted",
    "liver_lesions": "widgetkit.simulate.liver",
    "lung_abnormalities": "widgetkit.simulate.simulation",
    "lung_labels": "widgetkit.simulate.lungs",
    "thorax": "widgetkit.simulate.phantom",
}

__all__ = [
    "ClamExperiment",
    "Covariates",
    "LiverSimulation",
    "LungSimulation",
    "Nuisance",
    "Phantom",
    "Training",
    "clam_experiment",
    "covariates",
    "liver_lesions",
    "lung_abnormalities",
    "lung_labels",
    "thorax",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'widgetkit.simulate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from widgetkit.simulate.experiments import ClamExperiment, clam_experiment
    from widgetkit.simulate.fitting import Training
    from widgetkit.simulate.inserting import Nuisance
    from widgetkit.simulate.liver import LiverSimulation, liver_lesions
    from widgetkit.simulate.lungs import lung_labels
    from widgetkit.simulate.phantom import Phantom, thorax
    from widgetkit.simulate.planted import Covariates, covariates
    from widgetkit.simulate.simulation import LungSimulation, lung_abnormalities
