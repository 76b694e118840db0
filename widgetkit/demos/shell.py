"""SHELL, a network for prostate H&E, with the preparation that it was trained with.

SHELL ("SHELL highlights epithelium and lumen locations", lavlab-shell 0.9.1, MIT, LaViolette lab)
is a MONAI SegResNetVAE of 1.58 M parameters. It takes eosin, haematoxylin and optical density of a
picture at 2 um a pixel, each scaled to 0..1, and gives one logit a pixel for lumen or glass, for
epithelium and for the tissue around it. **What it says is a model's opinion and no pathologist's**,
here on skin, which it never saw in training.

The steps are those of the package, written anew: glass is what is bright and grey, its mean is the
lamp; stains by Macenko's method; amounts of stain cut at the 1st and 99th percentile of the picture;
sides filled to a multiple of 64 by reflection. Left out: the package's search for glass by entropy,
its windows (a picture is run whole), and its clean-up of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from widgetkit.demos.onnx_net import OnnxNet, load_onnx
from widgetkit.demos.stains import Stains, macenko, optical_density, separate
from widgetkit.errors import InvalidInput, NoTissue
from widgetkit.tiles.fetch import fetch

#: What its three logits stand for, in order. The package's README counts otherwise; its
#: ``model.CLASS_NAMES`` and a look at the maps agree on this.
CLASSES = ("background", "epithelium", "stroma")
#: Micrometres a pixel that it was trained at.
MPP = 2.0
#: It halves its input three times; the package fills sides to this.
MULTIPLE = 64
#: Values of stain and density that become 0 and 1, in percent of the pixels.
CUT = (1.0, 99.0)
#: The most pixels run at once: about 6 GB of activations.
MOST_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class Scale:
    """How a picture's colours become SHELL's input: its stains, and what counts as 0 and 1.

    ``low`` and ``high`` are amounts of eosin, haematoxylin and mean optical density.
    """

    stains: Stains
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @classmethod
    def of(cls, rgb: np.ndarray) -> Scale:
        """From a picture of a whole slide (h, w, 3) uint8, glass and all.

        Raises
        ------
        NoTissue
            No stains can be estimated, or the picture is of one value.
        """
        stains = macenko(rgb)
        values = _eho(rgb, stains).reshape(-1, 3)
        low, high = np.percentile(values, CUT, axis=0)
        if not (high - low > 1e-6).all():
            raise NoTissue(
                "The picture has one colour almost everywhere: give one with more tissue."
            )
        return cls(stains, tuple(low.tolist()), tuple(high.tolist()))

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """(..., h, w, 3) -> (..., 3, h, w) float32 in 0..1: eosin, haematoxylin, optical density."""
        low, high = (np.asarray(cut, np.float32) for cut in (self.low, self.high))
        values = np.clip((_eho(rgb, self.stains) - low) / (high - low), 0.0, 1.0)
        return np.ascontiguousarray(np.moveaxis(values, -1, -3))


def _eho(rgb: np.ndarray, stains: Stains) -> np.ndarray:
    amounts = separate(rgb, stains)
    density = optical_density(rgb, stains.white).mean(axis=-1, keepdims=True)
    values: np.ndarray = np.concatenate([amounts[..., ::-1], density], axis=-1)
    return values


class Shell(nn.Module):
    """SHELL from red, green and blue: (m, 3, h, w) 0..255 -> (m, 3, h, w) logits.

    Preparation is part of the network, so that maps lie on the picture and gradients reach its
    pixels. Give it tiles at 2 um a pixel, unscaled: ``Preprocess(scale=1.0)``.

    Parameters
    ----------
    network : OnnxNet
    scale : Scale
        Of the slide that the tiles are from.
    pooled : bool
        Give each tile's mean logits (m, 3) instead: what class scores map methods can explain.
    """

    def __init__(self, network: OnnxNet, scale: Scale, *, pooled: bool = False) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.pooled = pooled
        self.unmixing: Tensor
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("unmixing", torch.tensor(scale.stains.unmixing, dtype=torch.float32))
        self.register_buffer("low", torch.tensor(scale.low).reshape(1, 3, 1, 1))
        self.register_buffer("high", torch.tensor(scale.high).reshape(1, 3, 1, 1))
        self.eval()

    def prepare(self, rgb: Tensor) -> Tensor:
        """(m, 3, h, w) 0..255 -> (m, 3, h, w) in 0..1, as :meth:`Scale.apply`."""
        white = self.scale.stains.white
        density = -torch.log10(rgb.clamp(1.0, white) / white)
        amounts = torch.einsum("sc,mchw->mshw", self.unmixing, density)
        values = torch.cat([amounts.flip(1), density.mean(1, keepdim=True)], dim=1)
        return ((values - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def forward(self, rgb: Tensor) -> Tensor:
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise InvalidInput(
                f"SHELL takes (m, 3, h, w) of red, green, blue; got {tuple(rgb.shape)}."
            )
        height, width = rgb.shape[-2:]
        x = self.prepare(rgb)
        top, left = -height % MULTIPLE // 2, -width % MULTIPLE // 2
        pads = [left, -width % MULTIPLE - left, top, -height % MULTIPLE - top]
        if any(pads):
            # a picture smaller than its mirror image has its border repeated instead
            fits = max(pads[:2]) < width and max(pads[2:]) < height
            x = functional.pad(x, pads, mode="reflect" if fits else "replicate")
        logits = self.network(x)
        assert isinstance(logits, Tensor)
        logits = logits[..., top : top + height, left : left + width]
        return logits.mean(dim=(2, 3)) if self.pooled else logits


def load_shell(picture: np.ndarray | Scale, *, pooled: bool = False) -> Shell:
    """SHELL with its released weights (fetched on first use), for tiles of one slide.

    Parameters
    ----------
    picture : (h, w, 3) uint8, or Scale
        The slide at about 2 um a pixel, from which the stains are estimated.
    pooled : bool
        One score a class and tile instead of maps.

    Raises
    ------
    FetchFailed
        The weights cannot be fetched.
    MissingDependency
        ``onnx`` is not installed.
    """
    weights = {"model_v1.onnx.data": fetch("shell-weights")}
    network = load_onnx(fetch("shell"), data=weights)
    scale = picture if isinstance(picture, Scale) else Scale.of(picture)
    return Shell(network, scale, pooled=pooled)


@dataclass(frozen=True)
class Segmentation:
    """What SHELL says of a slide: one of :data:`CLASSES` a pixel. A model's labels."""

    classes: np.ndarray  # (h, w) uint8
    mpp: float
    scale: Scale

    def shares(self, boxes: np.ndarray, mpp: float) -> np.ndarray:
        """Share of each class in boxes of the slide.

        Parameters
        ----------
        boxes : (n, 4) float
            left, top, right, bottom in pixels of ``mpp`` micrometres.

        Returns
        -------
        (n, 3) float64
            Background, epithelium, stroma; rows add up to 1.
        """
        from widgetkit.tiles.tissue import covered

        placed = np.asarray(boxes, np.float64) * (mpp / self.mpp)
        parts = [covered(self.classes == i, placed) for i in range(len(CLASSES))]
        return np.stack(parts, axis=1)


