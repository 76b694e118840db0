"""From a model and tiles to an activation store.

The names are loaded when first used: importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it. No module may be called like a public name: importing
# it would put the module where the function should be.
_PUBLIC = {
    "Layout": "widgetkit.extraction.arrange",
    "ModelContext": "widgetkit.extraction.model",
    "Preprocess": "widgetkit.extraction.preprocess",
    "extract": "widgetkit.extraction.run",
    "import_features": "widgetkit.extraction.features",
    "layers": "widgetkit.extraction.layer_table",
    "linear_head": "widgetkit.extraction.heads",
    "model_identity": "widgetkit.extraction.identity",
}

__all__ = [
    "Layout",
    "ModelContext",
    "Preprocess",
    "extract",
    "import_features",
    "layers",
    "linear_head",
    "model_identity",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'widgetkit.extraction' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from widgetkit.extraction.arrange import Layout
    from widgetkit.extraction.features import import_features
    from widgetkit.extraction.heads import linear_head
    from widgetkit.extraction.identity import model_identity
    from widgetkit.extraction.layer_table import layers
    from widgetkit.extraction.model import ModelContext
    from widgetkit.extraction.preprocess import Preprocess
    from widgetkit.extraction.run import extract
