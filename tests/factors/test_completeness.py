"""What the network still says when it sees the factors alone: closed forms and definitions."""

from __future__ import annotations

from math import factorial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import r2_score

from tests.factors.networks import CLASSES, Net, store_of
from widgetkit.errors import Cancelled, InvalidInput, StoreMismatch, UnknownName
from widgetkit.extraction import ModelContext
from widgetkit.factors import Factors, factorise
from widgetkit.factors.completeness import (
    VARIANTS,
    Completeness,
    class_labels,
    completeness,
    completeness_score,
    derangements,
    logit_r2,
    predicted,
)
from widgetkit.store import ActivationStore


@pytest.fixture(scope="module")
def linear(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ModelContext, ActivationStore, Factors]:
    net = Net()
    store = store_of(net, tmp_path_factory.mktemp("completeness") / "linear.wk")
    return ModelContext.for_store(net, store), store, factorise(store, k=4)


def row(found: Completeness, variant: str) -> dict[str, float]:
    return found.table.set_index("variant").loc[variant].to_dict()


def head(context: ModelContext, activations: np.ndarray) -> np.ndarray:
    """The network's rest on paper: the mean over the grid and one linear layer."""
    fc = context.model.fc
    weight, bias = fc.weight.detach().numpy(), fc.bias.detach().numpy()
    return activations.mean(axis=(2, 3), dtype=np.float64) @ weight.T + bias


