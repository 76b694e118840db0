"""The scatter on the kernel's side: what it draws, what it sends, what gestures do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.stores import HOSTILE
from tests.widgets.transport import Wire
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session import Session
from widgetkit.session.geometry import inside
from widgetkit.store import ActivationStore
from widgetkit.widgets import colours, scatter, wire
from widgetkit.widgets.scatter import Scatter


def say(view: Scatter, content: dict[str, Any], *buffers: bytes) -> None:
    """A message as the browser sends it."""
    view._handle_custom_msg(json.loads(json.dumps(content)), list(buffers))


def lasso(view: Scatter, polygon: np.ndarray, mode: str = "replace") -> None:
    box, data = wire.encode_polygon(polygon)
    say(view, {"kind": "lasso", "mode": mode, "box": box}, data)


def shown_mask(view: Scatter) -> np.ndarray:
    return wire.decode_mask(view._mask, view._counts[0])


# -- what it draws -----------------------------------------------------------------------------
def test_the_points_are_the_projection_and_the_codes_the_clusters(session: Session) -> None:
    view = Scatter(session)
    back = wire.decode_positions(view._positions, tuple(view._bounds))
    step = np.ptp(session.projection.xy, axis=0) / 65534
    assert (np.abs(back - session.projection.xy) <= step).all()
    np.testing.assert_array_equal(np.frombuffer(view._codes, np.uint8), session.clustering.labels)
    names = [item["name"] for item in view._colouring["items"]]
    assert names == list(session.clustering.names)
    assert view._counts == [160, 160, 0]


def test_renaming_and_recolouring_send_no_geometry(session: Session) -> None:
    view = Scatter(session)
    transport = Wire(view)
    session.rename_cluster(0, HOSTILE)
    session.recolour_cluster(0, 7)
    assert view._colouring["items"][0] == {
        "name": HOSTILE, "colour": 7, "count": int((session.clustering.labels == 0).sum()),
    }  # fmt: skip
    assert "_positions" not in transport.traits
    assert "_codes" not in transport.traits
    assert transport.size < 10_000


def test_numbers_get_a_bar_and_categories_a_legend(session: Session) -> None:
    view = Scatter(session, color_by="age")
    assert view._colouring["kind"] == "numbers"
    assert (view._colouring["low"], view._colouring["high"]) == (20, 89)
    codes = np.frombuffer(view._codes, np.uint8)
    assert codes.min() == 0 and codes.max() == 254
    view.color_by = "label"
    assert view._colouring["kind"] == "categories"
    names = [item["name"] for item in view._colouring["items"]]
    assert names == sorted(names) and HOSTILE in names


def test_a_column_that_is_not_there_is_named_with_its_neighbours(session: Session) -> None:
    with pytest.raises(UnknownName, match="'label'"):
        Scatter(session, color_by="lable")
    view = Scatter(session)
    with pytest.raises(UnknownName):
        view.color_by = "lable"
    assert view.color_by == "cluster"


def test_columns_that_tell_no_tiles_apart_are_not_offered(session: Session) -> None:
    offered = Scatter(session)._columns
    assert offered[0] == "cluster"
    assert {"label", "age", "source"} <= set(offered)
    assert not {"id", "level", "mpp", "size", "z"} & set(offered)


def test_missing_values_have_their_own_colour_and_legend_entry(session: Session) -> None:
    column = pd.Series(["b", None, "a", "b"])
    made = colours._by_category("grade", column)
    assert made.codes.tolist() == [1, colours.NONE, 0, 1]
    assert made.state()["missing"] == 1
    numbers = colours._by_number("dose", np.array([1.0, np.nan, 3.0, np.inf]))
    assert numbers.codes.tolist() == [0, colours.NONE, 254, colours.NONE]
    assert (numbers.low, numbers.high) == (1, 3)


def test_many_categories_keep_the_largest_and_join_the_rest() -> None:
    column = pd.Series([f"c{i:03d}" for i in range(100) for _ in range(1 + i)])
    made = colours._by_category("site", column)
    assert len(made.items) == colours.CATEGORIES_MOST
    assert made.items[-1].name == f"{100 - colours.CATEGORIES_MOST + 1} others"
    assert sum(item.count for item in made.items) == len(column)
    assert made.items[0].name == f"c{100 - colours.CATEGORIES_MOST + 1:03d}"
    counts = np.bincount(made.codes, minlength=colours.CATEGORIES_MOST)
    assert counts.tolist() == [item.count for item in made.items]


# -- selecting -----------------------------------------------------------------------------------
def test_a_lasso_selects_what_geometry_says(session: Session) -> None:
    view = Scatter(session)
    xy = session.projection.xy
    middle = np.median(xy, axis=0)
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = np.ptp(xy) / 4
    polygon = middle + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    lasso(view, polygon)
    expected = inside(wire.decode_polygon(*wire.encode_polygon(polygon)), xy)
    assert 0 < expected.sum() < len(xy)
    np.testing.assert_array_equal(session.selection.mask, expected)
    np.testing.assert_array_equal(shown_mask(view), expected)
    assert view._revision == session.selection.revision
    assert view._counts[2] == expected.sum()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from(["replace", "add", "subtract", "intersect"]), max_size=4), st.randoms()
)
def test_modes_are_set_algebra(store: ActivationStore, modes: list[str], random: Any) -> None:
    session = Session(store)
    view = Scatter(session)
    xy = session.projection.xy
    expected = np.zeros(len(xy), bool)
    for mode in modes:
        a, b = xy[random.randrange(len(xy))], xy[random.randrange(len(xy))]
        low, high = np.minimum(a, b), np.maximum(a, b)
        say(view, {"kind": "box", "mode": mode, "box": [*low.tolist(), *high.tolist()]})
        box = ((xy >= low) & (xy <= high)).all(axis=1)
        expected = {
            "replace": box,
            "add": expected | box,
            "subtract": expected & ~box,
            "intersect": expected & box,
        }[mode]
    np.testing.assert_array_equal(shown_mask(view), expected)
    view.close()


def test_a_click_picks_one_and_keys_join(session: Session) -> None:
    view = Scatter(session)
    say(view, {"kind": "pick", "index": 7})
    assert session.selection.rows.tolist() == [7]
    say(view, {"kind": "pick", "index": 9, "mode": "add"})
    say(view, {"kind": "pick", "index": 7, "mode": "subtract"})
    assert session.selection.rows.tolist() == [9]


def test_the_legend_selects_clusters_and_values(session: Session) -> None:
    view = Scatter(session)
    say(view, {"kind": "legend", "item": 1})
    np.testing.assert_array_equal(session.selection.mask, session.clustering.labels == 1)
    say(view, {"kind": "legend", "item": 0, "mode": "add"})
    np.testing.assert_array_equal(session.selection.mask, session.clustering.labels <= 1)
    view.color_by = "label"
    names = [item["name"] for item in view._colouring["items"]]
    say(view, {"kind": "legend", "item": names.index(HOSTILE)})
    np.testing.assert_array_equal(
        session.selection.mask, (session.store.tiles["label"] == HOSTILE).to_numpy()
    )
    assert len(session.history) == 3


def test_patients_are_numbered_on_the_screen_and_in_the_history(session: Session) -> None:
    view = Scatter(session, color_by="patient")
    assert [item["name"] for item in view._colouring["items"]] == ["patient 1", "patient 2"]
    say(view, {"kind": "legend", "item": 1})
    assert session.selection.count == 80
    said = [view.describe(), json.dumps(view._colouring), str(session.selection.how)]
    said += [step.title + step.code for step in session.history.steps]
    assert not any("patient-" in text for text in said)


def test_commands_and_undo(session: Session) -> None:
    view = Scatter(session)
    assert view._history == [False, False]
    say(view, {"kind": "command", "name": "all"})
    assert view._counts[2] == 160
    say(view, {"kind": "command", "name": "invert"})
    assert view._counts[2] == 0
    say(view, {"kind": "command", "name": "undo"})
    assert (view._counts[2], view._history) == (160, [True, True])
    say(view, {"kind": "command", "name": "redo"})
    say(view, {"kind": "pick", "index": 1})
    say(view, {"kind": "command", "name": "clear"})
    assert session.selection.count == 0
    with pytest.raises(InvalidInput, match="clear"):
        say(view, {"kind": "command", "name": "close"})


def test_the_selection_becomes_a_concept(session: Session) -> None:
    view = Scatter(session)
    with pytest.raises(InvalidInput, match="No tile is selected"):
        say(view, {"kind": "command", "name": "concept"})
    say(view, {"kind": "pick", "index": 1})
    say(view, {"kind": "command", "name": "concept"})
    assert session.concepts is not None and session.concepts.names == ("concept 1",)
    np.testing.assert_array_equal(session.concepts.examples("concept 1"), session.selection.rows)
    say(view, {"kind": "command", "name": "undo"})
    assert session.concepts is None and session.selection.count == 1
    say(view, {"kind": "command", "name": "redo"})
    assert session.concepts is not None


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "lasso", "box": [0, 0, 1, 1]},
        {"kind": "box", "box": [0, 0, None, 1]},
        {"kind": "box"},
        {"kind": "pick", "index": 160},
        {"kind": "pick"},
        {"kind": "pick", "index": 0, "mode": "xor"},
        {"kind": "legend", "item": 99},
        {"kind": "legend", "item": "<b>"},
        {"kind": "hover", "index": -1},
    ],
)
def test_a_bad_message_changes_nothing(session: Session, content: dict[str, Any]) -> None:
    view = Scatter(session)
    session.select([1, 2])
    with pytest.raises(InvalidInput):
        say(view, content)
    assert view.error
    assert session.selection.rows.tolist() == [1, 2]


# -- the wire ------------------------------------------------------------------------------------
def test_one_message_opens_it_and_an_empty_view_is_small(session: Session) -> None:
    view = Scatter(session)
    state = view.get_state()
    assert len(state["_positions"]) == 4 * 160
    assert len(state["_codes"]) == 160
    assert len(str(view._esm)) < 60_000
    assert sum(len(str(v)) for k, v in state.items() if not isinstance(v, bytes)) < 100_000


def test_a_selection_sends_its_bits_and_at_most_two_kilobytes(session: Session) -> None:
    view = Scatter(session)
    transport = Wire(view)
    session.select(np.arange(80))
    assert transport.size <= 160 / 8 + 2000
    assert not {"_positions", "_codes"} & transport.traits


def test_what_the_browser_writes_is_not_echoed(session: Session) -> None:
    view = Scatter(session)
    for name in ("_camera", "tool", "mode", "density", "point_size"):
        assert view.trait_metadata(name, "echo_update") is False


def test_above_the_limit_a_sample_is_drawn_and_the_lasso_still_means_all(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "DRAWN_MOST", 50)
    view = Scatter(session)
    assert view._counts == [50, 160, 0]
    assert "showing 50 of 160" in view.describe()
    rows = view._rows
    assert rows is not None and (np.diff(rows) > 0).all()
    (x0, y0), (x1, y1) = session.projection.xy.min(0), session.projection.xy.max(0)
    pad = 1.0
    lasso(
        view,
        np.array(
            [[x0 - pad, y0 - pad], [x1 + pad, y0 - pad], [x1 + pad, y1 + pad], [x0 - pad, y1 + pad]]
        ),
    )
    assert session.selection.count == 160
    assert shown_mask(view).all()
    say(view, {"kind": "pick", "index": 4})
    assert session.selection.rows.tolist() == [rows[4]]
    np.testing.assert_array_equal(np.flatnonzero(shown_mask(view)), [4])
    session.set_focus(int(rows[9]))
    assert view._focus == 9
    session.set_focus(int(np.setdiff1d(np.arange(160), rows)[-1]))
    assert view._focus == -1
    full = session.clustering.labels[rows]
    np.testing.assert_array_equal(np.frombuffer(view._codes, np.uint8), full)


# -- beside the cursor -----------------------------------------------------------------------------
def test_hover_answers_with_a_picture_and_no_patient(session: Session) -> None:
    view = Scatter(session, color_by="patient")
    transport = Wire(view)
    say(view, {"kind": "hover", "index": 3})
    ((reply, buffers),) = transport.custom()
    assert (reply["kind"], reply["index"]) == ("hover", 3)
    assert {name for name, _ in reply["lines"]} == {"cluster", "label"}
    picture = Image.open(io.BytesIO(buffers[0]))
    assert picture.format == "JPEG" and max(picture.size) <= scatter.THUMBNAIL_PX
    assert len(buffers[0]) < 10_000


def test_hover_without_pictures_still_has_words(features_session: Session) -> None:
    view = Scatter(features_session)
    transport = Wire(view)
    say(view, {"kind": "hover", "index": 3})
    ((_, buffers),) = transport.custom()
    assert buffers == []


def test_hover_over_a_volume_shows_a_slice(volume_session: Session) -> None:
    view = Scatter(volume_session)
    transport = Wire(view)
    say(view, {"kind": "hover", "index": 3})
    ((_, buffers),) = transport.custom()
    assert Image.open(io.BytesIO(buffers[0])).format == "JPEG"


# -- words and figure ------------------------------------------------------------------------------
def test_describe_is_stable_and_counts(session: Session) -> None:
    view = Scatter(session)
    session.select(np.arange(40))
    text = view.describe()
    assert text == Scatter(session).describe()
    first, *rest = text.splitlines()
    assert first.startswith("Scatter of 160 tiles, ")
    assert "coloured by cluster, 40 selected" in first
    assert view.label == first
    assert len(rest) == len(session.clustering.names)
    selected = [int(line.split(", ")[-1].split()[0].replace(",", "")) for line in rest]
    assert sum(selected) == 40


def test_the_figure_is_coloured_as_the_view(session: Session, tmp_path: Path) -> None:
    view = Scatter(session, color_by="label")
    assert "coloured by label" in view.caption()
    assert view.save(tmp_path / "map.svg", width_mm=80).read_text().count("<text") > 2
