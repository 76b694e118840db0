"""The volume view: which volume, its voxels in parts, planes, window, the map on its voxels."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import make_store, planted
from tests.widgets.transport import Wire
from widgetkit import explain
from widgetkit import tiles as tile_sources
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session import Session
from widgetkit.session.scan import cell_of, map_of, map_plane, planes_of, voxels_of
from widgetkit.session.volumes import Volumes
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter
from widgetkit.widgets import volume as module
from widgetkit.widgets import volume_voxels, volume_window, wire
from widgetkit.widgets.volume import VolumeView

PATIENT = "DOE^JANE 1961"
#: Fixtures that js/tests/volume.test.ts reads, too.
FIXTURES = Path(__file__).resolve().parents[2] / "js" / "tests" / "volume_fixtures.json"
LUNG = [-1350.0, 150.0]


def say(view: VolumeView, content: dict[str, Any], *buffers: bytes) -> None:
    """A message as the browser sends it."""
    view._handle_custom_msg(content, list(buffers))


def table(n: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": PATIENT,
            "x": 0.0,
            "y": 0.0,
            "z": 0.0,
            "level": 0,
            "size": 16,
            "mpp": np.nan,
            **columns,
        }
    )


def record(**more: Any) -> dict[str, Any]:
    return {"to_spacing": [5.0, 1.5, 2.0], "units": "HU", "modality": "CT", **more}


def store_of(
    path: Path,
    images: np.ndarray,
    grid: tuple[int, ...],
    *,
    tiles: pd.DataFrame | None = None,
    source: dict[str, Any] | None = None,
    window: Sequence[float] | None = LUNG,
    values: np.ndarray | None = None,
    **plan: Any,
) -> ActivationStore:
    n = len(images)
    if values is None:
        values, _ = planted(n, 8, grid, 2)
    made = Plan(
        tiles=table(n) if tiles is None else tiles,
        layers=[LayerPlan("conv", values.shape[1], grid)],
        model={"class": "Planted"},
        image_shape=images.shape[1:],
        segment_rows=n,
        source=source or {},
        preprocess={"window": None if window is None else list(window)},
        **plan,
    )
    with StoreWriter.open(path, plan=made) as writer:
        writer.write_segment(0, activations={"conv": values.astype(np.float16)}, images=images)
        return writer.commit()


def phantom(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Volumes that get brighter along every axis, with a bright box of their own."""
    rng = np.random.default_rng(seed)
    d, h, w = np.indices(shape[:3])
    base = 40 + 60 * d / shape[0] + 40 * h / shape[1] + 20 * w / shape[2]
    out = np.repeat(base[None], n, axis=0)
    for image in out:
        low = [int(rng.integers(0, max(1, side // 2))) for side in shape[:3]]
        image[tuple(slice(a, a + max(1, side // 3)) for a, side in zip(low, shape, strict=False))] = 230  # fmt: skip
    whole = out.astype(np.uint8)
    return whole if len(shape) == 3 else np.repeat(whole[..., None], 3, axis=-1)


SHAPE, GRID = (7, 18, 24), (3, 5, 6)


@pytest.fixture(scope="session")
def ct(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """12 volumes of 7 x 18 x 24 in the lung window, 5 x 1.5 x 2 mm, axial; maps of 3 x 5 x 6."""
    source = {"kind": "volumes", "series": [record(directions=["S", "P", "L"])] * 12}
    tiles = table(12, series=[f"{PATIENT} {i}" for i in range(12)], mpp=2000.0)
    path = tmp_path_factory.mktemp("volume") / "ct.wk"
    return store_of(path, phantom(12, SHAPE), GRID, tiles=tiles, source=source)


@pytest.fixture
def session(ct: ActivationStore) -> Session:
    made = Session(ct)
    made.wait()
    return made


@pytest.fixture(scope="session")
def stack_store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """Three series of 6, 5 and 1 slices in no order; the second lacks its third slice."""
    places = [("a", 5.0 * i) for i in range(6)] + [("b", 3.0 * i) for i in (0, 1, 3, 4, 5)]
    places.append(("c", 7.0))
    order = np.random.default_rng(4).permutation(len(places))
    chosen = [places[i] for i in order]
    images = np.stack(
        [np.full((16, 20), 20 * z + 10 * ord(name[0]) % 97, np.uint8) for name, z in chosen]
    )
    images[:, :4] = 255
    tiles = table(
        len(chosen),
        series=[f"{PATIENT} {name}" for name, _ in chosen],
        z_mm=[z - 100.0 for _, z in chosen],
        z=[float(int(z)) for _, z in chosen],
        mpp=800.0,
    )
    return store_of(
        tmp_path_factory.mktemp("volume") / "stack.wk", images, (4, 5), tiles=tiles, window=None
    )


@pytest.fixture
def stacks(stack_store: ActivationStore) -> Session:
    made = Session(stack_store)
    made.wait()
    return made


def fetched(view: VolumeView) -> np.ndarray:
    """The voxels as the browser puts them together, in an order of its own."""
    info, comm = view._volume, Wire(view)
    order = list(range(info["chunks"]))[::-1]
    for index in order:
        say(view, {"kind": "chunk", "version": info["version"], "index": index})
    parts: dict[int, bytes] = {}
    for content, buffers in comm.custom():
        assert content["kind"] == "chunk" and content["version"] == info["version"]
        (parts[content["index"]],) = buffers
    assert all(len(part) <= wire.MESSAGE_MOST for part in parts.values())
    shape = volume_voxels.reduced_shape(info["shape"], tuple(info["step"]))
    whole = np.frombuffer(b"".join(parts[i] for i in sorted(parts)), np.uint8)
    return whole.reshape(*shape, 3) if info["colour"] else whole.reshape(shape)


def shown(view: VolumeView) -> np.ndarray:
    """The map on the wire, as ``decodeGrids`` reads it."""
    info = view._map_info
    if info["encoding"] == "float16":
        values = np.frombuffer(view._map, "<f2").astype(np.float32) * np.float32(info["factor"])
        return values.reshape(info["shape"])
    codes = np.frombuffer(view._map, np.uint8).astype(np.float32).reshape(info["shape"])
    codes[codes == wire.MISSING_CELL] = np.nan
    return info["low"] + (info["high"] - info["low"]) * codes / 254


# -- what is shown ---------------------------------------------------------------------------
def test_it_describes_volume_planes_scale_and_window_and_names_nobody(session: Session) -> None:
    session.rename_cluster(1, "ink")
    session.set_map("cluster", 1)
    view = VolumeView(session, row=3)
    lines = view.describe().splitlines()
    assert lines[0] == (
        "Volume view: tile 3, 4 of 12, 7 x 18 x 24 voxels of 5 x 1.5 x 2 mm, map of cluster 'ink'"
    )
    assert lines[1] == "Planes: axial 4 of 7, coronal 10 of 18, sagittal 13 of 24"
    assert lines[2].startswith("Cluster: ink (scale of this volume), scale 0 to ")
    assert lines[3] == "Window -1350 to 150 HU"
    assert view.label == lines[0]
    everything = view.describe() + repr(view) + json.dumps(view._volume) + view.caption()
    assert "DOE" not in everything and "1961" not in everything


def test_it_opens_small_and_voxels_come_on_request(ct: ActivationStore) -> None:
    view = VolumeView(ct, row=2)
    state = view.get_state()
    assert state["_volume"]["shape"] == list(SHAPE) and state["_map"]
    assert sum(len(v) for v in state.values() if isinstance(v, bytes)) < 10_000
    np.testing.assert_array_equal(fetched(view), ct.images([2])[0])


def test_the_map_is_the_sessions_and_of_this_volume_alone(session: Session) -> None:
    session.set_map("channel", 2)
    view = VolumeView(session, row=5)
    truth = session.maps([5])
    np.testing.assert_allclose(shown(view), truth.values[0], atol=truth.vmax * 1e-3)
    assert view._map_info["high"] == pytest.approx(truth.vmax)
    before = view._map_info["version"]
    view.row = 6
    assert view._map_info["version"] == view._volume["version"] != before
    np.testing.assert_allclose(shown(view), session.maps([6]).values[0], atol=truth.vmax * 2e-3)


def test_a_result_for_a_volume_that_was_left_is_dropped(session: Session) -> None:
    view = VolumeView(session, row=5)
    late = view._taker(view._scan)
    result = session.maps([5])
    view.row = 6
    before = view._map
    late(result)
    assert view._map == before


@pytest.mark.parametrize("how", ["selection", "layer map", "undo"])
def test_the_map_follows_the_session(session: Session, how: str) -> None:
    view = VolumeView(session, row=1)
    before = view._map
    if how == "selection":
        session.set_map("selection")
        session.select([1, 2, 3])
    else:
        session.set_map("channel", 3)
    np.testing.assert_allclose(shown(view), session.maps([1]).values[0], rtol=0.02, atol=0.02)
    if how == "undo":
        say(view, {"kind": "command", "name": "undo"})
        assert view._map == before
        say(view, {"kind": "command", "name": "redo"})
        assert session.map_spec.method == "channel"


def test_how_it_looks_moves_nothing(session: Session) -> None:
    view = VolumeView(session, row=0)
    comm = Wire(view)
    for trait, value in (
        ("opacity", 0.2), ("threshold", 0.5), ("palette", "magma"), ("diverging", "coolwarm"),
        ("smooth", False), ("show_map", False), ("show_cross", False), ("tool", "window"),
        ("large", "W"), ("_at", [1, 2, 3]), ("_window", [-1000.0, 0.0]),
        ("_camera", [2.0, 3.0, 4.0, 5.0]),
    ):  # fmt: skip
        view.set_state({trait: value})
        assert getattr(view, trait) == value
    assert comm.size < 1000 and not {"_map", "_volume"} & comm.traits
    assert view.at == (1, 2, 3) and view.window == (-1000, 0)


def test_what_survives_a_reload_is_traits(session: Session) -> None:
    view = VolumeView(session, row=4)
    view.at, view.window, view.large = (1, 2, 3), (-900, -100), "H"
    state = view.get_state()
    assert state["_at"] == [1, 2, 3] and state["_window"] == [-900.0, -100.0]
    assert state["large"] == "H" and state["_volume"]["name"] == "tile 4"


# -- which volume ------------------------------------------------------------------------------
def test_it_begins_with_the_focus_else_with_the_first_representative(session: Session) -> None:
    first = int(session.ranked("representative", 1)[0][0])
    assert session.focus is None and VolumeView(session).row == first
    session.select([7, 8])
    assert VolumeView(session).row == session.ranked("representative", 1)[0][0]
    session.set_focus(9)
    assert VolumeView(session).row == 9
    assert VolumeView(session, row=2).row == 2


def test_it_follows_focus_and_selection_unless_told_not_to(session: Session) -> None:
    view, fixed = VolumeView(session), VolumeView(session, row=1, follow=False)
    session.set_focus(6)
    assert view.row == 6
    session.select([6, 7])
    assert view.row == 6  # it is one of them
    session.select([2, 3])
    assert view.row in (2, 3) and view._counts[1] == 2
    session.clear()
    assert view._counts[1] == 12
    session.set_focus(None)
    assert view.row in (2, 3) and fixed.row == 1


def test_steps_stay_within_the_selection_and_move_the_focus(session: Session) -> None:
    view = VolumeView(session, row=4)
    session.select([4, 8, 10])
    assert view._counts == [1, 3]
    for by, row in ((-1, 4), (1, 8), (1, 10), (1, 10), (-1, 8)):
        say(view, {"kind": "step", "by": by})
        assert view.row == row
    assert session.focus == 8
    fixed = VolumeView(session, row=9, follow=False)
    assert fixed._counts == [0, 3]
    fixed.step(1)
    assert fixed.row == 10 and session.focus == 8
    fixed.row = 9
    fixed.step(-1)
    assert fixed.row == 8


def test_a_closed_view_follows_nothing(session: Session) -> None:
    view = VolumeView(session, row=4)
    view.close()
    session.set_focus(2)
    session.select([1])
    session.set_map("channel", 1)
    assert view._scan is not None and view._scan.index == 4


@pytest.mark.parametrize("row", [-1, 12, True, 2.0, "3", None])
def test_a_row_that_is_none_is_refused(session: Session, row: Any) -> None:
    view = VolumeView(session, row=0)
    with pytest.raises(InvalidInput):
        view.row = row
    assert view.row == 0


# -- messages from the browser -----------------------------------------------------------------
@pytest.mark.parametrize(
    "content",
    [
        {"kind": "chunk", "version": 1, "index": 99},
        {"kind": "chunk", "version": 1, "index": -1},
        {"kind": "chunk", "version": 1, "index": True},
        {"kind": "chunk", "version": 1, "index": None},
        {"kind": "step", "by": 2},
        {"kind": "step", "by": True},
        {"kind": "map", "method": "nothing"},
        {"kind": "alike", "low": [0, 0, 0], "high": [7, 1, 1]},
        {"kind": "alike", "low": [1, 0, 0], "high": [0, 1, 1]},
        {"kind": "alike", "low": [0, 0], "high": [0, 1, 1]},
        {"kind": "alike", "low": [0, 0, 0.5], "high": [0, 1, 1]},
        {"kind": "alike", "low": [0, 0, 0], "high": [0, 1, 1], "mode": "x"},
        {"kind": "command", "name": "clear"},
        {"kind": "unknown"},
    ],
)
def test_a_bad_message_changes_nothing_and_is_said(
    session: Session, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    view = VolumeView(session, row=0)
    before = session.state()
    say(view, content)
    assert view.error and session.state() == before and view.row == 0


def test_a_request_for_a_volume_that_was_left_is_not_answered(session: Session) -> None:
    view = VolumeView(session, row=0)
    view.row = 1
    comm = Wire(view)
    say(view, {"kind": "chunk", "version": 1, "index": 0})
    assert comm.custom() == []


@pytest.mark.parametrize(
    "at", [[99, 99, 99], [-5, 0, 0], [1, 2], ["a", 0, 0], [1.5, 0, 0], [None, 1, 1]]
)
def test_a_place_that_is_none_is_brought_into_the_volume(session: Session, at: list[Any]) -> None:
    view = VolumeView(session, row=0)
    view.set_state({"_at": at})
    assert all(0 <= i < n for i, n in zip(view.at, SHAPE, strict=True))
    view.figure(width_mm=60)
    with pytest.raises(InvalidInput):
        view.at = at


@pytest.mark.parametrize("window", [[1.0], [5.0, 5.0], [float("nan"), 1.0], [9.0, 1.0]])
def test_a_window_that_is_none_is_the_stored_one(session: Session, window: list[float]) -> None:
    view = VolumeView(session, row=0)
    view.set_state({"_window": window})
    assert view.window == tuple(LUNG)
    with pytest.raises(InvalidInput):
        view.window = window


def test_a_brush_selects_what_is_alike(session: Session) -> None:
    view = VolumeView(session, row=3)
    low, high = [2, 4, 5], [2, 9, 14]
    say(view, {"kind": "alike", "low": low, "high": high, "mode": "replace"})
    found = session.selection.rows.tolist()
    # cell by cell: those in which the centre of a brushed voxel lies
    cells = set()
    for h in range(low[1], high[1] + 1):
        for w in range(low[2], high[2] + 1):
            place = [(i + 0.5) / n * c for i, n, c in zip((2, h, w), SHAPE, GRID, strict=True)]
            cells.add(tuple(int(p) for p in place))
    session.undo()
    session.select_alike(3, np.array(sorted(cells)))
    assert found and found == session.selection.rows.tolist()
    say(view, {"kind": "alike", "low": [0, 0, 0], "high": [0, 3, 3], "mode": "add"})
    assert set(found) <= set(session.selection.rows.tolist())


def test_what_is_brushed_becomes_the_place_of_a_concept(session: Session) -> None:
    view = VolumeView(session, row=3)
    with pytest.raises(InvalidInput, match="Nothing is brushed"):
        say(view, {"kind": "command", "name": "concept"})
    say(view, {"kind": "alike", "low": [2, 4, 5], "high": [2, 9, 14], "mode": "replace"})
    alike = session.selection.how["cells"]
    say(view, {"kind": "command", "name": "concept"})
    assert session.concepts is not None and session.concepts.names == ("concept 1",)
    mask = session.concepts.regions["concept 1"][3].mask
    assert mask.shape == GRID and np.flatnonzero(mask).tolist() == sorted(alike)
    say(view, {"kind": "alike", "low": [0, 0, 0], "high": [0, 3, 3], "mode": "replace"})
    say(view, {"kind": "command", "name": "more"})
    assert session.concepts.names == ("concept 1",)
    assert session.concepts.regions["concept 1"][3].mask.sum() != mask.sum()
    session.undo()
    np.testing.assert_array_equal(session.concepts.regions["concept 1"][3].mask, mask)


# -- window ------------------------------------------------------------------------------------
def test_presets_are_those_of_the_readers() -> None:
    theirs = {name: (w.level, w.width) for name, w in tile_sources.WINDOWS.items()}
    assert dict(volume_window.PRESETS) == theirs


def test_a_preset_says_what_of_it_is_stored(session: Session) -> None:
    view = VolumeView(session, row=0)
    by_name = {entry["name"]: entry for entry in view._volume["presets"]}
    assert "note" not in by_name["lung"] and "reason" not in by_name["lung"]
    assert by_name["mediastinum"]["note"] == "stored: -125 to 150"
    assert by_name["bone"]["note"] == "stored: -500 to 150"
    view.window = "mediastinum"
    assert view.window == (-125, 225)
    view.window = None
    assert view._window == [] and view.window == tuple(LUNG)
    with pytest.raises(UnknownName, match="lung"):
        view.window = "lungs"


def test_a_preset_of_which_nothing_is_stored_is_refused(tmp_path: Path) -> None:
    source = {"kind": "volumes", "series": [record()]}
    images = phantom(2, (4, 16, 16))
    store = store_of(tmp_path / "s.wk", images, (2, 2, 2), source=source, window=[-1000.0, -200.0])
    view = VolumeView(store)
    entries = {e["name"]: e for e in view._volume["presets"]}
    assert "reason" in entries["brain"]
    with pytest.raises(InvalidInput, match="-1000 to -200 HU"):
        view.window = "brain"


@pytest.mark.parametrize("window", [None, [0.0, 4000.0]])
def test_without_hu_there_are_no_presets(tmp_path: Path, window: list[float] | None) -> None:
    store = store_of(tmp_path / "s.wk", phantom(2, (4, 16, 16)), (2, 2, 2), window=window)
    view = VolumeView(store)
    assert view._volume["presets"] == [] and view._volume["units"] == ""
    assert view.window == ((0.0, 255.0) if window is None else (0.0, 4000.0))
    with pytest.raises(InvalidInput, match="HU"):
        view.window = "lung"


# -- voxels on the wire ------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    step=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    colour=st.booleans(),
    seed=st.integers(0, 99),
)
def test_reduced_voxels_are_means_of_blocks(
    shape: tuple[int, int, int], step: tuple[int, int, int], colour: bool, seed: int
) -> None:
    voxels = np.random.default_rng(seed).integers(
        0, 256, (*shape, 3) if colour else shape, dtype=np.uint8
    )
    found = volume_voxels.reduce(voxels, step)
    for at in np.ndindex(*found.shape[:3]):
        block = tuple(slice(i * s, (i + 1) * s) for i, s in zip(at, step, strict=True))
        mean = voxels[block].reshape(-1, *voxels.shape[3:]).mean(axis=0)
        assert np.abs(found[at] - mean).max() <= 0.5 + 1e-9


@given(
    shape=st.tuples(st.integers(1, 900), st.integers(1, 2000), st.integers(1, 2000)),
    channels=st.sampled_from([1, 3]),
)
def test_what_is_sent_is_bounded_and_a_small_volume_is_whole(
    shape: tuple[int, int, int], channels: int
) -> None:
    step = volume_voxels.step_of(shape, channels)
    sent = int(np.prod(volume_voxels.reduced_shape(shape, step))) * channels
    assert sent <= volume_voxels.BYTES_MOST
    if int(np.prod(shape)) * channels <= volume_voxels.BYTES_MOST:
        assert step == (1, 1, 1)
    assert sent * 16 > min(int(np.prod(shape)) * channels, volume_voxels.BYTES_MOST)


def test_a_large_volume_is_shown_smaller_and_says_so(
    ct: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert volume_voxels.step_of((512, 512, 512)) == (2, 2, 2)
    assert volume_voxels.step_of((61, 512, 512)) == (1, 1, 1)
    monkeypatch.setattr(volume_voxels.step_of, "__defaults__", (1, 1000))
    monkeypatch.setattr(volume_voxels, "CHUNK", 96)
    view = VolumeView(ct, row=1)
    step = tuple(view._volume["step"])
    assert max(step) > 1 and view._volume["chunks"] > 3
    assert f"Shown at 1/{max(step)}" in view._volume["note"]
    assert "Shown at 1/" in view.describe()
    np.testing.assert_array_equal(fetched(view), volume_voxels.reduce(ct.images([1])[0], step))


def test_a_map_as_fine_as_the_image_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS_MOST", 500)
    grid = np.random.default_rng(0).random((6, 20, 20), dtype=np.float32)
    few = module._fewer(grid)
    assert few.size <= 500 and few.mean() == pytest.approx(grid.mean(), rel=1e-5)


def test_a_damaged_picture_is_said_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = phantom(3, (4, 16, 16))
    store = store_of(tmp_path / "s.wk", images, (2, 2, 2), image_encoding="png")
    (blobs,) = sorted((tmp_path / "s.wk" / "images").glob("*.bin"))
    data = bytearray(blobs.read_bytes())
    data[40:60] = bytes(20)
    blobs.write_bytes(data)
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    view = VolumeView(ActivationStore.open(store.path), row=0)
    comm = Wire(view)
    say(view, {"kind": "chunk", "version": view._volume["version"], "index": 0})
    ((content, buffers),) = comm.custom()
    assert content["failed"] and not buffers
    assert view.error.startswith("tile 0: ") and "damaged picture" in view.error
    assert view._map  # the map is worth seeing without its ground
    view.error = ""
    view.row = 2
    assert fetched(view).shape == (4, 16, 16) and view.error == ""


# -- the map on the voxels ---------------------------------------------------------------------
SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@settings(deadline=None, max_examples=80)
@given(shape=SIDES, grid=SIDES, seed=st.integers(0, 10**6))
def test_one_cell_covers_exactly_its_voxels_in_all_planes(
    shape: tuple[int, int, int], grid: tuple[int, int, int], seed: int
) -> None:
    """A map of one cell is drawn on the voxels whose centres lie in it, however the sides divide."""
    cell = tuple(int(i) for i in np.random.default_rng(seed).integers(0, grid))
    values = np.zeros(grid, np.float32)
    values[cell] = 1
    inside = np.ones(shape, bool)
    for axis, (n, cells) in enumerate(zip(shape, grid, strict=True)):
        # in whole numbers: (i + 1/2) / n lies in [cell, cell + 1) / cells
        own = [
            cell[axis] * 2 * n <= (2 * i + 1) * cells < (cell[axis] + 1) * 2 * n for i in range(n)
        ]
        inside &= np.expand_dims(np.array(own), tuple(a for a in range(3) if a != axis))
    for axis in range(3):
        for at in range(shape[axis]):
            found = map_plane(values, shape, axis, at, smooth=False)
            np.testing.assert_array_equal(found == 1, inside.take(at, axis=axis))


@settings(deadline=None, max_examples=40)
@given(shape=SIDES, grid=SIDES, seed=st.integers(0, 99))
def test_a_smooth_plane_is_that_of_the_whole_upsampled_map(
    shape: tuple[int, int, int], grid: tuple[int, int, int], seed: int
) -> None:
    values = np.random.default_rng(seed).random(grid, dtype=np.float32)
    whole = explain.upsample(values, shape)
    for axis in range(3):
        for at in range(shape[axis]):
            found = map_plane(values, shape, axis, at, smooth=True)
            np.testing.assert_allclose(found, whole.take(at, axis=axis), rtol=1e-5, atol=1e-6)


def test_the_browser_is_tested_with_the_same_maps() -> None:
    """The fixtures of the front end are what ``explain.upsample`` and ``cell_of`` give."""
    cases = json.loads(FIXTURES.read_text())["maps"]
    assert len(cases) >= 4
    for case in cases:
        values = np.array(case["values"], np.float32)
        shape = case["shape"]
        smooth = explain.upsample(values, shape)
        np.testing.assert_allclose(smooth, np.array(case["smooth"]), rtol=1e-5, atol=1e-6)
        where = [cell_of(np.arange(n), n, c) for n, c in zip(shape, values.shape, strict=True)]
        nearest = np.array(case["nearest"], np.float32)
        np.testing.assert_array_equal(values[np.ix_(*where)], nearest)


def test_tiles_that_are_not_computed_have_no_map(stacks: Session) -> None:
    view = VolumeView(stacks)
    result = stacks.maps(view._scan.tiles)
    object.__setattr__(result, "ready", np.arange(len(result.rows)) % 2 == 0)
    found = map_of(result, view._scan)
    np.testing.assert_array_equal(np.isnan(found).all(axis=(1, 2)), np.arange(len(found)) % 2 == 1)


# -- planes ------------------------------------------------------------------------------------
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_planes_are_turned_as_a_radiologist_sees_them(plane: str) -> None:
    """In the one convention of the readers, whatever the slices are."""
    directions = {"axial": "SPL", "coronal": "PIL", "sagittal": "RIP"}[plane]
    found = {p.name: p for p in planes_of(tuple(directions))}  # type: ignore[arg-type]
    assert list(found["axial"].letters) == ["R", "L", "A", "P"]
    assert list(found["coronal"].letters) == ["R", "L", "S", "I"]
    assert list(found["sagittal"].letters) == ["A", "P", "S", "I"]
    # the slices themselves are stored as they are seen
    own = planes_of(tuple(directions))[0]  # type: ignore[arg-type]
    assert own.name == plane and (own.across, own.down) == (2, 1)
    assert not own.flip_across and not own.flip_down


@given(st.permutations("XYZ"), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_any_directions_give_three_planes_with_their_ends(
    order: list[str], turned: tuple[bool, bool, bool]
) -> None:
    ends = {"X": "LR", "Y": "PA", "Z": "SI"}
    directions = tuple(ends[axis][flip] for axis, flip in zip(order, turned, strict=True))
    planes = planes_of(directions)  # type: ignore[arg-type]
    assert {p.name for p in planes} == {"axial", "coronal", "sagittal"}
    for plane in planes:
        assert {plane.axis, plane.across, plane.down} == {0, 1, 2}
        right = directions[plane.across]
        assert plane.letters[0 if plane.flip_across else 1] == right
        assert plane.letters[2 if plane.flip_down else 3] == directions[plane.down]


def test_unknown_directions_have_no_letters_and_known_ones_are_checked(
    session: Session, tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s.wk", phantom(2, (4, 16, 16)), (2, 2, 2))
    view = VolumeView(store)
    assert all(plane["letters"] == [] for plane in view._volume["planes"])
    assert view._volume["planes"][0]["name"] == "D plane" and "no letters" in view.describe()
    view = VolumeView(store, directions="SPL")
    assert view._volume["planes"][0]["name"] == "axial" and "no letters" not in view.describe()
    for wrong in ("SPX", "SPI", "SP", 3, ["S", "P"]):
        with pytest.raises(InvalidInput, match="directions"):
            VolumeView(store, directions=wrong)  # type: ignore[arg-type]


# -- millimetres -------------------------------------------------------------------------------
def spacing_of(path: Path, **more: Any) -> tuple[Any, ...]:
    columns = more.pop("columns", {})
    store = store_of(path, phantom(3, (4, 16, 16)), (2, 2, 2), tiles=table(3, **columns), **more)
    scan = Volumes(store)[1]
    return scan.spacing, scan.in_mm, " ".join(scan.notes)


def test_spacing_is_what_the_source_said_of_this_series(tmp_path: Path) -> None:
    series = [record(to_spacing=[float(i), 1.0, 1.0]) for i in (3, 4, 5)]
    source = {"kind": "volumes", "series": series}
    found = spacing_of(tmp_path / "a.wk", source=source, columns={"series": ["x", "y", "z"]})
    assert found[0] == (4.0, 1.0, 1.0) and found[1]
    # a part of a source: the order is not that of the list, the pixel size tells them apart
    series = [record(to_spacing=[float(i), 1.0, i / 10]) for i in (3, 4, 5, 6)]
    part = {"kind": "subset", "tiles": 3, "of": {"kind": "volumes", "series": series}}
    columns = {"series": ["z", "y", "x"], "mpp": [600.0, 500.0, 300.0]}
    assert spacing_of(tmp_path / "b.wk", source=part, columns=columns)[0] == (5.0, 1.0, 0.5)
    parts = {"kind": "concat", "parts": [{"kind": "volumes", "series": [s]} for s in series]}
    assert spacing_of(tmp_path / "c.wk", source=parts, columns=columns)[0] == (5.0, 1.0, 0.5)


def test_spacing_that_is_not_sure_is_said(tmp_path: Path) -> None:
    series = [record(to_spacing=[float(i), 1.0, 1.0]) for i in (3, 4, 5, 6)]
    part = {"kind": "subset", "of": {"kind": "volumes", "series": series}}
    columns = {"series": ["z", "y", "x"], "mpp": 1000.0}
    spacing, in_mm, note = spacing_of(tmp_path / "a.wk", source=part, columns=columns)
    assert spacing == (1.0, 1.0, 1.0) and in_mm
    assert "does not say which" in note and "taken as that of pixels" in note
    spacing, in_mm, note = spacing_of(tmp_path / "b.wk")
    assert spacing == (1.0, 1.0, 1.0) and not in_mm and "drawn as cubes" in note


@pytest.mark.parametrize(
    "bad", [[1, 2], "abc", [1, 2, float("1e400")], [0, 1, 1], [None, 1, 1], {"a": 1}, 7]
)
def test_a_source_that_says_nonsense_is_not_believed(tmp_path: Path, bad: Any) -> None:
    if isinstance(bad, list) and any(v == float("inf") for v in bad):
        bad = [1, 2, -3]
    source = {"kind": "volumes", "series": [{"to_spacing": bad, "directions": bad, "units": bad}]}
    spacing, in_mm, _ = spacing_of(tmp_path / "a.wk", source=source)
    assert spacing == (1.0, 1.0, 1.0) and not in_mm


def test_spacing_can_be_given(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.wk", phantom(2, (4, 16, 16)), (2, 2, 2))
    view = VolumeView(store, spacing=(2, 0.5, 0.5))
    assert view._volume["spacing"] == [2.0, 0.5, 0.5] and view._volume["mm"]
    assert "2 x 0.5 x 0.5 mm" in view.describe() and "cubes" not in view.describe()
    for wrong in ((1, 2), (0, 1, 1), (1, float("nan"), 1), "abc"):
        with pytest.raises(InvalidInput, match="spacing"):
            VolumeView(store, spacing=wrong)  # type: ignore[arg-type]


def test_what_the_readers_write_is_read(tmp_path: Path) -> None:
    """A real source and a real extraction: spacing, window and units arrive here."""
    import torch

    from widgetkit import extraction

    rng = np.random.default_rng(0)
    volumes = [
        tile_sources.Volume(
            rng.integers(-1000, 400, (8, 24, 24)).astype(np.int16),
            spacing=(4.0 + i, 0.75, 0.75), units="HU", modality="CT", name=f"scan {i}",
        )
        for i in range(2)
    ]  # fmt: skip
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, stride=2, padding=1), torch.nn.ReLU())
    for as_, shape in (("volumes", (4, 16, 16)), ("slices", (16, 16))):
        source = tile_sources.from_volumes(volumes, as_=as_, shape=shape, window="lung")  # type: ignore[arg-type]
        model = network
        if as_ == "slices":
            model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2, padding=1), torch.nn.ReLU())  # fmt: skip
        store = extraction.extract(model, source, out=tmp_path / f"{as_}.wk", progress=False)
        view = VolumeView(store, row=len(store) - 1)
        depth = 4 if as_ == "volumes" else 8
        assert view._volume["shape"] == [depth, 16, 16] and view._volume["mm"]
        assert view._volume["spacing"] == pytest.approx([40 / depth, 1.125, 1.125])
        assert view._volume["window"] == LUNG and view._volume["units"] == "HU"
        assert view.describe().startswith(
            "Volume view: " + ("tile 1, 2 of 2" if as_ == "volumes" else "series 2, 2 of 2")
        )
        np.testing.assert_array_equal(fetched(view), voxels_of(store, view._scan))


# -- slices ------------------------------------------------------------------------------------
def test_slices_of_a_series_are_a_volume_in_order(stacks: Session) -> None:
    names = stacks.store.tiles["series"]
    for index, name in enumerate(names.unique()):
        scan = Volumes(stacks.store)[index]
        rows = scan.tiles
        assert (names.iloc[rows] == name).all()
        assert stacks.store.tiles["z_mm"].iloc[rows].is_monotonic_increasing
        voxels = voxels_of(stacks.store, scan)
        for d, row in enumerate(scan.rows):
            truth = 0 if row < 0 else stacks.store.images([int(row)])[0]
            np.testing.assert_array_equal(voxels[d], np.broadcast_to(truth, voxels[d].shape))


def test_a_hole_keeps_its_place_and_is_said(stacks: Session) -> None:
    names = list(stacks.store.tiles["series"].unique())
    view = VolumeView(stacks, row=int(np.flatnonzero(stacks.store.tiles["series"] == f"{PATIENT} b")[0]))  # fmt: skip
    scan = view._scan
    assert scan is not None and scan.index == names.index(f"{PATIENT} b")
    assert scan.shape == (6, 16, 20) and scan.missing == (2,)
    assert (
        scan.spacing == pytest.approx((3.0, 0.8, 0.8))
        and "1 slice between others" in view.describe()
    )
    assert np.isnan(shown(view)[2]).all() and np.isfinite(shown(view)[3]).all()
    view.at = (2, 3, 3)
    assert view.row is None
    view.figure(width_mm=60)


def test_a_map_of_slices_is_one_cell_a_slice_on_one_scale(stacks: Session) -> None:
    stacks.set_map("channel", 1)
    view = VolumeView(stacks, row=int(np.flatnonzero(stacks.store.tiles["series"] == f"{PATIENT} a")[0]))  # fmt: skip
    scan = view._scan
    truth = stacks.maps(scan.rows)
    assert view._map_info["shape"] == [6, 4, 5]
    np.testing.assert_allclose(shown(view), truth.values, atol=truth.vmax * 2e-3)


def test_the_focus_is_the_slice_at_the_crosshair(stacks: Session) -> None:
    view = VolumeView(stacks)
    for row in (0, 5, 11):
        stacks.set_focus(row)
        assert view.row == row
    assert view._volume["name"].startswith("series ")
    stacks.select([0, 5])
    assert view._counts[1] == len(stacks.store.tiles["series"].iloc[[0, 5]].unique())


def test_steps_go_from_series_to_series(stacks: Session) -> None:
    view = VolumeView(stacks, row=0)
    seen = []
    for _ in range(3):
        seen.append(view._scan.index)
        view.step(1)
    assert seen == [0, 1, 2]


def test_a_brush_stays_on_one_slice(stacks: Session) -> None:
    view = VolumeView(stacks, row=0)
    d = view.at[0]
    say(view, {"kind": "alike", "low": [d, 0, 0], "high": [d, 5, 5], "mode": "replace"})
    assert stacks.selection.count == 1
    assert view.row == 0  # what is brushed does not lead away, though another slice is most alike
    with pytest.raises(InvalidInput, match="tile of its own"):
        say(view, {"kind": "alike", "low": [0, 0, 0], "high": [1, 5, 5], "mode": "replace"})


def stacked(path: Path, n: int = 4, **columns: Any) -> Volumes:
    images = np.zeros((n, 16, 16), np.uint8)
    return Volumes(store_of(path, images, (2, 2), tiles=table(n, **columns)))


def test_what_makes_no_stack_says_why(tmp_path: Path) -> None:
    found = stacked(tmp_path / "a.wk")
    assert len(found) == 0 and "'series' or 'slide'" in found.reason
    found = stacked(tmp_path / "b.wk", slide="s")
    assert "no two of one slide have different z" in found.reason
    with pytest.raises(InvalidInput, match="differ in x"):
        stacked(tmp_path / "c.wk", series="s", z=np.arange(4.0), x=np.arange(4.0))[0]
    with pytest.raises(InvalidInput, match="two lie at one z"):
        stacked(tmp_path / "d.wk", series="s", z=[0.0, 1.0, 1.0, 2.0])[0]
    with pytest.raises(InvalidInput, match="z is not known"):
        stacked(tmp_path / "e.wk", series="s", z=[0.0, 1.0, np.nan, 2.0])[0]
    found = stacked(tmp_path / "f.wk", series=["s", "s", None, "t"], z=np.arange(4.0))
    assert len(found) == 2 and found.of(2) == -1 and found[1].shape == (1, 16, 16)
    with pytest.raises(InvalidInput, match="belongs to no series"):
        VolumeView(found._store, row=2)
    view = VolumeView(found._store, row=0)
    view.session.set_focus(2)
    assert "belongs to no series" in view._empty and view.row is None
    view.session.set_focus(1)
    assert view._empty == "" and view.row == 1


def test_a_stack_of_a_slide_and_uneven_slices(tmp_path: Path) -> None:
    found = stacked(tmp_path / "a.wk", slide="s", z=[3.0, 1.0, 2.0, 0.0])
    assert found[0].rows.tolist() == [3, 1, 2, 0]
    scan = stacked(tmp_path / "b.wk", series="s", z_mm=[0.0, 1.0, 2.7, 4.0], mpp=500.0)[0]
    assert scan.rows.tolist() == [0, 1, 2, 3] and "1 to 1.7 mm apart" in scan.notes[0]
    assert scan.spacing[0] == pytest.approx(1.3)
    # mostly holes: a step that two slices happen to share is not that of the series
    scan = stacked(tmp_path / "c.wk", series="s", z_mm=[0.0, 1.0, 100.0, 200.0])[0]
    assert scan.shape[0] == 4 and "drawn evenly" in scan.notes[0]


# -- what there is not -------------------------------------------------------------------------
def test_stores_without_volumes_say_why(
    features_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = VolumeView(features_session)
    assert view.row is None and "keeps no pictures" in view.describe()
    for work in (lambda: view.figure(width_mm=60), view.caption, lambda: view.step(1)):
        with pytest.raises(InvalidInput, match="keeps no pictures"):
            work()
    with pytest.raises(InvalidInput, match="keeps no pictures"):
        VolumeView(features_session, row=0)
    view = VolumeView(make_store(tmp_path / "flat.wk", n=12))
    assert "pictures" in view.describe() and view._map == b""
    view.session.set_focus(3)
    view.session.select([1, 2])
    say(view, {"kind": "chunk", "version": 1, "index": 0})
    assert view.error == ""


def test_a_layer_without_maps_says_so(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    images = phantom(4, (3, 16, 16))
    plan = Plan(
        tiles=table(4),
        layers=[LayerPlan("flat", 6)],
        model={"class": "x"},
        image_shape=(3, 16, 16),
        segment_rows=4,
    )
    with StoreWriter.open(tmp_path / "v.wk", plan=plan) as writer:
        writer.write_segment(0, activations={"flat": values}, images=images)
        store = writer.commit()
    view = VolumeView(store)
    assert "one vector a tile" in view._map_info["reason"] and view._map == b""
    np.testing.assert_array_equal(fetched(view), images[view.row])
    view.figure(width_mm=60)


def test_maps_of_other_axes_do_not_lie_on_a_volume(tmp_path: Path) -> None:
    view = VolumeView(store_of(tmp_path / "v.wk", phantom(4, (3, 16, 16)), (4, 4)))
    assert "do not lie on each other" in view._map_info["reason"] and view._map == b""


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1, 16, 16), (1, 2, 2)),
        ((1, 16, 33), (3, 5, 4)),
        ((40, 16, 20), (2, 1, 1)),
        ((5, 17, 31), (5, 17, 31)),
        ((4, 16, 16, 3), (2, 2, 2)),
    ],
)
def test_odd_volumes(tmp_path: Path, shape: tuple[int, ...], grid: tuple[int, int, int]) -> None:
    images = phantom(3, shape)
    view = VolumeView(store_of(tmp_path / "v.wk", images, grid), row=1)
    np.testing.assert_array_equal(fetched(view), images[1])
    assert view._map_info["shape"] == list(grid)
    assert view._volume["colour"] == (len(shape) == 4)
    assert ("Window" in view.describe()) == (len(shape) == 3)
    view.save(tmp_path / "v.png", width_mm=80, dpi=60)


def test_a_constant_volume_and_one_tile(tmp_path: Path) -> None:
    images = np.full((1, 4, 16, 16), 77, np.uint8)
    store = store_of(tmp_path / "v.wk", images, (2, 2, 2), values=np.ones((1, 8, 2, 2, 2)))
    session = Session(store)
    session.set_map("channel", 0)
    view = VolumeView(session)
    np.testing.assert_array_equal(fetched(view), images[0])
    assert np.isfinite(shown(view)).all()
    view.step(1)
    assert view.row == 0 and view._counts == [1, 1]
    view.save(tmp_path / "v.png", width_mm=80, dpi=60)


# -- maps that take time -----------------------------------------------------------------------
class _Model:
    """A network that only has to be there."""

    layers = ("conv",)

    def forward_to_layer(self, images: Any, layer: str) -> Any:
        raise NotImplementedError

    def logits(self, images: Any) -> Any:
        raise NotImplementedError

    def activations_and_gradients(self, images: Any, layer: str, target_class: int) -> Any:
        raise NotImplementedError


def test_a_map_that_is_computed_can_be_cancelled_and_asked_for_again(ct: ActivationStore) -> None:
    """As in a notebook: the job runs beside the cell."""
    gate, entered = threading.Event(), threading.Event()

    async def cell() -> None:
        session = Session(ct, _Model())  # type: ignore[arg-type]
        session.wait()
        view = VolumeView(session, row=2)
        method = explain.methods()["gradcam"]
        original = method.compute

        def compute(self: Any, batch: Any, target: Any) -> Any:
            entered.set()
            assert gate.wait(60)
            batch.check()
            return np.ones((len(batch.rows), *GRID), np.float32)

        method.compute = compute  # type: ignore[method-assign]
        try:
            session.set_map("gradcam", 0)
            assert "is being computed" in view._map_info["reason"] or view._map
            assert entered.wait(60)
            say(view, {"kind": "cancel", "key": view._key})
            assert "cancelled" in view._map_info["reason"] and view._map_info["compute"]
            gate.set()
            session.wait()
            assert view._map_info["compute"]
            say(view, {"kind": "compute"})
            session.wait()
            assert view._map_info["shape"] == list(GRID) and (shown(view) == 1).all()
        finally:
            method.compute = original  # type: ignore[method-assign]
            session.close()

    asyncio.run(cell())


def test_a_network_on_many_slices_is_not_started_by_a_look(
    stack_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILES_MOST", 3)
    session = Session(stack_store)
    session.wait()
    view = VolumeView(session, row=0)
    session.set_map("gradcam", 0)
    assert view._map_info["reason"] == "Grad-CAM needs the model."
    assert not view._map_info["compute"]
    with_model = Session(stack_store, _Model())  # type: ignore[arg-type]
    with_model.wait()
    view = VolumeView(with_model, row=int(np.flatnonzero(stack_store.tiles["series"] == f"{PATIENT} a")[0]))  # fmt: skip
    with_model.set_map("gradcam", 0)
    assert view._map_info["reason"] == "Grad-CAM runs the network on the 6 slices of this series."
    assert view._map_info["compute"]


# -- figure and documents ----------------------------------------------------------------------
def test_it_is_drawn_on_paper_as_it_is_shown(session: Session, tmp_path: Path) -> None:
    view = VolumeView(session, row=3)
    view.at, view.window, view.opacity = (1, 2, 3), "lung", 0.4
    figure = view.figure(width_mm=120)
    assert figure.get_figwidth() * 25.4 == pytest.approx(120)
    assert len(figure.axes) == 4
    assert view.save(tmp_path / "v.svg", width_mm=120).exists()
    caption = view.caption()
    assert "Volume 4: 7 x 18 x 24 voxels of 5 x 1.5 x 2 mm; axial 2 of 7" in caption
    assert "Window -1350 to 150 HU." in caption
    view.show_map = False
    assert len(view.figure(width_mm=120).axes) == 3


def test_the_page_says_what_the_view_takes() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "volume-view.md").read_text()
    for name in ("row", "spacing", "directions", "follow", "at", "window", "large"):
        assert re.search(rf"\b{name}\b", text), name
    for name in volume_window.PRESETS:
        assert name in text
