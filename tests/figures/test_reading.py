"""Readings of factors on paper: every kind, exact size, live text, and nobody's name."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.figures.test_figures import pdf_text, words
from tests.readable import PATIENT, SLIDE, Net, extract_store, read_all, session_of
from tests.stores import HOSTILE, make_store
from widgetkit import figures
from widgetkit.errors import InvalidInput
from widgetkit.figures import FigureSpec
from widgetkit.session import Session
from widgetkit.session.reading import KINDS
from widgetkit.store import ActivationStore
from widgetkit.widgets import FactorPanel

WORDS = {
    "slides": "variance explained",
    "shares": "share of positions",
    "prediction": "accuracy",
    "correlations": "Grad-CAM",
    "importance": "fall of the logit",
    "completeness": "reconstruction",
    "choice": "held out",
    "layers": "layer early",
}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, Net]:
    return extract_store(tmp_path_factory.mktemp("paper") / "s.wk", 64)


@pytest.fixture(scope="module")
def session(extracted: tuple[ActivationStore, Net]) -> Session:
    made = read_all(session_of(*extracted))
    made.read_choice((2, 3, 4), seeds=2)
    return made


def texts(svg: str) -> str:
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_format_of_exact_size(
    kind: str, session: Session, tmp_path: Path
) -> None:
    spec = FigureSpec(width_mm=100, height_mm=70, dpi=60)
    caption = figures.caption(session, "reading")
    figure = figures.reading(session, spec, kind=kind)
    with Image.open(
        figures.save(figure, tmp_path / "a.png", spec=spec, caption=caption)
    ) as picture:
        assert picture.size == (round(100 / 25.4 * 60), round(70 / 25.4 * 60))
        assert np.asarray(picture.convert("L")).std() > 10
        assert picture.info["Description"] == caption
    svg = figures.save(figure, tmp_path / "a.svg", spec=spec, caption=caption).read_text()
    width, height = (float(v) for v in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    assert (width, height) == pytest.approx((100 / 25.4 * 72, 70 / 25.4 * 72), abs=0.01)
    assert WORDS[kind] in texts(svg)  # text is text
    pdf = figures.save(figure, tmp_path / "a.pdf", spec=spec, caption=caption).read_bytes()
    box = re.search(rb"/MediaBox \[ *([\d. ]+) *\]", pdf) or pytest.fail("no box")
    assert [float(v) for v in box[1].split()][2:] == pytest.approx(
        [100 / 25.4 * 72, 70 / 25.4 * 72], abs=0.01
    )
    assert b"/Type3" not in pdf_text(pdf)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_named(
    kind: str, extracted: tuple[ActivationStore, Net], session: Session, tmp_path: Path
) -> None:
    named = session_of(*extracted, k=2)
    named.read_slides("patient")
    named.read_shares("patient")
    named.read_prediction("patient", by="slide")
    for source in (session, named):
        if kind not in source.readings:
            continue
        panel = FactorPanel(source)
        panel.kind = kind
        for suffix in ("svg", "pdf", "png"):
            opened = words(panel.save(tmp_path / f"a.{suffix}").read_bytes())
            for secret in (PATIENT, SLIDE, "DOE", str(source.store.path)):
                assert secret.encode() not in opened
        assert "DOE" not in panel.caption()
        panel.close()
    if kind in ("shares", "prediction"):
        svg = figures.save(figures.reading(named, kind=kind), tmp_path / "b.svg").read_text()
        assert "patient 2" in texts(svg)


@pytest.mark.parametrize("k", [2, 20])
def test_few_and_many_factors_with_long_names(k: int, tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=80, kinds=k, channels=40, grid=(3, 3))
    session = session_of(store, k=k)
    long = "tumour-infiltrating lymphocytes beside the invasive margin of the gland"
    session.rename_cluster(0, long)
    session.read_slides("source")
    session.read_shares("label")
    session.read_prediction("label", by="source")
    heights = []
    for kind in ("slides", "shares", "prediction"):
        figure = figures.reading(session, kind=kind)
        figure.draw_without_rendering()
        heights.append(figure.get_size_inches()[1])
        for axes in figure.axes:
            labels = [label for label in axes.get_yticklabels() if label.get_text()]
            boxes = [label.get_window_extent() for label in labels]
            tops = sorted((box.y0, box.y1) for box in boxes)
            assert all(a[1] <= b[0] + 1.5 for a, b in pairwise(tops)), kind
            assert all(box.x0 >= -2 for box in boxes), kind
            room = axes.get_window_extent().width / figure.bbox.width
            assert room > 0.5, kind
    assert heights[0] > (1.0 if k == 2 else 3.0)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_text(kind: str, session: Session, tmp_path: Path) -> None:
    session.rename_cluster(0, f"$x_2$ {HOSTILE}")
    try:
        figure = figures.reading(session, kind=kind)
        svg = figures.save(figure, tmp_path / "a.svg", caption=HOSTILE).read_text()
        assert "<img" not in svg
        if kind not in ("completeness", "choice"):
            assert "$x_2$ &lt;img" in texts(svg)
    finally:
        session.undo()


def test_the_same_reading_gives_the_same_bytes(session: Session, tmp_path: Path) -> None:
    for suffix in ("png", "svg", "pdf"):
        made = [
            figures.save(figures.reading(session, kind="importance"), tmp_path / f"{i}.{suffix}")
            for i in range(2)
        ]
        assert made[0].read_bytes() == made[1].read_bytes()


def test_merged_clusters_are_factors_again(session: Session, tmp_path: Path) -> None:
    session.merge_clusters([0, 1])
    try:
        svg = figures.save(figures.reading(session, kind="slides"), tmp_path / "a.svg").read_text()
        assert "factor 3" in texts(svg)
    finally:
        session.undo()


def test_what_was_not_read_says_how(tmp_path: Path) -> None:
    session = session_of(make_store(tmp_path / "s.wk", n=24), k=2)
    with pytest.raises(InvalidInput, match=r"read_importance\(\)"):
        figures.reading(session, kind="importance")
    with pytest.raises(InvalidInput, match="importance"):
        figures.reading(session, kind="importanse")
