"""Liver parenchyma to put lesions into: texture of a real slice, or of a phantom."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, MissingDependency, missing

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
LiverBackground: TypeAlias = Literal["auto", "liver", "phantom"]

#: Points of the fine grid along (D, H, W) of a voxel; voxels are their means.
FINE = (2, 2, 2)
SHAPE = (12, 32, 32)
#: mm. In the plane two pixels of the real slice; in depth a usual thickness of slices.
SPACING = (4.0, 1.446, 1.446)
STEP: tuple[float, ...] = tuple(side / parts for side, parts in zip(SPACING, FINE, strict=True))
FINE_SHAPE: tuple[int, ...] = tuple(side * parts for side, parts in zip(SHAPE, FINE, strict=True))

SOURCES = {
    "liver": "semi-synthetic: parenchyma made from patches of one real liver MRI slice (pydicom's example, "
    "MIT), vessels and lesions simulated in three phases; no patient's lesion",
    "phantom": "phantom: parenchyma, vessels and lesions all simulated in three phases; no patient",
}

#: Texture planes that volumes are made of, px of the fine grid a side, and their seed.
PLANES, SIDE, SEED = 12, 132, 20041
#: Patches: px a side, and by how much neighbours overlap.
PATCH, OVERLAP = 20, 6
#: Texture is what is left of the slice without what is smoother than this (px): the coil's shading.
SMOOTH_PX = 12.0
#: Relative deviation of the phantom's texture, about that of the real one.
PHANTOM_TEXTURE = 0.045
#: mm in depth over which one texture plane gives way to the next.
DEPTH_MM = 9.0


@dataclass(frozen=True, eq=False)
class Parenchyma:
    """Texture planes (k, side, side), relative to the mean of the liver; mean 0."""

    planes: Floats
    kind: str

    @property
    def source(self) -> str:
        """In a sentence: whether it is semi-synthetic or a phantom."""
        return SOURCES[self.kind]

    def volume(self, rng: np.random.Generator) -> Floats:
        """Texture (*FINE_SHAPE): planes, cut and turned at random, that give way to one another along
        the depth; the deviation is the same in all slices."""
        depth, side = FINE_SHAPE[0], FINE_SHAPE[1]
        knots = int(np.ceil(depth * STEP[0] / DEPTH_MM)) + 2
        cuts = np.stack([self._cut(rng, side) for _ in range(knots)])
        place = np.arange(depth) * STEP[0] / DEPTH_MM + rng.uniform(0, 0.999)
        below = place.astype(int)
        angle = ((place - below) * np.pi / 2).astype(np.float32)[:, None, None]
        volume: Floats = np.cos(angle) * cuts[below] + np.sin(angle) * cuts[below + 1]
        return volume

    def _cut(self, rng: np.random.Generator, side: int) -> Floats:
        plane = self.planes[rng.integers(len(self.planes))]
        y, x = rng.integers(0, plane.shape[0] - side + 1, 2)
        part = plane[y : y + side, x : x + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        return np.rot90(part, int(rng.integers(4)))


def parenchyma(background: LiverBackground) -> Parenchyma:
    """Of the real slice or of the phantom.

    Raises
    ------
    InvalidInput
        Neither of the names.
    MissingDependency
        ``"liver"`` without pydicom; ``"auto"`` warns and takes the phantom.
    """
    if background not in ("auto", "liver", "phantom"):
        raise InvalidInput(f"background={background!r}: 'auto', 'liver' or 'phantom'.")
    if background != "auto":
        return _made(background)
    try:
        return _made("liver")
    except MissingDependency as error:
        warnings.warn(
            f"The phantom is used instead of real parenchyma: {error}", UserWarning, stacklevel=3
        )
        return _made("phantom")


@lru_cache(maxsize=2)
def _made(kind: str) -> Parenchyma:
    rng = np.random.default_rng(SEED)
    if kind == "phantom":
        planes = np.stack([_drawn(rng) for _ in range(PLANES)])
    else:
        texture, usable = real_texture()
        patches = _patches(texture, usable)
        planes = np.stack([_quilt(patches, rng) for _ in range(PLANES)])
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    planes.flags.writeable = False
    return Parenchyma(planes, kind)


def real_texture() -> tuple[Floats, Bools]:
    """The slice's deviation from its own smooth shading (H, W), and where it is parenchyma.

    Of the file, the pixels and the drawn region of interest are read, and nothing of its header.
    What is inside that region, a lesion, is not parenchyma.

    Raises
    ------
    MissingDependency
        pydicom is not installed.
    """
    from scipy import ndimage

    try:
        import pydicom
        from pydicom import examples
    except ImportError:
        raise missing("pydicom", "medical", "Real liver parenchyma") from None
    dataset = pydicom.dcmread(examples.get_path("overlay"))
    values = dataset.pixel_array.astype(np.float64)
    drawn = np.asarray(dataset.overlay_array(0x6000), bool)
    del dataset
    # the liver: what is nearly as bright as a place in its middle, and connected with it
    soft = ndimage.gaussian_filter(values, 1.5)
    near = (soft > 0.72 * soft[150, 85]) & (soft < 1.45 * soft[150, 85])
    near = ndimage.binary_opening(near, iterations=4)
    numbers, _ = ndimage.label(near)
    liver = numbers == numbers[150, 85]
    liver[:, :50] = liver[:, 186:] = False
    inside = ndimage.binary_fill_holes(drawn)
    inside[:, :40] = inside[:, 90:] = False  # letters are drawn there
    lesion = ndimage.binary_dilation(inside, iterations=2)
    usable = ndimage.binary_erosion(liver, iterations=3) & ~lesion
    weight = ndimage.gaussian_filter(liver.astype(np.float64), SMOOTH_PX)
    shading = ndimage.gaussian_filter(np.where(liver, values, 0.0), SMOOTH_PX)
    shading /= np.maximum(weight, 1e-6)
    texture = np.where(liver, values / np.maximum(shading, 1.0) - 1, 0.0)
    return texture.astype(np.float32), usable


def _patches(texture: Floats, usable: Bools) -> Floats:
    """Every square that lies in the parenchyma, in its eight orientations, (m, PATCH, PATCH)."""
    found = []
    for y in range(0, texture.shape[0] - PATCH, 2):
        for x in range(0, texture.shape[1] - PATCH, 2):
            part = slice(y, y + PATCH), slice(x, x + PATCH)
            if usable[part].all():
                found.append(texture[part])
    squares = np.stack(found)
    turned = [np.rot90(squares, k, (1, 2)) for k in range(4)]
    return np.concatenate([*turned, *(one[:, :, ::-1] for one in turned)])


def _quilt(patches: Floats, rng: np.random.Generator) -> Floats:
    """A plane of patches, each one of the twelve that fit best of 400 to what is there already; they
    fade into one another where they overlap (Efros & Freeman 2001, without the cut)."""
    step = PATCH - OVERLAP
    count = (SIDE - OVERLAP) // step
    plane = np.zeros((count * step + OVERLAP,) * 2, np.float32)
    ramp = (np.arange(OVERLAP, dtype=np.float32) + 1) / (OVERLAP + 1)
    for row in range(count):
        for column in range(count):
            part = (
                slice(row * step, row * step + PATCH),
                slice(column * step, column * step + PATCH),
            )
            fade = np.ones((PATCH, PATCH), np.float32)
            if row:
                fade[:OVERLAP] *= ramp[:, None]
            if column:
                fade[:, :OVERLAP] *= ramp
            candidates = patches[rng.integers(0, len(patches), 400)]
            there = fade < 1
            error = (((candidates - plane[part]) ** 2) * there).sum(axis=(1, 2))
            chosen = candidates[np.argsort(error, kind="stable")[rng.integers(12)]]
            plane[part] = plane[part] * (1 - fade) + chosen * fade
    return plane


def _drawn(rng: np.random.Generator) -> Floats:
    """Correlated noise of two grains."""
    from scipy import ndimage

    mixed = np.zeros((SIDE, SIDE))
    for sigma, share in ((1.2, 1.0), (4.0, 0.7)):
        grain = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
        mixed += share * grain / grain.std()
    plane: Floats = (PHANTOM_TEXTURE * mixed / mixed.std()).astype(np.float32)
    return plane
