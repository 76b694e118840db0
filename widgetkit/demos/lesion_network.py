"""A small 3-D classifier of liver lesions in three phases, after Wang et al. (2019).

Three 3-D convolutions, the last with 128 channels on a 6 x 8 x 8 grid, one dense layer of 100 units,
six classes. It is trained on **semi-synthetic** lesions (:func:`widgetkit.simulate.liver_lesions`) and
is of no use for patients.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict

from widgetkit.demos.weights_file import load_state, save_state
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.preprocess import Preprocess

CLASSES = 6
CHANNELS = (16, 32, 128)
UNITS = 100
#: The layers that concepts are read from: where, and whether.
LAYERS = ("features.last", "dense")
#: Mean and deviation of the simulated voxels, of 255.
PREPROCESS = Preprocess((0.41, 0.57, 0.53), (0.08, 0.09, 0.09), note="semi-synthetic liver lesions")


class LesionNet(nn.Module):
    """(m, 3, 12, 32, 32) -> (m, 6) logits; 0.25 M parameters.

    ``features.last`` gives (128, 6, 8, 8), ``dense`` (100,), both non-negative; the logits are linear in
    ``dense``.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, last = CHANNELS
        # Flat kernels after the first, and half the slices kept: a position of the last layer sees four slices
        # of twelve. With cubes and a grid of three each saw all of them, and maps could not say how deep
        # a concept lies (pointing game 0.00 instead of 0.95 for arterial hyperenhancement).
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv3d(3, first, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool3d((1, 2, 2)),
                conv2=nn.Conv3d(first, second, (1, 3, 3), padding=(0, 1, 1)),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool3d(2),
                conv3=nn.Conv3d(second, last, (1, 3, 3), padding=(0, 1, 1)),
                last=nn.ReLU(),
            )
        )
        self.pool = nn.MaxPool3d((6, 2, 2))
        self.drop = nn.Dropout(0.4)
        self.dense = nn.Sequential(OrderedDict(linear=nn.Linear(last * 16, UNITS), relu=nn.ReLU()))
        self.classifier = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(self.features(x))

    def classes(self, maps: torch.Tensor) -> torch.Tensor:
        """Logits (m, 6) from what ``features.last`` gives."""
        units = self.dense(self.pool(maps).flatten(1))
        out: torch.Tensor = self.classifier(self.drop(units))
        return out

    def initialise(self, seed: int) -> None:
        """Weights of He et al. (2015), drawn on the CPU from ``seed`` alone.

        Those of layers whose input is not negative have mean 0 for each output, and the dense
        units begin well above 0: with neither, six of ten of them never answer to anything.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if value.ndim == 1:
                    value.zero_()
                    continue
                drawn = torch.randn(value.shape, generator=generator).flatten(1)
                if not name.startswith("features.conv1"):
                    drawn -= drawn.mean(dim=1, keepdim=True)
                value.copy_((drawn * math.sqrt(2 / drawn.shape[1])).view(value.shape))
            units = dict(self.named_parameters())
            units["dense.linear.weight"].mul_(0.1)
            units["dense.linear.bias"].fill_(1.0)


def save_weights(net: LesionNet, path: str | os.PathLike[str]) -> None:
    """Write the weights as ``.npz`` of float16; equal weights give equal bytes."""
    save_state(net.state_dict(), path, "<f2")


def load_weights(path: str | os.PathLike[str]) -> LesionNet:
    """The network with weights from :func:`save_weights`, in evaluation mode.

    Raises
    ------
    InvalidInput
        The file does not hold these weights.
    """
    net = LesionNet().eval()
    net.load_state_dict(load_state(net.state_dict(), path, "<f2", "the lesion classifier"))
    return net
