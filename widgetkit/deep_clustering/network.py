"""The network of the autoencoder: strided convolutions down, transposed ones up."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from widgetkit.extraction._torch import nn, torch

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def grids(shape: Sequence[int], levels: int) -> list[tuple[int, ...]]:
    """Spatial shapes from the input to the last layer; each halved, rounded up."""
    found = [tuple(int(side) for side in shape)]
    for _ in range(levels):
        found.append(tuple(-(-side // 2) for side in found[-1]))
    return found


class AutoencoderNetwork(nn.Module):
    """Encoder, latent vector, decoder; 2-D or 3-D by the length of ``shape``.

    Layers others ask for by name: ``encoder.last`` (after its ReLU, ``channels[-1]`` channels on
    a grid halved once for each convolution) and ``latent`` (a vector). Any size of image comes
    back at exactly that size: a side that is no multiple of the strides is padded by the
    convolutions on the way down and cropped by the transposed ones on the way up.

    Parameters
    ----------
    shape : tuple of int
        (H, W) or (D, H, W).
    planes : int
        Colours: 1 or 3.
    channels : tuple of int
        Of each convolution.
    latent : int
        Length of the vector.
    kernel : int
        Odd side of the kernels.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        planes: int = 1,
        channels: tuple[int, ...] = (16, 32, 64),
        latent: int = 32,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        conv, transposed = _CONV[len(shape)], _TRANSPOSED[len(shape)]
        levels = grids(shape, len(channels))
        self.grid = levels[-1]
        widths = (planes, *channels)
        half = kernel // 2
        down: OrderedDict[str, nn.Module] = OrderedDict()
        up: OrderedDict[str, nn.Module] = OrderedDict()
        last = len(channels)
        for level in range(1, last + 1):
            down[f"conv{level}"] = conv(widths[level - 1], widths[level], kernel, 2, half)
            down["last" if level == last else f"relu{level}"] = nn.ReLU()
        for level in range(last, 0, -1):
            # 2 n - 1 + extra: exactly the side before, odd or even
            extra = tuple(1 - side % 2 for side in levels[level - 1])
            up[f"conv{level}"] = transposed(
                widths[level],
                widths[level - 1],
                kernel,
                2,
                half,
                output_padding=extra,  # type: ignore[arg-type]
            )
            if level > 1:
                up[f"relu{level}"] = nn.ReLU()
        flat = channels[-1] * math.prod(self.grid)
        self.encoder = nn.Sequential(down)
        self.latent = nn.Linear(flat, latent)
        self.expand = nn.Linear(latent, flat)
        self.expanded = nn.ReLU()
        self.decoder = nn.Sequential(up)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latent vectors (m, d) of inputs (m, planes, *shape)."""
        z: torch.Tensor = self.latent(self.encoder(x).flatten(1))
        return z

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Reconstructions (m, planes, *shape) of latent vectors (m, d)."""
        flat = self.expanded(self.expand(z))
        x: torch.Tensor = self.decoder(flat.unflatten(1, (-1, *self.grid)))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstructions of inputs."""
        return self.decode(self.encode(x))

    def initialise(self, seed: int) -> None:
        """Weights of He et al. (2015), drawn on the CPU from ``seed`` alone."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if value.ndim == 1:
                    value.zero_()
                    continue
                transposed = name.startswith("decoder.")
                # a transposed convolution of stride 2 sums over a 2**dims-th of its kernel
                fan = value[:, 0].numel() if transposed else value[0].numel()
                fan = max(1, fan // (2 ** (value.ndim - 2) if transposed else 1))
                linear = name.startswith("latent") or name == "decoder.conv1.weight"
                deviation = math.sqrt((1 if linear else 2) / fan)
                value.copy_(torch.randn(value.shape, generator=generator) * deviation)

    @torch.no_grad()
    def standardise_latent(self, mean: torch.Tensor, scale: float) -> None:
        """Move and scale the latent space, ``(z - mean) / scale``; what is decoded stays.

        The distances that soft assignments are made of then have a scale that does not depend on
        how the weights happened to share it out.
        """
        self.expand.bias.add_(self.expand.weight @ mean)
        self.expand.weight.mul_(scale)
        self.latent.weight.div_(scale)
        self.latent.bias.sub_(mean).div_(scale)
