"""Concepts read from a network's activations: which ones it sees, how surely, and what they count.

Arrays in, tables out; nothing here knows a store, a session or a view, and importing the package
imports neither scikit-learn, scipy nor torch.
"""

from widgetkit.concepts.cav import ConceptActivationVectors
from widgetkit.concepts.concept_set import ConceptSet
from widgetkit.concepts.consistency import consistency_score, explanation_quality
from widgetkit.concepts.density import LocalRodeo, ShrunkNormal
from widgetkit.concepts.detection import (
    ErrorDetection,
    RiskCoverage,
    error_detection,
    risk_coverage,
)
from widgetkit.concepts.distributions import Distribution, UnitDistributions, unit_distributions
from widgetkit.concepts.identify import Identified, identify
from widgetkit.concepts.nearest import Nearest, nearest_examples
from widgetkit.concepts.probe import ProbeConcepts
from widgetkit.concepts.ratio import DensityRatioConcepts
from widgetkit.concepts.region import Region
from widgetkit.concepts.relevance import Relevance, concept_directions, concept_relevance
from widgetkit.concepts.report import ConceptReport, concept_report

__all__ = [
    "ConceptActivationVectors",
    "ConceptReport",
    "ConceptSet",
    "DensityRatioConcepts",
    "Distribution",
    "ErrorDetection",
    "Identified",
    "LocalRodeo",
    "Nearest",
    "ProbeConcepts",
    "Region",
    "Relevance",
    "RiskCoverage",
    "ShrunkNormal",
    "UnitDistributions",
    "concept_directions",
    "concept_relevance",
    "concept_report",
    "consistency_score",
    "error_detection",
    "explanation_quality",
    "identify",
    "nearest_examples",
    "risk_coverage",
    "unit_distributions",
]
