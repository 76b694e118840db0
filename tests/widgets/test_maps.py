"""The map viewer: tiles, grids, scales, what can be drawn, and the brush."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.widgets.transport import Wire
from widgetkit import explain
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session import MapSpec, Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import map_menu, wire
from widgetkit.widgets.maps import EXACT_BYTES, MapViewer, encode_maps, same_place


def say(view: MapViewer, content: dict[str, object]) -> None:
    """A message as the browser sends it."""
    view._handle_custom_msg(content, [])


def read(viewer: MapViewer) -> np.ndarray:
    """The grids on the wire, as ``decodeGrids`` in ``grid.ts`` reads them."""
    info = viewer._maps_info
    shape = (info["count"], *info["shape"])
    if info["encoding"] == "float16":
        values = np.frombuffer(viewer._maps, "<f2").astype(np.float32)
        return values.reshape(shape) * np.float32(info["factor"])
    codes = np.frombuffer(viewer._maps, np.uint8).astype(np.float32)
    codes[codes == wire.MISSING_CELL] = np.nan
    return (info["low"] + (info["high"] - info["low"]) * codes / 254).reshape(shape)


# -- what is shown ---------------------------------------------------------------------------
def test_it_describes_target_tiles_layer_and_scale(session: Session) -> None:
    viewer = MapViewer(session)
    session.rename_cluster(1, "ink")
    session.set_map("cluster", 1)
    session.select(np.arange(100))
    high = session.maps(viewer.rows).vmax
    assert viewer.describe().partition("\n")[0] == (
        "Map viewer: cluster 'ink' on 64 of 100 selected tiles, layer features.4, "
        f"scale 0 to {high:.3g}"
    )
    assert viewer.label == viewer.describe().partition("\n")[0]


def test_tiles_are_those_of_the_rule_and_maps_those_of_the_session(session: Session) -> None:
    viewer = MapViewer(session)
    session.select(np.arange(20, 120))
    np.testing.assert_array_equal(viewer.rows, session.ranked("representative", 64)[0])
    result = session.maps(viewer.rows)
    np.testing.assert_allclose(read(viewer), result.values, atol=result.vmax * 1e-3)
    assert viewer._maps_info["high"] == pytest.approx(result.vmax)


def test_one_tile_and_none(session: Session) -> None:
    viewer = MapViewer(session, count=1)
    assert len(viewer.rows) == 1
    session.select([5])
    assert viewer.rows.tolist() == [5]
    assert "on 1 of 1 selected tiles" in viewer.describe()
    for count in (0, 65):
        with pytest.raises(InvalidInput):
            MapViewer(session, count=count)


def test_opacity_threshold_and_palette_are_for_the_front_end(session: Session) -> None:
    viewer = MapViewer(session)
    comm = Wire(viewer)
    viewer.set_state({"opacity": 0.2, "threshold": 0.5, "palette": "magma", "mode": "map"})
    assert (viewer.opacity, viewer.threshold, viewer.palette) == (0.2, 0.5, "magma")
    assert comm.size < 1000 and "_maps" not in comm.traits and "_atlas" not in comm.traits


def test_another_target_moves_less_than_10_kb_and_no_tiles(session: Session) -> None:
    viewer = MapViewer(session)
    comm = Wire(viewer)
    say(viewer, {"kind": "map", "method": "cluster", "target": "cluster:2"})
    assert session.map_spec.target == 2
    assert len(comm.messages) == 1
    assert comm.size <= 10_000
    assert "_atlas" not in comm.traits and "_rows" not in comm.traits


def test_a_selection_costs_one_message_within_its_budget(session: Session) -> None:
    viewer = MapViewer(session)
    comm = Wire(viewer)
    session.select(np.arange(70, 150))
    assert len(comm.messages) == 1
    assert {"_rows", "_atlas", "_maps", "_maps_info"} <= comm.traits
    assert comm.size < 160_000 + 10_000 + 15_000


def test_every_method_is_listed_and_says_why_it_cannot_run(session: Session) -> None:
    entries = {e["name"]: e for e in MapViewer(session)._methods}
    assert set(entries) == set(explain.methods())
    assert "reason" not in entries["cluster"]
    assert (
        entries["grad-cam" if "grad-cam" in entries else "gradcam"]["reason"] == "needs the model"
    )


def test_targets_are_clusters_by_name(session: Session) -> None:
    viewer = MapViewer(session)
    session.rename_cluster(0, "<b>ink</b>")
    assert viewer._targets[:2] == [
        {"value": "cluster:", "label": "each tile's own", "group": "cluster"},
        {"value": "cluster:0", "label": "<b>ink</b>", "group": "cluster"},
    ]
    assert viewer._target == "cluster:"


def test_every_listed_target_can_be_chosen(session: Session) -> None:
    viewer = MapViewer(session)
    session.select(np.arange(40))
    for entry in map_menu.methods(session):
        if "reason" in entry:
            continue
        say(viewer, {"kind": "map", "method": entry["name"], "target": None})
        for target in viewer._targets:
            say(viewer, {"kind": "map", "method": entry["name"], "target": target["value"]})
            assert viewer._target == target["value"]
            assert viewer._maps_info["count"] == 40, viewer._maps_info
    say(viewer, {"kind": "map", "method": "channel", "target": "channel:17"})
    assert viewer._channels == 24 and session.map_spec == MapSpec("channel", 17, of="channel")


def test_a_method_that_needs_the_model_leaves_the_tiles_and_says_so(session: Session) -> None:
    viewer = MapViewer(session)
    name = next(
        n
        for n, m in explain.methods().items()
        if not explain.is_live(m) and explain.ClassTarget in m.targets
    )
    session.set_map(name, 0)
    assert viewer._maps == b"" and "model" in viewer._maps_info["reason"]
    assert viewer._atlas and len(viewer.rows) == 64
    assert "no maps" in viewer.describe()
    session.set_map("cluster")
    assert viewer._maps


def test_signed_maps_are_symmetric(session: Session) -> None:
    viewer = MapViewer(session)
    session.select(np.arange(0, 160, 4))
    session.set_map("selection")
    info = viewer._maps_info
    assert info["signed"] and info["low"] == -info["high"]


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "map", "method": "nonsense", "target": None},
        {"kind": "map", "method": "cluster", "target": "cluster:99"},
        {"kind": "map", "method": "cluster", "target": "patient:1"},
        {"kind": "map", "method": "cluster", "target": "cluster:-1"},
        {"kind": "map", "method": "cluster", "target": "channel:1"},
        {"kind": "alike", "row": 160, "cells": [0]},
        {"kind": "alike", "row": 0, "cells": []},
        {"kind": "alike", "row": 0, "cells": [49]},
        {"kind": "alike", "row": 0, "cells": [0.5]},
        {"kind": "alike", "row": 0, "cells": "all"},
        {"kind": "alike", "row": 0, "cells": [0], "mode": "everything"},
        {"kind": "region", "row": 160, "cells": [0]},
        {"kind": "region", "row": 0, "cells": []},
        {"kind": "region", "row": 0, "cells": [49]},
        {"kind": "focus", "row": True},
    ],
)
def test_what_no_viewer_of_ours_sends_is_refused(
    session: Session, content: dict[str, object]
) -> None:
    viewer = MapViewer(session)
    before = session.map_spec, session.selection
    with pytest.raises((InvalidInput, UnknownName)):
        say(viewer, content)
    assert viewer.error
    assert (session.map_spec, session.selection) == before


# -- brush -----------------------------------------------------------------------------------
def test_the_brush_selects_what_is_alike_and_keeps_its_tile(session: Session) -> None:
    viewer = MapViewer(session)
    row = int(viewer.rows[3])
    viewer.set_state({"brush": {"row": row, "cells": [8, 9]}})
    say(viewer, {"kind": "alike", "row": row, "cells": [8, 9], "mode": "replace"})
    alone = Session(session.store)
    alone.select_alike(row, [8, 9])
    assert session.selection.rows.tolist() == alone.selection.rows.tolist()
    assert viewer.rows[0] == row, "so that the outline can be compared with what was found"
    viewer.set_state({"brush": {}})
    np.testing.assert_array_equal(viewer.rows, session.ranked("representative", 64)[0])


def test_what_is_brushed_becomes_the_place_of_a_concept(session: Session) -> None:
    viewer = MapViewer(session)
    say(viewer, {"kind": "region", "row": 3, "cells": [8, 9], "more": False})
    assert session.concepts is not None and session.concepts.names == ("concept 1",)
    mask = session.concepts.regions["concept 1"][3].mask
    assert mask.shape == (7, 7) and np.flatnonzero(mask).tolist() == [8, 9]
    say(viewer, {"kind": "region", "row": 5, "cells": [0], "more": True})
    assert list(session.concepts.regions["concept 1"]) == [3, 5]
    say(viewer, {"kind": "region", "row": 5, "cells": [0]})
    assert session.concepts.names == ("concept 1", "concept 2")
    assert session.concepts.examples("concept 1").tolist() == [3, 5]
    session.undo()
    session.undo()
    assert list(session.concepts.regions["concept 1"]) == [3]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_a_finer_grid_points_at_the_cell_that_holds_it(h: int, w: int, finer: int) -> None:
    cells = np.arange(h * w)
    np.testing.assert_array_equal(same_place(cells, (h, w), (h, w)), cells)
    fine = np.arange(h * finer * w * finer)
    np.testing.assert_array_equal(same_place(fine, (h * finer, w * finer), (h, w)), cells)
    one = np.array([h * finer * w * finer - 1])
    assert same_place(one, (h * finer, w * finer), (h, w)).tolist() == [h * w - 1]


# -- the wire --------------------------------------------------------------------------------
@settings(deadline=None, max_examples=25)
@given(st.floats(1e-12, 1e12), st.integers(0, 99))
def test_small_grids_cross_with_three_digits_at_any_size(size: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, size, (5, 7, 7)).astype(np.float32)
    data, encoding, factor = encode_maps(values, float(values.min()), float(values.max()))
    assert encoding == "float16"
    back = np.frombuffer(data, "<f2").reshape(values.shape).astype(np.float64) * factor
    np.testing.assert_allclose(back, values, rtol=1e-3, atol=np.abs(values).max() * 1e-6)


def test_large_grids_cross_as_steps_of_the_scale() -> None:
    values = np.random.default_rng(0).random((64, 14, 14)).astype(np.float32)
    values[0, 0, 0] = np.nan
    data, encoding, _ = encode_maps(values, 0.0, 1.0)
    assert encoding == "uint8" and len(data) == values.size
    assert data[0] == wire.MISSING_CELL
    assert EXACT_BYTES >= 64 * 7 * 7 * 2, "the usual case is exact"


def test_a_constant_map_has_a_factor() -> None:
    assert encode_maps(np.zeros((1, 2, 2), np.float32), 0.0, 0.0)[2] == 1.0


def test_the_wire_is_as_the_front_end_reads_it(repo: Path) -> None:
    """Trait names in the TypeScript are traits here: a rename on one side is found."""
    text = "".join(p.read_text() for p in (repo / "js/src/maps").glob("*.ts"))
    asked = set(re.findall(r'model\.get\("(\w+)"\)', text)) | set(
        re.findall(r'trait: "(\w+)"', text)
    )
    assert asked <= set(MapViewer.class_traits())
    for name in re.findall(r'kind: "(\w+)"', text):
        assert name in {"map", "alike", "region", "focus", "raw"}


# -- stores of other kinds -------------------------------------------------------------------
def test_ready_made_features_show_tiles_and_the_reason(features_session: Session) -> None:
    viewer = MapViewer(features_session)
    assert viewer._maps == b""
    assert "maps" in viewer._maps_info["reason"]
    assert all("reason" in e for e in viewer._methods)
    assert len(viewer.rows) > 0


def test_volumes_show_the_middle_slice_and_then_any(volume_session: Session) -> None:
    viewer = MapViewer(volume_session)
    assert viewer._maps_info["shape"] == [3, 4, 4]
    assert viewer._shown_slice == 1
    before = viewer._atlas
    viewer.set_state({"slice": 2})
    assert viewer._shown_slice == 2
    assert viewer._atlas != before, "the tiles show the slice that the maps show"
    assert viewer._atlas_info["box"] == [0.0, 0.0, 1.0, 1.0]


def test_a_closed_viewer_hears_nothing(store: ActivationStore) -> None:
    viewer = MapViewer(store)
    session = viewer.session
    viewer.close()
    before = viewer.rows
    session.select([1])
    np.testing.assert_array_equal(viewer.rows, before)


def test_the_figure_shows_the_same_tiles(session: Session) -> None:
    import matplotlib.pyplot as plt

    session.select(np.arange(6))
    figure = MapViewer(session).figure(width_mm=90)
    assert figure.get_size_inches()[0] == pytest.approx(90 / 25.4)
    plt.close(figure)
