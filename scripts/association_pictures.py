"""Make the picture of docs/association.md from planted patients (needs Chromium and playwright)."""

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
import ipywidgets
import numpy as np, pandas as pd
import widgetkit as wk
from widgetkit.demos import activation_store
store = activation_store()
session = wk.Session(store)
session.cluster("kmeans", 4)
session.wait()
g = np.random.default_rng(3)
n, cluster = len(store), session.clustering.labels
# planted: six tiles of about one cluster stand for a patient
own = np.argsort(np.argsort(cluster + 0.4 * g.normal(0, 1, n))) // 6
of = np.array([np.bincount(cluster[own == p], minlength=4).argmax() for p in range(own.max() + 1)])
patients = pd.DataFrame({
    "fvc": g.normal(82, 9, len(of)) - 10 * (of == 2),
    "dlco": g.normal(70, 12, len(of)) - 6 * (of == 2),
    "ground glass": g.binomial(4, np.where(of == 1, 0.65, 0.3)),
    "sex": g.choice(["f", "m"], len(of)),
    "smoker": g.random(len(of)) < np.where(of == 2, 0.75, 0.3),
    "age": g.normal(61, 8, len(of)),
})
table = patients.iloc[own].reset_index(drop=True).assign(patient=[f"p{p}" for p in own])
panel = wk.AssociationPanel(session, table=table, kinds={"ground glass": "ordinal"})
panel.variable = "fvc"
""".strip(),
    """
scatter = wk.Scatter(session, height=620)
ipywidgets.GridBox([scatter, panel], layout={"grid_template_columns": "44% 55%", "grid_gap": "10px"})
""".strip(),
]


def main() -> None:
    images = REPO / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder) / "lab", env={"PYTHONPATH": str(REPO)}) as lab,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1700, "height": 1500})
        notebook = Notebook(page, lab, lab.notebook("association.ipynb", CELLS)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.locator(".js-plotly-plot").nth(1).wait_for()
        page.wait_for_function(CHARTS_FIT)
        page.mouse.move(2, 2)
        page.wait_for_timeout(1500)
        shown = page.locator(".widget-gridbox").first
        shown.scroll_into_view_if_needed()
        shot = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
        path = images / "association.png"
        # few colours: half the size, nothing lost that is looked at
        shot.quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path.name, shot.size, path.stat().st_size)


if __name__ == "__main__":
    main()
