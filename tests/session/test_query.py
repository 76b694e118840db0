from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session.query import equal_to, evaluate, quote_column, quote_text

TABLE = pd.DataFrame(
    {
        "slide": ["A", "A", "B", None, "<b>"],
        "score": [0.1, 0.5, np.nan, 0.9, -2.0],
        "size": [1, 2, 3, 4, 5],
        "flag": [True, False, True, False, True],
        "odd name`": ["x", "y", "x", "y", "x"],
        "@os.system('x')": [1, 2, 3, 4, 5],
    }
)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ('slide == "A"', [0, 1]),
        ("slide = 'A'", [0, 1]),
        ('slide != "A"', [2, 3, 4]),
        ("score > 0.2", [1, 3]),
        ("score <= 5e-1", [0, 1, 4]),
        ("score < -1", [4]),
        ("score is missing", [2]),
        ("slide is not missing", [0, 1, 2, 4]),
        ("size in [1, 3, 99]", [0, 2]),
        ("size not in [1, 3]", [1, 3, 4]),
        ('slide in ["B", "<b>"]', [2, 4]),
        ('slide contains "b"', [4]),
        ("flag == true and size > 1", [2, 4]),
        ('slide == "B" or size == 1 and flag == true', [0, 2]),
        ('(slide == "B" or size == 1) and flag == true', [0, 2]),
        ("not (size > 2)", [0, 1]),
        ("not not size > 4", [4]),
        (r'`odd name\`` == "x"', [0, 2, 4]),
        ("`@os.system('x')` >= 4", [3, 4]),
        ("SIZE == 1 OR size == 2".replace("SIZE", "size"), [0, 1]),
    ],
)
def test_queries(query: str, rows: list[int]) -> None:
    assert np.flatnonzero(evaluate(query, TABLE)).tolist() == rows


@pytest.mark.parametrize(
    "query",
    [
        "",
        "size",
        "size ==",
        "== 1",
        "size == 1 and",
        "(size == 1",
        "size == 1)",
        "size == 1 size == 2",
        "size in []",
        "size in [1",
        "size in 1",
        "score > 'a'",
        "size == slide",
        "@size == 1",
        "__import__('os').system('x')",
        "size.__class__ == 1",
        "size == 1; slide",
        "size == 1e",
        "(" * 60 + "size == 1" + ")" * 60,
        "not " * 60 + "size == 1",
        "size == 1 or " * 5000 + "size == 1",
    ],
)
def test_what_is_no_query_is_refused_and_never_run(query: str) -> None:
    with pytest.raises((InvalidInput, UnknownName)):
        evaluate(query, TABLE)


def test_the_message_says_where_and_lists_near_columns() -> None:
    with pytest.raises(InvalidInput, match="character 9"):
        evaluate("size == ?", TABLE)
    with pytest.raises(UnknownName, match="'score'"):
        evaluate("skore > 1", TABLE)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40))
def test_no_text_does_anything_else_than_select_or_refuse(query: str) -> None:
    try:
        found = evaluate(query, TABLE)
    except (InvalidInput, UnknownName):
        return
    assert found.shape == (5,)
    assert found.dtype == bool


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_column_and_any_text_can_be_asked_for(column: str, value: str) -> None:
    table = pd.DataFrame({column: [value, value + "x"]})
    query = f"{quote_column(column)} == {quote_text(value)}"
    assert evaluate(query, table).tolist() == [True, False]


def test_equality_with_nothing_finds_what_is_missing() -> None:
    assert np.flatnonzero(equal_to(TABLE["slide"], None)).tolist() == [3]
    assert np.flatnonzero(equal_to(TABLE["score"], float("nan"))).tolist() == [2]
    assert np.flatnonzero(equal_to(TABLE["size"], 2)).tolist() == [1]
    assert np.flatnonzero(equal_to(TABLE["size"], "2")).tolist() == [1]
