"""The volume view in the page: its pixels in three planes, the map on its voxels, its links."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook, Open
from tests.browser.views import Pixels, ScatterView, Sockets, View, drag, held
from tests.widgets.test_volume import phantom, record, store_of, table
from widgetkit.session import Session
from widgetkit.session.scan import cell_of
from widgetkit.store import ActivationStore

#: Sides that the map's grid does not divide, and voxels that are no cubes.
SHAPE, GRID = (9, 22, 26), (4, 5, 3)
#: The one cell that channel 7 of every tile has.
CELL = (2, 1, 1)
LUNG = (-1350.0, 150.0)

OPEN = """
import widgetkit as wk
from widgetkit.widgets import Gallery, Scatter
from widgetkit.widgets.volume import VolumeView
session = wk.Session(wk.open({store!r}))
session.wait()
scatter, gallery, view = Scatter(session, height=260), Gallery(session, height=140), VolumeView(session, row=3)
BEGUN = session.state()
""".strip()
SHOW = """
import ipywidgets
ipywidgets.VBox([view, scatter, gallery])
""".strip()
FRESH = """
session.restore(BEGUN)
session.set_focus(None)
for name in ("tool", "large", "show_map", "show_cross", "opacity", "threshold", "palette", "smooth", "follow",
             "_at", "_window", "_camera"):
    view.set_trait(name, view.traits()[name].default())
view.row = 3
view.error = ""
""".strip()
#: Everything as it is, to be compared with numbers.
PLAIN = "view.smooth = view.show_cross = view.show_map = False"


@pytest.fixture(scope="session")
def volume_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 phantoms in the lung window; channel 7 is one cell, the others are planted."""
    from tests.stores import planted

    n = 20
    values, _ = planted(n, 8, GRID, 4)
    values[:, 7] = 0
    values[(slice(None), 7, *CELL)] = 1
    source = {"kind": "volumes", "series": [record(directions=["S", "P", "L"])] * n}
    tiles = table(n, series=[f"s{i}" for i in range(n)], mpp=2000.0)
    path = tmp_path_factory.mktemp("stores") / "volumes.wk"
    made = store_of(path, phantom(n, SHAPE), GRID, tiles=tiles, source=source, values=values)
    session = Session(made)
    session.project("pca")
    session.cluster("kmeans", k=4)
    session.wait()
    session.close()
    return path


