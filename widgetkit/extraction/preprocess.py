"""What happens to a tile before the model sees it; written down with the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import BadImage, InvalidInput

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# ITU-R BT.601: what PIL's convert("L") and most viewers call grey.
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Preprocess:
    """From tiles as read to the model's input: ``(x / scale - mean) / std``, then a resize.

    Parameters
    ----------
    mean, std : tuple of float
        One value, or one for each channel, on the scale after division by ``scale``.
    scale : float
        255 for 8-bit tiles, 65535 for 16-bit ones; 1 where the model takes the values as they are
        (Hounsfield units, say).
    size : int or tuple of int, optional
        Side, or spatial shape, that tiles are resized to (linear, antialiased). Default: as read.
    channels : int, optional
        Channels the model takes. Grey tiles are repeated for 3; colour ones are made grey for 1.
        Default: as read.
    window : (low, high), optional
        Values of the tiles that the stored 8-bit pictures show as 0 and 255. ``None`` where the
        pictures are the tiles. Used when the model is asked again from stored pictures.
    note : str
        Where the numbers come from.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 255.0
    size: int | tuple[int, ...] | None = None
    channels: int | None = None
    window: tuple[float, float] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            values = (value,) if isinstance(value, int | float) else tuple(value)
            object.__setattr__(self, name, tuple(float(one) for one in values))
        if not isinstance(self.size, int | None):
            object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        if self.window is not None:
            object.__setattr__(self, "window", tuple(float(value) for value in self.window))
        object.__setattr__(self, "scale", float(self.scale))
        self._check()

    def _check(self) -> None:
        if not self.mean or not self.std or not all(map(math.isfinite, self.mean + self.std)):
            raise InvalidInput(
                f"Preprocess mean={self.mean}, std={self.std}: finite numbers needed."
            )
        if min(self.std) <= 0 or not (math.isfinite(self.scale) and self.scale > 0):
            raise InvalidInput(f"Preprocess std={self.std}, scale={self.scale}: must be positive.")
        sides = (self.size,) if isinstance(self.size, int) else self.size or ()
        if any(not 0 < side <= 2**16 for side in sides):
            raise InvalidInput(f"Preprocess size={self.size}: sides from 1 to 65536.")
        if self.channels not in (None, 1, 3):
            raise InvalidInput(
                f"Preprocess channels={self.channels}: 1 or 3. For other inputs give tiles that "
                "the model takes as they are."
            )
        for name in ("mean", "std"):
            if self.channels and len(getattr(self, name)) not in (1, self.channels):
                raise InvalidInput(
                    f"Preprocess {name}={getattr(self, name)}: one value or {self.channels}, one a "
                    "channel."
                )
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InvalidInput(f"Preprocess window={self.window}: (low, high) with low < high.")

    # -- running it ----------------------------------------------------------------------
    def __call__(self, images: np.ndarray, *, device: Any = "cpu") -> Tensor:
        """The model's input.

        Parameters
        ----------
        images : (m, H, W[, 3]) or (m, D, H, W[, 3]) uint8, uint16 or float
        device : torch.device
            Where the arithmetic is done; the images cross as they are, 8-bit ones at a quarter of
            the bytes.

        Returns
        -------
        tensor, (m, channels, H, W) or (m, channels, D, H, W) float32
            In channels-last memory where the tiles were.

        Raises
        ------
        BadImage
            A shape or dtype that is no batch of tiles.
        """
        return self.finish(self.load(images).to(device))

    def load(self, images: np.ndarray) -> Tensor:
        """The images as a tensor of their own dtype and shape, ready to be copied to a device."""
        from widgetkit.extraction._torch import torch

        if images.dtype.kind not in "uif" or images.ndim not in (3, 4, 5):
            raise BadImage(
                f"Tiles of shape {images.shape} and dtype {images.dtype}; expected (m, H, W[, 3]) or "
                "(m, D, H, W[, 3]) of uint8, uint16 or float."
            )
        if images.dtype not in (np.uint8, np.float32):
            images = images.astype(np.float32)
        if not (images.flags.c_contiguous and images.flags.writeable):
            images = np.array(images, order="C")
        return torch.from_numpy(images)

    def finish(self, images: Tensor, *, into: Tensor | None = None) -> Tensor:
        """Channels first, scaled, normalised and resized, on the device the images are on.

        Parameters
        ----------
        images : tensor
            From :meth:`load`.
        into : float32 tensor, optional
            Memory to use, flat, at least as large as the result before resizing. The result lies
            in it. Touching 20 MB of fresh memory for every batch costs a CPU 1 % of a forward pass.
        """
        from widgetkit.extraction._torch import torch

        colour = images.ndim >= 4 and images.shape[-1] == 3
        x = images if colour else images.unsqueeze(-1)
        if colour and self.channels == 1:
            x = (x * torch.tensor(GREY, device=x.device)).sum(-1, keepdim=True)
        elif not colour and self.channels == 3:
            x = x.expand(*x.shape[:-1], 3)
        *outer, width, channels = x.shape
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, channels):
                raise BadImage(
                    f"Preprocess has {len(getattr(self, name))} values of {name} for tiles of "
                    f"{channels} channels. Give it channels={len(getattr(self, name))}."
                )
        # (x / scale - mean) / std in one multiplication and one addition, over whole rows of
        # pixels: five times faster than broadcasting over an innermost axis of three
        std = np.broadcast_to(np.asarray(self.std, np.float64), channels)
        mean = np.broadcast_to(np.asarray(self.mean, np.float64), channels)
        factor = torch.tensor(np.tile(1.0 / (self.scale * std), width), dtype=torch.float32)
        offset = torch.tensor(np.tile(-mean / std, width), dtype=torch.float32)
        rows = x.reshape(*outer, width * channels)
        if into is None or into.numel() < rows.numel():
            rows = rows.to(torch.float32, copy=True)
        else:
            rows = into[: rows.numel()].view(rows.shape).copy_(rows)
        torch.addcmul(offset.to(x.device), rows, factor.to(x.device), out=rows)
        return self._resized(rows.view(*outer, width, channels).movedim(-1, 1))

    def _resized(self, x: Tensor) -> Tensor:
        from torch.nn import functional

        if self.size is None:
            return x
        axes = x.ndim - 2
        size = (self.size,) * axes if isinstance(self.size, int) else self.size
        if len(size) != axes:
            raise BadImage(f"Preprocess size={self.size} for tiles with {axes} spatial axes.")
        if tuple(x.shape[2:]) == size:
            return x
        if axes == 2:
            return functional.interpolate(x, size, mode="bilinear", antialias=True)
        return functional.interpolate(x, size, mode="trilinear")

    def from_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """Tiles in their own units from pictures as the store keeps them.

        ``pictures`` are uint8 or float between 0 and 255; the window turns them back. What was
        outside the window, and finer than its 256 steps, is gone.
        """
        if self.window is None:
            return pictures
        low, high = self.window
        scaled = pictures.astype(np.float32) * np.float32((high - low) / 255.0)
        restored: np.ndarray = scaled + np.float32(low)
        return restored

    # -- writing it down -----------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` gives an equal one back."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preprocess:
        """From :meth:`to_dict`, or from ``store.manifest.preprocess``; other keys are ignored.

        Raises
        ------
        InvalidInput
            A value is not what it should be.
        """
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in known.items()
            }
            return cls(**values)
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"The recorded preprocessing cannot be read: {error}.") from None

    # -- choosing it ---------------------------------------------------------------------
    @classmethod
    def suggest(
        cls, shape: tuple[int, ...], dtype: Any, model: nn.Module | None = None
    ) -> Preprocess:
        """A sensible preset for tiles of this shape and dtype, and this model.

        The model's own numbers where it carries some (``pretrained_cfg``, ``default_cfg``);
        ImageNet's mean and standard deviation for a model that takes colour; else the range 0 to 1.
        Floats are left as they are. ``note`` says which.

        Parameters
        ----------
        shape : tuple of int
            Of one tile: (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3).
        dtype : numpy dtype
        model : nn.Module, optional
        """
        colour = len(shape) >= 3 and shape[-1] == 3
        kind = np.dtype(dtype)
        scale = {"uint8": 255.0, "uint16": 65535.0}.get(kind.name, 1.0)
        wanted = input_channels(model) if model is not None else None
        channels = wanted if wanted in (1, 3) else None
        base = cls(scale=scale, channels=channels)
        if (channels or (3 if colour else 1)) != 3:
            return replace(base, note="values divided by their range; assumed")
        own = _own_numbers(model)
        if own is not None:
            mean, std, note = own
            return replace(base, mean=mean, std=std, note=note)
        if kind.kind == "f":
            return replace(base, note="float tiles are taken as they are; assumed")
        return replace(
            base,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            note="mean and standard deviation of ImageNet; assumed",
        )


def input_channels(model: nn.Module) -> int | None:
    """Channels the model takes: those of its first convolution, None if it has none."""
    from widgetkit.extraction._torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return int(module.in_channels)
    return None


def _own_numbers(
    model: nn.Module | None,
) -> tuple[tuple[float, ...], tuple[float, ...], str] | None:
    """Mean and standard deviation that a model brings along."""
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        if isinstance(config, Mapping) and {"mean", "std"} <= set(config):
            try:
                mean, std = (tuple(float(v) for v in config[key]) for key in ("mean", "std"))
            except (TypeError, ValueError):
                continue
            if len(mean) in (1, 3) and len(std) in (1, 3):
                return mean, std, f"the model's own {attribute}"
    if type(model).__module__.partition(".")[0] == "efficientnet_lite_pytorch":
        # Trained on (x - 127) / 128, as its authors' example does.
        return (
            (127 / 255,) * 3,
            (128 / 255,) * 3,
            "(x - 127) / 128, as EfficientNet-Lite was trained",
        )
    return None
