"""Estimators and measures over plain arrays; nothing here knows a store, a session or a view.

Importing this package imports neither scikit-learn, torch nor umap: they are loaded when used.
"""

# Eager on purpose: several functions carry the name of their module, and a lazily loaded name
# would be shadowed by the module as soon as somebody imports that.
from widgetkit.analysis.composition import composition
from widgetkit.analysis.contrast import selection_contrast
from widgetkit.analysis.hdbscan import hdbscan_labels
from widgetkit.analysis.kmeans import KMeans
from widgetkit.analysis.nmf import NMF
from widgetkit.analysis.nnls import nnls, nnls_batches
from widgetkit.analysis.projection import Projection, project
from widgetkit.analysis.quality import quality
from widgetkit.analysis.stability import label_agreement, match, stability
from widgetkit.analysis.trust import neighbourhood_trust
from widgetkit.analysis.umap_layout import warm_up

__all__ = [
    "NMF",
    "KMeans",
    "Projection",
    "composition",
    "hdbscan_labels",
    "label_agreement",
    "match",
    "neighbourhood_trust",
    "nnls",
    "nnls_batches",
    "project",
    "quality",
    "selection_contrast",
    "stability",
    "warm_up",
]
