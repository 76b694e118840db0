"""Clusters of latent vectors: planted groups, refining, and what scikit-learn expects."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from tests.deep_clustering.planted import planted
from tests.deep_clustering.test_autoencoder import small, weights
from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering, soft_assign
from widgetkit.deep_clustering.autoencoder import NotTrained
from widgetkit.errors import BadActivations, Cancelled, InvalidInput, TooFew, UnknownName

CHECKS = [
    pytest.param(estimator, check, id=getattr(check, "func", check).__name__)
    for estimator, check in estimator_checks_generator(DeepClustering(2))
    # needs SCIPY_ARRAY_API=1 before scipy is imported; our arrays are numpy's
    if getattr(check, "func", check).__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.fixture(scope="module", params=[(16, 16), (8, 8, 8)], ids=["2-D", "3-D"])
def trained(request: pytest.FixtureRequest) -> tuple[ConvAutoencoder, np.ndarray, np.ndarray]:
    images, truth = planted(request.param)
    ae = small(request.param).fit(images, epochs=40, batch_size=4, patience=None)
    return ae, images, truth


@pytest.fixture(scope="module")
def flat() -> tuple[ConvAutoencoder, np.ndarray, np.ndarray]:
    images, truth = planted()
    return small().fit(images, epochs=20, batch_size=8), images, truth


def test_planted_groups_are_found(trained: tuple[ConvAutoencoder, np.ndarray, np.ndarray]) -> None:
    ae, images, truth = trained
    Z = ae.encode(images)
    deep = DeepClustering(3).fit(Z)
    assert adjusted_rand_score(truth, deep.labels_) == 1.0
    assert np.bincount(deep.labels_).tolist() == [20, 16, 12]  # the largest first
    assert np.array_equal(deep.predict(Z), deep.labels_)
    assert np.array_equal(deep.soft_assign(Z).argmax(axis=1), deep.labels_)
    assert np.array_equal(deep.soft_assign(Z), soft_assign(Z, deep.cluster_centers_))
    assert deep.history_ == []
    assert not hasattr(deep, "autoencoder_")


def test_refining_makes_surer_and_keeps_the_groups(
    trained: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, truth = trained
    before, Z = weights(ae), ae.encode(images)
    plain = DeepClustering(3).fit(Z)
    deep = DeepClustering(3, refine="dec", refine_epochs=8, batch_size=16).fit(
        Z, autoencoder=ae, images=images
    )
    assert adjusted_rand_score(truth, deep.labels_) == 1.0
    assert np.array_equal(deep.labels_, plain.labels_)  # the numbers stay
    assert (
        deep.soft_assign(deep.latents_).max(axis=1).mean() > plain.soft_assign(Z).max(axis=1).mean()
    )
    assert np.array_equal(deep.predict(deep.latents_), deep.labels_)
    assert np.array_equal(deep.autoencoder_.encode(images), deep.latents_)
    assert [one["epoch"] for one in deep.history_] == list(range(1, 9))
    assert deep.history_[-1]["confidence"] > deep.history_[0]["confidence"]
    # the copy was trained, the original was not
    assert weights(ae) == before
    assert weights(deep.autoencoder_) != before


def test_refining_twice_gives_the_same_bytes(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    one, two = (
        DeepClustering(3, refine="dec", refine_epochs=2).fit(autoencoder=ae, images=images)
        for _ in range(2)
    )
    assert np.array_equal(one.cluster_centers_, two.cluster_centers_)
    assert weights(one.autoencoder_) == weights(two.autoencoder_)
    assert one.history_ == two.history_


def test_the_divergence_alone_does_not_reach_the_decoder(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    import torch

    from widgetkit.deep_clustering.refine import _divergence
    from widgetkit.deep_clustering.soft import target_distribution

    ae, images, _ = flat
    network = ae.copy().module
    centres = torch.randn(3, 4, requires_grad=True)
    q = soft_assign(network.encode(ae.preprocess(images)), centres)
    p = target_distribution(q)
    _divergence(p, q).backward()  # type: ignore[no-untyped-call]
    reached = {name for name, value in network.named_parameters() if value.grad is not None}
    assert reached == {name for name, _ in network.named_parameters() if name[:2] in ("en", "la")}
    assert centres.grad is not None
    assert all(value.grad is None for value in ae.module.parameters())


def test_the_divergence_is_the_formula() -> None:
    import torch

    from widgetkit.deep_clustering.refine import _divergence

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), (2, 30))
    expected = (p * np.log(p / q)).sum(axis=1).mean()
    assert float(_divergence(torch.tensor(p), torch.tensor(q))) == pytest.approx(expected)
    sure = torch.eye(3)
    assert float(_divergence(sure, sure)) == 0


def test_latents_are_encoded_when_left_out(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    given = DeepClustering(3).fit(ae.encode(images))
    assert np.array_equal(
        DeepClustering(3).fit(autoencoder=ae, images=images).cluster_centers_,
        given.cluster_centers_,
    )


def test_refining_needs_what_it_trains(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    Z = ae.encode(images)
    deep = DeepClustering(3, refine="dec", refine_epochs=1)
    with pytest.raises(InvalidInput, match="autoencoder="):
        deep.fit(Z)
    with pytest.raises(InvalidInput, match="latent vectors X"):
        deep.fit()
    with pytest.raises(InvalidInput, match="47 images for 48"):
        deep.fit(Z, autoencoder=ae, images=images[1:])
    with pytest.raises(InvalidInput, match="not what this autoencoder says"):
        deep.fit(Z[::-1], autoencoder=ae, images=images)
    with pytest.raises(NotTrained):
        deep.fit(Z, autoencoder=small(), images=images)
    deep.fit(Z.astype(np.float16), autoencoder=ae, images=images)  # as a store keeps them


def test_cancelling_leaves_the_estimator_as_it_was(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    deep = DeepClustering(3, refine="dec", refine_epochs=3)
    before, done = weights(ae), []
    with pytest.raises(Cancelled):
        deep.fit(autoencoder=ae, images=images, on_epoch=done.append, cancel=lambda: len(done) == 1)
    assert weights(ae) == before
    assert not hasattr(deep, "labels_")


def test_fitting_again_without_refining_forgets_the_refined_autoencoder(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    deep = DeepClustering(3, refine="dec", refine_epochs=1).fit(autoencoder=ae, images=images)
    assert hasattr(clone(deep), "refine")
    deep.set_params(refine="none").fit(ae.encode(images))
    assert not hasattr(deep, "autoencoder_")
    assert deep.history_ == []


# -- odd numbers of clusters -------------------------------------------------------------
def test_as_many_clusters_as_rows_are_clusters_of_one() -> None:
    Z = np.random.default_rng(0).normal(size=(6, 3))
    deep = DeepClustering(6).fit(Z)
    assert sorted(deep.labels_.tolist()) == list(range(6))
    assert deep.inertia_ == pytest.approx(0, abs=1e-12)


def test_more_clusters_than_rows_are_refused() -> None:
    with pytest.raises(TooFew, match="n_clusters=7"):
        DeepClustering(7).fit(np.random.default_rng(0).normal(size=(6, 3)))


def test_fewer_different_rows_than_clusters_leave_some_empty_and_say_so() -> None:
    Z = np.repeat([[0.0, 0.0], [3.0, 1.0]], 5, axis=0)
    with pytest.warns(UserWarning, match="Clusters without a member"):
        deep = DeepClustering(4).fit(Z)
    assert adjusted_rand_score(np.repeat([0, 1], 5), deep.labels_) == 1
    assert np.isfinite(deep.soft_assign(Z)).all()


def test_a_cluster_of_one_and_one_cluster_can_be_refined(
    flat: tuple[ConvAutoencoder, np.ndarray, np.ndarray],
) -> None:
    ae, images, _ = flat
    for k in (1, 48):
        deep = DeepClustering(k, refine="dec", refine_epochs=1).fit(autoencoder=ae, images=images)
        q = deep.soft_assign(deep.latents_)
        assert np.isfinite(q).all()
        np.testing.assert_allclose(q.sum(axis=1), 1)


def test_the_order_of_clusters_is_that_of_the_seed() -> None:
    rng = np.random.default_rng(1)
    Z = np.concatenate([rng.normal(at, 0.3, (20, 2)) for at in (0, 3, 6)])
    one, two = (DeepClustering(3, random_state=5).fit(Z) for _ in range(2))
    assert np.array_equal(one.labels_, two.labels_)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"refine": "deep"}, UnknownName),
        ({"n_clusters": 0}, InvalidInput),
        ({"n_init": 0}, InvalidInput),
        ({"random_state": None}, InvalidInput),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        DeepClustering(**options).fit(np.eye(5))


def test_latents_that_are_not_finite_are_refused() -> None:
    Z = np.eye(5)
    Z[3, 2] = np.nan
    with pytest.raises(BadActivations, match="row 3"):
        DeepClustering(2).fit(Z)
