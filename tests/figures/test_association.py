"""Associations on paper: exact size, live text, and nobody's name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clinical import PATIENT, SLIDE, VARIABLES, clinical_session, clinical_store
from tests.figures.test_figures import pdf_text
from tests.stores import HOSTILE
from widgetkit import figures
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.figures import FigureSpec
from widgetkit.session import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    made = clinical_session(clinical_store(tmp_path_factory.mktemp("paper") / "s.wk"))
    made.associate()
    made.select_cluster(2)
    made.associate("selection")
    return made


def texts(svg: str) -> str:
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


@pytest.mark.parametrize("of", ["clusters", "selection"])
@pytest.mark.parametrize("variable", [None, *VARIABLES])
def test_every_variable_in_every_format_of_exact_size(
    of: str, variable: str | None, session: Session, tmp_path: Path
) -> None:
    spec = FigureSpec(width_mm=100, height_mm=75, dpi=60)
    figure = figures.association(session, spec, of=of, variable=variable)
    caption = figures.caption(session, "association")
    with Image.open(figures.save(figure, tmp_path / "a.png", spec=spec, caption=caption)) as shot:
        assert shot.size == (round(100 / 25.4 * 60), round(75 / 25.4 * 60))
        assert np.asarray(shot.convert("L")).std() > 10
        assert shot.info["Description"] == caption
    svg = figures.save(figure, tmp_path / "a.svg", spec=spec, caption=caption).read_text()
    words = texts(svg)
    assert "strength of association" in words and "q &lt; 0.001" in words
    assert "not tested" in words and "<img" not in svg
    pdf = figures.save(figure, tmp_path / "a.pdf", spec=spec, caption=caption).read_bytes()
    assert b"/Type3" not in pdf_text(pdf)
    for name in (PATIENT, SLIDE):
        assert name not in svg and name.encode() not in pdf_text(pdf) and name not in caption
    if variable == "fvc":
        assert "mean of fvc" in words
    if variable == "empty":
        assert "no values" in words


def test_the_height_is_what_the_content_needs(session: Session) -> None:
    one = figures.association(session, variable="fvc").get_size_inches()[1]
    two = figures.association(session, variable="gold").get_size_inches()[1]
    assert 1.5 < one < 6 and 1.5 < two < 6


def test_nothing_reaches_the_edge_of_the_page(session: Session, tmp_path: Path) -> None:
    spec = FigureSpec(width_mm=89, dpi=150)
    for variable in ("fvc", "sex", "gold", HOSTILE):
        figure = figures.association(session, spec, variable=variable)
        with Image.open(figures.save(figure, tmp_path / "a.png", spec=spec)) as shot:
            ink = np.asarray(shot.convert("L")) < 250
        assert not (ink[:, :2].any() or ink[:, -2:].any() or ink[:2].any() or ink[-2:].any())


def test_what_was_not_asked_is_an_error_that_says_how(session: Session) -> None:
    with pytest.raises(InvalidInput, match="choose 'clusters' or 'selection'"):
        figures.association(session, of="tiles")
    with pytest.raises(UnknownName, match="'fvc'"):
        figures.association(session, variable="fvx")
    session.select([1, 2, 3])
    with pytest.raises(InvalidInput, match=r"session\.associate\('selection'\)"):
        figures.association(session, of="selection")
    session.undo()
