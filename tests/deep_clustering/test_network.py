"""The network: sizes, names, and moving its latent space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from widgetkit.deep_clustering import ConvAutoencoder
from widgetkit.deep_clustering.network import AutoencoderNetwork
from widgetkit.errors import BadImage, InvalidInput

sides = st.integers(5, 23)


def made(shape: tuple[int, ...], **options: object) -> AutoencoderNetwork:
    network = AutoencoderNetwork(shape, **{"channels": (3, 4), "latent": 5, **options})  # type: ignore[arg-type]
    network.initialise(0)
    return network.eval()


@settings(deadline=None, max_examples=25)
@given(
    st.one_of(st.tuples(sides, sides), st.tuples(sides, sides, sides)),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 3]),
)
def test_any_size_comes_back_at_that_size(shape: tuple[int, ...], kernel: int, planes: int) -> None:
    network = made(shape, kernel=kernel, planes=planes)
    x = torch.zeros(2, planes, *shape)
    with torch.no_grad():
        assert network(x).shape == x.shape
        assert network.encoder(x).shape == (2, 4, *network.grid)
        assert network.encode(x).shape == (2, 5)


def test_the_named_layers_are_what_they_say() -> None:
    network = made((12, 10))
    named = dict(network.named_modules())
    assert isinstance(named["encoder.last"], nn.ReLU)
    assert isinstance(named["latent"], nn.Linear)
    kept: dict[str, torch.Tensor] = {}
    for name in ("encoder.last", "latent"):
        named[name].register_forward_hook(
            lambda _m, _i, output, name=name: kept.update({name: output})
        )
    x = torch.randn(3, 1, 12, 10)
    with torch.no_grad():
        network(x)
        assert torch.equal(kept["latent"], network.encode(x))
    assert kept["encoder.last"].shape == (3, 4, 3, 3)
    assert float(kept["encoder.last"].min()) == 0


def test_moving_the_latent_space_changes_no_reconstruction() -> None:
    network, x = made((12, 10)), torch.randn(6, 1, 12, 10)
    with torch.no_grad():
        before, z = network(x), network.encode(x)
        mean = z.mean(dim=0)
        network.standardise_latent(mean, 3.5)
        torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.encode(x), (z - mean) / 3.5, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((16, 16), {"kernel": 4}, "odd"),
        ((16, 16), {"channels": ()}, "convolutions"),
        ((16, 16), {"channels": (2,) * 4}, "one cell"),
        ((16, 16), {"latent": 0}, "latent"),
        ((16, 16), {"seed": -1}, "seed"),
        ((65536, 65536), {}, "weights"),
        ((16.5, 16), {}, "shape"),
    ],
)
def test_what_makes_no_network_is_refused(
    shape: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ConvAutoencoder(shape, **options)  # type: ignore[arg-type]


def test_a_shape_of_no_image_is_refused() -> None:
    for shape in ((4, 16), (16,), (2, 8, 8, 8)):
        with pytest.raises(BadImage):
            ConvAutoencoder(shape)


def test_the_seed_makes_the_weights() -> None:
    def weights(seed: int) -> np.ndarray:
        ae = ConvAutoencoder((8, 8), channels=(2,), seed=seed)
        return np.concatenate([v.detach().numpy().ravel() for v in ae.module.parameters()])

    assert np.array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))