class VolumePage:
    """The volume view and its neighbours; places are pixels of the page's window."""

    sockets: Sockets

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.view = View(notebook, "volume")
        self.scatter = ScatterView(notebook, python="scatter")
        self.gallery = View(notebook, "gallery")
        self.loaded()

    def loaded(self) -> None:
        self.view.until("e => Number(e.dataset.loaded) > 0")

    def settled(self) -> None:
        """What the kernel says has arrived, and was drawn."""
        self.notebook.wait_idle()
        self.notebook.python("view._revision += 1")  # drawn after all that came before it
        self.view.at_revision(self.notebook.value("view._revision"))
        version = self.notebook.value("view._volume.get('version', 0)")
        self.view.until("(e, v) => Number(e.dataset.loaded) === v", version)

    def fresh(self) -> None:
        self.page.mouse.move(2, 2)
        self.page.wait_for_timeout(400)  # what was moved last is told when it rests
        self.notebook.wait_idle()
        self.notebook.python(FRESH)
        self.view.see()
        self.settled()

    def python(self, code: str) -> None:
        self.notebook.python(code)
        self.settled()

    def stage(self, axis: int) -> Any:
        return self.view.root.locator(f".wk-volume-stage[data-axis='{axis}']")

    def plane(self, axis: int) -> dict[str, Any]:
        found: dict[str, Any] = self.notebook.value(f"view._volume['planes'][{axis}]")
        return found

    def box(self, axis: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of the plane within its stage."""
        text = self.view.root.locator(f".wk-volume-plane[data-axis='{axis}']").get_attribute(
            "data-box"
        )
        left, top, width, height = map(float, text.split())
        return left, top, width, height

    def places(self, axis: int, voxels: Any, shape: Any = SHAPE) -> Pixels:
        """Middles of voxels (n, 3) within the stage of a plane."""
        plane, (left, top, width, height) = self.plane(axis), self.box(axis)
        at = np.asarray(voxels, float).reshape(-1, 3) + 0.5
        out = []
        for along, flip, start, length in (
            (plane["across"], plane["flip"][0], left, width),
            (plane["down"], plane["flip"][1], top, height),
        ):
            share = at[:, along] / shape[along]
            out.append(start + (1 - share if flip else share) * length)
        return np.column_stack(out)

    def window(self, axis: int, voxel: Any) -> Pixels:
        """Where in the window a voxel is drawn."""
        corner = self.stage(axis).bounding_box()
        found: Pixels = self.places(axis, voxel)[0] + [corner["x"], corner["y"]]
        return found

    def colours(self, axis: int, voxels: Any, shape: Any = SHAPE) -> Pixels:
        """Red, green and blue of the picture at voxels of a plane, (n, 3)."""
        found = (
            self.stage(axis)
            .locator("canvas")
            .first.evaluate(
                """(canvas, places) => {
              const context = canvas.getContext('2d');
              return places.map(([x, y]) => Array.from(context.getImageData(
                Math.floor(x * canvas.width / canvas.clientWidth),
                Math.floor(y * canvas.height / canvas.clientHeight), 1, 1).data));
            }""",
                self.places(axis, voxels, shape).tolist(),
            )
        )
        return np.array(found, float)[:, :3]

    def in_plane(self, axis: int, at: Any, shape: Any = SHAPE) -> np.ndarray:
        """All voxels of the plane through ``at``, (n, 3)."""
        sides = [np.array([at[a]]) if a == axis else np.arange(shape[a]) for a in range(3)]
        return np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)

    def at(self) -> list[int]:
        return [int(i) for i in self.view.root.get_attribute("data-at").split()]

    def until_at(self, at: list[int]) -> None:
        self.view.until("(e, a) => e.dataset.at === a", " ".join(map(str, at)))

    def click(self, axis: int, voxel: Any, **options: Any) -> None:
        x, y = self.window(axis, voxel)
        self.page.mouse.click(x, y, **options)

    def errors(self) -> list[str]:
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]

    def said(self) -> str:
        return str(self.view.root.locator(".wk-volume-said").inner_text())


def opened(start: Open, cells: list[str], **options: Any) -> VolumePage:
    sockets: list[Sockets] = []
    notebook = start(cells, before=lambda page: sockets.append(Sockets(page)), **options)
    page = VolumePage(notebook)
    page.sockets = sockets[0]
    return page


@pytest.fixture(scope="module")
def volume_page(browser: Any, lab: Lab, volume_path: Path) -> Iterator[VolumePage]:
    with notebooks(browser, lab, "volumes") as start:
        yield opened(start, [OPEN.format(store=str(volume_path)), SHOW], height=1300)


@pytest.fixture
def vp(volume_page: VolumePage) -> Iterator[VolumePage]:
    """Phantoms, as they were opened; at the end no error may be seen or written."""
    volume_page.fresh()
    yield volume_page
    assert volume_page.errors() == []
    assert volume_page.notebook.page_errors() == []


@pytest.fixture(scope="module")
def voxels(volume_path: Path) -> np.ndarray:
    images: np.ndarray = ActivationStore.open(volume_path).images()
    return images


# -- pixels --------------------------------------------------------------------------------------
def test_every_voxel_of_three_planes_has_its_grey(vp: VolumePage, voxels: np.ndarray) -> None:
    vp.python(f"{PLAIN}; view.at = (2, 7, 20)")
    for axis in range(3):
        here = vp.in_plane(axis, (2, 7, 20))
        found = vp.colours(axis, here)
        truth = voxels[3][tuple(here.T)]
        np.testing.assert_allclose(found, np.repeat(truth[:, None], 3, axis=1), atol=1)


def test_planes_have_the_proportions_of_their_millimetres(vp: VolumePage) -> None:
    spacing = (5.0, 1.5, 2.0)
    for axis in range(3):
        plane, (_, _, width, height) = vp.plane(axis), vp.box(axis)
        across, down = (SHAPE[plane[k]] * spacing[plane[k]] for k in ("across", "down"))
        assert width / height == pytest.approx(across / down)
        letters = vp.stage(axis).locator(".wk-volume-letter").all_inner_texts()
        assert letters == plane["letters"] and len(set(letters)) == 4
        bar = vp.stage(axis).locator(".wk-volume-scale")
        millimetres = float(bar.inner_text().removesuffix(" mm"))
        assert float(bar.get_attribute("data-px")) / width == pytest.approx(millimetres / across)


def test_the_map_lies_on_exactly_its_voxels_in_all_planes(vp: VolumePage) -> None:
    """A map of one cell, on sides that the grid does not divide and voxels that are no cubes."""
    vp.python(PLAIN)
    inside = [
        np.flatnonzero(cell_of(np.arange(n), n, cells) == cell)
        for n, cells, cell in zip(SHAPE, GRID, CELL, strict=True)
    ]
    at = [int(part[0]) for part in inside]
    vp.python(f"session.set_map('channel', 7); view.at = {at}; view.show_map = True")
    vp.python("view.opacity, view.threshold = 1.0, 0.5")
    for axis in range(3):
        here = vp.in_plane(axis, at)
        found = vp.colours(axis, here)
        coloured = np.ptp(found, axis=1) > 30
        expected = np.all([np.isin(here[:, a], inside[a]) for a in range(3)], axis=0)
        np.testing.assert_array_equal(coloured, expected)
        assert expected.any() and not expected.all()
        # beside the cell, one slice before it, nothing is left of the map
        if at[axis]:
            before = list(at)
            before[axis] -= 1
            vp.python(f"view.at = {before}")
            assert not (np.ptp(vp.colours(axis, vp.in_plane(axis, before)), axis=1) > 30).any()
            vp.python(f"view.at = {at}")


def test_a_smooth_map_is_that_of_the_kernel(vp: VolumePage) -> None:
    """Colours of the overlay against ``explain.upsample`` of the session's map."""
    import matplotlib as mpl

    from widgetkit import explain

    at = (4, 10, 13)
    vp.python(f"session.set_map('channel', 2); view.show_cross = False; view.at = {at}")
    vp.python("view.opacity = 1.0")
    result = vp.notebook.value(
        "(lambda r: [r.values[0].tolist(), float(r.vmin), float(r.vmax)])(session.maps([3]))"
    )
    grid, low, high = np.array(result[0], np.float32), result[1], result[2]
    fine = (explain.upsample(grid, SHAPE) - low) / (high - low)
    for axis in range(3):
        here = vp.in_plane(axis, at)
        truth = mpl.colormaps["viridis"](np.clip(fine[tuple(here.T)], 0, 1))[:, :3] * 255
        assert np.abs(vp.colours(axis, here) - truth).mean() < 4


# -- slices --------------------------------------------------------------------------------------
def test_sliders_move_the_planes(vp: VolumePage) -> None:
    start = vp.at()
    assert start == [4, 11, 13]
    for axis, value in ((0, 2), (1, 5), (2, 25)):
        vp.view.root.locator(f".wk-volume-plane[data-axis='{axis}'] input").fill(str(value))
        start[axis] = value
        vp.until_at(start)
    vp.notebook.wait_value("list(view.at)", [2, 5, 25])
    slider = vp.view.root.get_by_label("coronal slice")
    assert slider.get_attribute("aria-valuetext") == "6 of 22"
    slider.press("ArrowRight")
    vp.until_at([2, 6, 25])


def test_the_wheel_moves_through_the_plane_under_the_pointer(vp: VolumePage) -> None:
    for axis in range(3):
        at = vp.at()
        vp.page.mouse.move(*vp.window(axis, at))
        vp.page.mouse.wheel(0, -120)
        at[axis] += 1
        vp.until_at(at)
        for _ in range(40):
            vp.page.mouse.wheel(0, 120)
        at[axis] = 0
        vp.until_at(at)
    vp.notebook.wait_value("list(view.at)", [0, 0, 0])


@pytest.mark.parametrize(
    ("key", "moved"),
    [
        ("ArrowUp", [0, 1, 0]), ("ArrowRight", [0, 1, 0]), ("ArrowDown", [0, -1, 0]),
        ("PageUp", [0, 10, 0]), ("PageDown", [0, -10, 0]), ("Home", [0, -11, 0]), ("End", [0, 10, 0]),
        # the crosshair in a coronal plane: head up, left to the right
        ("Shift+ArrowUp", [1, 0, 0]), ("Shift+ArrowDown", [-1, 0, 0]), ("Shift+ArrowRight", [0, 0, 1]),
    ],
)  # fmt: skip
def test_keys_move_through_the_plane_that_has_the_focus(
    vp: VolumePage, key: str, moved: list[int]
) -> None:
    vp.stage(1).focus()
    vp.page.keyboard.press(key)
    vp.until_at([a + b for a, b in zip([4, 11, 13], moved, strict=True)])


def test_the_crosshair_links_the_planes(vp: VolumePage, voxels: np.ndarray) -> None:
    vp.click(0, (4, 5, 6))
    vp.until_at([4, 5, 6])
    drag(vp.page, np.array([vp.window(1, (4, 5, 6)), vp.window(1, (6, 5, 12)), vp.window(1, (7, 5, 19))]))  # fmt: skip
    vp.until_at([7, 5, 19])
    vp.click(2, (1, 20, 19))
    vp.until_at([1, 20, 19])
    vp.notebook.wait_value("list(view.at)", [1, 20, 19])
    vp.python(PLAIN)
    for axis in range(3):
        here = vp.in_plane(axis, (1, 20, 19))[::7]
        truth = voxels[3][tuple(here.T)]
        np.testing.assert_allclose(vp.colours(axis, here)[:, 0], truth, atol=1)
    # a drag that leaves the picture stays at its rim; Escape takes it back
    x, y = vp.window(0, (1, 20, 19))
    vp.page.mouse.move(x, y)
    vp.page.mouse.down()
    vp.page.mouse.move(x + 2000, y + 2000)
    vp.until_at([1, 21, 25])
    vp.page.keyboard.press("Escape")
    vp.until_at([1, 20, 19])
    vp.page.mouse.up()
    vp.until_at([1, 20, 19])


def test_planes_change_places(vp: VolumePage) -> None:
    def large() -> str:
        return str(vp.view.root.locator(".wk-volume-large").get_attribute("data-axis"))

    assert large() == "0"
    before = vp.box(1)[2]
    vp.stage(0).focus()
    vp.page.keyboard.press("2")
    vp.view.until("e => e.querySelector('.wk-volume-large').dataset.axis === '1'")
    vp.notebook.wait_value("view.large", "H")
    vp.settled()
    assert vp.box(1)[2] > 1.5 * before
    vp.view.root.get_by_role("button", name="sagittal").click()
    vp.view.until("e => e.querySelector('.wk-volume-large').dataset.axis === '2'")


def test_zoom_and_pan(vp: VolumePage, voxels: np.ndarray) -> None:
    vp.python(PLAIN)
    whole = vp.box(0)
    x, y = vp.window(0, (4, 6, 8))
    vp.page.mouse.move(x, y)
    with vp.view.redrawn(), held(vp.page, ["Control"]):
        vp.page.mouse.wheel(0, -600)
    vp.settled()
    assert vp.box(0)[2] > 2 * whole[2]
    assert vp.window(0, (4, 6, 8)) == pytest.approx([x, y], abs=1.5)
    here = np.array([[4, 6, 8], [4, 6, 9], [4, 7, 8]])
    np.testing.assert_allclose(vp.colours(0, here)[:, 0], voxels[3][tuple(here.T)], atol=1)
    with held(vp.page, ["Shift"]):
        drag(vp.page, np.array([[x, y], [x + 9, y + 5], [x + 18, y + 11]]))
    vp.settled()
    assert vp.window(0, (4, 6, 8)) == pytest.approx([x + 18, y + 11], abs=1.5)
    vp.notebook.wait_value("len(view._camera)", 4)
    vp.stage(0).focus()
    vp.page.keyboard.press("0")
    vp.notebook.wait_value("view._camera", [])
    vp.settled()
    assert vp.box(0) == pytest.approx(whole)


# -- window --------------------------------------------------------------------------------------
def check_window(vp: VolumePage, voxels: np.ndarray) -> tuple[float, float]:
    """The greys on the screen are those of the window that the kernel knows."""
    vp.python(PLAIN)
    low, high = vp.notebook.value("list(view.window)")
    here = vp.in_plane(0, vp.at())
    values = LUNG[0] + voxels[3][tuple(here.T)] / 255 * (LUNG[1] - LUNG[0])
    truth = np.clip((values - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(vp.colours(0, here)[:, 0], truth, atol=1.5)
    return low, high


@pytest.mark.parametrize("how", ["right button", "w"])
def test_a_drag_changes_the_window(vp: VolumePage, voxels: np.ndarray, how: str) -> None:
    at = vp.at()
    x, y = vp.window(0, at)
    vp.stage(0).focus()
    if how == "w":
        vp.page.keyboard.down("w")
    vp.page.mouse.move(x, y)
    button = "right" if how == "right button" else "left"
    vp.page.mouse.down(button=button)
    vp.page.mouse.move(x - 100, y - 20)
    vp.page.mouse.move(x - 200, y - 40)
    vp.page.mouse.up(button=button)
    if how == "w":
        vp.page.keyboard.up("w")
    # 400 px are all 1500 HU
    vp.notebook.wait_value("[round(v) for v in view.window]", [-825, -75])
    assert vp.page.locator(".lm-Menu").count() == 0  # JupyterLab's own, on the right button
    assert check_window(vp, voxels) == pytest.approx((-825, -75))
    assert vp.at() == at


def test_presets_numbers_and_reset(vp: VolumePage, voxels: np.ndarray) -> None:
    assert "stored window \u22121350..150 HU" in vp.view.root.inner_text()
    select = vp.view.root.get_by_label("window", exact=True)
    options = select.locator("option").all_inner_texts()
    assert "mediastinum (stored: -125 to 150)" in options and "lung" not in options[0]
    select.select_option("mediastinum")
    vp.notebook.wait_value("list(view.window)", [-125, 225])
    check_window(vp, voxels)
    vp.view.root.get_by_label("Level of the window").fill("-500")
    vp.view.root.get_by_label("Level of the window").press("Enter")
    vp.notebook.wait_value("list(view.window)", [-675, -325])
    vp.view.root.get_by_label("Width of the window").fill("800")
    vp.view.root.get_by_label("Width of the window").press("Tab")
    vp.notebook.wait_value("list(view.window)", [-900, -100])
    check_window(vp, voxels)
    vp.view.root.locator("[data-command=reset]").click()
    vp.notebook.wait_value("view._window", [])
    assert check_window(vp, voxels) == LUNG


def test_the_value_under_the_pointer(vp: VolumePage, voxels: np.ndarray) -> None:
    vp.python("session.set_map('channel', 7); view.smooth = False")
    voxel = [5, 8, 12]
    vp.python(f"view.at = {voxel}")
    value = LUNG[0] + voxels[3][tuple(voxel)] / 255 * (LUNG[1] - LUNG[0])
    cell = tuple(int(cell_of(i, n, c)) for i, n, c in zip(voxel, SHAPE, GRID, strict=True))
    for axis in range(3):
        vp.page.mouse.move(*vp.window(axis, voxel))
        vp.view.until("e => e.querySelector('.wk-volume-said').innerText.includes('(5, 8, 12)')")
        said = vp.said().split(" \u00b7 ")
        assert "HU" in said[1]
        shown = float(said[1].replace("\u2212", "-").strip("\u2248\u2264\u2265 HU"))
        assert shown == pytest.approx(value, abs=0.6)
        assert float(said[2].removeprefix("map ")) == float(cell == CELL)
        vp.page.mouse.move(2, 2)
        vp.view.until("e => e.querySelector('.wk-volume-said').innerText === ''")


# -- linked --------------------------------------------------------------------------------------
def test_a_click_in_the_scatter_brings_its_volume(vp: VolumePage, voxels: np.ndarray) -> None:
    vp.python(PLAIN)
    places = vp.scatter.places()
    row = int(np.argmax(np.min(np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places)), axis=1)))  # fmt: skip
    vp.scatter.see()
    places = vp.scatter.places()
    vp.page.mouse.move(*places[row])
    vp.page.mouse.click(*places[row])
    vp.notebook.wait_value("session.selection.rows.tolist()", [row])
    vp.view.until("(e, n) => e.dataset.volume === n", f"tile {row}")
    vp.view.see()
    vp.settled()
    here = vp.in_plane(0, vp.at())
    np.testing.assert_allclose(vp.colours(0, here)[:, 0], voxels[row][tuple(here.T)], atol=1)
    vp.notebook.python("session.set_focus(11)")
    vp.view.until("e => e.dataset.volume === 'tile 11'")


def test_next_and_previous_stay_in_the_selection(vp: VolumePage) -> None:
    vp.python("session.select([3, 8, 15])")
    count = vp.view.root.locator(".wk-volume-count")
    assert count.inner_text() == "1 of 3"
    vp.view.root.locator("[data-command=after]").click()
    vp.view.until("e => e.dataset.volume === 'tile 8'")
    vp.notebook.wait_value("session.focus", 8)
    vp.stage(0).focus()
    vp.page.keyboard.press("n")
    vp.view.until("e => e.dataset.volume === 'tile 15'")
    vp.settled()
    assert count.inner_text() == "3 of 3"
    assert vp.view.root.locator("[data-command=after]").is_disabled()
    vp.page.keyboard.press("b")
    vp.view.until("e => e.dataset.volume === 'tile 8'")
    vp.notebook.wait_value("view.row", 8)


def test_a_brush_selects_alike_and_undo_takes_it_back(vp: VolumePage) -> None:
    a, b = vp.window(0, (4, 4, 4)), vp.window(0, (4, 12, 14))
    drag(vp.page, np.array([a, (a + b) / 2, b]), ["Alt"])
    vp.notebook.wait_value("session.selection.how.get('kind')", "alike")
    vp.notebook.wait_value("view.row", 3)
    chosen = vp.notebook.value("session.selection.count")
    assert chosen > 0
    vp.stage(0).focus()
    vp.page.keyboard.press("Control+z")
    vp.notebook.wait_value("session.selection.count", 0)
    vp.page.keyboard.press("Control+Shift+z")
    vp.notebook.wait_value("session.selection.count", chosen)
    vp.page.keyboard.press("k")  # what was brushed is the place of a concept
    vp.view.root.get_by_text(
        "saved as concept 1"
    ).wait_for()  # at once: the next map says something else
    vp.notebook.wait_value("session.concepts and list(session.concepts.regions['concept 1'])", [3])
    vp.page.keyboard.press("Control+z")
    vp.notebook.wait_value("session.concepts", None)


def test_the_map_is_chosen_here_and_switched_off(vp: VolumePage) -> None:
    vp.view.root.get_by_label("map", exact=True).select_option("channel")
    vp.notebook.wait_value("session.map_spec.method", "channel")
    vp.view.until("e => e.dataset.map.startsWith('Channel')")
    numbers = vp.view.root.locator(".wk-slide-bar-numbers span").all_inner_texts()
    high = vp.notebook.value("float(session.maps([3]).vmax)")
    assert float(numbers[2]) == pytest.approx(high, rel=0.01)
    vp.python("view.show_cross = False")
    before = vp.colours(0, vp.in_plane(0, vp.at()))
    assert np.ptp(before, axis=1).max() > 20
    vp.stage(0).focus()
    vp.page.keyboard.press("m")
    vp.notebook.wait_value("view.show_map", False)
    vp.settled()
    assert np.ptp(vp.colours(0, vp.in_plane(0, vp.at())), axis=1).max() == 0
    assert vp.view.root.locator(".wk-slide-bar").is_hidden()


# -- the wire ------------------------------------------------------------------------------------
def test_looks_and_slices_move_almost_nothing(vp: VolumePage) -> None:
    vp.notebook.wait_idle()
    vp.page.wait_for_timeout(700)
    x, y = vp.window(0, vp.at())
    vp.page.mouse.move(x, y)
    vp.sockets.clear()
    vp.view.root.get_by_label("opacity", exact=True).fill("0.25")
    vp.view.root.get_by_label("threshold", exact=True).fill("0.5")
    vp.view.root.get_by_label("colours").select_option("magma")
    for _ in range(3):
        vp.page.mouse.wheel(0, 120)
        vp.page.wait_for_timeout(30)
    vp.page.wait_for_timeout(900)
    assert 0 < vp.sockets.total < 10_000
    vp.notebook.wait_value("[view.opacity, view.threshold, view.palette]", [0.25, 0.5, "magma"])


def test_a_reload_keeps_what_is_shown(open_notebook: Open, volume_path: Path, voxels: np.ndarray) -> None:  # fmt: skip
    vp = opened(open_notebook, [OPEN.format(store=str(volume_path)), SHOW])
    vp.python(PLAIN)
    vp.stage(0).focus()
    vp.page.keyboard.press("3")
    vp.page.keyboard.press("Home")
    vp.click(2, (6, 9, 13))
    vp.until_at([6, 9, 13])
    vp.view.root.get_by_label("window", exact=True).select_option("lung")
    vp.view.root.get_by_label("Width of the window").fill("700")
    vp.view.root.get_by_label("Width of the window").press("Enter")
    vp.notebook.wait_value("list(view.window)", [-950, -250])
    vp.stage(2).focus()
    vp.page.keyboard.press("n")
    vp.view.until("e => e.dataset.volume === 'tile 4'")
    vp.notebook.wait_idle()
    vp.notebook.save()
    vp.page.wait_for_timeout(1500)
    vp.notebook.reload()
    vp.view.until("e => e.dataset.volume === 'tile 4'")
    vp.loaded()
    vp.settled()
    assert vp.at() == [6, 9, 13]
    assert vp.view.root.locator(".wk-volume-large").get_attribute("data-axis") == "2"
    here = vp.in_plane(2, (6, 9, 13))
    values = LUNG[0] + voxels[4][tuple(here.T)] / 255 * (LUNG[1] - LUNG[0])
    truth = np.clip((values + 950) / 700, 0, 1) * 255
    np.testing.assert_allclose(vp.colours(2, here)[:, 0], truth, atol=1.5)
    assert vp.errors() == [] and vp.notebook.page_errors() == []


def test_sixteen_megabytes_arrive_through_jupyter(open_notebook: Open, tmp_path: Path) -> None:
    """As large as a volume is sent whole; beyond that it is reduced, and the view says so."""
    rng = np.random.default_rng(0)
    shape = (256, 256, 256)
    images = rng.integers(0, 256, (1, *shape), dtype=np.uint8)
    path = tmp_path / "large.wk"
    store_of(path, images, (4, 4, 4), values=np.ones((1, 8, 4, 4, 4)))
    cell = f"import widgetkit as wk\nfrom widgetkit.widgets.volume import VolumeView\nview = VolumeView({str(path)!r})"  # fmt: skip
    vp = opened(open_notebook, [cell, "view"])
    vp.python(f"{PLAIN}; view.at = (200, 31, 77)")
    sizes = [len(frame) for frame in vp.sockets.received]
    assert max(sizes) < 8_000_000 and sum(sizes) > 2**24
    here = vp.in_plane(0, (200, 31, 77), shape)[:: 256 * 8 + 3]
    vp.view.until("e => e.dataset.at === '200 31 77'")
    ratio = vp.box(0)[2] / 256
    if ratio >= 1.2:  # each voxel has pixels of its own
        truth = images[0][tuple(here.T)]
        np.testing.assert_allclose(vp.colours(0, here, shape)[:, 0], truth, atol=1)
    assert vp.errors() == [] and vp.notebook.page_errors() == []


# -- what goes wrong -----------------------------------------------------------------------------
SLOW = """
import time
from widgetkit import explain
import numpy as np
class Net:
    layers = ("conv",)
    def forward_to_layer(self, images, layer): raise NotImplementedError
    def logits(self, images): raise NotImplementedError
    def activations_and_gradients(self, images, layer, target_class): raise NotImplementedError
FAIL = False
def compute(self, batch, target):
    for _ in range(3000):
        batch.check()
        if FAIL: raise ValueError("the network fell over")
        if DONE: return np.ones((len(batch.rows), 4, 5, 3), np.float32)
        time.sleep(0.02)
explain.methods()["gradcam"].compute = compute
DONE = False
session = wk.Session(session.store, Net())
session.wait()
view = VolumeView(session, row=3)
"""


def test_a_map_can_be_cancelled_and_asked_for_again(open_notebook: Open, volume_path: Path) -> None:  # fmt: skip
    vp = opened(open_notebook, [OPEN.format(store=str(volume_path)) + "\n" + SLOW, "view"])
    vp.notebook.python("session.set_map('gradcam', 0)")
    reason = vp.view.root.locator(".wk-volume-reason")
    vp.view.until("e => e.querySelector('.wk-job-title').innerText === 'Grad-CAM'")
    assert vp.view.root.get_attribute("data-map").startswith(
        "Cluster"
    )  # until the new one is there
    vp.notebook.python("view.row = 5")
    vp.view.until("e => e.querySelector('.wk-volume-reason').innerText.includes('being computed')")
    vp.view.until("e => e.dataset.map === ''")
    vp.view.root.get_by_role("button", name="Cancel").click()
    vp.view.until("e => e.querySelector('.wk-volume-reason').innerText.includes('cancelled')")
    assert vp.view.root.locator(".wk-job").is_hidden()
    vp.notebook.python("DONE = True")
    reason.get_by_role("button", name="Compute").click()
    vp.view.until("e => e.dataset.map.startsWith('Grad-CAM')")
    assert reason.is_hidden()
    vp.notebook.python("FAIL = True; view.row = 4")
    vp.view.until("e => e.querySelector('.wk-error-text').textContent.includes('fell over')")
    vp.view.until("e => e.querySelector('.wk-volume-reason').innerText.includes('failed')")
    assert vp.view.root.get_attribute("data-map") == ""  # no map of another volume
    vp.view.root.get_by_label("Dismiss the error").click()
    vp.notebook.wait_value("view.error", "")
    assert vp.notebook.page_errors() == []


def test_a_damaged_picture_is_said_in_the_strip(open_notebook: Open, tmp_path: Path) -> None:
    path = tmp_path / "bad.wk"
    store_of(path, phantom(3, (6, 16, 16)), (2, 2, 2), image_encoding="png")
    (blobs,) = (path / "images").glob("*.bin")
    data = bytearray(blobs.read_bytes())
    data[40:60] = bytes(20)
    blobs.write_bytes(data)
    cell = f"import widgetkit as wk\nfrom widgetkit.widgets.volume import VolumeView\nview = VolumeView({str(path)!r}, row=0)"  # fmt: skip
    vp = opened(open_notebook, [cell, "view"])
    vp.view.until("e => e.querySelector('.wk-error-text').textContent.includes('damaged picture')")
    assert "tile 0: " in vp.errors()[0]
    vp.view.root.get_by_label("Dismiss the error").click()
    vp.notebook.python("view.row = 1")
    vp.view.until("e => e.dataset.volume === 'tile 1'")
    vp.settled()
    assert vp.colours(0, [[3, 8, 8]], (6, 16, 16))[0, 0] > 0
    assert vp.errors() == [] and vp.notebook.page_errors() == []


def test_a_store_without_volumes_says_so(open_notebook: Open, planted_store: Path) -> None:
    cell = f"import widgetkit as wk\nfrom widgetkit.widgets.volume import VolumeView\nview = VolumeView({str(planted_store)!r})"  # fmt: skip
    notebook = open_notebook([cell, "view"])
    view = View(notebook, "volume").drawn()
    view.until("e => e.querySelector('.wk-volume-empty').innerText.includes('pictures')")
    assert view.root.locator(".wk-volume-planes").is_hidden()
    assert notebook.page_errors() == []


def test_nothing_is_left_of_a_closed_view(open_notebook: Open, volume_path: Path) -> None:
    vp = opened(open_notebook, [OPEN.format(store=str(volume_path)), "view"])
    vp.stage(0).focus()
    vp.page.keyboard.down("w")
    vp.notebook.python("view.close()")
    vp.page.wait_for_function("() => !document.querySelector('.wk-volume')")
    vp.page.keyboard.up("w")
    vp.page.keyboard.press("n")
    vp.notebook.python("session.set_focus(5); session.select([1])")
    assert vp.notebook.page_errors() == []


# -- real data of the kit ------------------------------------------------------------------------
@pytest.fixture(scope="session")
def encoded_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated volumes with a bright box here or there, seen by a 3-D autoencoder."""
    pytest.importorskip("torch")
    from widgetkit import tiles
    from widgetkit.deep_clustering import ConvAutoencoder

    shape = (12, 32, 40)
    images = phantom(16, shape)
    images[::2, 2:6, 4:12, 4:14] = 240
    images[1::2, 7:11, 20:28, 24:36] = 240
    source = tiles.from_array(images, volume=True, mpp=1000.0)
    network = ConvAutoencoder(shape, channels=(8, 12), latent=6, seed=0, device="cpu")
    network.fit(source, epochs=3, batch_size=8, progress=False)
    path = tmp_path_factory.mktemp("stores") / "encoded.wk"
    network.to_store(source, path, progress=False)
    return path


def test_volumes_of_an_autoencoder_and_their_clusters(open_notebook: Open, encoded_path: Path, shots: Path) -> None:  # fmt: skip
    vp = opened(open_notebook, [OPEN.format(store=str(encoded_path)), SHOW])
    assert "distance of slices is not known" in vp.view.root.inner_text()
    assert "no letters" in vp.view.root.inner_text()
    vp.notebook.python("session.set_map('cluster', 0)")
    vp.view.until("e => e.dataset.map.startsWith('Cluster')")
    options = json.loads(json.dumps(vp.view.root.get_by_label("of", exact=True).locator("option").all_inner_texts()))  # fmt: skip
    assert len(options) >= 2
    vp.notebook.screenshot(shots / "volume.png")
    assert vp.errors() == [] and vp.notebook.page_errors() == []


def test_in_the_dark_and_in_a_narrow_place(open_notebook: Open, volume_path: Path, shots: Path) -> None:  # fmt: skip
    vp = opened(open_notebook, [OPEN.format(store=str(volume_path)), "view"], width=700, color_scheme="dark")  # fmt: skip
    vp.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    vp.view.until("e => e.dataset.theme === 'dark'")
    vp.settled()
    boxes = [vp.view.root.locator(f".wk-volume-plane[data-axis='{a}']").bounding_box() for a in range(3)]  # fmt: skip
    whole = vp.view.root.bounding_box()
    for box in boxes:
        assert box["width"] > 60 and box["height"] > 60
        assert box["x"] >= whole["x"] and box["x"] + box["width"] <= whole["x"] + whole["width"] + 1
    vp.notebook.screenshot(shots / "volume-dark.png")
    assert vp.errors() == [] and vp.notebook.page_errors() == []
