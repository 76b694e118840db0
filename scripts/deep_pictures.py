"""Make the pictures of docs/training.md in JupyterLab (needs Chromium and playwright)."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
from tests.browser.lab import Lab, Notebook, chromium  # noqa: E402
from tests.browser.views import CHARTS_FIT  # noqa: E402

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


def panel_shot(page: object, name: str) -> None:
    """The first panel of the page as a picture of the documentation."""
    panel = page.locator(".wk-panel").first  # type: ignore[attr-defined]
    panel.scroll_into_view_if_needed()
    page.mouse.move(2, 2)  # type: ignore[attr-defined]
    shot = Image.open(io.BytesIO(panel.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    shot.save(path, optimize=True)
    print(path.name, path.stat().st_size)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
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


if __name__ == "__main__":
    main()
