"""The activation store: one folder that holds what a model has made of a data set.

:class:`ActivationStore` reads it, :class:`StoreWriter` writes it. The format is described in
docs/store.md; numpy alone can read it.
"""

from __future__ import annotations

import os

from widgetkit.store.columns import Column, Segmented
from widgetkit.store.derived import Derived
from widgetkit.store.entries import Entry
from widgetkit.store.manifest import ImageInfo, LayerInfo, Manifest, SpriteInfo
from widgetkit.store.plan import ImageEncoding, LayerPlan, Plan
from widgetkit.store.resumable import ResumableWriter
from widgetkit.store.store import ActivationStore
from widgetkit.store.verify import VerifyReport
from widgetkit.store.writer import StoreWriter


def open(path: str | os.PathLike[str]) -> ActivationStore:  # named as in `wk.open`
    """Open a store for reading. See :meth:`ActivationStore.open`."""
    return ActivationStore.open(path)


__all__ = [
    "ActivationStore",
    "Column",
    "Derived",
    "Entry",
    "ImageEncoding",
    "ImageInfo",
    "LayerInfo",
    "LayerPlan",
    "Manifest",
    "Plan",
    "ResumableWriter",
    "Segmented",
    "SpriteInfo",
    "StoreWriter",
    "VerifyReport",
    "open",
]
