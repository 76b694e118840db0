from __future__ import annotations

import numpy as np
import pandas as pd

from widgetkit.session import Selection
from widgetkit.session.summary import summarise

TABLE = pd.DataFrame(
    {
        "source": list("aaaaaaaabb"),
        "slide": list("aaaaaaaabb"),
        "patient": list("pppppppqqq"),
        "label": ["t"] * 5 + ["s"] * 4 + [None],
    }
)


def test_all_is_told_when_nothing_is_selected() -> None:
    found = summarise(TABLE, Selection.none(10), np.full(10, 0.9, np.float32))
    assert (found.n, found.total, found.slides, found.patients) == (0, 10, 2, 2)
    assert found.classes == (("t", 5), ("s", 4), ("(none)", 1))
    assert found.top_source == ("a", 0.8)
    assert found.warnings == ()
    assert found.sentences == (
        "No tile is selected; 10 tiles in the store.",
        "From 2 slides of 2 patients.",
        "Classes: t 5, s 4, (none) 1.",
        "The projection keeps 90% of the nearest neighbours here.",
    )


def test_one_slide_that_dominates_is_red_at_four_fifths() -> None:
    found = summarise(TABLE, Selection.from_rows(10, [4, 5, 6, 7, 8]))
    assert found.severity == "red"
    assert found.warnings == (
        "80% of the selected tiles come from one slide: what they share may be the slide "
        "(stain, scanner), not the tissue.",
    )
    found = summarise(TABLE, Selection.from_rows(10, [5, 6, 7, 8, 9]))
    assert found.severity == "yellow"
    assert found.warnings == ("60% of the selected tiles come from one slide.",)


def test_one_patient_is_red() -> None:
    found = summarise(TABLE, Selection.from_rows(10, [7, 8]))
    assert found.severity == "red"
    assert "one patient" in found.warnings[-1]


def test_low_trust_is_said() -> None:
    trust = np.array([0.1, 0.2, np.nan] + [0.9] * 7, np.float32)
    found = summarise(TABLE, Selection.from_rows(10, [0, 1, 2, 8]), trust)
    assert found.trust is not None
    assert abs(found.trust - 0.4) < 1e-6
    assert any("keeps only 40%" in w for w in found.warnings)


def test_a_store_of_one_slide_is_not_warned_about() -> None:
    one = TABLE.assign(slide="a", source="a", patient="p")
    assert summarise(one, Selection.from_rows(10, [0, 1, 2])).warnings == ()


def test_tables_without_columns_and_without_rows() -> None:
    bare = TABLE[["source"]]
    found = summarise(bare, Selection.from_rows(10, [0]))
    assert (found.patients, found.classes, found.slides) == (None, (), 1)
    assert found.sentences == ("1 of 10 tiles selected.", "From 1 slide.")
    empty = summarise(TABLE.iloc[:0], Selection.none(0), np.empty(0, np.float32))
    assert empty.sentences == ("The store has no tiles.",)
    assert (empty.slides, empty.top_source, empty.trust) == (0, None, None)


def test_missing_values_of_every_kind_are_one_class() -> None:
    for missing in (None, float("nan"), pd.NA):
        table = TABLE.assign(label=pd.Series(["a", missing] * 5, dtype=object))
        assert summarise(table, Selection.none(10)).classes == (("(none)", 5), ("a", 5))
    whole = TABLE.assign(label=pd.Series([1, None] * 5, dtype="Int64"))
    assert summarise(whole, Selection.none(10)).classes == (("(none)", 5), ("1", 5))


def test_a_table_that_names_no_source_is_one_source() -> None:
    found = summarise(TABLE[["label"]], Selection.all(10))
    assert (found.slides, found.warnings) == (1, ())
