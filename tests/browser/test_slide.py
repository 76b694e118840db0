"""The slide view in the page: its pixels, its links to scatter and gallery, many slides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook, Open
from tests.browser.views import (
    UNSURE_PX,
    Pixels,
    ScatterView,
    Sockets,
    View,
    distance,
    drag,
    held,
    inside,
)
from tests.stores import HOSTILE
from widgetkit.store import LayerPlan, Plan, StoreWriter

OPEN = """
import widgetkit as wk
from widgetkit.widgets import Gallery, Scatter, SlideView
session = wk.Session({store})
session.wait()
scatter, gallery, view = Scatter(session, height=300), Gallery(session, height=160), SlideView(session)
BEGUN = session.state()
""".strip()
SHOW = """
import ipywidgets
ipywidgets.VBox([view, scatter, gallery])
""".strip()
FRESH = """
session.restore(BEGUN)
for name in ("tool", "mode", "show_map", "opacity", "threshold", "palette", "smooth", "marking", "follow"):
    view.set_trait(name, view.traits()[name].default())
view.slide = 0
scatter._camera = []
""".strip()
#: Grey over unselected tiles, and how much of it.
VEIL, VEILED = 128, 140 / 255
#: What a change of looks may cost on the wire, in both directions, with Jupyter's own headers.
LOOK_BYTES = 10_000


class SlidePage:
    """The slide view and its neighbours; places are pixels of the page's window."""

    sockets: Sockets

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.view = View(notebook, "slide")
        self.scatter = ScatterView(notebook, python="scatter")
        self.gallery = View(notebook, "gallery")
        self.stage = self.view.root.locator(".wk-slide-stage")
        self.view.drawn()
        self.ready()

    def ready(self) -> None:
        """Every tile and the map are there."""
        self.view.until("e => e.dataset.missing === '0' && e.dataset.camera")

    def settled(self) -> None:
        self.notebook.wait_idle()
        revision = int(self.notebook.value("session.selection.revision"))
        for view in (self.view, self.scatter, self.gallery):
            view.at_revision(revision)

    def fresh(self) -> None:
        self.page.mouse.move(2, 2)
        self.notebook.python(FRESH)
        self.settled()
        self.view.until("e => e.dataset.slide === '0'")
        self.view.see()
        self.ready()

    @contextmanager
    def gesture(self) -> Iterator[None]:
        """What the hand does inside changes the selection: wait until every view shows it."""
        before = int(self.notebook.value("session.selection.revision"))
        yield
        self.view.until("(e, r) => Number(e.dataset.revision) !== r", before)
        self.settled()

    def rest(self) -> None:
        self.notebook.wait_idle()
        said = -1
        while said != (said := self.sockets.total):
            self.page.wait_for_timeout(500)

    def box(self) -> tuple[float, float, float, float]:
        found = self.stage.bounding_box()
        return found["x"], found["y"], found["width"], found["height"]

    def camera(self) -> tuple[float, float, float]:
        x, y, scale = map(float, self.view.root.get_attribute("data-camera").split())
        return x, y, scale

    def pixels(self, places: Any) -> Pixels:
        """Of places on the slide in level-0 px."""
        left, top, width, height = self.box()
        x, y, scale = self.camera()
        middle = [left + width / 2, top + height / 2]
        return np.asarray(places, float).reshape(-1, 2) * scale - np.array([x, y]) * scale + middle

    def colour(self, place: Any) -> Pixels:
        """Red, green and blue that the picture has at a place of the slide."""
        x, y = self.pixels(place)[0] - self.box()[:2]
        found = self.stage.locator("canvas").first.evaluate(
            """(canvas, [x, y]) => Array.from(canvas.getContext('2d').getImageData(
              Math.round(x * canvas.width / canvas.clientWidth),
              Math.round(y * canvas.height / canvas.clientHeight), 1, 1).data)""",
            [float(x), float(y)],
        )
        return np.array(found[:3], float)

    def centres(self, slide: int = 0) -> tuple[Any, Pixels]:
        """Rows of a slide's tiles and their middles, level-0 px."""
        rows = self.notebook.value(f"session.placement.rows({slide}).tolist()")
        middles = self.notebook.value(f"session.placement.centres[{rows}].tolist()")
        return np.array(rows), np.array(middles)

    def selected(self) -> list[int]:
        rows: list[int] = self.notebook.value("session.selection.rows.tolist()")
        return rows

    def text(self, part: str) -> str:
        return str(self.view.root.locator(f".wk-slide-{part}").inner_text())

    def errors(self) -> list[str]:
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]


