"""The views. Each is loaded when its name is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it
_PUBLIC = {
    "AssociationPanel": "widgetkit.widgets.association",
    "ClusterChoiceView": "widgetkit.widgets.cluster_choice",
    "ClusterPanel": "widgetkit.widgets.clusters",
    "ConceptPanel": "widgetkit.widgets.concepts",
    "Explorer": "widgetkit.widgets.explorer",
    "FactorPanel": "widgetkit.widgets.factors",
    "Gallery": "widgetkit.widgets.gallery",
    "MapViewer": "widgetkit.widgets.maps",
    "PlotlyScatter": "widgetkit.widgets.plotly_scatter",
    "Scatter": "widgetkit.widgets.scatter",
    "SelectionSummary": "widgetkit.widgets.summary",
    "SlideView": "widgetkit.widgets.slide",
    "TrainingView": "widgetkit.widgets.training",
    "VolumeView": "widgetkit.widgets.volume",
    "explore": "widgetkit.widgets.explorer",
    "train": "widgetkit.widgets.training",
}

__all__ = [
    "AssociationPanel",
    "ClusterChoiceView",
    "ClusterPanel",
    "ConceptPanel",
    "Explorer",
    "FactorPanel",
    "Gallery",
    "MapViewer",
    "PlotlyScatter",
    "Scatter",
    "SelectionSummary",
    "SlideView",
    "TrainingView",
    "VolumeView",
    "explore",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'widgetkit.widgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


if TYPE_CHECKING:
    from widgetkit.widgets.association import AssociationPanel
    from widgetkit.widgets.cluster_choice import ClusterChoiceView
    from widgetkit.widgets.clusters import ClusterPanel
    from widgetkit.widgets.concepts import ConceptPanel
    from widgetkit.widgets.explorer import Explorer, explore
    from widgetkit.widgets.factors import FactorPanel
    from widgetkit.widgets.gallery import Gallery
    from widgetkit.widgets.maps import MapViewer
    from widgetkit.widgets.plotly_scatter import PlotlyScatter
    from widgetkit.widgets.scatter import Scatter
    from widgetkit.widgets.slide import SlideView
    from widgetkit.widgets.summary import SelectionSummary
    from widgetkit.widgets.training import TrainingView, train
    from widgetkit.widgets.volume import VolumeView
