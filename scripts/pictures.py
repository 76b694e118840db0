"""Make the README's pictures from the demo in a real JupyterLab (needs Chromium and playwright)."""

from __future__ import annotations

import io
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
from tests.browser.lab import Lab, Notebook, chromium  # noqa: E402

CELLS = [
    "import widgetkit as wk\nfrom widgetkit.demos import demo_store",
    "explorer = wk.explore(demo_store())\nexplorer",
]
#: What is cut out of the page: the output area, without JupyterLab's margins.
OUTPUT = ".jp-OutputArea-output .wk-panel"


class Film:
    """Frames of one element, with how long each is shown."""

    def __init__(self, page: Any, clip: dict[str, float]) -> None:
        self.page, self.clip = page, clip
        self.frames: list[Image.Image] = []
        self.lengths: list[int] = []

    def take(self, milliseconds: int) -> None:
        shot = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip))).convert("RGB")
        wide = 900
        self.frames.append(
            shot.resize((wide, round(wide * shot.height / shot.width)), Image.Resampling.LANCZOS)
        )
        self.lengths.append(milliseconds)

    def write(self, path: Path) -> None:
        # one palette of every part of the film, or colours would jump from frame to frame
        wide, high = self.frames[0].size
        both = Image.new("RGB", (wide, 2 * high))
        both.paste(self.frames[0], (0, 0))
        both.paste(self.frames[-1], (0, high))
        palette = both.quantize(255, method=Image.Quantize.MEDIANCUT)
        frames = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in self.frames]
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=self.lengths,
            loop=0,
            optimize=True,
        )


def ring(page: Any, film: Film, points: list[tuple[float, float]]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for i, point in enumerate(points[1:]):
        page.mouse.move(*point)
        if i % 6 == 5:
            film.take(120)
    page.mouse.up()
    page.wait_for_timeout(1200)
    film.take(3000)


def main() -> None:
    images = REPO / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder) / "lab") as lab,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1560, "height": 1500})
        notebook = Notebook(page, lab, lab.notebook("demo.ipynb", CELLS)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.wait_for_selector(".wk-scatter[data-drawn]")
        page.wait_for_selector(".wk-maps[data-drawn]")
        notebook.python("explorer.session.wait()")
        page.locator(".wk-scatter").last.scroll_into_view_if_needed()
        page.wait_for_timeout(2500)
        box = page.locator(OUTPUT).first.bounding_box()
        top = max(0.0, box["y"])
        clip = {
            "x": box["x"],
            "y": top,
            "width": box["width"],
            "height": min(box["height"], 1480 - top),
        }
        film = Film(page, clip)
        film.take(2500)
        # where the greenest tiles are drawn: from their place on the map to the page
        place = notebook.value(
            "(lambda s: [[float(v) for v in s.projection.xy[s.clustering.labels == c].mean(axis=0)] for c in range(s.clustering.k)]"
            " + [[float(v) for v in [*s.projection.xy.min(axis=0), *s.projection.xy.max(axis=0)]]])(explorer.session)"
        )
        *centres, (x0, y0, x1, y1) = place
        stage = page.locator(".wk-scatter canvas").last.bounding_box()
        scale = min(stage["width"] / (x1 - x0), stage["height"] / (y1 - y0)) * 0.9
        green = notebook.value(
            "(lambda s: int(s.store.tiles['green'].groupby(s.clustering.labels).mean().idxmax()))(explorer.session)"
        )
        for cluster in (0, green):
            x, y = centres[cluster]
            cx = stage["x"] + stage["width"] / 2 + (x - (x0 + x1) / 2) * scale
            cy = stage["y"] + stage["height"] / 2 - (y - (y0 + y1) / 2) * scale
            radius = 0.13 * stage["height"]
            right, low = stage["x"] + stage["width"] - 4, stage["y"] + stage["height"] - 4
            turns = [
                math.pi * (1 + a / 30) for a in range(60)
            ]  # from the left: the legend is right
            around = [
                (min(right, cx + radius * math.cos(t)), min(low, cy + radius * math.sin(t)))
                for t in turns
            ]
            ring(page, film, around)
        page.screenshot(path=str(images / "explorer.png"), clip=clip)
        page.locator(".wk-maps select").first.select_option("selection")
        page.wait_for_timeout(1500)
        film.take(3500)
        notebook.python("explorer.session.undo()")
        page.wait_for_timeout(1000)
        film.take(2000)
        film.write(images / "loop.gif")
    with Image.open(images / "explorer.png") as shot:
        wide, high = 1200, round(1200 * shot.height / shot.width)
        small = shot.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS)
    small.save(images / "explorer.png", optimize=True)
    for path in sorted(images.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
