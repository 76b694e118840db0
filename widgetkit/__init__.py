"""widgetkit: linked Jupyter widgets that show what an image model has learned.

Names are loaded when first used: ``import widgetkit`` imports neither torch, umap, sklearn,
plotly nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from widgetkit._version import __version__

# public name -> module that defines it
_PUBLIC = {
    "ActivationStore": "widgetkit.store",
    "open": "widgetkit.store",
    "import_features": "widgetkit.extraction",
    "extract": "widgetkit.extraction",
    "layers": "widgetkit.extraction",
    "Preprocess": "widgetkit.extraction",
    "Session": "widgetkit.session",
    "Selection": "widgetkit.session",
    "explore": "widgetkit.widgets",
    "Explorer": "widgetkit.widgets",
    "Scatter": "widgetkit.widgets",
    "PlotlyScatter": "widgetkit.widgets",
    "Gallery": "widgetkit.widgets",
    "MapViewer": "widgetkit.widgets",
    "ClusterChoiceView": "widgetkit.widgets",
    "ClusterPanel": "widgetkit.widgets",
    "AssociationPanel": "widgetkit.widgets",
    "ConceptPanel": "widgetkit.widgets",
    "FactorPanel": "widgetkit.widgets",
    "SlideView": "widgetkit.widgets",
    "VolumeView": "widgetkit.widgets",
    "ModelContext": "widgetkit.extraction",
    "SelectionSummary": "widgetkit.widgets",
    "TrainingView": "widgetkit.widgets",
    "train": "widgetkit.widgets",
    "demo": "widgetkit.demos",
}
_MODULES = (
    "analysis", "concepts", "errors", "explain", "factors", "figures", "session", "simulate", "slides", "store", "testing", "tiles", "widgets",
)  # fmt: skip

__all__ = ["__version__", *sorted(_PUBLIC), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"widgetkit.{name}")
    else:
        raise AttributeError(f"module 'widgetkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from widgetkit import (
        analysis,
        concepts,
        errors,
        explain,
        factors,
        figures,
        session,
        simulate,
        slides,
        store,
        testing,
        tiles,
        widgets,
    )
    from widgetkit.demos import demo
    from widgetkit.extraction import ModelContext, Preprocess, extract, import_features, layers
    from widgetkit.session import Selection, Session
    from widgetkit.store import ActivationStore, open
    from widgetkit.widgets import (
        AssociationPanel,
        ClusterChoiceView,
        ClusterPanel,
        ConceptPanel,
        Explorer,
        FactorPanel,
        Gallery,
        MapViewer,
        PlotlyScatter,
        Scatter,
        SelectionSummary,
        SlideView,
        TrainingView,
        VolumeView,
        explore,
        train,
    )
