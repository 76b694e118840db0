"""Three planes of a volume on paper: sizes, proportions, the map on its voxels, words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.widgets.test_volume import PATIENT, phantom, record, store_of, table
from widgetkit import figures
from widgetkit.errors import InvalidInput
from widgetkit.figures import FigureSpec
from widgetkit.figures import volume as draw
from widgetkit.figures.volume import volume_sentence
from widgetkit.session import Session
from widgetkit.session.scan import map_plane
from widgetkit.session.volumes import Volumes

SHAPE, GRID = (7, 18, 24), (3, 5, 6)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    source = {"kind": "volumes", "series": [record(directions=["S", "P", "L"])] * 5}
    tiles = table(5, series=[f"{PATIENT} {i}" for i in range(5)], mpp=2000.0)
    path = tmp_path_factory.mktemp("paper") / "v.wk"
    made = Session(store_of(path, phantom(5, SHAPE), GRID, tiles=tiles, source=source))
    made.cluster("nmf", k=3)
    made.wait()
    return made


@pytest.fixture(autouse=True)
def begun(session: Session) -> None:
    session.set_map("channel", 1)
    session.clear()
    session.set_focus(None)


@pytest.mark.parametrize("width", [60.0, 120.0, 183.0])
def test_planes_have_their_proportions_and_one_scale(session: Session, width: float) -> None:
    figure = draw(session, FigureSpec(width_mm=width), row=2)
    assert figure.get_figwidth() * 25.4 == pytest.approx(width)
    assert len(figure.axes) == 4
    # axial W x H, coronal W x D, sagittal H x D, in mm
    millimetres = [(48.0, 27.0), (48.0, 35.0), (27.0, 35.0)]
    scales = []
    for axes, (wide, high) in zip(figure.axes, millimetres, strict=False):
        box = axes.get_position()
        assert box.x0 >= 0 and box.x1 <= 1 + 1e-9 and box.y0 >= -1e-9 and box.y1 <= 1 + 1e-9
        scales += [
            box.width * figure.get_figwidth() / wide,
            box.height * figure.get_figheight() / high,
        ]
    assert scales == pytest.approx([scales[0]] * 6)


def test_a_height_that_is_given_is_kept(session: Session) -> None:
    figure = draw(session, FigureSpec(width_mm=120, height_mm=30))
    assert figure.get_figheight() * 25.4 == pytest.approx(30)
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(box.y0 >= -1e-9 and box.y1 <= 1 + 1e-9 for box in boxes)


@pytest.mark.parametrize("smooth", [True, False])
def test_what_is_drawn_is_the_volume_and_its_map(session: Session, smooth: bool) -> None:
    at = (2, 7, 11)
    figure = draw(session, row=3, at=at, smooth=smooth, opacity=0.5, threshold=0.3)
    voxels = session.store.images([3])[0]
    result = session.maps([3])
    for axis, axes in enumerate(figure.axes[:3]):
        ground, overlay = axes.get_images()
        plane = voxels.take(at[axis], axis=axis)
        values = map_plane(result.values[0], SHAPE, axis, at[axis], smooth=smooth)
        if axis:  # head up
            plane, values = plane[::-1], values[::-1]
        np.testing.assert_array_equal(np.asarray(ground.get_array()), plane)
        alpha = np.asarray(overlay.get_array())[..., 3]
        np.testing.assert_array_equal(alpha > 0, values / result.vmax >= 0.3)
        assert set(np.unique(alpha)) <= {0.0, 0.5}


def test_the_window_is_that_of_the_values(session: Session) -> None:
    ground = draw(session, row=0, window=(-1000.0, -250.0)).axes[0].get_images()[0]
    low, high = ground.get_clim()
    # grey 0 is -1350 HU, 255 is 150
    assert (low, high) == pytest.approx((350 / 1500 * 255, 1100 / 1500 * 255))


def test_letters_scale_bar_and_crosshair(session: Session) -> None:
    def texts(index: int) -> list[str]:
        return [text.get_text() for text in figure.axes[index].texts]

    figure = draw(session, row=0)
    assert {"R", "L", "A", "P"} <= set(texts(0)) and any("mm" in t for t in texts(0))
    assert {"R", "L", "S", "I"} <= set(texts(1)) and {"A", "P", "S", "I"} <= set(texts(2))
    crosses = [line for line in figure.axes[0].lines if line.get_gid() == "cross"]
    assert len(crosses) == 2 and not [
        line
        for line in draw(session, row=0, cross=False).axes[0].lines
        if line.get_gid() == "cross"
    ]
    figure = draw(session, row=0, directions="PIL")
    assert figure.axes[0].get_title(loc="left") == "coronal 4/7"


def test_without_a_map_there_are_the_planes_alone(session: Session) -> None:
    assert len(draw(session, opacity=0.0).axes) == 3


def test_which_volume_is_the_focus_else_the_first_representative(session: Session) -> None:
    first = int(session.ranked("representative", 1)[0][0])
    assert volume_sentence(session).startswith(f"Volume {first + 1}: 7 x 18 x 24 voxels of 5 x 1.5")
    session.set_focus(4)
    assert volume_sentence(session).startswith("Volume 5: ")
    assert volume_sentence(session, row=1).startswith("Volume 2: ")


def test_a_volume_or_a_voxel_that_is_not_there_is_refused(session: Session) -> None:
    for row in (-1, 5, True):
        with pytest.raises(InvalidInput, match="store of 5 tiles"):
            draw(session, row=row)
    for at in ((7, 0, 0), (0, 0), (0, -1, 0)):
        with pytest.raises(InvalidInput, match="no voxel"):
            draw(session, row=0, at=at)
    with pytest.raises(InvalidInput, match="There is no volume 9"):
        Volumes(session.store)[9]


def test_signed_maps_and_selections(session: Session) -> None:
    session.set_map("selection")
    session.select([1, 2])
    figure = draw(session, row=1, palette="magma")
    assert len(figure.axes) == 4 and figure.axes[3].get_ylabel().startswith("Selection")


def test_it_names_nobody_and_is_written_the_same_twice(session: Session, tmp_path: Path) -> None:
    caption = figures.caption(session, "volume", extra=[volume_sentence(session, row=2)])
    assert "Three planes through a volume" in caption and "DOE" not in caption
    for name in ("a.svg", "b.svg"):
        figures.save(draw(session, row=2), tmp_path / name, caption=caption)
    text = (tmp_path / "a.svg").read_bytes()
    assert text == (tmp_path / "b.svg").read_bytes()
    assert PATIENT.encode() not in text and b">axial 4/7<" in text