def opened(start: Open, cells: list[str], **options: Any) -> SlidePage:
    sockets: list[Sockets] = []
    notebook = start(
        cells,
        height=1300,
        before=lambda page: sockets.append(Sockets(page)),
        **options,
    )
    page = SlidePage(notebook)
    page.sockets = sockets[0]
    return page


@pytest.fixture(scope="module")
def planted_page(browser: Any, lab: Lab, planted_store: Path) -> Iterator[SlidePage]:
    with notebooks(browser, lab, "slides") as start:
        yield opened(start, [OPEN.format(store=f"wk.open({str(planted_store)!r})"), SHOW])


@pytest.fixture(scope="module")
def demo_page(browser: Any, lab: Lab) -> Iterator[SlidePage]:
    with notebooks(browser, lab, "demo-slide") as start:
        yield opened(start, [OPEN.format(store="wk.demo(explore=False)"), SHOW])


@pytest.fixture
def sp(planted_page: SlidePage) -> Iterator[SlidePage]:
    """Three small slides of planted textures, as they were opened."""
    planted_page.fresh()
    yield planted_page
    assert planted_page.errors() == []
    assert planted_page.notebook.page_errors() == []


@pytest.fixture
def demo(demo_page: SlidePage) -> Iterator[SlidePage]:
    """The shipped slide."""
    demo_page.fresh()
    yield demo_page
    assert demo_page.errors() == []
    assert demo_page.notebook.page_errors() == []


# -- selecting -------------------------------------------------------------------------------
def check_inside(sp: SlidePage, path: Pixels, among: list[int] | None = None) -> None:
    """The session's selection is the tiles whose middle is inside the drawn line."""
    rows, middles = sp.centres()
    places, drawn = sp.pixels(middles), np.round(path)
    expected = inside(drawn, places)
    if among is not None:
        expected &= np.isin(rows, among)
    sure = distance(drawn, places) > UNSURE_PX
    np.testing.assert_array_equal(np.isin(rows, sp.selected())[sure], expected[sure])


def corners(sp: SlidePage, x0: float, y0: float, x1: float, y1: float) -> Pixels:
    """Two corners in shares of the stage."""
    left, top, width, height = sp.box()
    share = np.array([[x0, y0], [x1, y1]])
    return np.round(np.array([left, top]) + share * [width, height])


def test_a_rectangle_on_the_slide_reaches_scatter_and_gallery(demo: SlidePage, shots: Path) -> None:
    demo.stage.click(position={"x": 5, "y": 5})
    demo.page.keyboard.press("r")
    demo.notebook.wait_value("view.tool", "box")
    a, b = corners(demo, 0.3, 0.55, 0.7, 0.9)
    with demo.gesture():
        drag(demo.page, np.array([a, (a + b) / 2, b]))
    chosen = demo.selected()
    assert 0 < len(chosen) < demo.notebook.value("len(session.store)")
    check_inside(demo, np.array([a, [b[0], a[1]], b, [a[0], b[1]]]))
    assert demo.scatter.count_text().startswith(f"{len(chosen)} of ")
    assert demo.notebook.value("sorted(gallery.rows.tolist())") == chosen
    assert demo.text("count").startswith(f"{len(chosen)} of ")
    demo.notebook.screenshot(shots / "slide-rectangle.png")


