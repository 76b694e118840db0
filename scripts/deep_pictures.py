"""Make the pictures of the pages on training, numbers and maps of clusters (needs Chromium, playwright)."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
from tests.browser.lab import Lab, Notebook, chromium  # noqa: E402
from tests.browser.views import CHARTS_FIT  # noqa: E402
from widgetkit import explain, figures  # noqa: E402

IMAGES = REPO / "docs" / "images"
TRAINING = [
    """
import numpy as np
import widgetkit as wk
from tests.deep_clustering.planted import planted
from widgetkit.deep_clustering import ConvAutoencoder
images = np.concatenate([planted((32, 32), seed)[0] for seed in range(10)])
ae = ConvAutoencoder((32, 32), channels=(8, 16), latent=8)
view = wk.train(ae, images, epochs=200, batch_size=32, patience=None)
""".strip(),
    "view",
]


CHOICE = [
    """
import numpy as np
import widgetkit as wk
from widgetkit import analysis
generator = np.random.default_rng(2)
centres = generator.normal(size=(5, 8)) * 2.4
Z = centres[generator.integers(0, 5, 400)] + generator.normal(size=(400, 8))
view = wk.ClusterChoiceView(analysis.choose_clusters(Z))
""".strip(),
    "view",
]


def panel_shot(page: object, name: str) -> None:
    """The first panel of the page as a picture of the documentation."""
    panel = page.locator(".wk-panel").first  # type: ignore[attr-defined]
    panel.scroll_into_view_if_needed()
    page.mouse.move(2, 2)  # type: ignore[attr-defined]
    shot = Image.open(io.BytesIO(panel.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    shot.save(path, optimize=True)
    print(path.name, path.stat().st_size)


def phantom(n: int = 60, side: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chests of many sizes and places in HU, masks of their lungs, maps of 8 x 8, and three groups.

    Groups 0 and 1 have a density in the upper left and in the lower right lung, which the maps
    follow; the maps of group 2 point nowhere.
    """
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    group = generator.integers(0, 3, n)
    images, masks = np.full((n, side, side), -1000.0), np.zeros((n, side, side), bool)
    maps = np.zeros((n, 8, 8), np.float32)
    for i in range(n):
        cy, cx = side / 2 + generator.uniform(-5, 5, 2)
        high, wide = generator.uniform(20, 26), generator.uniform(20, 24)
        images[i][((y - cy) / (high + 7)) ** 2 + ((x - cx) / (wide + 4)) ** 2 < 1] = 40
        for way in (-1, 1):
            lung = ((y - cy) / high) ** 2 + ((x - cx - way * wide * 0.48) / (wide * 0.42)) ** 2 < 1
            masks[i] |= lung
            images[i][lung] = -850
        up, left = ((-0.45, -0.5), (0.4, 0.5), (0, 0))[group[i]]
        at = np.array([cy + up * high, cx + left * wide]) + generator.normal(0, 1.5, 2)
        size = generator.uniform(3, 5) if group[i] < 2 else 14
        spot = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * size**2))
        if group[i] < 2:
            images[i] += np.where(masks[i], 700 * spot, 0)
        images[i] += generator.normal(0, 40, (side, side))
        heat = generator.gamma(3, 1) * spot + 0.05 * generator.random((side, side))
        maps[i] = explain.area_mean(heat, (8, 8))
    return images, masks, maps, group


def maps_of_clusters() -> None:
    images, masks, maps, group = phantom()
    names = ["upper left", "lower right", "nowhere"]
    found = explain.cluster_maps(maps, group, images=images, masks=masks, names=names)
    path = IMAGES / "cluster-maps.png"
    spec = figures.FigureSpec(width_mm=170, dpi=120)
    figures.save(figures.cluster_maps(found, spec), path, spec=spec)
    with Image.open(path) as picture:
        plain = picture.convert("RGB")
    plain.save(path, optimize=True)
    print(path.name, path.stat().st_size)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    maps_of_clusters()
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder) / "lab", env={"PYTHONPATH": str(REPO)}) as lab,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1150, "height": 900})
        notebook = Notebook(page, lab, lab.notebook("training.ipynb", TRAINING)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.wait_for_function(
            "() => document.querySelector('.wk-panel .js-plotly-plot')?.data[0].x.length >= 24",
            timeout=300_000,
        )
        page.wait_for_function(CHARTS_FIT)
        panel_shot(page, "training")
        notebook.python("view.cancel()")
        page.set_viewport_size({"width": 1150, "height": 1300})
        notebook = Notebook(page, lab, lab.notebook("choice.ipynb", CHOICE)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.locator(".wk-panel .js-plotly-plot").first.wait_for()
        page.wait_for_function(CHARTS_FIT)
        page.wait_for_timeout(500)
        panel_shot(page, "choosing-clusters")


if __name__ == "__main__":
    main()
