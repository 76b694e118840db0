"""The session: selection, history, clustering, maps and jobs of one store.

:class:`Session` is the only thing that changes; everything it holds is a value.
"""

from __future__ import annotations

from widgetkit.session.clustering import Clustering
from widgetkit.session.events import EVENTS, ErrorReport
from widgetkit.session.geometry import in_box, inside
from widgetkit.session.history import History, Step
from widgetkit.session.jobs import Job, Jobs
from widgetkit.session.maps import MapResult
from widgetkit.session.mapspec import MapSpec
from widgetkit.session.selection import How, Selection
from widgetkit.session.session import Session
from widgetkit.session.slidemaps import SlideMap
from widgetkit.session.summary import Summary

__all__ = [
    "EVENTS",
    "Clustering",
    "ErrorReport",
    "History",
    "How",
    "Job",
    "Jobs",
    "MapResult",
    "MapSpec",
    "Selection",
    "Session",
    "SlideMap",
    "Step",
    "Summary",
    "in_box",
    "inside",
]
