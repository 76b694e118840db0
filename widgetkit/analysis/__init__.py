"""Estimators and measures over plain arrays; nothing here knows a store, a session or a view.

Importing this package imports neither scikit-learn, torch nor umap: they are loaded when used.
"""

# Eager on purpose: several functions carry the name of their module, and a lazily loaded name
# would be shadowed by the module as soon as somebody imports that.
from widgetkit.analysis.association import Association, Distribution, associate
from widgetkit.analysis.choice_of_clusters import ClusterChoice, choose_clusters
from widgetkit.analysis.choice_of_k import KChoice, choose_k
from widgetkit.analysis.classification import prediction_report
from widgetkit.analysis.composition import Dominance, composition, dominance
from widgetkit.analysis.consensus import cophenetic
from widgetkit.analysis.contrast import selection_contrast
from widgetkit.analysis.correlations import Correlation, correlation, correlation_table
from widgetkit.analysis.factor_distance import amari_distance, matched_cosine
from widgetkit.analysis.group_shares import group_share, shares
from widgetkit.analysis.hdbscan import hdbscan_labels
from widgetkit.analysis.kmeans import KMeans
from widgetkit.analysis.nmf import NMF
from widgetkit.analysis.nnls import nnls, nnls_batches
from widgetkit.analysis.prediction import Prediction, grouped_prediction
from widgetkit.analysis.projection import Projection, project
from widgetkit.analysis.quality import quality, silhouette_by_cluster, trustworthiness
from widgetkit.analysis.representatives import Representatives, representatives
from widgetkit.analysis.stability import bootstrap_stability, label_agreement, match, stability
from widgetkit.analysis.trust import neighbourhood_trust
from widgetkit.analysis.umap_layout import warm_up

__all__ = [
    "NMF",
    "Association",
    "ClusterChoice",
    "Correlation",
    "Distribution",
    "Dominance",
    "KChoice",
    "KMeans",
    "Prediction",
    "Projection",
    "Representatives",
    "amari_distance",
    "associate",
    "bootstrap_stability",
    "choose_clusters",
    "choose_k",
    "composition",
    "cophenetic",
    "correlation",
    "correlation_table",
    "dominance",
    "group_share",
    "grouped_prediction",
    "hdbscan_labels",
    "label_agreement",
    "match",
    "matched_cosine",
    "neighbourhood_trust",
    "nnls",
    "nnls_batches",
    "prediction_report",
    "project",
    "quality",
    "representatives",
    "selection_contrast",
    "shares",
    "silhouette_by_cluster",
    "stability",
    "trustworthiness",
    "warm_up",
]
