"""Stains: closed forms on pictures mixed from known colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit.demos.stains import (
    EOSIN,
    HAEMATOXYLIN,
    Stains,
    glass,
    macenko,
    optical_density,
    ruifrok,
    separate,
)
from widgetkit.errors import InvalidInput, NoTissue


def mixed(stains: Stains, amounts: np.ndarray) -> np.ndarray:
    """The picture, in floats, that these amounts of stain give: light by Beer and Lambert."""
    density = amounts @ np.stack([stains.haematoxylin, stains.eosin])
    picture: np.ndarray = stains.white * 10.0**-density
    return picture


def angle(a: object, b: object) -> float:
    """Degrees between two directions."""
    cosine = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
    return math.degrees(math.acos(min(1.0, float(cosine))))


def test_density_is_the_logarithm_of_what_is_absorbed() -> None:
    found = optical_density(np.array([[255, 25.5, 2.55]]), 255.0)
    np.testing.assert_allclose(found, [[0, 1, 2]], atol=1e-6)
    assert optical_density(np.array([0]), 200.0)[0] == pytest.approx(
        math.log10(200)
    )  # not infinite
    assert optical_density(np.array([255]), 200.0)[0] == 0  # brighter than the lamp


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1.2), st.floats(0, 1.2), st.floats(180, 255))
def test_known_amounts_are_found_again(first: float, second: float, white: float) -> None:
    stains = ruifrok(white)
    picture = mixed(stains, np.array([[first, second]]))
    if picture.min() >= 1:
        np.testing.assert_allclose(separate(picture, stains), [[first, second]], atol=2e-5)


def test_unmixing_is_the_inverse_of_mixing() -> None:
    stains = Stains((0.6, 0.7, 0.3), (0.2, 0.9, 0.4))
    mixing = np.stack([stains.haematoxylin, stains.eosin], axis=1)
    np.testing.assert_allclose(stains.unmixing @ mixing, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_planted_stains_are_found(seed: int) -> None:
    """Colours other than the published ones, amounts all over, some pixels of one stain alone."""
    rng = np.random.default_rng(seed)
    planted = Stains(
        np.add(HAEMATOXYLIN, rng.normal(0, 0.05, 3)),
        np.add(EOSIN, abs(rng.normal(0, 0.1, 3))),
        240.0,
    )
    amounts = rng.uniform(0, 0.8, (120, 100, 2))
    amounts[:20, :, 0], amounts[20:40, :, 1] = 0, 0
    picture = np.clip(np.rint(mixed(planted, amounts)), 0, 255).astype(np.uint8)
    found = macenko(picture, white=240.0)
    assert angle(found.haematoxylin, planted.haematoxylin) < 1.5
    assert angle(found.eosin, planted.eosin) < 1.5


def test_the_lamp_is_read_from_the_glass() -> None:
    picture = np.full((40, 40, 3), 242, np.uint8)
    picture[:20] = np.rint(
        mixed(ruifrok(242), np.random.default_rng(0).uniform(0.1, 1, (20, 40, 2)))
    )
    assert glass(picture).mean() == 0.5
    assert macenko(picture).white == pytest.approx(242)
    assert macenko(picture[:20]).white == 240.0  # none to read from


def test_the_order_of_the_stains_does_not_depend_on_the_picture() -> None:
    rng = np.random.default_rng(1)
    amounts = rng.uniform(0, 0.9, (60, 60, 2))
    for scale in ((1, 0.2), (0.2, 1)):
        picture = np.rint(mixed(ruifrok(), amounts * scale)).astype(np.uint8)
        found = macenko(picture, white=255.0)
        assert angle(found.haematoxylin, HAEMATOXYLIN) < angle(found.haematoxylin, EOSIN)
        assert angle(found.eosin, EOSIN) < angle(found.eosin, HAEMATOXYLIN)


def test_what_has_no_stains_is_refused() -> None:
    with pytest.raises(NoTissue, match="too few"):
        macenko(np.full((64, 64, 3), 244, np.uint8))
    with pytest.raises(NoTissue, match="one colour"):
        macenko(np.full((64, 64, 3), (90, 20, 120), np.uint8))
    with pytest.raises(InvalidInput, match="shape"):
        macenko(np.zeros((64, 64), np.uint8))
    with pytest.raises(InvalidInput, match="same colour"):
        Stains((1, 1, 1), (2, 2, 2))
    with pytest.raises(InvalidInput, match="white"):
        Stains(HAEMATOXYLIN, EOSIN, 0)
    with pytest.raises(InvalidInput, match="eosin"):
        Stains(HAEMATOXYLIN, (0, 0, 0))


def test_colours_of_the_real_slide_are_those_of_the_original_program() -> None:
    """macenko-pca 1.0.4 (MIT), which SHELL's authors use, on the demo slide at 2 um a pixel.

    The two differ in how percentiles of angles are taken; a degree or two.
    """
    theirs = {"haematoxylin": (0.736, 0.575, 0.358), "eosin": (0.158, 0.849, 0.505)}
    openslide = pytest.importorskip("openslide")
    from PIL import Image

    from widgetkit.demos import fetch
    from widgetkit.errors import FetchFailed

    try:
        slide = openslide.OpenSlide(fetch("slide"))
    except FetchFailed as error:
        pytest.skip(f"the demo's slide is not there: {error}")
    whole = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    small = np.asarray(whole.resize((554, 740), Image.Resampling.BILINEAR))
    found = macenko(small)
    assert angle(found.haematoxylin, theirs["haematoxylin"]) < 2
    assert angle(found.eosin, theirs["eosin"]) < 1
