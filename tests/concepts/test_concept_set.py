"""Concept sets: made, edited, kept and read back; what is wrong is said and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import make_store
from widgetkit.concepts import ConceptSet, ProbeConcepts, Region
from widgetkit.errors import ChannelMismatch, InvalidInput, StoreCorrupt, UnknownName
from widgetkit.store import ActivationStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return make_store(tmp_path_factory.mktemp("sets") / "s.wk", n=40, channels=6, grid=(3, 3))


def table(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rim": rng.random(n) < 0.4,
            "scar": np.where(rng.random(n) < 0.2, np.nan, rng.integers(2, size=n)),
            "looked": np.arange(n) % 4 > 0,
            "patient": [f"Jane Doe {i // 2}" for i in range(n)],
        }
    )


CLASSES = pd.DataFrame([[1, 0], [0, 1], [0, 0]], ["HCC", "FNH", "cyst"], ["rim", "scar"])


def test_from_a_table() -> None:
    frame = table()
    made = ConceptSet.from_table(
        frame, ["rim", "scar"], labelled="looked", class_concepts=CLASSES, apart=[("scar", "rim")]
    )
    looked = frame["looked"].to_numpy()
    assert (made.labels[~looked] == -1).all()
    np.testing.assert_array_equal(made.labels[looked, 0], frame["rim"][looked].astype(int))
    wanted = frame["scar"].where(frame["looked"]).fillna(-1)
    np.testing.assert_array_equal(made.labels[:, 1], wanted)
    np.testing.assert_array_equal(np.nan_to_num(made.Y, nan=-1), made.labels)
    assert made.classes == ("HCC", "FNH", "cyst") and made.class_concepts is not None
    np.testing.assert_array_equal(made.class_concepts, CLASSES.to_numpy() == 1)
    assert made.apart == (("rim", "scar"),) and (made.n, len(made)) == (40, 2)
    assert made.patients is not None
    np.testing.assert_array_equal(made.patients, np.arange(40) // 2)
    assert "Jane" not in made.encode(), "who a patient is stays in the table"


def test_tiles_without_a_patient_are_of_one_and_the_same() -> None:
    frame = table(6)
    frame["patient"] = ["a", None, "b", None, "a", None]
    made = ConceptSet.from_table(frame, ["rim"])
    assert made.patients is not None and made.patients.tolist() == [0, 1, 2, 1, 0, 1]
    assert ConceptSet.from_table(frame, ["rim"], patient=None).patients is None
    assert ConceptSet.from_table(frame.drop(columns="patient"), ["rim"]).patients is None


def test_from_examples_and_edits() -> None:
    made = ConceptSet.from_examples(
        8, {"rim": [1, 3], "scar": np.arange(8) > 5}, without={"rim": [0]}
    )
    assert made.labels[:, 0].tolist() == [0, 1, -1, 1, -1, -1, -1, -1]
    assert made.examples("scar").tolist() == [6, 7] and made.counts.tolist() == [[2, 1], [2, 0]]
    more = made.with_examples("rim", [5], without=[1]).with_examples("line", [2])
    assert more.labels[:, 0].tolist() == [0, 0, -1, 1, -1, 1, -1, -1]
    assert more.names == ("rim", "scar", "line") and made.names == ("rim", "scar")
    classes = more.with_class_concepts([[1, 0, 0], [0, 1, 0]], ["HCC", "FNH"])
    new = classes.with_examples("wall", [4])
    assert new.class_concepts is not None and not new.class_concepts[:, 3].any()
    assert new.with_class_concepts(None).class_concepts is None
    less = new.with_apart("rim", "wall").without("rim")
    assert less.names == ("scar", "line", "wall") and less.apart == ()
    assert less.class_concepts is not None and less.class_concepts.shape == (2, 3)
    other = new.with_apart("rim", "wall").with_region("rim", 3, np.eye(3, dtype=bool))
    named = other.renamed("rim", "bright rim")
    assert named.apart == (("bright rim", "wall"),) and list(named.regions) == ["bright rim"]
    assert other.with_apart("wall", "rim", False).apart == ()


def test_arrays_cannot_be_changed_from_outside() -> None:
    labels = np.zeros((4, 1), np.int8)
    made = ConceptSet(("rim",), labels)
    before = made.digest
    labels[0] = 1
    assert made.labels[0, 0] == 0 and ConceptSet(made.names, made.labels).digest == before
    with pytest.raises(ValueError, match="read-only"):
        made.labels[0] = 1
    with pytest.raises(TypeError):
        made.regions["rim"] = {}  # type: ignore[index]


def test_regions() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    made = ConceptSet.from_examples(5, {"rim": [0]}).with_region("rim", 3, mask)
    assert made.examples("rim").tolist() == [0, 3]
    np.testing.assert_array_equal(made.regions["rim"][3].mask, mask)
    assert not made.with_region("rim", 3, None).regions
    assert made.with_region("rim", 3, None).examples("rim").tolist() == [0, 3]
    volume = np.zeros((3, 5, 7), bool)
    volume[2, 4, 6] = True
    np.testing.assert_array_equal(Region.of(volume).mask, volume)
    for wrong, said in (
        (np.zeros((3, 3), bool), "empty"),
        (np.ones((3, 3)), "bool array"),
        (np.ones((2, 2, 2, 2), bool), "one to three"),
        (np.ones((0, 3), bool), "one to three"),
    ):
        with pytest.raises(InvalidInput, match=said):
            made.with_region("rim", 2, wrong)
    with pytest.raises(InvalidInput, match="5 rows"):
        made.with_region("rim", 5, mask)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"labels": np.full((4, 2), 2)}, InvalidInput, "hold .*2.* for concept 'rim' in tile 0"),
        ({"labels": np.array([[0.5, 1]] * 4)}, InvalidInput, "0.5"),
        ({"labels": np.array([["yes", "no"]] * 4)}, InvalidInput, "shown"),
        ({"labels": np.zeros((4, 3))}, ChannelMismatch, "shape"),
        ({"names": ("rim", "rim")}, InvalidInput, "named once"),
        ({"names": ("rim", "a\nb")}, InvalidInput, "printable"),
        ({"names": ("rim", "(all)")}, InvalidInput, "stands for all"),
        ({"names": (), "labels": np.zeros((4, 0))}, InvalidInput, "1 to"),
        ({"apart": (("rim", "scarr"),)}, UnknownName, "'scar'"),
        ({"apart": (("rim", "rim"),)}, InvalidInput, "pairs of two"),
        ({"regions": {"rmi": {0: Region.of(np.ones((2, 2), bool))}}}, UnknownName, "'rim'"),
        ({"regions": {"rim": {0: np.ones((2, 2), bool)}}}, InvalidInput, "Region"),
        ({"patients": np.array(["a"] * 4)}, InvalidInput, "whole number"),
        ({"patients": np.arange(3)}, InvalidInput, "whole number"),
        ({"patients": np.array([0, 1, 2, -1])}, InvalidInput, "count from 0"),
        ({"class_concepts": [[0, 2]], "classes": ("a",)}, InvalidInput, "not there"),
        ({"class_concepts": [[0, 1]], "classes": ("a", "b")}, InvalidInput, "rows"),
        ({"class_concepts": [[0, 1, 1]]}, ChannelMismatch, "columns"),
        ({"classes": ("a", "a")}, InvalidInput, "named once"),
    ],
)
def test_what_is_wrong_is_refused(change: dict, error: type[Exception], said: str) -> None:
    fine = {"names": ("rim", "scar"), "labels": np.zeros((4, 2), np.int8)}
    ConceptSet(**fine)  # type: ignore[arg-type]
    with pytest.raises(error, match=said):
        ConceptSet(**{**fine, **change})  # type: ignore[arg-type]


def test_columns_of_any_kind_of_zero_one_and_nothing() -> None:
    wanted = [[1], [0], [-1], [1]]
    for column in (
        pd.array([True, False, pd.NA, True], "boolean"),
        pd.array([1, 0, pd.NA, 1], "Int8"),
        pd.Categorical([1, 0, None, 1]),
        np.array([np.True_, 0.0, None, 1], object),
        np.array([1.0, 0.0, np.nan, 1.0], np.float32),
    ):
        made = ConceptSet.from_table(pd.DataFrame({"rim": column}), ["rim"])
        assert made.labels.tolist() == wanted
    for column, said in (
        ([1, "x", 0, 1], "'x' for concept 'rim' in row 1"),
        ([None, 1, 0, "1"], "'1' for concept 'rim' in row 3"),
        ([1, 0, (1,), 0], "row 2"),
        ([1, 0, 1j, "a"], "1j for concept 'rim' in row 2"),
    ):
        frame = pd.DataFrame({"rim": pd.Series(column, dtype=object)})
        with pytest.raises(InvalidInput, match=re.escape(said)):
            ConceptSet.from_table(frame, ["rim"])


def test_unknown_columns_and_concepts_are_named() -> None:
    with pytest.raises(UnknownName, match="'scar'"):
        ConceptSet.from_table(table(), ["rim", "scra"])
    with pytest.raises(InvalidInput, match="one bool a tile"):
        ConceptSet.from_table(table(), ["rim"], labelled=[True])
    with pytest.raises(InvalidInput, match="row 3"):
        frame = table()
        frame.loc[3, "scar"] = 7
        ConceptSet.from_table(frame, ["scar"])
    made = ConceptSet.from_examples(4, {"rim": [0], "scar": [1]})
    for ask in (made.without, made.examples, lambda name: made.renamed(name, "x")):
        with pytest.raises(UnknownName, match="'rim'"):
            ask("rimm")
    with pytest.raises(UnknownName, match="'scar'"):
        pass_on = pd.DataFrame([[1, 0]], ["HCC"], ["rim", "scra"])
        made.with_class_concepts(pass_on)
    with pytest.raises(InvalidInput, match="and not to"):
        made.with_examples("rim", [1, 2], without=[2])
    with pytest.raises(InvalidInput, match="only concept"):
        ConceptSet.from_examples(4, {"rim": [0]}).without("rim")
    with pytest.raises(InvalidInput, match="itself"):
        made.with_apart("rim", "rim")


def test_estimators_learn_from_it() -> None:
    rng = np.random.default_rng(0)
    shows = rng.random(60) < 0.5
    X = rng.normal(size=(60, 4)) + 3 * shows[:, None] * [1, 0, 0, 0]
    made = ConceptSet.from_examples(60, {"rim": shows}, without={"rim": ~shows})
    model = ProbeConcepts().fit(X, made.Y, groups=made.patients, names=made.names)
    assert model.direction_[0, 0] > 0.8


@st.composite
def sets(draw: st.DrawFn, n: int = 40) -> ConceptSet:
    names = draw(
        st.lists(st.text("abc é<>&'\"0", min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=4, unique=True)
    )  # fmt: skip
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, (n, len(names))).astype(np.int8)
    patients = rng.integers(0, 9, n) if draw(st.booleans()) else None
    made = ConceptSet(tuple(names), labels, patients)
    if draw(st.booleans()):
        K = draw(st.integers(1, 3))
        made = made.with_class_concepts(
            rng.random((K, len(names))) < 0.5, [f"class {k}" for k in range(K)]
        )
    if len(names) > 1 and draw(st.booleans()):
        made = made.with_apart(names[0], names[1])
    for row in draw(st.lists(st.integers(0, n - 1), max_size=3)):
        shape = draw(st.sampled_from([(3, 3), (5,), (2, 3, 5), (16, 16)]))
        mask = rng.random(shape) < 0.5
        mask.flat[0] = True
        made = made.with_region(draw(st.sampled_from(names)), row, mask)
    return made


@given(sets())
@settings(max_examples=40, deadline=None)
def test_text_and_store_give_back_what_was_kept(store: ActivationStore, made: ConceptSet) -> None:
    made.save(store, "mine <&>")
    again = ActivationStore.open(store.path)
    for back in (ConceptSet.decode(made.encode()), ConceptSet.load(again, "mine <&>")):
        assert back == made and hash(back) == hash(made)
        assert (back.names, back.classes, back.apart) == (made.names, made.classes, made.apart)
        np.testing.assert_array_equal(back.labels, made.labels)
        assert back.regions == made.regions
        for key in ("patients", "class_concepts"):
            a, b = getattr(back, key), getattr(made, key)
            assert (a is None) == (b is None) and (a is None or np.array_equal(a, b))
    called = made.renamed(made.names[-1], "called otherwise")
    assert called.key == made.key and called != made
    changed = made.with_examples("new one", [0])
    assert changed.key != made.key
    assert changed != made
    assert "mine <&>" in ConceptSet.names_kept(again)


def test_a_set_of_other_tiles_is_not_kept_here(store: ActivationStore, tmp_path: Path) -> None:
    made = ConceptSet.from_examples(39, {"rim": [0]})
    with pytest.raises(InvalidInput, match="39 tiles; the store has 40"):
        made.save(store)
    with pytest.raises(InvalidInput, match="39 tiles, and 40 are meant"):
        ConceptSet.decode(made.encode(), 40)
    ConceptSet.from_examples(40, {"rim": [0]}).save(store, "rims")
    with pytest.raises(UnknownName, match="rims"):
        ConceptSet.load(store, "rim")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"n": -1},
        {"n": True},
        {"n": 10**12},
        {"names": ["rim", "rim"]},
        {"names": "ab"},
        {"names": [1, 2]},
        {"classes": [[], []]},
        {"apart": [["rim", "nobody"]]},
        {"apart": [["rim"]]},
        {"regions": [[0, 1, [2**22, 2**22]]]},
        {"regions": [[0, -1, [3, 3]]]},
        {"regions": [[9, 1, [3, 3]]]},
        {"regions": [[0, 1, "33"]]},
        {"regions": [[0, 1, [30, 30]]]},
        {"arrays": {}},
        {"arrays": {"labels": "!!"}},
        {"arrays": {"labels": 3}},
        {"arrays": {"other": ""}},
        {"arrays": []},
    ],
)
def test_nothing_in_a_text_is_trusted(change: dict) -> None:
    made = ConceptSet.from_examples(12, {"rim": [0], "scar": [1]})
    value = json.loads(made.with_region("rim", 1, np.eye(3, dtype=bool)).encode())
    assert ConceptSet.decode(json.dumps(value)).n == 12
    with pytest.raises(InvalidInput, match="cannot be read"):
        ConceptSet.decode(json.dumps({**value, **change}))


def test_texts_that_are_none_are_refused() -> None:
    for text in ("", "[]", "{", "null", '{"n": 3}', "[" * 100_000, 7):
        with pytest.raises(InvalidInput, match="cannot be read"):
            ConceptSet.decode(text)  # type: ignore[arg-type]


def test_a_damaged_kept_set_is_said_to_be(store: ActivationStore) -> None:
    made = ConceptSet.from_examples(40, {"rim": [0]})
    made.save(store, "damaged")
    entry = store.derived.get("concept set", "damaged")
    for params, arrays in (
        ({**entry.params, "n": 41}, dict(entry.arrays)),
        (dict(entry.params), {"labels": np.zeros((41, 1), np.int8)}),
        (dict(entry.params), {"labels": np.full((40, 1), 3, np.int8)}),
        (dict(entry.params), {"labels": np.zeros((40, 1))}),
        (dict(entry.params), {}),
        ({}, dict(entry.arrays)),
    ):
        store.derived.put("concept set", "damaged", arrays, params=params)
        with pytest.raises(StoreCorrupt, match=r"Concept set 'damaged' .* is damaged"):
            ConceptSet.load(store, "damaged")
    store.derived.delete("concept set", "damaged")
