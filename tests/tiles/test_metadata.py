"""Joining a user's table: nothing is lost, nothing is guessed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from widgetkit import tiles
from widgetkit.errors import BadMetadata

TABLE = tiles.make_table(["a", "b", "a"], n=3, x=[0, 1, 2], size=8)


def test_by_position() -> None:
    out = tiles.join_metadata(TABLE, pd.DataFrame({"age": [50, 60, 70]}, index=[9, 8, 7]))
    assert out["age"].tolist() == [50, 60, 70]
    assert "age" not in TABLE.columns


def test_by_key_in_any_order_with_keys_to_spare() -> None:
    cohort = pd.DataFrame({"slide": ["c", "b", "a"], "patient": ["P3", "P2", "P1"]})
    for metadata in (cohort, cohort.set_index("slide")):
        out = tiles.join_metadata(TABLE, metadata, on="slide")
        assert out["patient"].tolist() == ["P1", "P2", "P1"]
        assert out["id"].equals(TABLE["id"])


def test_one_value_stands_for_all() -> None:
    out = tiles.join_metadata(TABLE, {"patient": "P1", "weight": np.array([1.0, 2.0, 3.0])})
    assert out["patient"].tolist() == ["P1"] * 3 and out["weight"].sum() == 6


def test_html_and_missing_values_stay_what_they_are() -> None:
    note = '<img src=x onerror="alert(1)">'
    out = tiles.join_metadata(TABLE, {"note": [note, None, "b"]})
    assert out["note"][0] == note and pd.isna(out["note"][1])


def test_slide_may_be_given() -> None:
    assert tiles.join_metadata(TABLE, {"slide": ["s", "s", "t"]})["slide"].tolist() == [
        "s",
        "s",
        "t",
    ]


@pytest.mark.parametrize(
    ("metadata", "on", "words"),
    [
        ({"age": [1, 2]}, None, "2 rows and there are 3 tiles"),
        ({"age": [1, 2, 3], "sex": ["f"]}, None, "differ in length"),
        ({"id": ["a", "b", "c"]}, None, "uses itself"),
        ({"": [1, 2, 3]}, None, "named ''"),
        (pd.DataFrame({0: [1, 2, 3]}), None, "named 0"),
        (pd.DataFrame([[1, 2]] * 3, columns=["a", "a"]), None, "same name"),
        ({"slide": ["a", "a"], "age": [1, 2]}, "slide", "rows 0 and 1"),
        ({"slide": ["a", "x"], "age": [1, 2]}, "slide", "'b'"),
        ({"slide": ["a", None], "age": [1, 2]}, "slide", "1 rows of the metadata have no"),
        ({"slyde": ["a", "b"]}, "slide", "'slyde'"),
        ({"age": [1, 2]}, "case", "tiles have no column"),
        ({"mixed": [1, "two", 3]}, None, "mixes text with int"),
        ({"boxes": [[1], [2], [3]]}, None, "list"),
        ({"c": [1j, 2j, 3j]}, None, "complex"),
        ([1, 2, 3], None, "DataFrame or a dict"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_says_why(metadata, on: str | None, words: str) -> None:
    with pytest.raises(BadMetadata, match=words):
        tiles.join_metadata(TABLE, metadata, on=on)


def test_a_patient_is_never_named_in_an_error() -> None:
    table = tiles.join_metadata(TABLE, {"patient": ["Jane Doe", "John Roe", "Jane Doe"]})
    with pytest.raises(BadMetadata) as caught:
        tiles.join_metadata(table, {"patient": ["Jane Doe"], "age": [50]}, on="patient")
    assert "Roe" not in str(caught.value)


def test_parquet_keeps_every_column(tmp_path) -> None:
    metadata = pd.DataFrame(
        {
            "n": [1, 2, 3], "x_um": [0.5, np.nan, 1.0], "ok": [True, False, True],
            "when": pd.to_datetime(["2020-01-01"] * 3), "stain": pd.Categorical(["H", "E", "H"]),
            "text": ["a", None, "c"],
        }
    )  # fmt: skip
    out = tiles.join_metadata(TABLE, metadata)
    out.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), out)


def test_pseudonyms() -> None:
    table = tiles.join_metadata(TABLE, {"patient": ["Jane", None, "Jane"]})
    numbered = tiles.anonymise(table)
    assert numbered["patient"].tolist()[::2] == ["patient-001"] * 2
    assert pd.isna(numbered["patient"][1])
    keyed, again, other = (tiles.anonymise(table, salt=s)["patient"] for s in ("a", "a", "b"))
    assert keyed[0] == again[0] == keyed[2] != other[0]
    assert "Jane" not in "".join(map(str, [*keyed, *numbered["patient"]]))
    assert table["patient"][0] == "Jane"


def test_pseudonyms_need_patients_and_a_salt_needs_text() -> None:
    with pytest.raises(BadMetadata, match="no column 'patient'"):
        tiles.anonymise(TABLE)
    with pytest.raises(BadMetadata, match="empty"):
        tiles.anonymise(TABLE.assign(patient="x"), salt="")
