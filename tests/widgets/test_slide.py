"""The slide view: tiles on demand, the stitched map, the selection, many slides."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.slides import building
from tests.stores import make_store
from tests.tiles.conftest import texture, write_tiled_tiff
from tests.widgets.transport import Wire
from widgetkit import explain, tiles
from widgetkit.errors import InvalidInput, StoreMismatch, UnknownName
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import slide as module
from widgetkit.widgets import slide_pictures, slide_raster, wire
from widgetkit.widgets.slide import SlideView, encode_boxes


def say(view: SlideView, content: dict[str, Any], *buffers: bytes) -> None:
    """A message as the browser sends it."""
    view._handle_custom_msg(content, list(buffers))


def on_slide(session: Session, slide: int) -> np.ndarray:
    return np.asarray(session.placement.rows(slide))


def shown(view: SlideView) -> np.ndarray:
    """The values on the wire, as ``raster.ts`` reads them."""
    info = view._map_info
    codes = np.frombuffer(view._map, np.uint8).reshape(info["shape"]).astype(np.float32)
    codes[codes == wire.MISSING_CELL] = np.nan
    return info["low"] + (info["high"] - info["low"]) * codes / 254


# -- what is shown ---------------------------------------------------------------------------
def test_one_message_opens_it_whole(session: Session) -> None:
    view = SlideView(session)
    state = view.get_state()
    assert state["_picture"]["levels"] and state["_map"] and state["_winner"] and state["_rows"]
    assert state["_slide_count"] == 3 and len(state["_shares"]) == 3
    assert sum(len(v) for v in state.values() if isinstance(v, bytes)) < wire.MESSAGE_MOST


def test_it_describes_slide_map_scale_and_selection(session: Session) -> None:
    view = SlideView(session, slide="slide-1")
    session.rename_cluster(1, "ink")
    session.set_map("cluster", 1)
    say(view, {"kind": "box", "slide": 1, "box": [0, 0, 1e6, 1e6], "mode": "replace"})
    count = len(on_slide(session, 1))
    lines = view.describe().splitlines()
    assert lines[0] == (
        f"Slide view: slide 2 of 3, map of cluster 'ink', {count} of {count} tiles selected here"
    )
    assert view.label == lines[0]
    assert lines[1].startswith("Cluster: ink, scale 0 to ")
    assert "  ink" in lines
    # names of slides may be names of people
    assert "slide-1" not in view.describe() and "slide-1" not in repr(view)


def test_the_map_is_the_sessions(session: Session) -> None:
    view = SlideView(session, slide=2)
    session.set_map("cluster", 0)
    info = view._map_info
    truth = session.slide_map(2, cluster=0, view=info["view"], shape=tuple(info["shape"]))
    assert info["high"] == pytest.approx(truth.vmax) and info["slide"] == 2
    np.testing.assert_allclose(
        shown(view), np.clip(truth.values, 0, truth.vmax), atol=truth.vmax / 254, equal_nan=True
    )
    assert view._winner == b""


def test_all_clusters_bring_their_winner(session: Session) -> None:
    view = SlideView(session)
    info = view._map_info
    truth = session.slide_map(0, view=info["view"], shape=tuple(info["shape"]))
    assert info["all"] and truth.winner is not None
    np.testing.assert_array_equal(
        np.frombuffer(view._winner, np.uint8).reshape(info["shape"]), truth.winner
    )


def test_a_small_slide_is_sent_once_as_finely_as_the_map_is(session: Session) -> None:
    view = SlideView(session)
    assert view._map_info["whole"]
    # tiles of 48 px with 7 x 7 cells, 16 of them in a row
    assert view._map_info["shape"][1] == 16 * 7
    comm = Wire(view)
    say(view, {"kind": "view", "slide": 0, "box": [0.0, 0.0, 100.0, 90.0], "size": [900, 500]})
    assert comm.size == 0


def test_one_scale_for_all_slides(session: Session) -> None:
    view = SlideView(session)
    session.set_map("cluster", 1)
    scales = set()
    for slide in range(3):
        view.slide = slide
        scales.add((view._map_info["low"], view._map_info["high"]))
    assert len(scales) == 1


def test_how_it_looks_moves_nothing(session: Session) -> None:
    view = SlideView(session)
    comm = Wire(view)
    for trait, value in (
        ("opacity", 0.2), ("threshold", 0.5), ("palette", "magma"), ("diverging", "coolwarm"),
        ("smooth", False), ("show_map", False), ("marking", "outline"), ("tool", "lasso"),
        ("_camera", [0.0, 50.0, 50.0, 2.0, 900.0, 480.0]),
    ):  # fmt: skip
        view.set_state({trait: value})
        assert getattr(view, trait) == value
    assert comm.size < 1000 and not {"_map", "_winner", "_boxes"} & comm.traits


def test_another_cluster_sends_its_map_alone(session: Session) -> None:
    view = SlideView(session)
    comm = Wire(view)
    say(view, {"kind": "map", "method": "cluster", "target": "cluster:2"})
    assert session.map_spec.target == 2
    assert "_map" in comm.traits and not {"_boxes", "_rows", "_picture", "_mask"} & comm.traits
    assert comm.size < len(view._map) + 4000


def test_a_cluster_against_another(session: Session) -> None:
    session.cluster("kmeans", 3)
    session.wait()
    view = SlideView(session)
    say(view, {"kind": "map", "method": "cluster", "target": "cluster:2"})
    assert view._againsts == [] and view._against == ""
    say(view, {"kind": "map", "method": "clam", "target": "cluster:2", "against": "0"})
    assert (session.map_spec.target, session.map_spec.against) == (2, 0)
    assert [entry["value"] for entry in view._againsts] == ["", "0", "1"]
    assert view._against == "0" and "against" in view.describe().splitlines()[0]
    # the target moved to what it was set against
    say(view, {"kind": "map", "method": "clam", "target": "cluster:0", "against": "0"})
    assert session.map_spec.against is None and view._against == ""


def test_names_and_colours_send_no_map(session: Session) -> None:
    view = SlideView(session)
    session.set_map("cluster", 2)
    comm = Wire(view)
    session.rename_cluster(0, "<b>fat</b>")
    session.recolour_cluster(0, 7)
    assert not {"_map", "_winner", "_boxes"} & comm.traits
    assert view._legend[0] == {"name": "<b>fat</b>", "colour": 7, "hidden": False}


def test_a_hidden_cluster_is_background_until_undone(session: Session) -> None:
    view = SlideView(session)
    winner = np.frombuffer(view._winner, np.uint8)
    often = int(np.bincount(winner[winner < 255]).argmax())
    say(view, {"kind": "hide", "cluster": often, "hidden": True})
    assert view._legend[often]["hidden"]
    assert not (np.frombuffer(view._winner, np.uint8) == often).any()
    assert f"{session.clustering.names[often]} (hidden)" in view.describe()  # type: ignore[union-attr]
    say(view, {"kind": "command", "name": "undo"})
    assert not view._legend[often]["hidden"]
    np.testing.assert_array_equal(np.frombuffer(view._winner, np.uint8), winner)


def test_a_method_that_runs_the_network_waits_to_be_asked(session: Session) -> None:
    view = SlideView(session)
    session.set_map("gradcam", 0)
    assert "needs the model" in view._map_info["reason"]
    assert not view._map_info["compute"] and view._map == b""
    session.undo()
    assert view._map and view._map_info["reason"] == ""


def test_maps_of_the_selection_follow_it(session: Session) -> None:
    view = SlideView(session, follow=False)
    session.select(on_slide(session, 0)[::2])
    session.set_map(_of_selections())
    before = view._map
    session.select(on_slide(session, 0)[:9])
    assert view._map != before


def _of_selections() -> str:
    """A live method that compares the selection with the rest."""
    return next(
        name
        for name, method in explain.methods().items()
        if explain.is_live(method) and method.targets == {explain.SelectionTarget}
    )


# -- selecting -------------------------------------------------------------------------------
def test_a_rectangle_selects_by_the_middle_of_tiles(session: Session) -> None:
    view = SlideView(session)
    comm = Wire(view)
    say(view, {"kind": "box", "slide": 0, "box": [0, 0, 120.0, 100.0], "mode": "replace"})
    centres = session.placement.centres
    rows = on_slide(session, 0)
    inside = rows[(centres[rows] <= [120, 100]).all(axis=1)]
    assert 0 < len(inside) < len(rows)
    np.testing.assert_array_equal(session.selection.rows, inside)
    np.testing.assert_array_equal(
        rows[wire.decode_mask(view._mask, len(rows))], session.selection.rows
    )
    assert view._counts == [len(inside), len(rows), len(inside), 160]
    assert comm.size < 1000 and not {"_map", "_boxes", "_picture"} & comm.traits


def test_a_freehand_line_joins_as_its_mode_says(session: Session) -> None:
    view = SlideView(session)
    line = np.array([[0, 0], [400, 0], [400, 150], [0, 150]], dtype=float)
    box, data = wire.encode_polygon(line)
    say(view, {"kind": "lasso", "slide": 0, "box": box, "mode": "replace"}, data)
    first = set(session.selection.rows)
    assert first
    box, data = wire.encode_polygon(line[:3])
    say(view, {"kind": "lasso", "slide": 0, "box": box, "mode": "subtract"}, data)
    rest = set(session.selection.rows)
    assert rest < first
    say(view, {"kind": "box", "slide": 0, "box": [0, 0, 1e4, 1e4], "mode": "add"})
    assert set(session.selection.rows) == set(on_slide(session, 0))
    say(view, {"kind": "lasso", "slide": 0, "box": box, "mode": "intersect"}, data)
    assert set(session.selection.rows) == first - rest
    assert session.history.steps[-1].code.startswith("session.select_on_slide(")


def test_a_click_picks_a_tile_or_looks_at_it(session: Session) -> None:
    view = SlideView(session)
    say(view, {"kind": "pick", "row": 7, "mode": "replace"})
    assert session.selection.rows.tolist() == [7]
    say(view, {"kind": "focus", "row": 9})
    assert (session.focus, view._focus) == (9, 9)


def test_commands_are_the_sessions(session: Session) -> None:
    view = SlideView(session)
    say(view, {"kind": "command", "name": "all"})
    assert session.selection.count == 160 and view._history == [True, False]
    say(view, {"kind": "command", "name": "undo"})
    assert session.selection.count == 0 and view._history == [False, True]
    session.select([5, 6])
    say(view, {"kind": "command", "name": "concept"})
    assert session.concepts is not None
    assert session.concepts.examples("concept 1").tolist() == [5, 6]
    with pytest.raises(InvalidInput, match="Unknown command"):
        say(view, {"kind": "command", "name": "format"})


def test_it_goes_to_the_slide_that_holds_most(session: Session) -> None:
    view = SlideView(session, slide=0)
    far = on_slide(session, 2)
    session.select(np.concatenate([on_slide(session, 0)[:2], far[:5]]))
    assert view.slide == "slide-2"
    assert view._counts[:3] == [5, len(far), 7]
    session.select(np.concatenate([on_slide(session, 0)[:5], far[:5]]))
    assert view.slide == "slide-2"  # as many here as there
    view.follow = False
    session.select(on_slide(session, 1))
    assert view.slide == "slide-2" and view._counts[0] == 0
    assert list(view._shares) == [0, 255, 0]


def test_what_is_selected_on_the_slide_does_not_lead_away(session: Session) -> None:
    view = SlideView(session, slide=0)
    session.select(on_slide(session, 1))
    view.slide = 0
    say(view, {"kind": "box", "slide": 0, "box": [0, 0, 60, 60], "mode": "add"})
    assert view.slide == "slide-0" and 0 < view._counts[0] < view._counts[2]


def test_a_focused_tile_is_gone_to(session: Session) -> None:
    view = SlideView(session, slide=0)
    row = int(on_slide(session, 1)[3])
    session.set_focus(row)
    assert view.slide == "slide-1" and view._focus == row
    session.set_focus(None)
    assert view._focus == -1


def test_it_begins_where_most_is_selected(session: Session) -> None:
    session.select(on_slide(session, 1))
    assert SlideView(session).slide == "slide-1"
    assert SlideView(session, slide=0).slide == "slide-0"


# -- pictures --------------------------------------------------------------------------------
def test_tiles_of_the_pyramid_come_as_jpeg(session: Session) -> None:
    view = SlideView(session)
    comm = Wire(view)
    say(view, {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[0, 0], [2, 0]]})
    (content, buffers), = comm.custom()  # fmt: skip
    assert content["good"] == [True, True] and content["at"] == [[0, 0], [2, 0]]
    picture = session.pictures["slide-0"]
    for data, (column, row) in zip(buffers, content["at"], strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=float)
        truth = picture.read(0, column, row)
        assert pixels.shape == truth.shape
        assert np.abs(pixels - truth).mean() < 12


def test_tiles_that_are_not_there_are_said_to_be_missing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    view = SlideView(session)
    comm = Wire(view)
    say(view, {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[0, 0], [99, 0]]})
    (content, buffers), = comm.custom()  # fmt: skip
    assert content["good"] == [True, False] and len(buffers) == 1
    assert "column 99" in view.error


def test_requests_for_pictures_no_longer_shown_are_dropped(session: Session) -> None:
    view = SlideView(session)
    session.open_slides(None)
    assert view._picture["version"] == 1
    comm = Wire(view)
    say(view, {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[0, 0]]})
    assert comm.custom() == []


def test_the_strip_sends_thumbnails_names_and_numbers(session: Session) -> None:
    view = SlideView(session)
    comm = Wire(view)
    say(view, {"kind": "strip", "version": 0, "slides": [2, 0]})
    (content, (data,)), = comm.custom()  # fmt: skip
    assert content["names"] == ["slide-2", "slide-0"] and content["count"] == 2
    assert content["tiles"] == [len(on_slide(session, s)) for s in (2, 0)]
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    side = slide_pictures.THUMB_PX
    assert content["tile"] == side and sheet.shape[1] == 2 * side
    # 768 x 144 px in the middle of a square, white above and below
    assert (sheet[:8] == 255).all() and sheet[side // 2].min() < 200


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "tiles"},
        {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": []},
        {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[0, 0]] * 1000},
        {"kind": "tiles", "slide": 0, "version": 0, "level": -1, "at": [[0, 0]]},
        {"kind": "tiles", "slide": 9, "version": 0, "level": 0, "at": [[0, 0]]},
        {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[0, "0"]]},
        {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[True, 0]]},
        {"kind": "strip", "version": 0, "slides": []},
        {"kind": "strip", "version": 0, "slides": [0] * 1000},
        {"kind": "strip", "version": 0, "slides": [3]},
        {"kind": "slide", "slide": -1},
        {"kind": "slide", "slide": "slide-1"},
        {"kind": "view", "slide": 0, "box": [0, 0, 1, 1], "size": [0, 5]},
        {"kind": "view", "slide": 0, "box": [0, 0, 1, 1], "size": [10**9, 5]},
        {"kind": "view", "slide": 0, "box": [0, 0, float("nan"), 1], "size": [5, 5]},
        {"kind": "box", "slide": 0, "box": [5, 0, 1, 1], "mode": "replace"},
        {"kind": "box", "slide": 7, "box": [0, 0, 1, 1], "mode": "replace"},
        {"kind": "box", "slide": 0, "box": [0, 0, 1, 1], "mode": "xor"},
        {"kind": "lasso", "slide": 0, "box": [0, 0, 1, 1], "mode": "replace"},
        {"kind": "pick", "row": 160, "mode": "replace"},
        {"kind": "hide", "cluster": 99, "hidden": True},
        {"kind": "map", "method": "cluster", "target": "cluster:99"},
        {"kind": "map", "method": "rm -rf", "target": None},
        {"kind": "nothing"},
    ],
)
def test_a_bad_message_changes_nothing(session: Session, message: dict[str, Any]) -> None:
    view = SlideView(session)
    comm = Wire(view)
    with pytest.raises((InvalidInput, UnknownName)):
        say(view, message)
    assert session.selection.count == 0 and not session.history.can_undo
    assert comm.traits <= {"error"}


# -- which part of the map -------------------------------------------------------------------
BOXES = st.tuples(
    st.floats(-5e4, 2e5), st.floats(-5e4, 2e5), st.floats(1, 2e5), st.floats(1, 2e5)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
BIG = slide_raster.Cells((1000.0, 2000.0, 101_000.0, 82_000.0), (32.0, 32.0))


@settings(max_examples=60, deadline=None)
@given(BOXES, st.integers(100, 4000), st.integers(100, 3000))
def test_what_is_seen_is_in_the_raster_and_the_raster_is_small(
    seen: slide_raster.Box, width: int, height: int
) -> None:
    region = slide_raster.plan(BIG, seen, (width, height))
    assert max(region.shape) <= slide_raster.RASTER_MOST and min(region.shape) >= 1
    x0, y0, x1, y1 = region.view
    side = 32.0 * 2**region.zoom
    assert (x1 - x0) / region.shape[1] == pytest.approx(side)
    assert (y1 - y0) / region.shape[0] == pytest.approx(side)
    left, top = max(seen[0], 1000.0), max(seen[1], 2000.0)
    right, bottom = min(seen[2], 101_000.0), min(seen[3], 82_000.0)
    if right > left and bottom > top:
        assert x0 <= left + 1e-6 and y0 <= top + 1e-6
        assert x1 >= right - 1e-6 and y1 >= bottom - 1e-6


def test_a_closer_look_is_finer_until_the_cells_are_reached() -> None:
    screen = (1600, 1000)
    zooms = [
        slide_raster.plan(BIG, (40_000, 40_000, 40_000 + w, 40_000 + w * 5 / 8), screen).zoom
        for w in (100_000, 50_000, 25_000, 12_500, 6_000)
    ]
    assert zooms == sorted(zooms, reverse=True) and zooms[0] > 0 and zooms[-1] == 0
    assert not slide_raster.plan(BIG, (40_000, 40_000, 41_000, 41_000), screen).whole


def test_a_small_move_needs_no_other_raster() -> None:
    first = slide_raster.plan(BIG, (40_000, 40_000, 48_000, 45_000), (1600, 1000))
    moved = slide_raster.plan(BIG, (40_300, 39_800, 48_300, 44_800), (1600, 1000))
    assert first.serves(moved) or first == moved
    away = slide_raster.plan(BIG, (80_000, 10_000, 88_000, 15_000), (1600, 1000))
    assert not first.serves(away)


def test_cells_are_those_of_the_grid_or_half_of_them() -> None:
    at = np.stack(np.meshgrid(np.arange(5), np.arange(4)), -1).reshape(-1, 2) * 256.0 + 100
    boxes = np.hstack([at, at + 256])
    cells = slide_raster.Cells.of(boxes, (7, 8))
    assert cells.px == pytest.approx((32, 256 / 7))
    assert slide_raster.plan(cells).shape == (28, 40) and slide_raster.plan(cells).whole
    boxes[3] += 5.5
    assert slide_raster.Cells.of(boxes, (7, 8)).px == pytest.approx((16, 128 / 7))


# -- places ----------------------------------------------------------------------------------
def test_boxes_of_one_size_need_half_the_bytes() -> None:
    corner = np.array([[0.0, 0.0], [256.0, 512.0]])
    data, size = encode_boxes(np.hstack([corner, corner + 256]))
    assert len(data) == 16 and size == [256.0, 256.0]
    data, size = encode_boxes(np.hstack([corner, corner + np.array([[256, 256], [300, 256]])]))
    assert len(data) == 32 and size == []


def test_more_tiles_than_are_outlined_are_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILES_MOST", 10)
    view = SlideView(session)
    assert len(view._rows) == 40 and "first 10 of" in view._note
    session.select(on_slide(session, 0))
    assert view._counts[0] == 10


def test_a_part_of_a_slide_is_looked_at(session: Session) -> None:
    view = SlideView(session)
    view.look_at("slide-1", (10, 20, 110, 80))
    assert view.slide == "slide-1"
    assert view._camera == [1.0, 60.0, 50.0, 0.0, 100.0, 60.0]
    assert view._figure_options()["view"] == (10, 20, 110, 80)
    view.slide = 0
    assert view._camera == [] and view._figure_options()["view"] is None
    with pytest.raises(UnknownName, match="slide-1"):
        view.slide = "slide-9"
    with pytest.raises(InvalidInput, match="width and a height"):
        view.look_at(0, (5, 5, 5, 9))


def test_volumes_and_vectors_say_why(volume_session: Session, features_session: Session) -> None:
    view = SlideView(volume_session)
    assert view.slide is None and "no place on a slide" in view.describe()
    with pytest.raises(InvalidInput):
        SlideView(volume_session, slide=0)
    view = SlideView(features_session)
    assert "one vector a tile" in view._map_info["reason"]
    assert view._map_info["whole"] and view._map == b""


def test_tiles_without_a_place_say_why(tmp_path: Path) -> None:
    store = building.boxed(tmp_path / "nowhere.wk", [("a", float("nan"), 0.0)] * 40)
    view = SlideView(store)
    assert view.slide is None and view._empty == view.session.placement.note
    assert "cannot be placed" in view.describe()
    with pytest.raises(InvalidInput, match="cannot be placed"):
        view.look_at(0)


def test_an_assignment_that_was_cancelled_can_be_asked_for_again(tmp_path: Path) -> None:
    """As in a notebook: jobs run beside the cell, their results come through the loop."""
    store = make_store(tmp_path / "loop.wk", n=60)

    async def cell() -> SlideView:
        session = Session(store)
        session.wait()
        view = SlideView(session)
        assert view.job["key"] == "factors"
        assert view._map_info["reason"].startswith("Assigning every position")
        say(view, {"kind": "cancel", "key": "factors"})
        assert "cancelled" in view._map_info["reason"] and view._map_info["compute"]
        say(view, {"kind": "compute"})
        session.wait()
        return view

    view = asyncio.run(cell())
    assert view._map and view._map_info["reason"] == "" and view.job == {}


def test_a_camera_that_makes_no_sense_is_no_part(session: Session) -> None:
    view = SlideView(session)
    for camera in (["a"] * 6, [0.0, 1.0], [0.0, float("nan"), 1.0, 1.0, 5.0, 5.0]):
        view.set_state({"_camera": camera})
        assert view._figure_options()["view"] is None


def test_a_store_or_its_path_will_do(store: ActivationStore) -> None:
    assert SlideView(store.path).slides == ("slide-0", "slide-1", "slide-2")


def test_a_closed_view_follows_no_more(session: Session) -> None:
    view = SlideView(session)
    view.close()
    session.select(on_slide(session, 2))
    assert view.slide == "slide-0" and view._counts[0] == 0


# -- paper -----------------------------------------------------------------------------------
@pytest.mark.parametrize("target", [None, 1])
def test_it_is_saved_with_a_caption_that_names_nobody(
    session: Session, tmp_path: Path, target: int | None
) -> None:
    view = SlideView(session)
    session.set_map("cluster", target)
    say(view, {"kind": "box", "slide": 0, "box": [0, 0, 120, 120], "mode": "replace"})
    path = view.save(tmp_path / "slide.svg", width_mm=180)
    text = path.read_text(encoding="utf-8")
    for name in ("slide-0", "patient-0"):
        assert name not in text and name not in view.caption()
    assert "Slide 1 of 3: all of it" in view.caption()
    assert 'id="scale-bar"' in text and 'id="selection"' in text
    assert ("cluster 1" in text) if target is None else ("Cluster: cluster 2" in text)


# -- files -----------------------------------------------------------------------------------
@pytest.fixture
def filed(tmp_path: Path) -> tuple[ActivationStore, Path]:
    """A store cut from a slide of 512 x 384 px, and the slide's file."""
    pytest.importorskip("openslide")
    pixels = texture(np.random.default_rng(3), 384, 512, 3)
    path = tmp_path / "case 7.tif"
    write_tiled_tiff(path, pixels, tile=128)
    source = tiles.from_slide(path, size=64, mpp=None, tissue=0.0)
    return building.of_source(tmp_path / "s.wk", source), path


