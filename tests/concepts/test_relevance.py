"""Relevance: closed forms on a linear head, the network run on behind deeper ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import ProbeConcepts, concept_directions, concept_relevance
from widgetkit.errors import BadActivations, Cancelled, ChannelMismatch, InvalidInput, UnknownName

FLOATS = st.integers(0, 2**32 - 1)


@st.composite
def heads(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Activations, directions (some dependent), a linear head, identified concepts, a reference."""
    d, F, K, m = (draw(st.integers(1, top)) for top in (12, 6, 4, 9))
    generator = np.random.default_rng(draw(FLOATS))
    U = generator.normal(size=(F, d)) * 10.0 ** generator.integers(-3, 3, (F, 1))
    if F > 2 and draw(st.booleans()):
        U[2] = -2 * U[0]
    reference = generator.normal(size=d) * draw(st.sampled_from([0.0, 1.0]))
    seen = generator.random((m, F)) < 0.6
    head = generator.normal(size=(K, d)), generator.normal(size=K)
    return generator.normal(size=(m, d)), U, *head, seen, reference


@settings(deadline=None, max_examples=80)
@given(heads())
def test_projection_adds_up_exactly_on_a_linear_head(case: tuple[np.ndarray, ...]) -> None:
    """logit = sum of relevance + rest, and the rest is the head on what no concept accounts for."""
    H, U, W, b, seen, reference = case
    found = concept_relevance(H, U, (W, b), identified=seen, reference=reference)
    logits = H @ W.T + b
    assert found.exact and found.how == "projection"
    assert_array_equal(found.predicted, logits.argmax(axis=1))
    assert_allclose(found.logit, logits.max(axis=1), rtol=1e-12)
    assert_allclose(found.relevance.sum(axis=1) + found.rest, found.logit, atol=1e-9)
    assert_allclose(found.gap, 0, atol=1e-9)
    assert (found.relevance[~seen] == 0).all()
    for i, k in enumerate(found.predicted):
        left = H[i] - reference
        if seen[i].any():  # what is at right angles to all identified directions, by least squares
            basis = U[seen[i]].T / np.linalg.norm(U[seen[i]], axis=1)
            left = left - basis @ np.linalg.lstsq(basis, left, rcond=1e-9)[0]
        assert_allclose(found.rest[i], (reference + left) @ W[k] + b[k], atol=1e-8)
        total = np.abs(found.relevance[i]).sum()
        assert total < 1e-12 or np.abs(found.share[i]).sum() == pytest.approx(1)