def test_the_table_against_its_definition(
    linear: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = linear
    found = completeness(context, store, factors, shuffles=2)
    assert tuple(found.table["variant"]) == VARIANTS
    a = store.activations("features").astype(np.float32)
    original = head(context, a)
    made = factors.reconstruct(None)
    weights = factors.weights()
    variants = {
        "original": [original],
        "reconstruction": [head(context, made)],
        "mean activation": [np.broadcast_to(original.mean(axis=0), original.shape)],
        "shuffled factors": [
            head(context, np.einsum("nkhw,kc->nchw", weights, factors.prototypes[order]))
            for order in derangements(4, 2, 0)
        ],
    }
    for name, logits in variants.items():
        got = row(found, name)
        agreement = np.mean([(predicted(x) == predicted(original)).mean() for x in logits])
        assert_allclose(got["agreement"], agreement)
        r2 = np.mean([r2_score(original, x, multioutput="variance_weighted") for x in logits])
        assert_allclose(got["logit_r2"], r2, atol=1e-4)
    assert_allclose(found.relative_error, np.linalg.norm(made - a) / np.linalg.norm(a), rtol=1e-5)
    expected = (row(found, "reconstruction")["agreement"] - 0.25) / 0.75
    assert_allclose(found.score, expected)
    assert found.tiles == 24 and found.groups == 4 and found.chance == 0.25
    assert "keep their class" in str(found)
    assert "Only 4 slides" in found.note


def test_factors_that_say_everything_are_complete(
    linear: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    """As many principal axes as the data has dimensions: the activations again."""
    from widgetkit.factors.methods import rank

    context, store, few = linear
    a = store.activations("features").astype(np.float32)
    k = rank(np.moveaxis(a, 1, -1).reshape(-1, 12))
    every = factorise(store, k=k, method="pca")
    found = completeness(context, store, every)
    assert row(found, "reconstruction")["agreement"] == 1 == found.score
    assert row(found, "reconstruction")["logit_r2"] > 0.9999 and found.relative_error < 1e-3
    less = completeness(context, store, few)
    assert less.relative_error > found.relative_error
    assert row(less, "reconstruction")["logit_r2"] > row(less, "shuffled factors")["logit_r2"]


@pytest.mark.parametrize(
    "options",
    [
        {"nonnegative": "shift", "normalise": "slide"},
        {"nonnegative": "split"},
        {"method": "pca", "normalise": "slide"},
    ],
)
def test_what_was_done_before_is_undone(tmp_path: Path, options: dict[str, str]) -> None:
    net = Net(signed=True)
    store = store_of(net, tmp_path / "signed.wk", n=12)
    context, factors = ModelContext.for_store(net, store), factorise(store, k=3, **options)
    found = completeness(context, store, factors)
    original, made = (
        head(context, x) for x in (store.activations("features"), factors.reconstruct(None))
    )
    assert_allclose(row(found, "reconstruction")["logit_r2"], logit_r2(original, made), atol=1e-4)


def test_accuracy_against_labels(linear: tuple[ModelContext, ActivationStore, Factors]) -> None:
    context, store, factors = linear
    assert store.outputs is not None
    truth = store.outputs.argmax(axis=1)
    wrong = truth.copy()
    wrong[:6] = (wrong[:6] + 1) % 4
    found = completeness(context, store, factors, y=wrong)
    assert row(found, "original")["accuracy"] == 0.75
    reached = row(found, "reconstruction")["accuracy"]
    assert_allclose(found.score, (reached - 0.25) / 0.5)
    named = completeness(context, store, factors, y=np.array(CLASSES, object)[wrong])
    assert row(named, "reconstruction")["accuracy"] == reached
    majority = completeness(context, store, factors, y=wrong, chance="majority")
    assert_allclose(majority.chance, np.bincount(wrong).max() / 24)
    some = np.where(np.arange(24) < 6, -1, truth)
    part = completeness(context, store, factors, y=some)
    assert row(part, "original")["accuracy"] == 1 and "6 of 24 tiles have no label" in part.note
    column = completeness(context, store, factors, y="label", rows=range(10))
    assert column.tiles == 10
    labels = store.tiles["label"].map(list(CLASSES).index).to_numpy()[:10]
    assert_allclose(row(column, "original")["accuracy"], (truth[:10] == labels).mean())


def test_a_network_no_better_than_chance_has_no_completeness(
    linear: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = linear
    assert store.outputs is not None
    never = (store.outputs.argmax(axis=1) + 1) % 4
    found = completeness(context, store, factors, y=never)
    assert np.isnan(found.score) and "no better than chance" in found.note


def test_one_factor_cannot_be_shuffled(
    linear: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, _ = linear
    found = completeness(context, store, factorise(store, k=1))
    assert np.isnan(row(found, "shuffled factors")["agreement"])
    assert "nothing to shuffle" in found.note


def test_progress_cancel_and_seed(linear: tuple[ModelContext, ActivationStore, Factors]) -> None:
    context, store, factors = linear
    told: list[tuple[int, int]] = []
    one = completeness(context, store, factors, n=7, seed=5, progress=lambda *a: told.append(a))
    assert told[0] == (0, 42) and told[-1] == (42, 42) and told == sorted(told)
    again = completeness(context, store, factors, n=7, seed=5)
    assert one.table.equals(again.table) and one.tiles == 7
    with pytest.raises(Cancelled):
        completeness(context, store, factors, cancel=lambda: len(told) > 0)


def test_bad_input_is_named(
    linear: tuple[ModelContext, ActivationStore, Factors], tmp_path: Path
) -> None:
    context, store, factors = linear

    def run(**options: object) -> Completeness:
        return completeness(context, store, factors, **options)  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match="chance is 'best'"):
        run(chance="best")
    with pytest.raises(InvalidInput, match="shuffles is 0"):
        run(shuffles=0)
    with pytest.raises(UnknownName, match=r"no column 'labl'.*'label'"):
        run(y="labl")
    with pytest.raises(InvalidInput, match="each of the 24 tiles"):
        run(y=[0, 1], rows=[0, 1])
    with pytest.raises(InvalidInput, match=r"class 9, and the network has 4.*'artefact'"):
        run(y=np.full(24, 9))
    with pytest.raises(InvalidInput, match=r"'tumour', which is no class.*'low grade'"):
        run(y=["tumour"] * 24)
    other = Net(seed=9)
    with pytest.raises(StoreMismatch, match="Load the weights"):
        completeness(ModelContext(other), store, factors)
    elsewhere = store_of(other, tmp_path / "other.wk", n=8)
    with pytest.raises(StoreMismatch, match="were made of store"):
        completeness(ModelContext.for_store(other, elsewhere), elsewhere, factors)


def test_labels_in_every_form(linear: tuple[ModelContext, ActivationStore, Factors]) -> None:
    _, store, _ = linear
    numbers = np.arange(24) % 4
    texts = [CLASSES[i] for i in numbers]
    missing = [None, *texts[1:]]
    assert_array_equal(class_labels(store, texts, 4), numbers)
    assert_array_equal(class_labels(store, np.array(missing, object), 4), [-1, *numbers[1:]])
    assert_array_equal(class_labels(store, [str(i) for i in numbers], 4), numbers)
    assert_array_equal(class_labels(store, numbers - 5, 4), np.full(24, -1))
    gaps = np.where(numbers == 2, np.nan, numbers)
    assert_array_equal(class_labels(store, gaps, 4), np.where(numbers == 2, -1, numbers))


# -- on arrays -----------------------------------------------------------------------------
def test_the_published_score() -> None:
    assert completeness_score(0.9, 0.9, 0.5) == 1
    assert completeness_score(0.5, 0.9, 0.5) == 0
    assert_allclose(completeness_score(0.7, 0.9, 0.5), 0.5)
    assert completeness_score(0.2, 0.9, 0.5) < 0
    assert np.isnan(completeness_score(0.5, 0.5, 0.5))


def test_r2_of_logits() -> None:
    draw = np.random.default_rng(0)
    logits, other = draw.normal(size=(2, 30, 4))
    assert_allclose(
        logit_r2(logits, other), r2_score(logits, other, multioutput="variance_weighted")
    )
    assert logit_r2(logits, logits) == 1
    mean = np.broadcast_to(logits.mean(axis=0), logits.shape)
    assert_allclose(logit_r2(logits, mean), 0, atol=1e-12)
    assert np.isnan(logit_r2(logits[:1], other[:1])) and np.isnan(logit_r2(mean, logits))


def test_one_output_is_a_yes_or_no() -> None:
    assert_array_equal(predicted(np.array([[-1.0], [0.0], [2.0]])), [0, 0, 1])


@settings(deadline=None, max_examples=25)
@given(k=st.integers(1, 8), count=st.integers(1, 6), seed=st.integers(0, 99))
def test_shuffles_leave_nothing_in_place_and_differ(k: int, count: int, seed: int) -> None:
    found = derangements(k, count, seed)
    assert len(found) == (0 if k == 1 else min(count, factorial(k - 1)))
    for order in found:
        assert_array_equal(np.sort(order), np.arange(k))
        assert (order != np.arange(k)).all()
    assert len({order.tobytes() for order in found}) == len(found)
