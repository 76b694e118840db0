"""Maps: which positions of a tile have to do with a cluster, a class, a selection, a channel.

Cheap to import: methods are loaded when first asked for, and none of them imports torch.
"""

from __future__ import annotations

from widgetkit.explain import faithfulness, localisation, sanity
from widgetkit.explain.base import (
    Batch,
    ChannelTarget,
    ClassTarget,
    ClusterTarget,
    Coarsened,
    LatentTarget,
    Layer,
    MapMethod,
    Model,
    Need,
    SelectionTarget,
    Target,
    coarse_of,
)
from widgetkit.explain.cluster_maps import ClusterMaps, cluster_maps
from widgetkit.explain.compare import Agreement, agreement, pairwise
from widgetkit.explain.concept_direction import concept_direction
from widgetkit.explain.concept_profiles import ConceptProfiles, concept_profiles, shells
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.organ_box import align, organ_boxes
from widgetkit.explain.registry import (
    compute,
    for_target,
    get,
    is_live,
    methods,
    register,
    unregister,
)
from widgetkit.explain.resample import area_mean, upsample
from widgetkit.explain.scale import Scale, shared_scale

__all__ = [
    "Agreement",
    "Batch",
    "ChannelTarget",
    "ClassTarget",
    "ClusterMaps",
    "ClusterTarget",
    "Coarsened",
    "ConceptProfiles",
    "ConceptTarget",
    "LatentTarget",
    "Layer",
    "MapMethod",
    "Model",
    "Need",
    "Scale",
    "SelectionTarget",
    "Target",
    "agreement",
    "align",
    "area_mean",
    "cluster_maps",
    "coarse_of",
    "compute",
    "concept_direction",
    "concept_profiles",
    "faithfulness",
    "for_target",
    "get",
    "is_live",
    "localisation",
    "methods",
    "organ_boxes",
    "pairwise",
    "register",
    "sanity",
    "shared_scale",
    "shells",
    "unregister",
    "upsample",
]
