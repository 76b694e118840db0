"""Tables: no names of people unless asked, nothing a spreadsheet would run, units kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit.errors import InvalidInput, OutputExists
from widgetkit.slides.export_factors import distinct, slide_table, tile_table
from widgetkit.slides.export_tables import (
    IDENTIFYING,
    is_identifying,
    numbering,
    pseudonymised,
    safe_text,
    write_table,
)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["aa", "bb", "cc"],
            "Patient ID": ["Doe, Jane", "Roe, R", "Doe, Jane"],
            "source": ["Doe.svs", None, "Doe.svs"],
            "label": ["=1+1", "-x", "tumour"],
            "weight": [0.5, -1.25, np.nan],
        }
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_names_are_numbered_unless_asked_otherwise(tmp_path: Path, suffix: str) -> None:
    def read(path: Path) -> pd.DataFrame:
        return pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)

    path = write_table(tmp_path / f"a{suffix}", frame())
    assert b"Doe" not in path.read_bytes()
    found = read(path)
    assert "id" not in found.columns
    assert list(found["Patient ID"]) == ["Patient ID 1", "Patient ID 2", "Patient ID 1"]
    assert found["source"].isna().tolist() == [False, True, False]
    np.testing.assert_array_equal(found["weight"], frame()["weight"])
    dropped = read(write_table(tmp_path / f"b{suffix}", frame(), identifiers="drop"))
    assert list(dropped.columns) == ["label", "weight"]
    kept = read(write_table(tmp_path / f"c{suffix}", frame(), identifiers="keep"))
    assert list(kept["Patient ID"]) == list(frame()["Patient ID"])


def test_two_tables_agree_on_numbers() -> None:
    numbers = numbering(frame())
    part = pseudonymised(frame().iloc[1:], numbers=numbers)
    assert list(part["Patient ID"]) == ["Patient ID 2", "Patient ID 1"]
    more = pd.DataFrame({"source": ["new.svs", "Doe.svs"]})
    assert list(pseudonymised(more, numbers=numbers)["source"]) == ["source 2", "source 1"]
    assert numbers["source"] == {"Doe.svs": "source 1"}, "what is given is not changed"


def test_names_of_columns_are_recognised_however_they_are_written() -> None:
    for name in ("PATIENT", "patient_id", "Patient Name", "File-Name", "slide"):
        assert is_identifying(name)
    for name in ("label", "tissue", "weight", 3):
        assert not is_identifying(name)
    assert all(is_identifying(name) for name in IDENTIFYING)


@given(st.text(max_size=8))
@settings(deadline=None, max_examples=100)
def test_no_text_begins_as_a_formula(text: str) -> None:
    found = safe_text(text)
    assert not found.lstrip(" ").startswith(tuple("=+-@\t\r\n"))
    assert found.endswith(text) and len(found) - len(text) in (0, 1)


def test_formulas_in_cells_names_and_indices_are_disarmed(tmp_path: Path) -> None:
    table = pd.DataFrame({"=cmd()": ["@SUM(A1)", "+1"], "n": [-1, 2]})
    table.index = pd.Index(["-2+3", "b"], name="=row")
    text = write_table(tmp_path / "a.csv", table).read_text(encoding="utf-8")
    assert text == "'=row,'=cmd(),n\n'-2+3,'@SUM(A1),-1\nb,'+1,2\n"
    table["cat"] = pd.Categorical(["=a", "b"])
    assert "'=a" in write_table(tmp_path / "b.csv", table).read_text(encoding="utf-8")


def test_units_are_kept(tmp_path: Path) -> None:
    units = {"weight": "a.u."}
    path = write_table(tmp_path / "a.parquet", frame(), units=units)
    schema = pq.read_schema(path)
    assert schema.field("weight").metadata == {b"unit": b"a.u."}
    facts = json.loads(schema.metadata[b"widgetkit"])
    assert facts["units"] == units and facts["made with"].startswith("widgetkit")
    text = write_table(tmp_path / "a.csv", frame(), units=units).read_text(encoding="utf-8")
    assert text.splitlines()[0].endswith(",weight [a.u.]")
    with pytest.raises(InvalidInput, match="units"):
        write_table(tmp_path / "b.csv", frame(), units={"none": "x"})


def test_other_endings_mixed_columns_and_existing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.csv or \.parquet"):
        write_table(tmp_path / "a.xlsx", frame())
    with pytest.raises(InvalidInput, match="'a'"):
        write_table(tmp_path / "a.parquet", pd.DataFrame({"a": [1, "x", b"y"]}))
    with pytest.raises(InvalidInput, match="identifiers"):
        write_table(tmp_path / "a.csv", frame(), identifiers="hash")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    write_table(tmp_path / "a.csv", frame())
    with pytest.raises(OutputExists):
        write_table(tmp_path / "a.csv", frame())


# -- weights -----------------------------------------------------------------------------
class Pooled:
    """Of planted weights (n, k, cells), as ``widgetkit.factors`` pools them."""

    def __init__(self, weights: np.ndarray, background: float) -> None:
        self.mean, self.max = weights.mean(axis=2), weights.max(axis=2)
        winner = weights.argmax(axis=1)
        winner[weights.sum(axis=1) <= background] = -1
        self.winner = winner
        shares = [(winner == i).mean(axis=1) for i in range(weights.shape[1])]
        self.share, self.total = np.stack(shares, axis=1), self.mean.sum(axis=1)


def test_shares_of_a_slide_are_those_of_its_positions() -> None:
    rng = np.random.default_rng(0)
    weights = rng.gamma(1.0, 1.0, (20, 3, 8)).astype(np.float32)
    pooled = Pooled(weights, 1.5)
    slide = rng.integers(-1, 2, 20)
    table, units = slide_table(slide, ["a", "b"], pooled, ["x", "y", "x"], positions=8)
    assert set(units) < set(table.columns)
    for s, name in enumerate("ab"):
        mine = table[table["slide"] == name].set_index("factor")
        assert list(mine.index) == ["x", "y", "x (2)", "(background)"]
        won = pooled.winner[slide == s]
        assert list(mine["positions"]) == [(won == i).sum() for i in (0, 1, 2, -1)]
        assert mine["share"].sum() == pytest.approx(1)
        assert mine["share of weight"].sum() == pytest.approx(1)
        part = weights[slide == s].sum(axis=(0, 2))
        np.testing.assert_allclose(mine["share of weight"][:3], part / part.sum(), rtol=1e-5)


def test_each_tile_has_its_weights_beside_its_columns() -> None:
    weights = np.random.default_rng(0).random((4, 2, 5)).astype(np.float32)
    pooled = Pooled(weights, 0.0)
    table, units = tile_table(pd.DataFrame({"x": range(4)}), pooled, ["a", ""])
    assert list(table.columns) == [
        "x", "total", "a: mean", "a: max", "a: share",
        "factor 2: mean", "factor 2: max", "factor 2: share",
    ]  # fmt: skip
    assert table.index.name == "row" and units["a: share"] == "share of positions"
    np.testing.assert_array_equal(table["factor 2: max"], weights[:, 1].max(axis=1))
    with pytest.raises(InvalidInput, match="4"):
        tile_table(pd.DataFrame({"x": range(3)}), pooled, ["a", "b"])
    with pytest.raises(InvalidInput, match="names"):
        tile_table(pd.DataFrame({"x": range(4)}), pooled, ["a"])
    with pytest.raises(InvalidInput, match="total"):
        tile_table(pd.DataFrame({"total": range(4)}), pooled, ["a", "b"])
    assert distinct(["a", "a", "a (2)"]) == ["a", "a (2)", "a (2) (2)"]
