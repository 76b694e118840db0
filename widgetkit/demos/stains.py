"""Two stains from the colours of a picture: optical density, Macenko's estimate, separation.

What haematoxylin and eosin absorb adds up in optical density (Beer and Lambert), so a pixel is a
sum of two directions in a space of three. :func:`macenko` finds the two directions of a picture,
:func:`separate` the amounts along them. Plain numpy, no dependence on the kit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from widgetkit.errors import InvalidInput, NoTissue

#: Colour vectors of Ruifrok and Johnston (2001) in optical density, red, green, blue; not yet of
#: length 1. They tell which direction found in a picture is which stain.
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
#: Length, in natural units of optical density, below which a pixel is too pale to have a direction.
#: Macenko et al. use 0.15.
PALEST = 0.15
#: Angles taken as the pure stains, in percent of the pixels; the extremes themselves are noise.
EXTREMES = (1.0, 99.0)
#: Glass is brighter than this and less saturated than that; as the SHELL network's authors have it.
GLASS_BRIGHTNESS, GLASS_SATURATION = 0.83, 0.12
#: Fewer pixels of glass than this say nothing about the lamp; then it is taken to be this bright.
FEWEST_GLASS, USUAL_WHITE = 100, 240.0


@dataclass(frozen=True)
class Stains:
    """The colours of two stains and of the light.

    Parameters
    ----------
    haematoxylin, eosin : (3,) float
        Directions in optical density, red, green, blue; made to have length 1.
    white : float
        Intensity where nothing absorbs, of 255.
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    white: float = 255.0

    def __post_init__(self) -> None:
        for name in ("haematoxylin", "eosin"):
            vector = np.asarray(getattr(self, name), np.float64)
            length = float(np.linalg.norm(vector))
            if vector.shape != (3,) or not math.isfinite(length) or length == 0:
                raise InvalidInput(f"{name}={getattr(self, name)!r}: three finite numbers needed.")
            object.__setattr__(self, name, tuple((vector / length).tolist()))
        if not 1 < self.white <= 255:
            raise InvalidInput(f"white={self.white}: an intensity above 1 and up to 255.")
        if np.linalg.norm(np.cross(self.haematoxylin, self.eosin)) < 1e-6:
            raise InvalidInput("Haematoxylin and eosin have the same colour: nothing to separate.")

    @property
    def unmixing(self) -> np.ndarray:
        """(2, 3) float64: optical density -> amounts of haematoxylin and eosin, least squares."""
        inverse: np.ndarray = np.linalg.pinv(np.stack([self.haematoxylin, self.eosin], axis=1))
        return inverse


def ruifrok(white: float = 255.0) -> Stains:
    """The colours of haematoxylin and eosin as published, for pictures too small to estimate from.

    References
    ----------
    Ruifrok & Johnston (2001), Quantification of histochemical staining by color deconvolution.
    """
    return Stains(HAEMATOXYLIN, EOSIN, white)


def optical_density(rgb: np.ndarray, white: float = 255.0) -> np.ndarray:
    """(..., 3) intensities 0..255 -> (..., 3) float32, ``-log10(rgb / white)``, at least 0.

    Intensities below 1 count as 1, so that black stays finite.
    """
    light = np.clip(np.asarray(rgb, np.float32), 1.0, np.float32(white))
    density: np.ndarray = -np.log10(light / np.float32(white))
    return density + np.float32(0.0)  # -0.0 where nothing absorbs


def separate(rgb: np.ndarray, stains: Stains) -> np.ndarray:
    """(..., 3) intensities -> (..., 2) float32 amounts of haematoxylin and eosin.

    Least squares in optical density; may be slightly negative where a pixel has neither colour.
    """
    amounts: np.ndarray = optical_density(rgb, stains.white) @ stains.unmixing.T.astype(np.float32)
    return amounts


def glass(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (h, w) bool: bright and without colour."""
    high = rgb.max(axis=-1).astype(np.float32)
    low = rgb.min(axis=-1).astype(np.float32)
    pale = high - low < GLASS_SATURATION * np.maximum(high, 1)
    found: np.ndarray = pale & (high > GLASS_BRIGHTNESS * 255)
    return found


def macenko(rgb: np.ndarray, *, white: float | None = None) -> Stains:
    """The colours of the two stains of a picture.

    The two directions of greatest spread of optical density (about zero, where light is unabsorbed)
    span a plane; in it, the stains are the directions at the edges of the fan of pixels.

    Parameters
    ----------
    rgb : (h, w, 3) uint8
    white : float, optional
        Intensity of the light. Default: the mean of what is glass, kept between 200 and 255.

    Raises
    ------
    NoTissue
        Fewer than a hundred stained pixels, or all of one colour.

    References
    ----------
    Macenko et al. (2009), A method for normalizing histology slides for quantitative analysis.
    """
    picture = np.asarray(rgb)
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise InvalidInput(f"A picture of shape {picture.shape}; expected (h, w, 3).")
    empty = glass(picture)
    if white is None:
        bright = picture[empty]
        white = float(np.clip(bright.mean(), 200, 255)) if empty.sum() >= FEWEST_GLASS else None
    white = USUAL_WHITE if white is None else white
    density = optical_density(picture[~empty], white).astype(np.float64)
    density = density[np.linalg.norm(density, axis=1) * math.log(10) > PALEST]
    if len(density) < 100:
        raise NoTissue(
            f"{len(density)} stained pixels are too few to estimate two stains from. Use ruifrok()."
        )
    values, vectors = np.linalg.eigh(density.T @ density)
    if values[1] < 1e-9 * values[2]:
        raise NoTissue("All stained pixels have one colour: there are no two stains to find.")
    plane = vectors[:, :0:-1]  # (3, 2), the direction of most spread first
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    along = density @ plane
    angles = np.arctan2(along[:, 1], along[:, 0])
    found = [
        plane @ (math.cos(angle), math.sin(angle)) for angle in np.percentile(angles, EXTREMES)
    ]
    likeness = [float(vector @ HAEMATOXYLIN) - float(vector @ EOSIN) for vector in found]
    if likeness[0] < likeness[1]:
        found.reverse()
    first, second = (tuple(vector.tolist()) for vector in found)
    return Stains(first, second, white)