def test_a_freehand_line_follows_the_even_odd_rule(sp: SlidePage) -> None:
    sp.view.root.locator("[data-trait=tool][data-value=lasso]").click()
    left, top, width, height = sp.box()
    bow = np.array([[0.1, 0.42], [0.9, 0.58], [0.9, 0.42], [0.1, 0.58], [0.1, 0.42]])
    path = np.array([left, top]) + bow * [width, height]
    with sp.gesture():
        drag(sp.page, path)
    assert sp.selected()
    check_inside(sp, path)


def test_keys_add_take_away_and_intersect(sp: SlidePage) -> None:
    sp.view.root.locator("[data-trait=tool][data-value=box]").click()
    left, right = corners(sp, 0.02, 0.3, 0.4, 0.8), corners(sp, 0.6, 0.3, 0.98, 0.8)
    with sp.gesture():
        drag(sp.page, left)
    one = sp.selected()
    with sp.gesture():
        drag(sp.page, right, ["Shift"])
    both = sp.selected()
    assert set(one) < set(both)
    with sp.gesture():
        drag(sp.page, left, ["Alt"])
    assert set(sp.selected()) == set(both) - set(one)
    rest = sp.selected()
    with sp.gesture():
        drag(sp.page, right, ["Shift", "Alt"])
    assert sp.selected() == rest
    with sp.gesture():  # what changed nothing is no step
        sp.page.keyboard.press("Control+z")
    assert sp.selected() == both
    with sp.gesture():
        sp.page.keyboard.press("Escape")
    assert sp.selected() == []


def test_a_lasso_in_the_scatter_dims_the_rest_of_the_slide(demo: SlidePage, shots: Path) -> None:
    demo.notebook.python("view.show_map = False")
    demo.view.until("e => !e.querySelector('[data-command=map][aria-pressed=true]')")
    rows, middles = demo.centres()
    demo.ready()
    before = {int(r): demo.colour(m) for r, m in zip(rows[::7], middles[::7], strict=True)}
    demo.scatter.see()
    with demo.gesture():
        demo.scatter.lasso(demo.scatter.oval(0.3, 0.5, 0.22, 0.4))
    chosen = set(demo.selected())
    assert 0 < len(chosen) < len(rows)
    # overlapping tiles: the middle of an unselected one may lie in a selected one
    boxes = np.array(demo.notebook.value("session.placement.boxes.tolist()"))
    demo.view.see()
    near = 6 / demo.camera()[2]  # an outline may run here
    for row, middle in zip(rows[::7], middles[::7], strict=True):
        taken = boxes[sorted(chosen)]
        gap = np.maximum(taken[:, :2] - middle, middle - taken[:, 2:]).max(axis=1)
        if (np.abs(gap) < near).any():
            continue
        expected = before[int(row)]
        if not (gap < 0).any():
            expected = expected * (1 - VEILED) + VEIL * VEILED
        np.testing.assert_allclose(demo.colour(middle), expected, atol=4)
    demo.notebook.screenshot(shots / "slide-dimmed.png")


def test_what_is_picked_in_the_gallery_is_outlined_here(sp: SlidePage) -> None:
    sp.notebook.python("view.marking = 'outline'; view.show_map = False")
    rows, _ = sp.centres()
    sp.notebook.python(f"session.select([{int(rows[20])}])")
    sp.settled()
    box = sp.notebook.value(f"session.placement.boxes[{int(rows[20])}].tolist()")
    assert sp.colour([box[0], (box[1] + box[3]) / 2]).max() < 100  # the dark line
    sp.page.keyboard.press("Escape")


def test_a_click_looks_at_a_tile_while_moving_and_selects_it_otherwise(sp: SlidePage) -> None:
    rows, middles = sp.centres()
    sp.page.mouse.click(*sp.pixels(middles[30])[0])
    sp.notebook.wait_value("session.focus", int(rows[30]))
    assert sp.selected() == []
    sp.page.keyboard.press("l")
    sp.notebook.wait_value("view.tool", "lasso")
    with sp.gesture():
        sp.page.mouse.click(*sp.pixels(middles[12])[0])
    assert sp.selected() == [int(rows[12])]
    with sp.gesture(), held(sp.page, ["Shift"]):
        sp.page.mouse.click(*sp.pixels(middles[14])[0])
    assert sp.selected() == [int(rows[12]), int(rows[14])]