def test_a_slide_is_read_from_its_file(filed: tuple[ActivationStore, Path]) -> None:
    store, path = filed
    view = SlideView(store, path)
    assert view._picture["origin"] == "file"
    assert (view._picture["width"], view._picture["height"]) == (512, 384)
    assert view._picture["mpp"] is None
    comm = Wire(view)
    say(view, {"kind": "tiles", "slide": 0, "version": 0, "level": 0, "at": [[1, 1]]})
    (_, (data,)), = comm.custom()  # fmt: skip
    seen = np.asarray(Image.open(io.BytesIO(data)), dtype=float)
    truth = view.session.pictures["case 7"].read(0, 1, 1)
    assert seen.shape == truth.shape and np.abs(seen - truth).mean() < 12


def test_a_slide_that_was_changed_is_refused_by_name(filed: tuple[ActivationStore, Path]) -> None:
    store, path = filed
    write_tiled_tiff(path, np.full((300, 512, 3), 200, np.uint8), tile=128)
    with pytest.raises(StoreMismatch, match="case 7"):
        SlideView(store, path)


def test_files_opened_later_are_shown(filed: tuple[ActivationStore, Path]) -> None:
    store, path = filed
    view = SlideView(store)
    assert view._picture["origin"] == "tiles" and "file is not there" in view._picture["note"]
    view.session.open_slides(path.parent)
    assert view._picture["origin"] == "file" and view._picture["version"] == 1
