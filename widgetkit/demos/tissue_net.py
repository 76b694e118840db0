"""A small tile classifier: epithelium or stroma, as SHELL would label it.

The first half of EfficientNet-Lite0 (ImageNet weights; stem and blocks 0 to 7, stride 16), a 1 x 1
convolution to 64 channels with ReLU, their mean, and a linear layer. The ReLU is the layer to look
at: non-negative, one position every 8 um of a tile, and the classes are read from its mean by one
linear layer, so that class maps, removal of a concept and the like have closed forms.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from widgetkit.demos.efficientnet import EfficientNetLite0
from widgetkit.demos.labelled import CLASSES
from widgetkit.errors import InvalidInput

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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            stream = io.BytesIO()
            np.lib.format.write_array(stream, value.numpy(), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            out.writestr(member, stream.getvalue())


def load_weights(path: str | os.PathLike[str]) -> TissueNet:
    """The network with weights from :func:`save_weights`, in evaluation mode.

    Raises
    ------
    InvalidInput
        The file does not hold these weights.
    """
    net = TissueNet().eval()
    wanted = net.state_dict()
    name = Path(path).name
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {
                key: value if key.endswith("num_batches_tracked") else _tensor(file, key, value)
                for key, value in wanted.items()
            }
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidInput(
            f"{name!r} does not hold the weights of the tile classifier: {error}."
        ) from error
    net.load_state_dict(state)
    return net


def _tensor(file: np.lib.npyio.NpzFile, key: str, like: Tensor) -> Tensor:
    values = file[key]
    if values.shape != tuple(like.shape) or values.dtype != np.float32:
        raise ValueError(f"{key} is {values.shape}, {values.dtype}")
    return torch.from_numpy(values)
