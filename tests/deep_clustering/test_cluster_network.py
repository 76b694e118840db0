"""The encoder with clusters as classes: soft assignments, gradients, names, and maps of a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.deep_clustering.planted import planted
from tests.deep_clustering.test_autoencoder import small, weights
from widgetkit import explain
from widgetkit.deep_clustering import ClusterNetwork, ConvAutoencoder, DeepClustering, soft_assign
from widgetkit.deep_clustering.autoencoder import NotTrained
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput
from widgetkit.extraction import ModelContext

Trained = tuple[ConvAutoencoder, np.ndarray, DeepClustering]


@pytest.fixture(scope="module", params=[(16, 16), (8, 8, 8)], ids=["2-D", "3-D"])
def trained(request: pytest.FixtureRequest) -> Trained:
    images, _ = planted(request.param)
    ae = small(request.param).fit(images, epochs=4, batch_size=8)
    return ae, images, DeepClustering(3).fit(ae.encode(images))


def test_softmax_is_the_soft_assignment(trained: Trained) -> None:
    ae, images, deep = trained
    logits = ModelContext(deep.network(ae), preprocess=ae.preprocess).logits(images)
    shares = np.exp(logits.astype(float))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, deep.soft_assign(ae.encode(images)), rtol=2e-5)
    assert np.array_equal(logits.argmax(axis=1), deep.labels_)


def placed(encoder: ConvAutoencoder, centres: np.ndarray) -> ClusterNetwork:
    """A network whose latent vector is its bias, whatever the image."""
    network = ClusterNetwork(encoder.module, centres)
    with torch.no_grad():
        network.latent.weight.zero_()
        network.latent.bias.zero_()
    return network


@settings(deadline=None, max_examples=25)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.integers(1, 6))
def test_close_centres_far_from_zero_lose_nothing(far: float, near: float, k: int) -> None:
    """By differences; |z|^2 - 2 z mu + |mu|^2 would be rounded away."""
    rng = np.random.default_rng(0)
    centres = (far + near * rng.normal(size=(k, 4))).astype(np.float32)
    z = centres[:1] + np.float32(near / 2)
    network = placed(small(), centres)
    with torch.no_grad():
        network.latent.bias.copy_(torch.from_numpy(z[0]))
        shares = network(torch.zeros(1, 1, 16, 16)).softmax(dim=1).numpy()
    np.testing.assert_allclose(shares, soft_assign(z, centres), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)])
def test_the_gradient_is_finite_on_a_centre(shape: tuple[int, ...]) -> None:
    centres = np.array([[0.0, 0, 0, 0], [1, 0, 0, 0]])
    network = placed(small(shape), centres)
    kept: list[torch.Tensor] = []
    network.latent.register_forward_hook(lambda _m, _i, z: kept.append(z) or z.retain_grad())
    network(torch.randn(2, 1, *shape)).sum().backward()
    grad = kept[0].grad
    assert grad is not None
    assert torch.isfinite(grad).all()
    # that of the centre it lies on is 0; d/dz -log(1 + (z - 1)^2) at 0 is 1
    torch.testing.assert_close(grad, torch.tensor([[1.0, 0, 0, 0]] * 2))
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_layers_have_the_names_they_have_in_the_autoencoder(trained: Trained) -> None:
    ae, images, deep = trained
    network = deep.network(ae)
    named = dict(network.named_modules())
    assert isinstance(named["encoder.last"], nn.ReLU)
    assert isinstance(named["latent"], nn.Linear)
    assert not any(name.startswith(("decoder", "expand")) for name in named)
    context = ModelContext(network, preprocess=ae.preprocess)
    np.testing.assert_allclose(
        context.forward_to_layer(images, "encoder.last"), ae.activations(images), atol=1e-5
    )
    np.testing.assert_allclose(
        context.forward_to_layer(images, "latent"), ae.encode(images), atol=1e-5
    )


def test_it_is_a_copy(trained: Trained) -> None:
    ae, _, deep = trained
    before = weights(ae)
    network = deep.network(ae)
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
    assert weights(ae) == before
    assert not network.training


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "occlusion", "layercam"])
def test_methods_of_a_class_draw_maps_of_a_cluster(trained: Trained, method: str) -> None:
    ae, images, deep = trained
    context = ModelContext(deep.network(ae), preprocess=ae.preprocess)

    class Last:
        name, channels, grid, has_maps = "encoder.last", ae.channels[-1], ae.grid, True

    batch = explain.Batch(
        np.arange(3),
        context.forward_to_layer(images[:3], "encoder.last"),
        images[:3],
        layer=Last(),
        model=context,
    )
    maps = explain.compute(method, batch, explain.ClassTarget(1))
    assert maps.shape == (3, *ae.grid)
    assert np.isfinite(maps).all()


# -- which encoder -----------------------------------------------------------------------
def test_after_refining_it_is_the_refined_one() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=2)
    deep = DeepClustering(3, refine="dec", refine_epochs=1).fit(autoencoder=ae, images=images)
    network = deep.network()
    found = ModelContext(network, preprocess=ae.preprocess).forward_to_layer(images, "latent")
    np.testing.assert_allclose(found, deep.latents_, atol=1e-5)
    deep.network(deep.autoencoder_.copy())  # the same weights
    with pytest.raises(InvalidInput, match="refined"):
        deep.network(ae)


def test_the_encoder_must_be_named_trained_and_of_that_length(trained: Trained) -> None:
    ae, images, deep = trained
    with pytest.raises(InvalidInput, match="autoencoder="):
        deep.network()
    with pytest.raises(NotTrained):
        deep.network(small(ae.shape))
    with pytest.raises(ChannelMismatch, match="another"):
        DeepClustering(2).fit(ae.encode(images)[:, :3]).network(ae)


@pytest.mark.parametrize(
    ("centres", "error"),
    [
        (np.zeros((0, 4)), InvalidInput),
        (np.zeros(4), InvalidInput),
        (np.full((2, 4), np.nan), BadActivations),
        (np.zeros((2, 5)), ChannelMismatch),
    ],
)
def test_centres_that_make_no_clusters_are_refused(
    centres: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ClusterNetwork(small().module, centres)