def segment(rgb: np.ndarray, *, mpp: float, at: float = MPP) -> Segmentation:
    """Run SHELL over a picture of a slide.

    Parameters
    ----------
    rgb : (h, w, 3) uint8
    mpp : float
        Micrometres a pixel of ``rgb``.
    at : float
        Micrometres a pixel at which SHELL sees it. 2 is what it was trained at; for structures
        larger than prostate glands a coarser value shows it what it knows.

    Raises
    ------
    InvalidInput
        Not a picture, or more than 4096 x 4096 pixels at ``at``.
    """
    picture = np.asarray(rgb)
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        raise InvalidInput(
            f"A picture of {picture.shape}, {picture.dtype}; expected (h, w, 3) uint8."
        )
    if not (mpp > 0 and at > 0):
        raise InvalidInput(f"mpp={mpp}, at={at}: both must be positive.")
    width, height = (max(1, round(side * mpp / at)) for side in picture.shape[1::-1])
    if width * height > MOST_PIXELS:
        raise InvalidInput(
            f"{width} x {height} pixels at {at:g} um are too many to run at once. Cut the slide, or use "
            "a coarser at=."
        )
    small = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
    shell = load_shell(small)
    with torch.inference_mode():
        logits = shell(torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1)[None])
    classes = logits[0].argmax(dim=0).to(torch.uint8).numpy()
    return Segmentation(classes, mpp * picture.shape[1] / width, shell.scale)