# -- moving ----------------------------------------------------------------------------------
def test_zooming_loads_finer_tiles_and_keeps_the_place_under_the_cursor(
    demo: SlidePage, shots: Path
) -> None:
    _, middles = demo.centres()
    place = middles[len(middles) // 2]
    at = np.round(demo.pixels(place)[0])
    under = (at - demo.pixels([0, 0])[0]) / demo.camera()[2]
    demo.sockets.clear()
    demo.page.mouse.move(*at)
    for _ in range(4):
        with demo.view.redrawn():
            demo.page.mouse.wheel(0, -240)
    demo.ready()
    np.testing.assert_allclose(demo.pixels(under)[0], at, atol=0.01)
    asked = [frame for frame in demo.sockets.sent if b'"tiles"' in frame]
    assert asked and any(b'"level":0' in frame.replace(b" ", b"") for frame in asked)
    # what is seen is the slide: an unmapped pixel is that of the picture, up to JPEG
    demo.notebook.python("view.show_map = False")
    demo.view.until("e => !e.querySelector('[data-command=map][aria-pressed=true]')")
    x, y = (int(v) for v in place)
    truth = demo.notebook.value(
        f"session.pictures[view.slide].source.region({x - 2}, {y - 2}, 5, 5, 1)"
        ".reshape(-1, 3).mean(axis=0).tolist()"
    )
    seen = np.mean([demo.colour([x + i, y + j]) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    np.testing.assert_allclose(seen, truth, atol=40)
    demo.notebook.screenshot(shots / "slide-zoomed.png")


def test_a_drag_and_the_arrows_move_it_and_zero_shows_all(sp: SlidePage) -> None:
    x, y, scale = sp.camera()
    left, top, width, height = sp.box()
    middle = np.array([left + width / 2, top + height / 2])
    drag(sp.page, middle + np.array([[0, 0], [30, 10], [60, 20]]))
    moved = sp.camera()
    assert moved[0] == pytest.approx(x - 60 / scale) and moved[1] == pytest.approx(y - 20 / scale)
    with sp.view.redrawn():
        sp.page.keyboard.press("ArrowRight")
    assert sp.camera()[0] == pytest.approx(moved[0] + 40 / scale)
    with sp.view.redrawn():
        sp.page.keyboard.press("+")
    assert sp.camera()[2] == pytest.approx(scale * 1.4)
    sp.page.keyboard.press("0")
    sp.view.until("(e, s) => Number(e.dataset.camera.split(' ')[2]) === s", scale)


def test_z_shows_the_selection(sp: SlidePage) -> None:
    rows, middles = sp.centres()
    sp.notebook.python(f"session.select({rows[18:20].tolist()})")
    sp.settled()
    sp.stage.focus()
    scale = sp.camera()[2]
    sp.page.keyboard.press("z")
    sp.view.until("(e, s) => Number(e.dataset.camera.split(' ')[2]) > s * 3", scale)
    sp.page.wait_for_timeout(300)
    x, y, _ = sp.camera()
    np.testing.assert_allclose([x, y], middles[18:20].mean(axis=0), atol=1)


def test_the_scale_bar_is_as_long_as_it_says(sp: SlidePage) -> None:
    text = sp.text("scale")
    length = float(text.split()[0]) * {"µm": 1.0, "mm": 1000.0}[text.split()[1]]
    drawn = sp.view.root.locator(".wk-slide-scale i").bounding_box()["width"]
    assert drawn == pytest.approx(length / 0.5 * sp.camera()[2], abs=1)


def test_two_fingers_zoom(browser: Any, lab: Lab, planted_store: Path) -> None:
    with notebooks(browser, lab, "touch") as start:
        sp = opened(
            start,
            [OPEN.format(store=f"wk.open({str(planted_store)!r})"), SHOW],
            has_touch=True,
        )
        left, top, width, height = sp.box()
        x, y, scale = left + width / 2, top + height / 2, sp.camera()[2]
        touch = sp.page.context.new_cdp_session(sp.page)

        def fingers(kind: str, apart: float) -> None:
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [] if kind == "touchEnd" else points},
            )

        fingers("touchStart", 50)
        for apart in (60, 80, 100):
            fingers("touchMove", apart)
        fingers("touchEnd", 0)
        sp.view.until(
            "(e, s) => Math.abs(Number(e.dataset.camera.split(' ')[2]) / s - 2) < 0.05", scale
        )
        assert sp.selected() == [] and sp.notebook.page_errors() == []


# -- the map ---------------------------------------------------------------------------------
def test_another_cluster_is_another_picture_and_few_bytes(demo: SlidePage, shots: Path) -> None:
    _, middles = demo.centres()
    before = np.array([demo.colour(m) for m in middles[::25]])
    demo.rest()
    demo.sockets.clear()
    demo.view.root.locator(".wk-slide-item").nth(3).click()
    name = demo.notebook.value("session.clustering.names[3]")
    demo.view.until("(e, n) => e.dataset.map === 'Cluster: ' + n", name)
    demo.ready()
    after = np.array([demo.colour(m) for m in middles[::25]])
    assert np.abs(after - before).mean() > 10
    assert demo.notebook.value("session.map_spec.target") == 3
    demo.rest()
    raster = demo.notebook.value("len(view._map)")
    assert demo.sockets.total < raster + 20_000
    bar = demo.view.root.locator(".wk-slide-bar-numbers span").all_inner_texts()
    low, high = demo.notebook.value("[view._map_info['low'], view._map_info['high']]")
    assert [float(t) for t in bar] == pytest.approx([low, (low + high) / 2, high], rel=0.01)
    demo.notebook.screenshot(shots / "slide-cluster.png")
    demo.view.root.locator(".wk-slide-item").nth(3).click()
    demo.notebook.wait_value("session.map_spec.target", None)


def test_looks_change_without_traffic(sp: SlidePage) -> None:
    sp.notebook.python("session.set_map('cluster', 1)")
    sp.view.until("e => e.dataset.map.startsWith('Cluster: ')")
    _, middles = sp.centres()
    for label, value, trait in (("opacity", "1", "opacity"), ("threshold", "0.9", "threshold")):
        sp.rest()
        sp.sockets.clear()
        before = np.array([sp.colour(m) for m in middles[::5]])
        with sp.view.redrawn():
            sp.view.root.get_by_label(label, exact=True).fill(value)
        assert np.abs(np.array([sp.colour(m) for m in middles[::5]]) - before).mean() > 3
        sp.notebook.wait_value(f"view.{trait}", float(value))
        sp.rest()
        ours = [frame for frame in sp.sockets.sent if trait.encode() in frame]
        assert ours and max(map(len, ours)) < 1_500  # of which Jupyter's own header is about 400
        assert sp.sockets.total < LOOK_BYTES
    with sp.view.redrawn():
        sp.view.root.get_by_label("colours").select_option("magma")
    sp.notebook.wait_value("view.palette", "magma")


def test_the_line_below_says_what_is_under_the_pointer(sp: SlidePage) -> None:
    rows, middles = sp.centres()
    place = middles[17] + 1
    sp.page.mouse.move(*np.round(sp.pixels(place)[0]))
    sp.view.until(
        "(e, t) => e.querySelector('.wk-slide-said').textContent.includes(t)", f"tile {rows[17]}"
    )
    told = sp.text("said").split(" · ")
    x, y = (float(v.rstrip(" m")) for v in told[0].split(", "))
    np.testing.assert_allclose([x, y], place * 0.5 / 1000, atol=0.0015)
    names = sp.notebook.value("list(session.clustering.names)")
    assert told[1] in [*names, "background"]


def test_a_hidden_cluster_is_seen_through(sp: SlidePage) -> None:
    sp.view.root.locator(".wk-slide-eye").nth(0).click()
    sp.notebook.wait_value("sorted(session.clustering.hidden)", [0])
    sp.view.until("e => e.querySelectorAll('.wk-slide-out').length === 1")
    sp.stage.focus()
    sp.page.keyboard.press("Control+z")
    sp.notebook.wait_value("sorted(session.clustering.hidden)", [])


def test_names_are_text(sp: SlidePage) -> None:
    sp.notebook.python(f"session.rename_cluster(0, {HOSTILE!r}); session.set_map('cluster', 0)")
    sp.view.until("(e, n) => e.dataset.map.endsWith(n)", HOSTILE)
    assert HOSTILE in sp.view.root.locator(".wk-slide-bar-title").inner_text()
    assert sp.view.root.locator("img").count() == 0


# -- many slides -----------------------------------------------------------------------------
def test_a_selection_elsewhere_leads_to_its_slide(sp: SlidePage, shots: Path) -> None:
    rows, _ = sp.centres(2)
    sp.notebook.python(f"session.select({rows[:9].tolist()})")
    sp.view.until("e => e.dataset.slide === '2'")
    sp.ready()
    assert sp.text("title") == "slide-2" and sp.text("count").startswith("9 of ")
    shares = sp.view.root.locator(".wk-slide-share").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().width)"
    )
    assert shares[:2] == [0, 0] and shares[2] > 0
    sp.notebook.screenshot(shots / "slide-strip.png")
    sp.view.root.get_by_label("follow").uncheck()
    sp.notebook.wait_value("view.follow", False)
    rows, _ = sp.centres(1)
    sp.notebook.python(f"session.select({rows.tolist()})")
    sp.settled()
    assert sp.view.root.get_attribute("data-slide") == "2"


