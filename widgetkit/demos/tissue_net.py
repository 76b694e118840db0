"""A small tile classifier: epithelium or stroma, as SHELL would label it.

The first half of EfficientNet-Lite0 (ImageNet weights; stem and blocks 0 to 7, stride 16), a 1 x 1
convolution to 64 channels with ReLU, their mean, and a linear layer. The ReLU is the layer to look
at: non-negative, one position every 8 um of a tile, and the classes are read from its mean by one
linear layer, so that class maps, removal of a concept and the like have closed forms.
"""

from __future__ import annotations

import os

from torch import Tensor, nn

from widgetkit.demos.efficientnet import EfficientNetLite0
from widgetkit.demos.labelled import CLASSES
from widgetkit.demos.weights_file import load_state, save_state

#: Blocks of EfficientNet-Lite0 that are kept, and the channels that the last of them gives.
BLOCKS, INSIDE = 8, 80
#: Channels of the layer that is looked at.
CHANNELS = 64
LAYER = "relu"


class TissueNet(nn.Module):
    """(m, 3, H, W), (pixel - 127) / 128 -> (m, 2) logits of :data:`CLASSES`. 0.26 M parameters.

    ``relu`` gives (64, H / 16, W / 16), non-negative.
    """

    def __init__(self, trunk: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        whole = EfficientNetLite0() if trunk is None else trunk
        self.stem = whole.stem
        self.blocks = nn.Sequential(*[whole.blocks[i] for i in range(BLOCKS)])
        self.reduce = nn.Conv2d(INSIDE, CHANNELS, 1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(CHANNELS, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu(self.reduce(self.blocks(self.stem(x))))
        out: Tensor = self.fc(self.pool(maps).flatten(1))
        return out


def save_weights(net: TissueNet, path: str | os.PathLike[str]) -> None:
    """Write the weights as ``.npz``; equal weights give equal bytes."""
    save_state(net.state_dict(), path, "<f4")


def load_weights(path: str | os.PathLike[str]) -> TissueNet:
    """The network with weights from :func:`save_weights`, in evaluation mode.

    Raises
    ------
    InvalidInput
        The file does not hold these weights.
    """
    net = TissueNet().eval()
    net.load_state_dict(load_state(net.state_dict(), path, "<f4", "the tile classifier"))
    return net
