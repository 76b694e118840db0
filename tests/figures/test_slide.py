"""A slide on paper: its size, its outline, its part, its colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import make_store
from widgetkit import figures
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.figures import slide as draw
from widgetkit.figures.slide import slide_sentence
from widgetkit.session import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    made = Session(make_store(tmp_path_factory.mktemp("paper") / "p.wk", n=48))
    made.cluster("nmf", k=4)
    made.wait()
    return made


@pytest.fixture(autouse=True)
def begun(session: Session) -> None:
    session.set_map("cluster")
    session.clear()


def outline_of(boxes: np.ndarray) -> list[list[tuple[float, float]]]:
    from widgetkit.figures.slide import _edges

    return _edges(boxes)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 5), st.integers(1, 5)),
        min_size=1,
        max_size=12,
    )
)
def test_the_outline_is_that_of_the_union(spots: list[tuple[int, int, int, int]]) -> None:
    """Covered on one side and bare on the other; as long as the painted union's border."""
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in spots], float)
    painted = np.zeros((22, 22), bool)
    for x0, y0, x1, y1 in boxes.astype(int):
        painted[y0 + 1 : y1 + 1, x0 + 1 : x1 + 1] = True
    border = (painted[1:] != painted[:-1]).sum() + (painted[:, 1:] != painted[:, :-1]).sum()
    length = 0.0
    for (x0, y0), (x1, y1) in outline_of(boxes):
        length += abs(x1 - x0) + abs(y1 - y0)
        x, y = int(min(x0, x1)) + 1, int(min(y0, y1)) + 1
        sides = (
            (painted[y, x - 1], painted[y, x]) if x0 == x1 else (painted[y - 1, x], painted[y, x])
        )
        assert sides[0] != sides[1]
    assert length == border


@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("width", [89.0, 183.0])
def test_it_has_exactly_the_stated_width(
    session: Session, target: int | None, width: float
) -> None:
    session.set_map("cluster", target)
    session.select([0, 1, 5])
    fig = draw(session, figures.FigureSpec(width_mm=width), slide=1)
    assert fig.get_figwidth() * 25.4 == pytest.approx(width)
    for axes in fig.axes:
        box = axes.get_position()
        assert box.x0 >= 0 and box.x1 <= 1 + 1e-9 and box.y0 >= -1e-9 and box.y1 <= 1 + 1e-9
    # the picture keeps its shape on paper
    box = fig.axes[0].get_position()
    ratio = box.width * fig.get_figwidth() / (box.height * fig.get_figheight())
    x0, y0, x1, y1 = _bounds(session, 1)
    assert ratio == pytest.approx((x1 - x0) / (y1 - y0), rel=1e-6)


def _bounds(session: Session, slide: int) -> tuple[float, ...]:
    boxes = session.placement.boxes[session.placement.rows(slide)]
    return (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))


def test_a_height_that_is_given_is_kept(session: Session) -> None:
    fig = draw(session, figures.FigureSpec(width_mm=120, height_mm=40))
    assert fig.get_figheight() * 25.4 == pytest.approx(40)


def test_without_a_map_there_is_the_slide_alone(session: Session) -> None:
    assert len(draw(session, opacity=0.0).axes) == 1
    assert len(draw(session).axes) == 3


def test_hidden_clusters_are_in_no_legend(session: Session) -> None:
    session.hide_cluster(2)
    texts = [t.get_text() for t in draw(session).axes[-1].get_legend().get_texts()]
    assert texts == ["cluster 1", "cluster 2", "cluster 4"]
    session.undo()


def test_a_part_that_is_not_there_is_refused(session: Session) -> None:
    with pytest.raises(InvalidInput, match="holds none of its"):
        draw(session, view=(1e6, 0, 2e6, 10))
    with pytest.raises(UnknownName):
        draw(session, slide="slide-9")


def test_its_sentence_names_no_slide(session: Session) -> None:
    text = slide_sentence(session, "slide-1")
    assert text.startswith("Slide 2 of 3: all of it, ") and "0.5 \N{MICRO SIGN}m" in text
    assert "slide-1" not in text
    assert "from x=10, y=20, 30 x 20 px" in slide_sentence(session, 0, (10, 20, 40, 40))


def test_it_is_written_the_same_twice(session: Session, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        figures.save(draw(session), tmp_path / name, caption=figures.caption(session, "slide"))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
