"""Any batch, any grid of two or three dimensions: one finite map a tile, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widgetkit import explain
from widgetkit.explain import Batch, ChannelTarget, ClassTarget, ClusterTarget, SelectionTarget
from widgetkit.testing.maps import SmallLayer, SmallNet


@st.composite
def stored(draw: st.DrawFn) -> np.ndarray:
    """(m, C, *grid) float16 with no tile, one tile, one channel, one position, constant channels."""
    grid = draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4))
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 5)), *grid)
    values = draw(hnp.arrays(np.float16, shape, elements=st.floats(-100, 100, width=16)))
    if draw(st.booleans()):
        values[:, 0] = draw(st.floats(-100, 100, width=16))
    return values


@settings(deadline=None, max_examples=60)
@given(stored(), st.integers(1, 4), st.integers(0, 1000))
def test_live_methods(activations: np.ndarray, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    m, channels, *grid = activations.shape
    head = generator.normal(size=(2, channels)), np.zeros(2)
    layer = SmallLayer("layer", channels, tuple(grid))
    batch = Batch(np.arange(m), activations=activations, layer=layer, head=head)
    prototypes = generator.random((k, channels))
    prototypes[0] = 0  # a factor that died
    mean_in, mean_rest = generator.random((2, channels))
    std = generator.random(channels) * (np.arange(channels) > 0)
    for method, target in [
        ("cluster", ClusterTarget.of(prototypes, 0)),
        ("cluster", ClusterTarget.of(prototypes, k - 1)),
        ("cluster", ClusterTarget.of(prototypes, k - 1, kind="kmeans")),
        ("selection", SelectionTarget(mean_in, mean_rest, std)),
        ("channel", ChannelTarget(channels - 1)),
        ("cam", ClassTarget(1)),
    ]:
        maps = explain.compute(method, batch, target)
        assert maps.shape == (m, *grid) and maps.dtype == np.float32
        assert np.isfinite(maps).all()
        scale = explain.shared_scale(maps, signed=explain.get(method).signed)
        assert np.isfinite(scale.apply(maps)).all()


@settings(deadline=None, max_examples=25)
@given(
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=3),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 1000),
)
def test_methods_that_run_the_network(grid: tuple[int, ...], m: int, flat: bool, seed: int) -> None:
    net = SmallNet(grid, seed=seed)
    generator = np.random.default_rng(seed)
    size = tuple(side * 3 + 1 for side in grid)
    images = generator.integers(0, 256, (m, *size, 3), dtype=np.uint8)
    if flat:
        images[:] = 77
    batch = Batch(np.arange(m), images=images, layer=net.layer, model=net)
    for name, method in explain.for_target(ClassTarget).items():
        if not explain.is_live(method):
            maps = explain.compute(name, batch, ClassTarget(0))
            assert maps.shape == (m, *grid) and np.isfinite(maps).all()
