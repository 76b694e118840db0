"""Groups of unlabelled images: a convolutional autoencoder, and clusters of its latent vectors.

The names are loaded when first used: importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it. No module may be called like a public name: importing
# it would put the module where the function should be.
_PUBLIC = {
    "ClusterNetwork": "widgetkit.deep_clustering.cluster_network",
    "ConvAutoencoder": "widgetkit.deep_clustering.autoencoder",
    "DeepClustering": "widgetkit.deep_clustering.clustering",
    "soft_assign": "widgetkit.deep_clustering.soft",
    "target_distribution": "widgetkit.deep_clustering.soft",
}

__all__ = [
    "ClusterNetwork",
    "ConvAutoencoder",
    "DeepClustering",
    "soft_assign",
    "target_distribution",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'widgetkit.deep_clustering' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from widgetkit.deep_clustering.autoencoder import ConvAutoencoder
    from widgetkit.deep_clustering.cluster_network import ClusterNetwork
    from widgetkit.deep_clustering.clustering import DeepClustering
    from widgetkit.deep_clustering.soft import soft_assign, target_distribution
