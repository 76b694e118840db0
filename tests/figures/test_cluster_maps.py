"""Maps of clusters on paper: what stands where, few members and none, volumes, sizes and words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.figures.conftest import FILE, PATIENT
from tests.stores import HOSTILE
from widgetkit import explain, figures
from widgetkit.errors import InvalidInput
from widgetkit.figures import FigureSpec
from widgetkit.figures.cluster_maps import SPREAD
from widgetkit.session import Session
from widgetkit.session.mapspec import MapSpec

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (12, 20, 16), dtype=np.uint8)
MAPS = GENERATOR.gamma(1, 1, (12, 5, 4)).astype(np.float32)
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, -1])
MASKS = np.zeros(IMAGES.shape, bool)
MASKS[:, 4:18, 3:14] = True


def made(**options: Any) -> explain.ClusterMaps:
    given = {"images": IMAGES, "masks": MASKS, "k": 4, "members": 2} | options
    return explain.cluster_maps(MAPS, LABELS, **given)


def cells(figure: Any) -> list[Any]:
    """Axes with a picture, in the order drawn: row by row."""
    return [axes for axes in figure.axes if axes.images]


def texts(figure: Any) -> str:
    found = [t.get_text() for t in figure.texts]
    return "\n".join(found + [t.get_text() for axes in figure.axes for t in axes.texts])


def test_a_row_a_cluster_and_what_stands_in_it() -> None:
    found = made()
    figure = figures.cluster_maps(found, FigureSpec(width_mm=150))
    # full rows: mean image, mean map, variance, two members and their maps; of one member: no
    # variance and one pair; of none: nothing
    assert len(cells(figure)) == 7 + 7 + 4
    first = cells(figure)[:7]
    np.testing.assert_array_equal(first[0].images[0].get_array(), np.rint(found.images[0]))
    np.testing.assert_allclose(first[2].images[0].get_array(), found.variance[0])
    assert first[2].images[0].get_cmap().name == SPREAD
    np.testing.assert_array_equal(
        first[5].images[0].get_array(), np.rint(found.member_images[0, 1])
    )
    said = texts(figure)
    for words in ("n = 5", "n = 1", "n = 0", "cluster 4", "variance", "members, each with its map"):
        assert words in said
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert "map (1 = even)" in labels and labels.count("variance") == 1  # one bar each
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(150)


def test_all_maps_share_one_scale_and_all_variances_another() -> None:
    figure = figures.cluster_maps(made(images=None), FigureSpec(width_mm=120))
    by: dict[str, set[tuple[float, float]]] = {}
    for axes in cells(figure):
        image = axes.images[0]
        by.setdefault(image.get_cmap().name, set()).add((image.norm.vmin, image.norm.vmax))
    assert {name: len(ends) for name, ends in by.items()} == {"viridis": 1, SPREAD: 1}
    assert "maps of members" in texts(figure)


def test_cells_have_the_shape_of_the_frame_and_lie_on_the_page() -> None:
    for shape in ((8, 24), (24, 8)):
        figure = figures.cluster_maps(made(shape=shape), FigureSpec(width_mm=160))
        figure.draw_without_rendering()
        width, height = figure.get_size_inches()
        for axes in figure.axes:
            box = axes.get_position()
            assert box.x0 > -1e-6 and box.y0 > -1e-6 and box.x1 < 1 + 1e-6 and box.y1 < 1 + 1e-6
        box = cells(figure)[0].get_position()
        assert box.height * height / (box.width * width) == pytest.approx(shape[0] / shape[1])
        for axes in figure.axes:
            for label in [*axes.get_xticklabels(), axes.xaxis.label]:
                if label.get_text() and label.get_visible() and axes.axison:
                    assert label.get_window_extent().y0 > -1


def test_a_height_that_is_asked_for() -> None:
    figure = figures.cluster_maps(made(), FigureSpec(width_mm=150, height_mm=60))
    assert figure.get_size_inches()[1] * 25.4 == pytest.approx(60)
    for axes in figure.axes:
        assert axes.get_position().y0 > -1e-6
    with pytest.raises(InvalidInput, match="do not fit a page of 20 mm"):
        figures.cluster_maps(made(), FigureSpec(width_mm=150, height_mm=20))
    with pytest.raises(InvalidInput, match="Use fewer, or a wider page"):
        figures.cluster_maps(made(members=5), FigureSpec(width_mm=60))
    with pytest.raises(InvalidInput, match="window"):
        figures.cluster_maps(made(), window=(5, 5))


def test_of_a_volume_the_strongest_slice() -> None:
    volumes = GENERATOR.integers(0, 256, (6, 8, 10, 12), dtype=np.uint8)
    maps = np.full((6, 8, 10, 12), 0.01, np.float32)
    maps[:3, 2] += 1
    maps[3:, 6] += 1
    found = explain.cluster_maps(maps, [0, 0, 0, 1, 1, 1], images=volumes, members=1)
    figure = figures.cluster_maps(found)
    assert "slice 3 of 8" in texts(figure) and "slice 7 of 8" in texts(figure)
    shown = np.asarray(cells(figure)[0].images[0].get_array())
    np.testing.assert_allclose(shown, found.images[0, 2], atol=0.5)
    assert "slice in which its mean map is strongest" in figures.cluster_maps_caption(found)


def test_hounsfield_units_have_one_window() -> None:
    ct = IMAGES.astype(np.float32) * 8 - 1024
    figure = figures.cluster_maps(made(images=ct, masks=None))
    shown = np.asarray(cells(figure)[0].images[0].get_array())
    assert shown.dtype == np.uint8 and shown.max() > 140 and shown.min() < 110
    low = figures.cluster_maps(made(images=ct, masks=None), window=(5000, 6000))
    assert np.asarray(cells(low)[0].images[0].get_array()).max() == 0
    flat = figures.cluster_maps(made(images=np.full_like(ct, -1000)))
    assert len(cells(flat)) == 18


def test_signed_maps_have_zero_in_the_middle() -> None:
    found = explain.cluster_maps(MAPS - 1, LABELS, members=1)
    figure = figures.cluster_maps(found, FigureSpec(width_mm=100))
    norms = [a.images[0].norm for a in cells(figure) if a.images[0].get_cmap().name == "RdBu_r"]
    assert norms and all(norm.vmin == -norm.vmax for norm in norms)


@pytest.mark.parametrize("members", [0, 1])
def test_maps_of_zeros_and_no_members(members: int) -> None:
    found = explain.cluster_maps(np.zeros((3, 4, 4)), [0, 0, 0], members=members)
    figure = figures.cluster_maps(found, FigureSpec(width_mm=80))
    assert len(cells(figure)) == 2 + members


def test_every_format_with_live_text_and_names_as_they_are(tmp_path: Path) -> None:
    found = made(names=[HOSTILE, "$x^2$", "a very long name of a cluster that nobody reads", "d"])
    figure = figures.cluster_maps(found, FigureSpec(width_mm=150, dpi=80))
    caption = figures.cluster_maps_caption(found)
    for suffix in ("png", "svg", "pdf"):
        path = figures.save(figure, tmp_path / f"a.{suffix}", caption=caption)
        assert path.stat().st_size > 2000
    svg = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "a.svg").read_text()))
    assert "$x^2$" in svg and "n = 5" in svg


def test_caption_and_methods_say_how() -> None:
    found = made()
    caption, methods = figures.cluster_maps_caption(found), figures.cluster_maps_methods(found)
    for sentence in found.sentences:
        assert sentence in caption
    assert "mean image of its members, mean map over it, variance" in caption
    assert "Line: where half of the members have their organ." in caption
    assert methods.startswith("Maps and images of 11 images in 4 clusters were aligned")
    assert "14 x 11 cells" in methods and "n - 1" in methods
    bare = made(images=None, masks=None, scaling="shared")
    assert "mean map of its members, variance" in figures.cluster_maps_caption(bare)
    assert "were compared" in figures.cluster_maps_methods(bare)


# -- from a session ----------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["normal", "grey", "volume"])
def test_from_a_session(kind: str, session_of: Callable[[str], Session]) -> None:
    session = session_of(kind)
    session.cluster("kmeans", 2)
    session.wait()
    session.rename_cluster(0, HOSTILE)
    figure = figures.clustermaps(session, FigureSpec(width_mm=160), members=2)
    assert "n = " in texts(figure) and len(cells(figure)) == 14
    caption = figures.caption(session, "clustermaps")
    assert caption.startswith("Mean, variance and members of the maps of each cluster.")
    assert "Clusters: kmeans" in caption and "Maps: " in caption


def test_nobody_is_named(session_of: Callable[[str], Session], tmp_path: Path) -> None:
    session = session_of("private")
    found = session.cluster_maps(MapSpec("cluster"))
    caption = figures.cluster_maps_caption(found) + figures.caption(session, "clustermaps")
    path = figures.save(figures.clustermaps(session), tmp_path / "a.svg", caption=caption)
    for secret in (PATIENT, FILE, "DOE^", "DOE_", str(session.store.path)):
        assert secret not in path.read_text()
