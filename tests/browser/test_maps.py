"""Maps in the page: small messages, true numbers, one scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.browser.explorer import ExplorerPage

#: What a change of how maps look, or of which maps, may cost on the wire in both directions.
CHANGE_BYTES = 10_000


@contextmanager
def redrawn_with_few_bytes(ex: ExplorerPage) -> Iterator[None]:
    """The maps are drawn again and the kernel has rested; at most ``CHANGE_BYTES`` crossed."""
    ex.rest()
    ex.sockets.clear()
    with ex.maps.redrawn():
        yield
    ex.rest()
    assert 0 < ex.sockets.total <= CHANGE_BYTES


@pytest.mark.parametrize(
    ("name", "value", "trait", "expected"),
    [("opacity", "0.25", "opacity", 0.25), ("threshold", "0.5", "threshold", 0.5)],
)
def test_a_slider_moves_no_picture(
    ex: ExplorerPage, name: str, value: str, trait: str, expected: float
) -> None:
    with redrawn_with_few_bytes(ex):
        ex.maps.root.get_by_label(name, exact=True).fill(value)
    ex.notebook.wait_value(f"ex.maps.{trait}", expected)


def test_another_palette_moves_no_picture(ex: ExplorerPage) -> None:
    with redrawn_with_few_bytes(ex):
        ex.maps.root.get_by_label("colours").select_option("magma")
    ex.notebook.wait_value("ex.maps.palette", "magma")


def test_another_method_sends_only_its_grids(ex: ExplorerPage) -> None:
    assert ex.notebook.value("len(ex.maps.rows)") == 64
    before = bar_numbers(ex)
    old = ex.maps.root.locator(".wk-bar-numbers").inner_text()  # before the kernel can answer
    with redrawn_with_few_bytes(ex):
        ex.maps.root.get_by_label("method").select_option("channel")
        ex.maps.until("(e, old) => e.querySelector('.wk-bar-numbers').innerText !== old", old)
    assert ex.notebook.value("ex.session.map_spec.method") == "channel"
    assert bar_numbers(ex) != before
    assert bar_numbers(ex) == pytest.approx(scale(ex), rel=0.01)


def test_a_lasso_sends_up_less_than_a_kilobyte(ex: ExplorerPage) -> None:
    ex.notebook.wait_idle()
    path = ex.scatter.oval(0.3, 0.5, 0.22, 0.35)
    ex.page.mouse.move(*path[0])
    ex.page.mouse.down()
    for x, y in path[1:]:
        ex.page.mouse.move(x, y)
    ex.sockets.clear()
    with ex.gesture():
        ex.page.mouse.up()
    gestures = [frame for frame in ex.sockets.sent if b'"lasso"' in frame]
    assert len(gestures) == 1
    assert len(gestures[0]) <= 1_500  # of which Jupyter's own header is about 400


def bar_numbers(ex: ExplorerPage) -> list[float]:
    texts = ex.maps.root.locator(".wk-bar-numbers span").all_inner_texts()
    return [float(text.replace("\u2212", "-")) for text in texts]


def scale(ex: ExplorerPage) -> list[float]:
    """Ends and middle of the scale of the maps that are shown, from the session."""
    low, high = ex.notebook.value(
        "(lambda r: [float(r.vmin), float(r.vmax)])(ex.session.maps(ex.maps.rows))"
    )
    return [low, (low + high) / 2, high]


def test_the_colour_bar_has_the_numbers_of_the_session(ex: ExplorerPage) -> None:
    assert bar_numbers(ex) == pytest.approx(scale(ex), rel=0.01)


def test_the_value_under_the_cursor_is_the_sessions(ex: ExplorerPage) -> None:
    ex.notebook.python("ex.maps.size = 100")
    ex.maps.until("e => parseInt(e.querySelector('.wk-maps-stage').style.width) % 106 === 2")
    ex.maps.see()
    box = ex.maps.root.locator(".wk-marks").bounding_box()
    values = ex.notebook.value("ex.session.maps(ex.maps.rows[:2]).values.tolist()")
    cell = 100 / 7
    for tile, row, column in ((0, 0, 0), (0, 6, 2), (1, 3, 5)):
        ex.page.mouse.move(
            box["x"] + 4 + tile * 106 + (column + 0.5) * cell, box["y"] + 4 + (row + 0.5) * cell
        )
        place = f"at cell ({row}, {column})"
        ex.maps.until("(e, p) => e.querySelector('.wk-status').textContent.includes(p)", place)
        text = ex.maps.root.locator(".wk-status").inner_text()
        said = float(text.split(" at cell")[0].rsplit("·", 1)[1].replace("\u2212", "-"))
        assert said == pytest.approx(values[tile][row][column], rel=0.01, abs=1e-3)


def test_a_method_that_cannot_run_says_why(ex: ExplorerPage) -> None:
    options = ex.maps.root.get_by_label("method").locator("option").all_inner_texts()
    assert "Grad-CAM (needs the model)" in options
    assert ex.maps.root.get_by_label("method").locator("option[value=gradcam]").is_disabled()


def test_own_scales_are_announced(ex: ExplorerPage) -> None:
    with ex.maps.redrawn():
        ex.maps.root.get_by_label("own scales").check()
    assert "own scale" in ex.maps.root.locator(".wk-bar-title").inner_text()
    with ex.maps.redrawn():
        ex.maps.root.get_by_label("own scales").uncheck()
