"""Make the picture of docs/concept-panel.md from the semi-synthetic lesions (needs Chromium and playwright)."""

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
import widgetkit as wk
from widgetkit import demos
store = demos.lesion_store()
session = wk.Session(store, demos.lesion_model(store), layer="dense")
session.set_concepts(demos.lesion_concepts(store, line=True))
session.read_concepts(learn_from="split == 'training'")
session.wait()
panel = wk.ConceptPanel(session, phases=("arterial", "portal venous", "delayed"))
card = wk.ConceptPanel(session, phases=("arterial", "portal venous", "delayed"))
reading = session.concept_reading
metastases = reading.predicted == reading.classes.index("colorectal metastasis")
session.select(metastases & store.tiles["marked"].to_numpy())
session.wait()
panel.concept = "scanner line"
card.question = "case"
session.set_focus(12)
""".strip(),
    """
ipywidgets.GridBox([panel, card], layout={"grid_template_columns": "50% 49%", "grid_gap": "14px"})
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
        page = browser.new_page(viewport={"width": 1660, "height": 1900})
        notebook = Notebook(page, lab, lab.notebook("concepts.ipynb", CELLS)).open()
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        page.locator(".js-plotly-plot").nth(2).wait_for()
        page.wait_for_function(CHARTS_FIT)
        page.mouse.move(2, 2)
        page.wait_for_timeout(1500)
        shown = page.locator(".widget-gridbox").first
        shown.scroll_into_view_if_needed()
        shot = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
        path = images / "concept-panel.png"
        # few colours: half the size, nothing lost that is looked at
        shot.quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path.name, shot.size, path.stat().st_size)


if __name__ == "__main__":
    main()
