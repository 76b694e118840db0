"""Tables come back as they were kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import widgetkit as wk
from tests.stores import HOSTILE, make_store
from widgetkit.errors import InvalidInput
from widgetkit.factors import Factors, factorise
from widgetkit.factors.kept_tables import keep_table, kept_table


@pytest.fixture
def factors(tmp_path: Path) -> Factors:
    return factorise(make_store(tmp_path / "s.wk", n=40), k=3)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(
            {"factor": [0, 1, 2], "drop": [0.5, np.nan, -1.0], "name": ["a", HOSTILE, "é"]}
        ),
        pd.DataFrame({"steady": [True, False]}),
        pd.DataFrame({"k": np.empty(0, np.int64), "why": np.empty(0, object)}),
    ],
)
def test_a_table_comes_back_as_it_was(factors: Factors, table: pd.DataFrame) -> None:
    table.attrs.update(target=1, note="two slides", reasons=["a", "b"])
    keep_table(factors.store, factors, "importance", table, params={"n": 5}, seed=2)
    found = kept_table(factors.store, factors, "importance")
    assert found is not None
    pd.testing.assert_frame_equal(found, table, check_dtype=len(table) > 0)
    assert found.attrs == table.attrs


def test_another_question_has_no_kept_answer(factors: Factors) -> None:
    table = pd.DataFrame({"factor": [0]})
    keep_table(factors.store, factors, "importance", table, params={"n": 5, "class": "a"})
    assert (
        kept_table(factors.store, factors, "importance", params={"class": "a", "n": 5}) is not None
    )
    assert kept_table(factors.store, factors, "importance", params={"class": "b", "n": 5}) is None
    assert kept_table(factors.store, factors, "completeness") is None
    other = factorise(factors.store, k=2)
    assert kept_table(other.store, other, "importance") is None


def test_what_cannot_come_back_is_refused(factors: Factors) -> None:
    with pytest.raises(InvalidInput, match="neither"):
        keep_table(factors.store, factors, "x", pd.DataFrame({"a": [{}, []]}), params={})
    table = pd.DataFrame({"a": [1]})
    table.attrs["array"] = np.zeros(2)
    with pytest.raises(InvalidInput, match="plain"):
        keep_table(factors.store, factors, "x", table, params={})


def test_a_flipped_bit_is_no_table(factors: Factors) -> None:
    keep_table(factors.store, factors, "x", pd.DataFrame({"a": [1.0, 2.0]}), params={})
    files = list((factors.store.path / "derived").glob("factor*table*/*/*.npy"))
    assert files
    content = bytearray(files[0].read_bytes())
    content[-2] ^= 0x10
    files[0].write_bytes(bytes(content))
    assert kept_table(wk.open(factors.store.path), factors, "x") is None
