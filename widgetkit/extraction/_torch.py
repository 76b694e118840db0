"""torch, or the error that says how to get it."""

from __future__ import annotations

from widgetkit.errors import missing

try:
    import torch as torch
    from torch import nn as nn
except ImportError as error:
    raise missing("torch", "torch", "Running a model") from error
