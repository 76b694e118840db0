"""ConceptPanel: what it says and draws, how it follows, the shortcut it exposes, and that it names nobody."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from ipywidgets.widgets.widget import _instances
from PIL import Image

import widgetkit as wk
from tests.lesions import LINE, METASTASIS, lesion_session, lesion_store
from tests.stores import HOSTILE
from tests.widgets.test_clusters import _parts, press
from widgetkit.demos import lesion_concepts
from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import ConceptPanel, concept_charts
from widgetkit.widgets.concepts import QUESTIONS

PHASES = ("arterial", "portal venous", "delayed")


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return lesion_store(tmp_path_factory.mktemp("concepts"))


@pytest.fixture
def session(lesions: ActivationStore) -> Session:
    return lesion_session(lesions)


@pytest.fixture
def panel(session: Session) -> Iterator[ConceptPanel]:
    made = ConceptPanel(session, phases=PHASES)
    yield made
    made.close()


def figures_of(panel: ConceptPanel) -> list[Any]:
    """The charts on the page."""
    return [part for part in _parts(panel._stage) if hasattr(part, "_widget_data")]


def told(panel: ConceptPanel) -> str:
    """All that the browser is told."""
    shown = [p for p in _parts(panel) if hasattr(p, "value") and isinstance(p.value, str)]
    return (
        "".join(repr(gestures.synced(figure)) for figure in figures_of(panel))
        + "".join(part.value for part in shown)
        + repr([getattr(part, "options", ()) for part in _parts(panel)])
        + panel.describe()
    )


def predicted(session: Session, name: str) -> np.ndarray:
    reading = session.concept_reading
    assert reading is not None and reading.predicted is not None
    return np.asarray(reading.predicted == reading.classes.index(name))


# -- before anything was read ----------------------------------------------------------------
def test_without_concepts_it_says_how_to_make_one(lesions: ActivationStore) -> None:
    session = Session(lesions, layer="dense")
    panel = ConceptPanel(session)
    assert "There are no concepts yet. Select tiles" in panel.describe()
    assert "Semi-synthetic" in panel.describe() and "Semi-synthetic" in panel._said.value
    assert panel._read_button.disabled and panel._stage.children == ()
    for act in ("Read", "Save table", "Select its tiles"):
        with pytest.raises(InvalidInput, match="no concepts yet"):
            press(panel, act)
    with pytest.raises(InvalidInput, match="no concepts yet"):
        panel.figure()
    with pytest.raises(InvalidInput, match="a name first"):
        press(panel, "Save selection as concept")
    panel.bar.name.value = "rim"
    with pytest.raises(TooFew, match="No tile is selected"):
        press(panel, "Save selection as concept")
    session.select([3, 17, 40])
    press(panel, "Save selection as concept")
    assert session.concepts is not None and session.concepts.examples("rim").tolist() == [3, 17, 40]
    assert panel.concept == "rim" and panel.bar.name.value == ""
    assert "1 concepts have examples and were not read yet" not in panel.describe()
    assert "1 concept has examples and was not read yet" in panel.describe()
    assert "<td" in panel._examples.value and ">267<" in panel._examples.value.replace(" ", "")
    panel.close()


def test_read_reads_with_the_estimator_and_the_tiles_in_the_menus(lesions: ActivationStore) -> None:
    session = Session(lesions, layer="dense")
    session.set_concepts(lesion_concepts(lesions).renamed("washout", "fast washout"))
    panel = ConceptPanel(session)
    assert panel.reading is None and "14 concepts have examples" in panel.describe()
    panel._estimator.value = "density"
    learn = dict(panel._learn.options)
    assert "split: test without shortcut" in learn
    panel._learn.value = learn["split: training"]
    press(panel, "Read")
    session.wait()
    reading = panel.reading
    assert reading is not None and reading.estimator == "density"
    assert reading.learned.sum() == 150 and reading.judged.sum() <= 120
    assert "14 concepts, relevance by projection: density on layer 'dense'" in panel.describe()
    assert panel._examples.value == "" and len(figures_of(panel)) == 1
    panel.close()


# -- concepts --------------------------------------------------------------------------------
def test_bars_are_the_comparison_and_follow_the_selection(
    panel: ConceptPanel, session: Session
) -> None:
    (figure,) = figures_of(panel)
    reading = panel.reading
    assert reading is not None
    everything = reading.compare(np.ones(270, bool))
    np.testing.assert_allclose(figure.data[0].x, everything["relevance_in"], atol=1e-6)
    assert "All 270 tiles" in panel.describe()
    mine = predicted(session, METASTASIS)
    session.select(mine)
    table = reading.compare(mine)
    (figure,) = figures_of(panel)
    by = {trace.meta: trace for trace in figure.data}
    for column, scale in (("relevance", 1), ("share", 100)):
        np.testing.assert_allclose(by[column].x, scale * table[f"{column}_in"], atol=1e-5)
        np.testing.assert_allclose(
            by[f"{column} rest"].x, scale * table[f"{column}_rest"], atol=1e-5
        )
    reach = table["relevance_rest"] + table["high"]
    np.testing.assert_allclose(by["relevance"].x + by["relevance"].error_x.array, reach, atol=1e-5)
    assert list(by["relevance"].customdata) == list(range(14))
    assert (np.diff(by["relevance"].x) <= 1e-6).all()
    names = [str(text).partition(" (")[0] for text in figure.layout.yaxis.ticktext]
    assert all(a.startswith(b.rstrip("…")) for a, b in zip(table["concept"], names, strict=True))
    # another selection is drawn in the same figure: it keeps its zoom
    session.select(~mine)
    assert figures_of(panel) == [figure]
    session.undo()
    np.testing.assert_allclose(figure.data[0].x, table["relevance_in"], atol=1e-6)


def test_what_contradicts_has_a_pattern_and_the_word(panel: ConceptPanel, session: Session) -> None:
    session.select(predicted(session, METASTASIS))
    part: Any = panel.parts["concepts"]
    marked = part.contradicting()
    assert any(marked) and not all(marked)
    table = part.frame
    for row, bad in zip(table.to_dict("records"), marked, strict=True):
        assert bad == (row["contradicts_in"] > 0.5 * row["share_in"])
    (figure,) = figures_of(panel)
    shapes = list(figure.data[0].marker.pattern.shape)
    assert [shape == "/" for shape in shapes] == marked
    assert ["(contradicts)" in text for text in figure.layout.yaxis.ticktext] == marked
    assert panel._stage.children[0]._table.value.count(">contradicts<") == sum(marked)


def test_a_click_selects_the_tiles_in_which_it_is_seen(
    panel: ConceptPanel, session: Session
) -> None:
    (figure,) = figures_of(panel)
    part: Any = panel.parts["concepts"]
    name = str(part.frame["concept"].iloc[2])
    gestures.click(figure, 0, 2)
    reading = panel.reading
    assert reading is not None
    seen = reading.identified.present[:, reading.names.index(name)]
    np.testing.assert_array_equal(session.selection.mask, seen)
    assert panel.concept == name and dict(session.selection.how)["concept"] == name
    panel.bar._mode.value = "add"
    panel.concept = str(part.frame["concept"].iloc[-1])  # by keyboard: menu and button
    press(panel, "Select its tiles")
    other = reading.identified.present[:, reading.names.index(panel.concept)]
    np.testing.assert_array_equal(session.selection.mask, seen | other)
    with pytest.raises(InvalidInput, match="no concept 'rin'"):
        panel.concept = "rin"
    with pytest.raises(InvalidInput, match="no question 'unit'"):
        panel.question = "unit"


def test_the_chosen_concept_has_a_border(panel: ConceptPanel) -> None:
    panel.concept = "washout"
    part: Any = panel.parts["concepts"]
    (figure,) = figures_of(panel)
    widths = list(figure.data[0].marker.line.width)
    assert [w > 0 for w in widths] == (part.frame["concept"] == "washout").tolist()
    assert "Chosen: washout." in panel.describe()


def test_the_shortcut_is_exposed(panel: ConceptPanel, session: Session) -> None:
    marked = session.store.tiles["marked"].to_numpy(bool)
    session.select("marked == True")
    panel.bar.name.value, panel.bar.others.value = LINE, True
    steps = len(session.history.steps)
    press(panel, "Save selection as concept")
    assert len(session.history.steps) == steps + 1  # undone at once
    known = session.concepts
    assert known is not None and known.examples(LINE).tolist() == np.flatnonzero(marked).tolist()
    assert panel.reading is None and "15 concepts have examples" in panel.describe()
    panel.read()
    session.wait()
    mine = predicted(session, METASTASIS) & marked
    session.select(mine)
    text = panel.describe()
    assert f"Note: '{LINE}' counts towards '{METASTASIS}' though no class shows it" in text
    assert panel.warnings[0] in text
    part: Any = panel.parts["concepts"]
    assert part.frame["concept"].iloc[0] == LINE and part.contradicting()[0]
    assert re.search(r'role="alert"[^>]*>Note: &#x27;scanner line', part._alerts.value)
    # of tiles of other classes it has nothing to say
    session.select(~predicted(session, METASTASIS))
    assert not any(LINE in said for said in panel.warnings)


def test_undo_brings_back_what_was_read(panel: ConceptPanel, session: Session) -> None:
    first = panel.reading
    panel.bar.name.value = "rim & co"
    panel.concept = "enhancing rim"
    press(panel, "Rename")
    assert panel.concept == "rim & co" and panel.reading is not None
    assert "rim & co" in panel.reading.names, "called otherwise, read alike"
    session.undo()
    assert panel.reading is first and "enhancing rim" in panel.bar.names
    panel.concept = "washout"
    press(panel, "Remove")
    assert "washout" not in panel.bar.names
    session.undo()
    assert panel.reading is first


# -- units, trust, report ----------------------------------------------------------------------
def test_units_are_drawn_with_and_without_the_concept(
    panel: ConceptPanel, session: Session
) -> None:
    panel.question, panel.concept = "units", "washout"
    reading = panel.reading
    assert reading is not None
    rows = reading.units[reading.units["concept"] == "washout"]
    (figure,) = figures_of(panel)
    for i, unit in enumerate(rows["unit"]):
        found = reading.distribution("washout", int(unit))
        drawn = {trace.meta: trace for trace in figure.data}
        np.testing.assert_allclose(drawn[f"with {i}"].y[1:-1], 100 * found.inside, atol=1e-4)
        np.testing.assert_allclose(drawn[f"without {i}"].y[1:-1], 100 * found.outside, atol=1e-4)
        np.testing.assert_allclose(drawn[f"with {i}"].x[1:], found.edges, rtol=1e-5)
        assert f"unit {unit}: r = " in figure.layout.annotations[i].text
    assert figure.layout.shapes == ()
    session.set_focus(5)
    (figure,) = figures_of(panel)
    assert reading.activations is not None
    lines = [shape.x0 for shape in figure.layout.shapes]
    np.testing.assert_allclose(lines, reading.activations[5, rows["unit"]], rtol=1e-5)
    assert f"unit {rows['unit'].iloc[0]}" in panel.describe()


def test_trust_shows_risk_by_coverage_and_quality(panel: ConceptPanel) -> None:
    panel.question = "trust"
    reading = panel.reading
    assert reading is not None and reading.detection is not None and reading.quality is not None
    risk, quality = figures_of(panel)
    by = {trace.meta: trace for trace in risk.data}
    curve = reading.detection.curves["consistency"]
    np.testing.assert_allclose(by["risk consistency"].y, 100 * curve.risk, atol=1e-4)
    assert by["best"].y[-1] == pytest.approx(100 * curve.chance, abs=1e-4)
    assert set(by) == {"risk consistency", "risk confidence", "best", "chance"}
    wrong = next(trace for trace in quality.data if trace.name == "misclassified")
    table = reading.quality.query("images == 'misclassified'")
    np.testing.assert_allclose(wrong.x, table["value"], rtol=1e-5)
    np.testing.assert_allclose(wrong.x + wrong.error_x.array, table["high"], rtol=1e-4)
    wrongs = int((~reading.correct[reading.judged]).sum())
    assert f"Of 120 labelled tiles, {wrongs} misclassified, none of them learned from." in told(
        panel
    )


def test_the_report_lists_struggles_first(panel: ConceptPanel) -> None:
    panel.question = "report"
    part: Any = panel.parts["report"]
    reading = panel.reading
    assert reading is not None
    (figure,) = figures_of(panel)
    marks = figure.data[0]
    # worst first, those that pixels tell as well before the others
    hard = len([text for text in figure.layout.yaxis.ticktext if "(struggles)" in text])
    assert all((np.diff(part) >= -1e-6).all() for part in (marks.x[:hard], marks.x[hard:]))
    assert len(marks.x) == 14
    assert [t.meta for t in figure.data[1:]] == ["control permuted", "control pixels"]
    # a concept that is read no better than chance comes first, and says so
    table = reading.report.copy()
    bad = (table["concept"] == "washout") & (table["measure"] == "AUC")
    table.loc[bad, ["value", "low", "high"]] = [0.45, 0.4, 0.7]
    part.show(replace(reading, report=table))
    (figure,) = figures_of(panel)
    assert figure.layout.yaxis.ticktext[0] == "washout (struggles)"
    assert figure.data[0].marker.symbol[0] == "circle-open"
    assert "washout" in part._words.value and ">struggles<" in part._table.value
    part._measure.value = "PPV"
    (figure,) = figures_of(panel)
    assert "PPV" in figure.layout.xaxis.title.text and len(figure.layout.shapes) == 0


# -- the card ------------------------------------------------------------------------------------
def images_in(html: str) -> list[tuple[str, Image.Image]]:
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', html)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found]


def test_the_card_shows_one_case(panel: ConceptPanel, session: Session) -> None:
    panel.question = "case"
    assert "Select tiles, or click one in the gallery" in panel.describe()
    session.set_focus(12)
    part: Any = panel.parts["case"]
    reading = panel.reading
    assert reading is not None
    case = reading.case(12)
    shown = images_in(part._upper.value)
    assert [alt for alt, _ in shown] == [f"{name} of tile 12" for name in PHASES]
    for i, (_, image) in enumerate(shown):
        np.testing.assert_array_equal(np.asarray(image), session.store.images([12])[0][6, :, :, i])
    classes, relevance = figures_of(panel)
    np.testing.assert_allclose(
        classes.data[0].x, [100 * p for _, p in case.probabilities], rtol=1e-4
    )
    assert "(true class)" in "".join(classes.layout.yaxis.ticktext)
    kept = case.concepts[~case.concepts["excluded"]]
    np.testing.assert_allclose(relevance.data[0].x, kept["relevance"], rtol=1e-4)
    text = panel.describe()
    assert f"Tile 12: predicted {case.predicted}" in text and "The prediction is" in text
    assert "Semi-synthetic" in part._upper.value
    for name, rows in case.nearest.items():
        assert name in part._lower.value
        assert all(f">{row}</figcaption>" in part._lower.value for row in rows)
    owner = session.store.tiles["patient"]
    assert owner[12] not in told(panel)


def test_the_card_has_a_map_of_each_concept_and_says_why_there_is_no_saliency(
    panel: ConceptPanel, session: Session
) -> None:
    panel.question = "case"
    session.set_focus(12)
    part: Any = panel.parts["case"]
    reading = panel.reading
    assert reading is not None
    case = reading.case(12)
    names = case.concepts["concept"][~case.concepts["excluded"]].tolist()[:4]
    shown = [alt for alt, _ in images_in(part._lower.value) if alt.startswith("map")]
    assert shown == [f"map: {name}, tile 12" for name in names]
    assert "No saliency map: no linear head lies directly behind" in part._lower.value
    for alt, image in images_in(part._lower.value):
        if alt.startswith("map"):
            assert np.asarray(image).std() > 5 and image.size == (160, 160)


def test_next_and_previous_walk_through_the_selection(
    panel: ConceptPanel, session: Session
) -> None:
    panel.question = "case"
    session.select([3, 17, 40])
    part: Any = panel.parts["case"]
    assert part.case.row == 3
    for wanted in (17, 40, 3):
        press(panel, "Next")
        assert session.focus == wanted and part.case.row == wanted
    press(panel, "Previous")
    assert part.case.row == 40
    session.set_focus(20)  # beside the selection
    press(panel, "Next")
    assert part.case.row == 40
    session.set_focus(20)
    press(panel, "Previous")
    assert part.case.row == 17


# -- files, text, privacy ------------------------------------------------------------------------
def test_each_question_saves_its_table(
    panel: ConceptPanel, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session.select(np.arange(40))
    patients = set(session.store.tiles["patient"])
    for question in QUESTIONS:
        panel.question = question
        panel._file.value = f"{question}.csv"
        press(panel, "Save table")
        text = (tmp_path / f"{question}.csv").read_text()
        assert len(pd.read_csv(io.StringIO(text))) == len(panel.parts[question].frame)  # type: ignore[arg-type]
        assert f"Saved {question}.csv." in panel._message.value
        assert not any(name in text for name in patients)
    session.clear()
    panel.question = "case"
    with pytest.raises(InvalidInput, match="no table to save"):
        press(panel, "Save table")


def test_names_are_text_and_nobody_is_named(lesions: ActivationStore) -> None:
    session = Session(lesions, layer="dense")
    concepts = lesion_concepts(lesions).renamed("washout", HOSTILE).renamed("necrosis", "$a$ & b")
    session.set_concepts(concepts)
    session.read_concepts(n_boot=20)
    session.wait()
    panel = ConceptPanel(session, phases=("a", "b", HOSTILE))
    assert panel.reading is not None
    seen = panel.reading.identified.present[:, panel.reading.names.index(HOSTILE)]
    session.select(seen)
    patients = set(lesions.tiles["patient"])
    for question in QUESTIONS:
        panel.question = question
        panel.concept = HOSTILE
        text = told(panel)
        for figure in figures_of(panel):
            state = repr(gestures.synced(figure))
            assert "<img" not in state and "$a$" not in state
        for part in _parts(panel):
            if hasattr(part, "value") and isinstance(part.value, str) and "<div" in part.value:
                assert "<img src=x" not in part.value
        assert not any(name in text for name in patients), question
        assert not any(name in panel.caption() for name in patients)
    panel.close()


def test_charts_are_private_and_small(panel: ConceptPanel, session: Session) -> None:
    session.select(np.arange(40))
    for question in QUESTIONS:
        panel.question = question
        for figure in figures_of(panel):
            state = gestures.synced(figure)
            assert state["config"]["showSendToCloud"] is False
            for array in gestures.arrays(state["data"]):
                assert array.dtype.itemsize <= 4 or array.dtype.kind in "OU"


def test_every_control_has_a_name(panel: ConceptPanel) -> None:
    kinds = (
        widgets.Button,
        widgets.Dropdown,
        widgets.Text,
        widgets.Checkbox,
        widgets.ToggleButtons,
    )
    controls = [part for part in _parts(panel) if isinstance(part, kinds)]
    assert len(controls) > 12
    for part in controls:
        assert getattr(part, "description", "") or part.tooltip, part


def test_closing_leaves_no_widget_behind(session: Session) -> None:
    before = set(_instances)
    panel = ConceptPanel(session)
    session.select(np.arange(30))
    for question in QUESTIONS:
        panel.question = question
    panel.close()
    assert set(_instances) <= before
    session.clear()  # nobody listens


def test_a_panel_that_nobody_looks_at_rests(panel: ConceptPanel, session: Session) -> None:
    part: Any = panel.parts["concepts"]
    shown = part.frame
    panel.live = False
    session.select(np.arange(30))
    assert part.frame is shown
    panel.live = True
    assert part.frame is not shown and "30 selected tiles" in panel.describe()


# -- in a notebook, and on other stores -------------------------------------------------------------
def test_in_a_notebook_intervals_come_after_the_bars(lesions: ActivationStore) -> None:
    async def work() -> tuple[bool, bool]:
        session = Session(lesions, layer="dense")
        session.set_concepts(lesion_concepts(lesions))
        session.read_concepts(learn_from="split == 'training'", n_boot=100)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        panel = ConceptPanel(session)
        part: Any = panel.parts["concepts"]
        session.select(np.arange(100))
        at_once = bool(part.frame["low"].isna().all()) and part.frame.attrs["tiles_in"] == 100
        while session.jobs.active:
            await asyncio.sleep(0.01)
        later = bool(part.frame["low"].notna().all())
        panel.close()
        session.close()
        return at_once, later

    assert asyncio.run(work()) == (True, True)


def test_a_store_of_vectors_alone(features_store: ActivationStore) -> None:
    panel = wk.ConceptPanel(features_store)
    session = panel.session
    session.set_concepts(
        wk.concepts.ConceptSet.from_examples(
            30, {"a": range(8), "b": range(5, 15)}, without={"a": range(8, 30), "b": range(15, 30)}
        )
    )
    press(panel, "Read")
    session.wait()
    reading = panel.reading
    assert reading is not None and reading.relevance is None and reading.predicted is None
    session.select(np.arange(6))
    (figure,) = figures_of(panel)
    assert "share of tiles" in figure.layout.xaxis.title.text
    for question, said in (
        ("case", "no class is predicted"),
        ("trust", "Nothing to say about trust"),
        ("report", "AUC"),
        ("units", "unit"),
    ):
        panel.question = question
        assert said in panel.describe(), panel.describe()
    assert "holds no images" in panel.parts["case"]._upper.value  # type: ignore[attr-defined]
    assert "nan" not in told(panel).lower().replace("nans", "")
    panel.close()


def test_it_opens_a_path(lesions: ActivationStore) -> None:
    panel = wk.ConceptPanel(str(lesions.path))
    assert repr(panel).startswith("<ConceptPanel: Concept panel: There are no concepts yet")
    panel.close()


# -- figures ------------------------------------------------------------------------------------------
def test_the_figure_is_what_is_shown(panel: ConceptPanel, session: Session, tmp_path: Path) -> None:
    session.select(predicted(session, METASTASIS))
    for question, words in (
        ("concepts", "mean relevance (logit)"),
        ("units", "activation"),
        ("case", "probability (%)"),
        ("trust", "coverage (%)"),
        ("report", "AUC of reading"),
    ):
        panel.question = question
        path = panel.save(tmp_path / f"{question}.svg", width_mm=150)
        assert words in " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text()))
        assert "Semi-synthetic" in panel.caption()


def test_lines_without_an_interval_have_none() -> None:
    bars = concept_charts.interval([0.5, np.nan, 0.2], [0.4, 0.1, np.nan], [0.7, 0.2, 0.3])
    np.testing.assert_allclose(bars["array"], [0.2, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(bars["arrayminus"], [0.1, 0, 0], rtol=1e-5)
