"""Factors of a layer over a whole store: what patterns the activations fall into, and where.

``factorise`` learns a few prototypes from a sample of positions and then gives every position of
every tile its weights in them, once, kept in the store. The rest of this room reads those weights:
shares by slide, comparisons of methods, layers and models, links to class maps and predictions,
importance for the network.
"""

from widgetkit.factors.compare import compare_methods, match_factors
from widgetkit.factors.completeness import Completeness, completeness
from widgetkit.factors.curves import ConceptCurves, concept_curves
from widgetkit.factors.factorise import assign, factorise, load, names
from widgetkit.factors.factors import Factors, Pooled
from widgetkit.factors.importance import concept_importance
from widgetkit.factors.linking import ClassPrediction, map_correlations, predict_classes
from widgetkit.factors.methods import METHODS
from widgetkit.factors.slides import slide_share

__all__ = [
    "METHODS",
    "ClassPrediction",
    "Completeness",
    "ConceptCurves",
    "Factors",
    "Pooled",
    "assign",
    "compare_methods",
    "completeness",
    "concept_curves",
    "concept_importance",
    "factorise",
    "load",
    "map_correlations",
    "match_factors",
    "names",
    "predict_classes",
    "slide_share",
]