@settings(deadline=None, max_examples=80)
@given(heads())
def test_removal_has_its_closed_form_on_a_linear_head(case: tuple[np.ndarray, ...]) -> None:
    """Each concept by itself: (h . u)(w . u)."""
    H, U, W, b, seen, reference = case
    found = concept_relevance(H, U, (W, b), how="removal", identified=seen, reference=reference)
    assert not found.exact
    for i, k in enumerate(found.predicted):
        for f in range(len(U)):
            u = U[f] / np.linalg.norm(U[f])
            exact = ((H[i] - reference) @ u) * (W[k] @ u)
            assert_allclose(found.relevance[i, f], exact if seen[i, f] else 0, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(heads(), st.sampled_from(["projection", "removal"]))
def test_a_network_that_is_linear_gives_the_same(case: tuple[np.ndarray, ...], how: str) -> None:
    H, U, W, b, seen, reference = case
    options = {"how": how, "identified": seen, "reference": reference}
    head = concept_relevance(H, U, (W, b), **options)  # type: ignore[arg-type]
    run = concept_relevance(H, U, lambda h: h @ W.T + b, batch=4, **options)  # type: ignore[arg-type]
    assert not run.exact
    for name in ("relevance", "share", "together", "logit", "rest"):
        assert_allclose(getattr(run, name), getattr(head, name), atol=1e-8)


def test_both_are_the_same_at_right_angles() -> None:
    generator = np.random.default_rng(0)
    U = np.linalg.qr(generator.normal(size=(8, 8)))[0][:3]
    H, W, b = generator.normal(size=(5, 8)), generator.normal(size=(2, 8)), np.zeros(2)
    joint, alone = (
        concept_relevance(H, U, (W, b), how=how)
        for how in ("projection", "removal")  # type: ignore[arg-type]
    )
    assert_allclose(joint.relevance, alone.relevance, atol=1e-12)
    assert_allclose(alone.gap, 0, atol=1e-12)


def test_concepts_that_go_together_are_counted_twice_by_removal_only() -> None:
    U = np.array([[1.0, 0.0], [1.0, 0.1]])
    H, head = np.array([[2.0, 0.0]]), (np.array([[1.0, 0.0]]), np.zeros(1))
    assert concept_relevance(H, U, head, how="removal").relevance.sum() > 3.9
    assert_allclose(concept_relevance(H, U, head).relevance.sum(), 2.0)


def test_a_deeper_head_is_run_without_the_component() -> None:
    """The drop of the logit of the rest of a network, image by image and concept by concept."""
    generator = np.random.default_rng(0)
    A, B = generator.normal(size=(16, 6)), generator.normal(size=(3, 16))
    H, U = np.abs(generator.normal(size=(7, 6))), generator.normal(size=(4, 6))
    seen = generator.random((7, 4)) < 0.7

    def rest(h: np.ndarray) -> np.ndarray:
        return np.maximum(h @ A.T, 0) @ B.T

    predicted = generator.integers(3, size=7)
    found = concept_relevance(H, U, rest, predicted, how="removal", identified=seen, batch=5)
    for i in range(7):
        for f in range(4):
            u = U[f] / np.linalg.norm(U[f])
            drop = rest(H[[i]]) - rest(H[[i]] - (H[i] @ u) * u)
            assert_allclose(found.relevance[i, f], drop[0, predicted[i]] if seen[i, f] else 0)
    assert np.abs(found.gap).max() > 0.01  # nothing adds up behind a rectifier, and it is said


def test_augmentations_are_averaged() -> None:
    data = planted(0, 12, 3, d=6)
    generator = np.random.default_rng(0)
    U, head = generator.normal(size=(5, 6)), (generator.normal(size=(2, 6)), np.zeros(2))
    k = generator.integers(2, size=12)
    found = concept_relevance(data.X, U, head, k, images=data.images)
    each = concept_relevance(data.X, U, head, k[data.images])
    assert_allclose(found.relevance, each.relevance.reshape(12, 3, 5).mean(axis=1))
    assert_allclose(found.relevance.sum(axis=1) + found.rest, found.logit)


def test_the_planted_cause_is_found() -> None:
    """A head that reads one concept: its share is the largest where it was seen."""
    data = planted(0, 200)
    model = ProbeConcepts(0.1).fit(data.X, data.Y, names=NAMES)
    cause = concept_directions(data.X, data.Y, how="mean")[2]
    found = concept_relevance(
        data.X,
        model.direction_,
        (np.stack([-cause, cause]), np.zeros(2)),
        np.ones(200, int),
        identified=model.identify(data.X).present,
        reference=data.X.mean(axis=0),
        names=NAMES,
    )
    there = found.identified[:, 2]
    assert (found.share[there].argmax(axis=1) == 2).mean() > 0.95
    assert max(found.mean_share(), key=lambda name: found.mean_share()[name]) == "scar"
    table = found.table()
    assert table.groupby("image")["relevance"].is_monotonic_decreasing.all()
    assert len(table) == found.identified.sum()


def test_directions_by_choice() -> None:
    data = planted(0, 60)
    mean = concept_directions(data.X, data.Y, how="mean")
    gap = data.X[data.Y[:, 0] == 1].mean(axis=0) - data.X.mean(axis=0)
    assert_allclose(mean[0], gap / np.linalg.norm(gap))
    assert_array_equal(
        concept_directions(data.X, data.Y, how="logistic", C=0.2),
        ProbeConcepts(0.2).fit(data.X, data.Y).direction_,
    )
    with pytest.raises(UnknownName):
        concept_directions(data.X, data.Y, how="lda")  # type: ignore[arg-type]


def _going_together(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations (n, 20) to which three concepts add known vectors; the third goes with the first."""
    generator = np.random.default_rng(0)
    Y = generator.random((n, 3)) < [0.4, 0.3, 0.05]
    Y[:, 2] |= Y[:, 0] & (generator.random(n) < 0.8)
    B = generator.normal(size=(3, 20))
    B[2] *= 0.4
    return Y @ B + 0.3 * generator.normal(size=(n, 20)) + 1.0, Y, B


def test_joint_directions_are_what_a_concept_adds() -> None:
    X, Y, B = _going_together()
    truth = B / np.linalg.norm(B, axis=1, keepdims=True)
    cosine = {
        how: (concept_directions(X, Y.astype(float), how=how) * truth).sum(axis=1)
        for how in ("joint", "mean", "logistic")
    }
    assert (cosine["joint"] > 0.99).all()
    assert cosine["mean"][2] < 0.7  # mostly the first concept, which it goes with
    assert cosine["logistic"][2] < cosine["joint"][2] - 0.05


def test_joint_relevance_is_what_the_logit_loses_without_the_concept() -> None:
    """The same images made without the concept: the fall is known."""
    X, Y, B = _going_together()
    weight = np.random.default_rng(1).normal(size=(2, 20))
    head, predicted = (weight, np.zeros(2)), np.zeros(len(X), int)
    there = Y[:, 2]
    fall = float(weight[0] @ B[2])
    ratio = {}
    for how in ("joint", "mean", "logistic"):
        found = concept_relevance(
            X, concept_directions(X, Y.astype(float), how=how), head, predicted,
            identified=Y, reference=X[~Y.any(axis=1)].mean(axis=0),
        )  # fmt: skip
        ratio[how] = found.relevance[there, 2].mean() / fall
    assert 0.9 < ratio["joint"] < 1.1
    assert all(abs(ratio[how] - 1) > 0.2 for how in ("mean", "logistic")), ratio
    assert_allclose(found.relevance.sum(axis=1) + found.rest, found.logit)


def test_joint_directions_with_labels_that_nobody_gave() -> None:
    X, Y, B = _going_together()
    labels = Y.astype(float)
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = np.nan
    labels[labels[:, 1] == 0, 1] = np.nan  # of the second concept examples alone are known
    found = concept_directions(X, labels)
    truth = B / np.linalg.norm(B, axis=1, keepdims=True)
    assert ((found * truth).sum(axis=1) > 0.85).all()
    # augmentations weigh as one image; a concept of every image has no direction
    assert_allclose(
        concept_directions(np.repeat(X, 3, axis=0), np.repeat(labels, 3, axis=0),
                           images=np.repeat(np.arange(len(X)), 3)), found,
    )  # fmt: skip
    always = np.column_stack([labels, np.ones(len(X))])
    assert_array_equal(concept_directions(X, always)[3], np.zeros(20))
    assert_allclose(concept_directions(X, always)[:3], found)


def test_classes_by_name() -> None:
    H, head = np.eye(3), (np.eye(3), np.zeros(3))
    found = concept_relevance(
        H, np.eye(3), head, ["HCC", "cyst", "FNH"], classes=["cyst", "FNH", "HCC"]
    )
    assert found.predicted.tolist() == [2, 0, 1]
    with pytest.raises(UnknownName, match=r"'HC'.*'HCC'"):
        concept_relevance(H, np.eye(3), head, ["HC"] * 3, classes=["cyst", "FNH", "HCC"])
    with pytest.raises(UnknownName, match="'3'"):
        concept_relevance(H, np.eye(3), head, [3, 0, 0])
    with pytest.raises(ChannelMismatch, match="2 classes and 3 logits"):
        concept_relevance(H, np.eye(3), head, classes=["a", "b"])


def test_bad_input() -> None:
    H, U, head = np.ones((4, 3)), np.eye(3)[:2], (np.ones((2, 3)), np.zeros(2))
    for bad, match in (
        ((H, np.ones((2, 4)), head), "same layer"),
        ((H, U, (np.ones((2, 4)), np.zeros(2))), "expected"),
        ((H, U, lambda h: np.ones(len(h))), "logits of shape"),
    ):
        with pytest.raises(ChannelMismatch, match=match):
            concept_relevance(*bad)
    with pytest.raises(InvalidInput, match="function from activations"):
        concept_relevance(H, U, 3)  # type: ignore[arg-type]
    with pytest.raises(BadActivations, match="network gave NaN"):
        concept_relevance(H, U, lambda h: np.full((len(h), 2), np.nan))
    with pytest.raises(ChannelMismatch, match="identified"):
        concept_relevance(H, U, head, identified=np.ones((3, 2), bool))
    with pytest.raises(InvalidInput, match="Concept 1 is identified and has no direction"):
        concept_relevance(H, U * [[1], [0]], head, identified=np.ones((4, 2), bool))
    assert (concept_relevance(H, U * [[1], [0]], head).relevance[:, 1] == 0).all()
    with pytest.raises(ChannelMismatch, match="reference"):
        concept_relevance(H, U, head, reference=np.ones(2))
    with pytest.raises(UnknownName, match="how"):
        concept_relevance(H, U, head, how="gradient")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="one class an image"):
        concept_relevance(H, U, head, [0, 1])
    seen: list[tuple[int, int]] = []
    rest = lambda h: h[:, :2]  # noqa: E731
    concept_relevance(H, U, rest, batch=3, progress=lambda *at: seen.append(at))
    assert seen[-1] == (12, 12)
    with pytest.raises(Cancelled):
        concept_relevance(H, U, rest, cancel=lambda: True)
    empty = concept_relevance(np.empty((0, 3)), U, head)
    assert empty.relevance.shape == (0, 2) and len(empty.table()) == 0


def test_a_model_context_is_such_a_rest() -> None:
    """Two dense layers behind the layer of the concepts, run by ``ModelContext.head_from_layer``."""
    import torch
    from torch import nn

    from widgetkit.extraction import ModelContext

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()
    context = ModelContext(net)
    images = np.random.default_rng(0).integers(0, 255, (5, 4, 4, 3), dtype=np.uint8)
    H = context.forward_to_layer(images, "2")
    U = np.random.default_rng(1).normal(size=(2, 10))
    found = concept_relevance(H, U, lambda h: context.head_from_layer(h, "2"), how="removal")
    assert_allclose(found.logit, context.logits(images).max(axis=1), rtol=1e-5)
    u = U[1] / np.linalg.norm(U[1])
    with torch.no_grad():
        without = net[3:](torch.tensor(H - (H @ u)[:, None] * u, dtype=torch.float32)).numpy()
    drop = found.logit - without[np.arange(5), found.predicted]
    assert_allclose(found.relevance[:, 1], drop, atol=1e-5 * np.abs(found.logit).max())