def test_page_keys_and_the_strip_change_the_slide(sp: SlidePage) -> None:
    sp.stage.focus()
    sp.page.keyboard.press("PageDown")
    sp.view.until("e => e.dataset.slide === '1'")
    sp.view.root.locator(".wk-slide-thumb").nth(2).click()
    sp.view.until("e => e.dataset.slide === '2'")
    sp.view.root.locator(".wk-slide-strip").focus()
    sp.page.keyboard.press("Home")
    sp.view.until("e => e.dataset.slide === '0'")
    sp.ready()


SLIDES = 1000


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand slides of two tiles each; the name of one would be markup."""
    rng = np.random.default_rng(0)
    n = 2 * SLIDES
    slide = np.arange(n) // 2
    names = np.array([f"case {i:04d}" for i in range(SLIDES)], dtype=object)
    names[SLIDES - 1] = HOSTILE
    tiles = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": names[slide],
            "x": np.arange(n) % 2 * 16.0,
            "y": 0.0,
            "z": 0.0,
            "level": 0,
            "size": 16,
            "mpp": 0.5,
        }
    )
    plan = Plan(
        tiles=tiles,
        layers=[LayerPlan("conv", 6, (2, 2))],
        model={"class": "Planted"},
        image_shape=(16, 16, 3),
        segment_rows=n,
    )
    path = tmp_path_factory.mktemp("stores") / "thousand.wk"
    images = np.zeros((n, 16, 16, 3), np.uint8)
    images[..., 0] = (slide * 37 % 200)[:, None, None]
    images[..., 1] = 120
    with StoreWriter.open(path, plan=plan) as writer:
        values = rng.gamma(1.0, 1.0, (n, 6, 2, 2)).astype(np.float16)
        writer.write_segment(0, activations={"conv": values}, images=images)
        writer.commit()
    from widgetkit.session import Session
    from widgetkit.store import ActivationStore

    session = Session(ActivationStore.open(path))
    session.project("pca")
    session.cluster("kmeans", k=3)
    session.wait()
    session.close()
    return path


def test_a_thousand_slides_stay_light(browser: Any, lab: Lab, thousand: Path, shots: Path) -> None:
    with notebooks(browser, lab, "thousand") as start:
        sp = opened(start, [OPEN.format(store=f"wk.open({str(thousand)!r})"), SHOW])
        strip = sp.view.root.locator(".wk-slide-strip")
        thumbs = sp.view.root.locator(".wk-slide-thumb")
        sp.rest()
        assert 10 < thumbs.count() < 40
        asked = [frame for frame in sp.sockets.sent if b'"strip"' in frame]
        assert 0 < len(asked) <= 5
        strip.focus()
        sp.page.keyboard.press("End")
        sp.view.until("(e, s) => e.dataset.slide === s", str(SLIDES - 1))
        sp.view.until(
            "(e, n) => [...e.querySelectorAll('.wk-slide-thumb-name')].some(t => t.textContent === n)",
            HOSTILE,
        )
        assert sp.text("title") == HOSTILE and sp.view.root.locator("img").count() == 0
        assert thumbs.count() < 40
        # a row far away: only what is in sight then is asked for
        sp.sockets.clear()
        strip.evaluate("e => { e.scrollLeft = 400 * 76 }")
        sp.view.until(
            "e => [...e.querySelectorAll('.wk-slide-thumb-name')].some(t => t.textContent === 'case 0401')"
        )
        sp.view.until(
            "e => ![...e.querySelectorAll('.wk-slide-thumb-name')].some(t => /^slide/.test(t.textContent))"
        )
        sp.rest()
        asked = [frame for frame in sp.sockets.sent if b'"strip"' in frame]
        assert 0 < len(asked) <= 5 and sp.sockets.total < 300_000
        sp.notebook.screenshot(shots / "slide-thousand.png")
        assert sp.errors() == [] and sp.notebook.page_errors() == []


# -- the page --------------------------------------------------------------------------------
def test_a_reload_finds_the_same_view(browser: Any, lab: Lab, planted_store: Path) -> None:
    with notebooks(browser, lab, "reload-slide") as start:
        sp = opened(start, [OPEN.format(store=f"wk.open({str(planted_store)!r})"), SHOW])
        rows, _ = sp.centres(1)
        sp.notebook.python(
            f"view.slide = 1; session.select({rows[:5].tolist()}); session.set_map('cluster', 2);"
            " view.opacity = 0.3"
        )
        sp.view.until("e => e.dataset.slide === '1'")
        left, top, width, height = sp.box()
        sp.page.mouse.move(left + width * 0.4, top + height * 0.5)
        with sp.view.redrawn():
            sp.page.mouse.wheel(0, -240)
        sp.ready()
        camera, title = sp.camera(), sp.view.root.get_attribute("data-map")
        sp.notebook.wait_value("len(view._camera)", 6)
        sp.notebook.save()
        sp.page.wait_for_timeout(1000)
        sp.notebook.reload()
        sp.view.drawn()
        sp.ready()
        sp.view.until("e => e.dataset.slide === '1'")
        np.testing.assert_allclose(sp.camera(), camera)
        assert sp.view.root.get_attribute("data-map") == title
        assert sp.text("count").startswith(f"5 of {len(rows)} ")
        assert sp.view.root.get_by_label("opacity", exact=True).input_value() == "0.3"
        assert sp.notebook.page_errors() == []


def test_another_width_and_another_theme(sp: SlidePage, shots: Path) -> None:
    before = sp.camera()
    sp.page.set_viewport_size({"width": 900, "height": 1300})
    sp.view.until("(e, s) => Number(e.dataset.camera.split(' ')[2]) < s", before[2])
    sp.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    sp.view.until("e => e.dataset.theme === 'dark'")
    sp.ready()
    sp.notebook.screenshot(shots / "slide-dark.png")
    sp.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
    )
    sp.page.set_viewport_size({"width": 1500, "height": 1300})
    sp.view.until(
        "(e, s) => Math.abs(Number(e.dataset.camera.split(' ')[2]) - s) < 1e-6", before[2]
    )
