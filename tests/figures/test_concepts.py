"""Concepts on paper: exact size, live text, counts and remarks in the caption, and nobody's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.figures.test_figures import pdf_text
from tests.lesions import LINE, METASTASIS, lesion_store
from tests.stores import HOSTILE
from widgetkit import figures
from widgetkit.demos import lesion_concepts
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.figures import FigureSpec
from widgetkit.figures.concepts import best_curve, contradicting, struggles_first
from widgetkit.session import Session

KINDS: tuple[Any, ...] = ("concepts", "concept_card", "concept_trust")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    store = lesion_store(tmp_path_factory.mktemp("paper"))
    made = Session(store, layer="dense")
    made.set_concepts(lesion_concepts(store, line=True).renamed("washout", HOSTILE))
    made.read_concepts(learn_from="split == 'training'", n_boot=100)
    made.wait()
    reading = made.concept_reading
    assert reading is not None and reading.predicted is not None
    marked = store.tiles["marked"].to_numpy(bool)
    made.select((reading.predicted == reading.classes.index(METASTASIS)) & marked)
    return made


def texts(svg: str) -> str:
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("concepts", ("mean relevance (logit)", LINE, "(contradicts)", "share of tiles (%)")),
        (
            "concept_card",
            ("Tile", "probability (%)", "relevance (logit)", "phase 1", "Semi-synthetic"),
        ),
        (
            "concept_trust",
            ("coverage (%)", "risk (% wrong)", "PPV, misclassified", "AUC of reading"),
        ),
    ],
)
def test_each_figure_in_every_format_of_exact_size(
    kind: Any, said: tuple[str, ...], session: Session, tmp_path: Path
) -> None:
    spec = FigureSpec(width_mm=150, dpi=60)
    figure = getattr(figures, kind)(session, spec)
    width, height = figure.get_size_inches()
    caption = figures.caption(session, kind, extra=figures.concept_sentences(session, kind))
    with Image.open(figures.save(figure, tmp_path / "a.png", spec=spec, caption=caption)) as shot:
        assert abs(shot.size[0] - 150 / 25.4 * 60) <= 1 and width == pytest.approx(150 / 25.4)
        assert abs(shot.size[1] - height * 60) <= 1
        assert np.asarray(shot.convert("L")).std() > 10
        assert shot.info["Description"] == caption
    svg = figures.save(figure, tmp_path / "a.svg", spec=spec, caption=caption).read_text()
    for words in said:
        assert words in texts(svg), words
    assert "<img" not in svg
    pdf = figures.save(figure, tmp_path / "a.pdf", spec=spec, caption=caption).read_bytes()
    assert b"/Type3" not in pdf_text(pdf)
    for name in set(session.store.tiles["patient"]):
        assert name not in svg and name not in caption


@pytest.mark.parametrize("kind", KINDS)
def test_the_caption_says_counts_estimator_how_seed_and_semi_synthetic(
    kind: Any, session: Session
) -> None:
    caption = figures.caption(session, kind, extra=figures.concept_sentences(session, kind))
    for said in (
        "15 concepts, relevance by projection: probe on layer 'dense', learned from 150 tiles",
        "Seed 0.",
        "Semi-synthetic",
        "270 tiles",
    ):
        assert said in caption
    if kind == "concepts":
        assert f"'{LINE}' counts towards '{METASTASIS}' though no class shows it" in caption
    if kind == "concept_trust":
        reading = session.concept_reading
        assert reading is not None and reading.correct is not None
        wrong = int((reading.judged & ~reading.correct).sum())
        assert f"Of 120 labelled tiles, {wrong} misclassified." in caption


def test_nothing_reaches_the_edge_of_the_page(session: Session, tmp_path: Path) -> None:
    for kind in KINDS:
        for width in (120, 180):
            spec = FigureSpec(width_mm=width, dpi=150)
            figure = getattr(figures, kind)(session, spec)
            with Image.open(figures.save(figure, tmp_path / "a.png", spec=spec)) as shot:
                ink = np.asarray(shot.convert("L")) < 250
            edges = (ink[:, :2], ink[:, -2:], ink[:2], ink[-2:])
            assert not any(edge.any() for edge in edges), (kind, width)


def test_the_card_is_of_the_tile_asked_for_and_draws_a_map_a_concept(session: Session) -> None:
    figure = figures.concept_card(session, row=20, phases=("arterial", "portal venous", "delayed"))
    words = [text.get_text() for text in figure.texts]
    assert words[0].startswith("Tile 20: predicted") and "portal venous" in words
    reading = session.concept_reading
    assert reading is not None
    table = reading.case(20).concepts
    seen = table["concept"][~table["excluded"]].tolist()[:4]
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 3 + len(
        seen
    )  # no saliency: no head behind a layer with maps, no network
    session.set_focus(20)
    again = figures.concept_card(session)
    assert again.texts[0].get_text() == words[0]
    session.set_focus(None)


def test_a_saliency_map_that_the_store_keeps_stands_beside(
    session: Session, tmp_path: Path
) -> None:
    from widgetkit.figures.concept_pictures import saliency_map

    reading = session.concept_reading
    assert reading is not None and reading.predicted is not None
    target = int(reading.predicted[20])
    none = saliency_map(session, 20, target)
    assert none.result is None and "no linear head lies directly behind" in none.reason
    from widgetkit.demos import lesion_model

    with_network = Session(session.store, lesion_model(session.store), layer="dense")
    with_network.set_concepts(session.concepts)
    drawn = saliency_map(with_network, 20, target)
    assert drawn.result is not None and drawn.of.startswith("Grad-CAM")
    with_network.keep_maps("gradcam", target, rows=[20])
    kept = saliency_map(session, 20, target)
    assert kept.result is not None and "kept in the store" in kept.of
    np.testing.assert_allclose(kept.result.values, drawn.result.values, atol=2e-3)


def test_what_was_not_read_is_an_error_that_says_how(session: Session) -> None:
    with pytest.raises(UnknownName, match="no concept 'rin'"):
        figures.concepts(session, concept="rin")
    bare = Session(session.store, layer="dense")
    for kind in KINDS:
        with pytest.raises(InvalidInput, match=r"session\.save_as_concept"):
            getattr(figures, kind)(bare)
    bare.select([1, 2])
    bare.save_as_concept("a new one")
    with pytest.raises(InvalidInput, match=r"session\.read_concepts\(\)"):
        figures.concepts(bare)
    session.select([])
    with pytest.raises(InvalidInput, match="Of which tile"):
        figures.concept_card(session)
    assert "all tiles" in [
        t.get_text() for t in figures.concepts(session).subfigs[0].legends[0].texts
    ]
    session.undo()


def test_parts() -> None:
    coverage, risk = best_curve(np.arange(1, 11) / 10, 0.2)
    np.testing.assert_allclose(risk, [0] * 8 + [1 / 9, 2 / 10])
    assert coverage[-1] == 1


def test_marks_and_order(session: Session) -> None:
    reading = session.concept_reading
    assert reading is not None
    table = reading.compare(session.selection.mask, intervals=False)
    assert dict(zip(table["concept"], contradicting(table), strict=True))[LINE]
    rows = struggles_first(reading.report, "AUC", ["necrosis"])
    assert rows["concept"].iloc[0] == "necrosis"
    assert (np.diff(rows["value"].iloc[1:]) >= 0).all()
