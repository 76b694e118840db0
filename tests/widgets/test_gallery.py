"""The gallery: what it shows, what it sends, and what it does to the session."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.widgets.test_sheets import decoded
from tests.widgets.transport import Wire
from widgetkit.errors import InvalidInput
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import sheets, wire
from widgetkit.widgets.gallery import Gallery


def say(view: Gallery, content: dict[str, object], *buffers: bytes) -> None:
    """A message as the browser sends it."""
    view._handle_custom_msg(content, list(buffers))


def test_it_opens_a_store_and_says_that_nothing_is_selected(store: ActivationStore) -> None:
    with_store = Gallery(store)
    assert with_store.describe().startswith(
        "Gallery: 160 of all 160 tiles (nothing is selected), representative first"
    )
    assert "Gallery: 160" in repr(with_store)
    with_store.close()


def test_it_follows_the_selection(session: Session) -> None:
    gallery = Gallery(session)
    session.select(np.arange(10, 30))
    assert set(gallery.rows) == set(range(10, 30))
    assert gallery._count_text == "20 of 20 selected tiles"
    session.clear()
    assert len(gallery.rows) == 160


def test_a_limit_is_stated(session: Session) -> None:
    gallery = Gallery(session, limit=12)
    assert gallery._count_text == "12 of all 160 tiles (nothing is selected)"
    session.select_all()
    assert gallery._count_text == "12 of 160 selected tiles"
    with pytest.raises(InvalidInput):
        Gallery(session, limit=0)


def test_order_and_sentence_are_those_of_the_session(session: Session) -> None:
    gallery = Gallery(session, limit=30)
    for rule in ("first", "random", "score", "representative"):
        gallery.rule = rule
        rows, sentence = session.ranked(rule, 30, session.seed)
        np.testing.assert_array_equal(gallery.rows, rows)
        assert gallery._rule_text == sentence
    gallery.rule = "random"
    before = gallery.rows
    gallery.seed = 7
    assert not np.array_equal(before, gallery.rows)
    np.testing.assert_array_equal(gallery.rows, session.ranked("random", 30, 7)[0])


def test_score_follows_the_target_of_the_maps(session: Session) -> None:
    gallery = Gallery(session, rule="score", limit=20)
    session.set_map("cluster", 2)
    np.testing.assert_array_equal(gallery.rows, session.ranked("score", 20)[0])
    assert "cluster 3" in gallery._rule_text


def test_borders_have_the_colour_of_the_cluster(session: Session) -> None:
    gallery = Gallery(session)
    clustering = session.clustering
    assert clustering is not None
    labels = np.frombuffer(gallery._labels, "<u2")
    np.testing.assert_array_equal(labels, clustering.labels[gallery.rows])
    session.recolour_cluster(0, 9)
    session.rename_cluster(0, "<i>ink</i>")
    assert gallery._legend[0] == {"name": "<i>ink</i>", "colour": 9}


def test_thumbnails_are_those_of_the_rows_asked_for(session: Session) -> None:
    gallery = Gallery(session)
    comm = Wire(gallery)
    say(gallery, {"kind": "thumbs", "rows": [5, 3, 150], "level": 48})
    [(content, [data])] = comm.custom()
    sheet = sheets.Sheet(
        data, content["mime"], content["tile"], content["columns"], content["count"]
    )
    wanted = session.store.thumbnails(np.array([5, 3, 150]), 48)
    assert content["rows"] == [5, 3, 150]
    assert len(content["captions"]) == 3
    assert np.abs(decoded(sheet).astype(int) - wanted).mean() < 6


def test_a_browser_without_decoder_gets_raw_pages(session: Session) -> None:
    gallery = Gallery(session)
    before = gallery._revision
    say(gallery, {"kind": "raw"})
    assert gallery._revision != before, "the view is told to ask again"
    comm = Wire(gallery)
    say(gallery, {"kind": "thumbs", "rows": [1], "level": 48})
    assert comm.custom()[0][0]["mime"] == "raw/rgb"


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "thumbs", "rows": [160], "level": 48},
        {"kind": "thumbs", "rows": [-1], "level": 48},
        {"kind": "thumbs", "rows": ["0"], "level": 48},
        {"kind": "thumbs", "rows": [], "level": 48},
        {"kind": "thumbs", "rows": list(range(65)), "level": 48},
        {"kind": "thumbs", "rows": [0], "level": 100_000},
        {"kind": "select", "mode": "replace"},
        {"kind": "focus", "row": 160},
        {"kind": "nonsense"},
    ],
)
def test_what_no_gallery_of_ours_sends_is_refused(
    session: Session, content: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery(session)
    comm = Wire(gallery)
    with pytest.raises(InvalidInput):
        say(gallery, content)
    assert gallery.error, "and shown"
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    say(gallery, content)
    assert not comm.custom()


def test_picked_tiles_become_the_selection(session: Session) -> None:
    gallery = Gallery(session)
    say(gallery, {"kind": "select", "mode": "replace"}, wire.encode_rows([7, 3, 9]))
    assert session.selection.rows.tolist() == [3, 7, 9]
    assert session.selection.how["kind"] == "gallery"
    say(gallery, {"kind": "select", "mode": "subtract"}, wire.encode_rows([3]))
    assert session.selection.rows.tolist() == [7, 9]
    session.undo()
    assert session.selection.count == 3
    assert set(gallery.rows) == {3, 7, 9}


def test_picked_tiles_become_a_concept(session: Session) -> None:
    gallery = Gallery(session)
    comm = Wire(gallery)
    say(gallery, {"kind": "concept"}, wire.encode_rows([7, 3, 9]))
    session.select([11, 12])
    say(gallery, {"kind": "concept"})
    assert session.concepts is not None
    assert session.concepts.examples("concept 1").tolist() == [3, 7, 9]
    assert session.concepts.examples("concept 2").tolist() == [11, 12]
    said = [content for content, _ in comm.custom()]
    assert said == [
        {"kind": "concept", "name": "concept 1", "tiles": 3},
        {"kind": "concept", "name": "concept 2", "tiles": 2},
    ]
    session.undo()
    assert session.concepts.names == ("concept 1",)
    session.clear()
    for buffers in ((), (wire.encode_rows([160]),), (wire.encode_rows([1]),) * 2):
        with pytest.raises(InvalidInput):
            say(gallery, {"kind": "concept"}, *buffers)
    assert session.concepts.names == ("concept 1",)


def test_picks_are_kept_as_sent(session: Session) -> None:
    gallery = Gallery(session)
    gallery.set_state({"_picked": memoryview(wire.encode_rows([4, 8]))})
    assert gallery.picked.tolist() == [4, 8]


def test_focus_goes_both_ways(session: Session) -> None:
    gallery = Gallery(session)
    say(gallery, {"kind": "focus", "row": 12})
    assert session.focus == 12
    session.set_focus(15)
    assert gallery._focus == 15


def test_a_selection_costs_one_small_message(session: Session) -> None:
    gallery = Gallery(session)
    comm = Wire(gallery)
    session.select(np.arange(100))
    assert len(comm.messages) == 1
    assert comm.size < 2000 + 6 * 100, "four bytes a row, two a label, and the words"


def test_a_closed_gallery_hears_nothing(session: Session) -> None:
    gallery = Gallery(session)
    gallery.close()
    before = gallery.rows
    session.select([1])
    np.testing.assert_array_equal(gallery.rows, before)


def test_the_figure_shows_the_same_tiles(session: Session) -> None:
    import matplotlib.pyplot as plt

    session.select(np.arange(6))
    figure = Gallery(session).figure(width_mm=90)
    assert figure.get_size_inches()[0] == pytest.approx(90 / 25.4)
    plt.close(figure)


def test_the_wire_is_as_the_front_end_reads_it(repo: Path) -> None:
    """Trait names and messages in the TypeScript exist here: a rename on one side is found."""
    text = "".join(p.read_text() for p in (repo / "js/src/gallery").glob("*.ts"))
    asked = re.findall(r'model\.get\("(\w+)"\)', text) + re.findall(r'trait: "(\w+)"', text)
    assert asked and set(asked) <= set(Gallery.class_traits())
    assert set(re.findall(r'kind: "(\w+)"', text)) <= {
        "thumbs",
        "select",
        "focus",
        "raw",
        "concept",
    }
