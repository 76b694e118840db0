"""Make the pictures of docs/factor-panel.md from the second demo (needs Chromium and playwright)."""

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

CELLS = [
    """
import widgetkit as wk
from widgetkit import demos, factors
store = demos.activation_store()
session = wk.Session(store)
session.use_factors(factors.names(store)[0])
session.read_slides()
session.read_prediction()
session.read_correlations(store.class_names[0])
session.read_choice()
session.wait()
panels = []
for kind in ("prediction", "correlations", "choice"):
    panels.append(wk.FactorPanel(session))
    panels[-1].kind = kind
""".strip(),
    "import ipywidgets\nipywidgets.VBox(panels)",
]
NAMES = ("prediction", "correlations", "choice")


def main() -> None:
    images = REPO / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder) / "lab") as lab,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1150, "height": 3200})
        notebook = Notebook(page, lab, lab.notebook("factors.ipynb", CELLS)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.locator(".js-plotly-plot").nth(len(NAMES) - 1).wait_for()
        page.wait_for_function(CHARTS_FIT)
        for i, name in enumerate(NAMES):
            panel = page.locator(".wk-panel").nth(i)
            panel.scroll_into_view_if_needed()
            page.mouse.move(2, 2)
            page.wait_for_timeout(500)
            path = images / f"factor-panel-{name}.png"
            shot = Image.open(io.BytesIO(panel.screenshot())).convert("RGB")
            shot.save(path, optimize=True)
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
