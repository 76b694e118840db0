"""The views as a user meets them: where things are on the page, and what a hand does there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tests.browser.lab import Notebook

Pixels = npt.NDArray[np.float64]

#: Room that the scatter leaves around the points when all are shown, CSS pixels.
MARGIN_PX = 16
#: A point this near to the line of a lasso may fall on either side of it: mouse events have whole
#: pixels and the lasso is thinned by half a pixel.
UNSURE_PX = 1.5
PATIENCE_MS = 60_000

Modifier = str  # "Shift", "Alt", "Control"


class View:
    """A view's root node on the page."""

    def __init__(self, notebook: Notebook, name: str, number: int = 0) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.selector = f".wk-{name}"
        self.number = number
        self.root = self.page.locator(self.selector).nth(number)

    def mark(self, name: str) -> int:
        """A number that the view leaves on its root: ``drawn``, ``revision``, ..."""
        return int(self.root.get_attribute(f"data-{name}") or 0)

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until ``condition``, a JavaScript function of the root and an argument, holds."""
        self.page.wait_for_function(
            f"([s, n, a]) => {{ const e = document.querySelectorAll(s)[n];"
            f" return !!e && ({condition})(e, a) }}",
            arg=[self.selector, self.number, argument],
            timeout=PATIENCE_MS,
        )

    def drawn(self) -> Self:
        """Wait for the first picture."""
        self.until("e => Number(e.dataset.drawn) > 0")
        return self

    def at_revision(self, revision: int) -> None:
        self.until("(e, r) => Number(e.dataset.revision) === r", revision)

    def see(self) -> None:
        """Scroll the view onto the screen; a mouse has no business elsewhere."""
        self.root.scroll_into_view_if_needed()

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Wait at the end until the view was drawn again."""
        before = self.mark("drawn")
        yield
        self.until("(e, n) => Number(e.dataset.drawn) > n", before)


@contextmanager
def held(page: Any, keys: Sequence[Modifier]) -> Iterator[None]:
    for key in keys:
        page.keyboard.down(key)
    try:
        yield
    finally:
        for key in keys:
            page.keyboard.up(key)


def drag(page: Any, path: Pixels, keys: Sequence[Modifier] = ()) -> None:
    """Press at the first place of the path, move along the others, release at the last."""
    whole = np.round(path)
    page.mouse.move(*whole[0])
    with held(page, keys):
        page.mouse.down()
        for x, y in whole[1:]:
            page.mouse.move(x, y)
        page.mouse.up()


class ScatterView(View):
    """The scatter; places are pixels of the page's window."""

    def __init__(self, notebook: Notebook, number: int = 0, *, python: str = "ex.scatter") -> None:
        super().__init__(notebook, "scatter", number)
        self.stage = self.root.locator(".wk-stage")
        self.python = python

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the map in the window."""
        found = self.stage.bounding_box()
        return found["x"], found["y"], found["width"], found["height"]

    def places(self) -> Pixels:
        """Where every tile is drawn while all are shown, ``(n, 2)``."""
        xy = np.array(self.notebook.value(f"{self.python}.session.projection.xy.tolist()"))
        left, top, width, height = self.box()
        low, high = xy.min(axis=0), xy.max(axis=0)
        scale = (np.array([width, height]) - 2 * MARGIN_PX) / (high - low)
        middle = np.array([left + width / 2, top + height / 2])
        return middle + (xy - (low + high) / 2) * scale.min() * [1, -1]

    def oval(self, x: float, y: float, rx: float, ry: float, steps: int = 40) -> Pixels:
        """An oval in shares of the map's size, around ``(x, y)``, in pixels of the window."""
        left, top, width, height = self.box()
        turn = np.linspace(0, 2 * np.pi, steps)
        return np.column_stack(
            [
                left + width * (x + rx * np.cos(turn)),
                top + height * (y + ry * np.sin(turn)),
            ]
        )

    def count_text(self) -> str:
        return str(self.root.locator(".wk-count").inner_text())

    def lasso(self, path: Pixels, keys: Sequence[Modifier] = ()) -> None:
        drag(self.page, path, keys)


def inside(polygon: Pixels, points: Pixels) -> npt.NDArray[np.bool_]:
    """Even-odd rule, edge by edge: the slow and obvious one."""
    found = np.zeros(len(points), dtype=bool)
    x, y = points[:, 0], points[:, 1]
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        found ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return found


def distance(polygon: Pixels, points: Pixels) -> npt.NDArray[np.float64]:
    """Of each point to the nearest edge of a polygon."""
    least = np.full(len(points), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = b - a
        length = float(along @ along)
        share = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(len(points))
        least = np.minimum(least, np.linalg.norm(points - a - share[:, None] * along, axis=1))
    return least


#: Charts are as wide as the place they stand in.
CHARTS_FIT = """() => [...document.querySelectorAll('.js-plotly-plot')].every(e =>
  e.querySelector('.main-svg')?.clientWidth === e.clientWidth && e.clientWidth > 0)"""


class Sockets:
    """Frames on the page's web sockets; make it before the page is opened or reloaded."""

    def __init__(self, page: Any) -> None:
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        page.on("websocket", self._follow)

    def _follow(self, socket: Any) -> None:
        socket.on("framesent", lambda payload: self.sent.append(_bytes(payload)))
        socket.on("framereceived", lambda payload: self.received.append(_bytes(payload)))

    def clear(self) -> None:
        self.sent.clear()
        self.received.clear()

    @property
    def total(self) -> int:
        """Bytes in both directions."""
        return sum(map(len, [*self.sent, *self.received]))


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload
