"""A suite for map methods: run it on your own method, as it is run on those of the kit.

::

    import pytest
    from widgetkit.testing.maps import checks

    @pytest.mark.parametrize("check", checks(MyMap), ids=lambda check: check.name)
    def test_my_map(check):
        check()

or all at once, ``check_map_method(MyMap)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsActivations, NeedsModel
from widgetkit.explain import (
    Batch,
    ChannelTarget,
    ClassTarget,
    ClusterTarget,
    ConceptTarget,
    LatentTarget,
    MapMethod,
    SelectionTarget,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SmallLayer:
    """A layer, as far as map methods look at one."""

    name: str
    channels: int
    grid: tuple[int, ...]
    has_maps: bool = True


@dataclass(frozen=True, eq=False)
class SmallRelevance:
    """A logit ``(m,)`` shared out over a layer ``(m, C, *grid)``; the bias is absorbed ``(m,)``."""

    layer: Array
    absorbed: Array
    output: Array


class SmallNet:
    """A network small enough to know everything about it: numpy, any number of dimensions.

    The image is averaged over the cells of ``grid``, its colours are mixed into ``channels`` and
    what is negative is cut off; that is the layer. Its mean over the grid goes through a linear
    head. The gradient of a logit is therefore ``weight / n_positions`` everywhere, and CAM, the
    mean of its map being the logit less the bias, is exact.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        *,
        channels: int = 6,
        classes: int = 3,
        colours: int = 3,
        seed: int = 0,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.layer = SmallLayer("layer", channels, grid)
        self.mix = generator.normal(size=(channels, colours))
        self.weight = generator.normal(size=(classes, channels))
        self.bias = generator.normal(size=classes)

    def forward_to_layer(self, images: Array, layer: str) -> Array:
        """(m, C, *grid) float32."""
        if layer != self.layer.name:
            raise KeyError(layer)
        colours_first = np.moveaxis(np.asarray(images, np.float64), -1, 1) / 255
        cells = explain.area_mean(colours_first, self.layer.grid)
        activations: Array = np.maximum(np.einsum("kc,mc...->mk...", self.mix, cells), 0)
        return activations.astype(np.float32)

    def logits(self, images: Array) -> Array:
        """(m, n_classes) float64."""
        activations = self.forward_to_layer(images, self.layer.name)
        pooled: Array = activations.mean(axis=tuple(range(2, activations.ndim)), dtype=np.float64)
        logits: Array = pooled @ self.weight.T + self.bias
        return logits

    def activations_and_gradients(
        self, images: Array, layer: str, target_class: int
    ) -> tuple[Array, Array]:
        """``A`` and the gradient of the class's logit by ``A``."""
        activations = self.forward_to_layer(images, layer)
        slope = self.weight[target_class].reshape(1, -1, *(1,) * len(self.layer.grid))
        positions = int(np.prod(self.layer.grid))
        return activations, np.broadcast_to(slope / positions, activations.shape).astype(np.float32)

    def gradients_towards(
        self, images: Array, layer: str, at: str, direction: Array
    ) -> tuple[Array, Array]:
        """``A`` and the gradient of its mean over the grid along ``direction``; ``at`` is the layer."""
        activations = self.forward_to_layer(images, at)
        slope = np.asarray(direction, np.float64).reshape(1, -1, *(1,) * len(self.layer.grid))
        positions = int(np.prod(self.layer.grid))
        return activations, np.broadcast_to(slope / positions, activations.shape).astype(np.float32)

    def relevance(
        self,
        images: Array,
        layer: str,
        target_class: int,
        *,
        rule: Literal["composite", "epsilon", "zplus", "gamma"] = "composite",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        at_input: bool = True,
    ) -> SmallRelevance:
        """The logit shared out by the limit of the epsilon rule: ``A * weight / n_positions``.

        The other arguments make no difference to a network of one layer above it.
        """
        activations, slope = self.activations_and_gradients(images, layer, target_class)
        absorbed = np.full(len(activations), self.bias[target_class])
        return SmallRelevance(activations * slope, absorbed, self.logits(images)[:, target_class])


def example_batch(dimensions: int = 2, *, tiles: int = 3, seed: int = 0) -> Batch:
    """Coloured noise through a :class:`SmallNet`, with everything that a method can ask for."""
    grid, size = {2: ((4, 5), (16, 20)), 3: ((2, 3, 4), (6, 9, 12))}[dimensions]
    net = SmallNet(grid, seed=seed)
    images = np.random.default_rng(seed + 1).integers(0, 256, (tiles, *size, 3), dtype=np.uint8)
    return Batch(
        np.arange(tiles),
        activations=net.forward_to_layer(images, "layer"),
        images=images,
        layer=net.layer,
        model=net,
        head=(net.weight, net.bias),
    )


def example_target(kind: type, batch: Batch) -> object:
    """A target of class ``kind`` that fits ``batch``.

    Raises
    ------
    InvalidInput
        ``kind`` is not one of the kit's targets: give the suite ``targets={kind: make}``.
    """
    generator = np.random.default_rng(2)
    channels = batch.layer.channels
    makers: dict[type, Callable[[], object]] = {
        ClusterTarget: lambda: ClusterTarget.of(generator.random((3, channels)), 1),
        ClassTarget: lambda: ClassTarget(1),
        SelectionTarget: lambda: SelectionTarget(
            generator.random(channels), generator.random(channels), generator.random(channels) + 0.1
        ),
        ChannelTarget: lambda: ChannelTarget(0),
        LatentTarget: lambda: LatentTarget(
            generator.random((3, channels)), 1, latent=batch.layer.name
        ),
        ConceptTarget: lambda: ConceptTarget(
            1,
            ("one", "two", "three"),
            generator.random((3, 4, channels)),
            direction=generator.normal(size=channels),
            towards=generator.normal(size=channels),
            at=batch.layer.name,
        ),
    }
    if kind not in makers:
        raise InvalidInput(
            f"The suite knows no {kind.__name__}: pass targets={{{kind.__name__}: make}}, where "
            "make(batch) returns one."
        )
    return makers[kind]()


@dataclass(frozen=True)
class Check:
    """One promise of map methods; calling it raises AssertionError where it is broken."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()


def check_map_method(
    cls: type[MapMethod],
    *,
    dimensions: Sequence[int] = (2, 3),
    targets: Mapping[type, Callable[[Batch], object]] | None = None,
) -> None:
    """Run every check on ``cls``; AssertionError names the first promise that is broken."""
    for check in checks(cls, dimensions=dimensions, targets=targets):
        try:
            check()
        except AssertionError as error:
            raise AssertionError(f"{cls.__qualname__}, {check.name}: {error}") from error


def checks(
    cls: type[MapMethod],
    *,
    dimensions: Sequence[int] = (2, 3),
    targets: Mapping[type, Callable[[Batch], object]] | None = None,
) -> list[Check]:
    """The promises of map methods, for ``cls``, one test each.

    Parameters
    ----------
    cls : class
        A registered map method.
    dimensions : sequence of 2, 3
        Grids it handles.
    targets : target class -> make(batch), optional
        For targets of your own, or where an example of the kit's does not suit.
    """
    makers = dict(targets or {})

    def cases() -> Iterator[tuple[Batch, Any]]:
        for count in dimensions:
            batch = example_batch(count)
            for kind in sorted(cls.targets, key=lambda kind: kind.__name__):
                make = makers.get(kind)
                yield batch, make(batch) if make else example_target(kind, batch)

    def registered_under_its_name() -> None:
        found = explain.methods().get(cls.name)
        assert found is cls, f"get({cls.name!r}) gives {found}: decorate the class with @register"
        assert isinstance(explain.get(cls.name), cls), "the constructor must do without arguments"
        assert cls.title.strip() and cls.reference.strip(), (
            "title and reference are shown to people"
        )

    def one_finite_float32_map_a_tile() -> None:
        for batch, target in cases():
            maps = cls().compute(batch, target)
            assert maps.shape == (3, *batch.layer.grid), (
                f"shape {maps.shape}, grid {batch.layer.grid}"
            )
            assert maps.dtype == np.float32, f"dtype {maps.dtype}"
            assert np.isfinite(maps).all(), "NaN or infinity"

    def unsigned_means_not_negative() -> None:
        for batch, target in cases():
            maps = cls().compute(batch, target)
            assert cls.signed or maps.min() >= 0, (
                "negative values of non-negative activations: set signed = True"
            )

    def no_tiles_and_one_tile() -> None:
        for batch, target in cases():
            none = cls().compute(_take(batch, []), target)
            assert none.shape == (0, *batch.layer.grid), f"no tiles gave shape {none.shape}"
            assert cls().compute(_take(batch, [1]), target).shape == (1, *batch.layer.grid)

    def each_tile_alone() -> None:
        for batch, target in cases():
            together = cls().compute(batch, target)
            for place in (2, 0):
                alone = cls().compute(_take(batch, [place]), target)[0]
                _same(
                    alone, together[place], "a tile's map depends on the other tiles of the batch"
                )

    def same_twice() -> None:
        for batch, target in cases():
            first, second = cls().compute(batch, target), cls().compute(batch, target)
            assert np.array_equal(first, second), "two runs differ: draw from a seeded generator"

    def inputs_left_alone() -> None:
        for batch, target in cases():
            for given in (batch.activations, batch.images):
                if given is not None:
                    given.flags.writeable = False
            before = [None if a is None else a.copy() for a in (batch.activations, batch.images)]
            cls().compute(batch, target)
            for old, now in zip(before, (batch.activations, batch.images), strict=True):
                if old is not None and now is not None:
                    assert np.array_equal(old, now), "the batch was changed"

    def constant_channels() -> None:
        for batch, target in cases():
            for value in (0, 128):
                images = np.full_like(batch.images, value)
                assert batch.model is not None
                flat = replace(
                    batch, images=images, activations=batch.model.forward_to_layer(images, "layer")
                )
                assert np.isfinite(cls().compute(flat, target)).all(), "NaN for a flat image"

    def stored_float16() -> None:
        for batch, target in cases():
            assert batch.activations is not None
            half = batch.activations.astype(np.float16)
            _same(
                cls().compute(replace(batch, activations=half), target),
                cls().compute(replace(batch, activations=half.astype(np.float32)), target),
                "float16 activations give another map than the same values as float32",
            )

    def what_is_missing_is_said() -> None:
        for batch, target in cases():
            if "activations" in cls.requires:
                features = replace(
                    batch,
                    activations=None,
                    layer=SmallLayer("features", batch.layer.channels, (), has_maps=False),
                )
                _raises(NeedsActivations, lambda b=features, t=target: cls().compute(b, t))  # type: ignore[misc]
            if cls.requires & {"gradients", "forward"}:
                without = replace(batch, model=None)
                _raises(NeedsModel, lambda b=without, t=target: cls().compute(b, t))  # type: ignore[misc]

    def only_declared_needs_are_used() -> None:
        for batch, target in cases():
            if explain.is_live(cls):
                _same(
                    cls().compute(replace(batch, images=None, model=None), target),
                    cls().compute(batch, target),
                    "a live method used images or the network",
                )
            elif "activations" not in cls.requires:
                cls().compute(replace(batch, activations=None), target)

    def a_coarse_version_is_of_the_same_kind() -> None:
        method: MapMethod = cls()
        for _ in range(10):
            found = explain.coarse_of(method)
            if found is None:
                return
            for what in ("name", "targets", "signed"):
                one, other = getattr(found, what), getattr(method, what)
                assert one == other, f"coarse() has {what} {one}, not {other}"
            assert found.requires <= method.requires, "coarse() requires more than the method"
            for batch, target in cases():
                maps, again = (explain.compute(found, batch, target) for _ in range(2))
                assert maps.shape == (len(batch), *batch.layer.grid), (
                    f"coarse() gives shape {maps.shape}, grid {batch.layer.grid}"
                )
                assert np.array_equal(maps, again), "two runs of coarse() differ"
                assert cls.signed or maps.min() >= 0, "coarse() gives negative values"
            method = found
        raise AssertionError(
            "coarse() of coarse() never ends: return None where nothing is cheaper"
        )

    def other_targets_are_refused() -> None:
        batch = example_batch(dimensions[0])
        _raises(InvalidInput, lambda: explain.compute(cls(), batch, object()))  # type: ignore[arg-type]

    promises: list[Callable[[], None]] = [
        registered_under_its_name,
        one_finite_float32_map_a_tile,
        unsigned_means_not_negative,
        no_tiles_and_one_tile,
        each_tile_alone,
        same_twice,
        inputs_left_alone,
        constant_channels,
        stored_float16,
        what_is_missing_is_said,
        only_declared_needs_are_used,
        a_coarse_version_is_of_the_same_kind,
        other_targets_are_refused,
    ]
    return [Check(promise.__name__.replace("_", " "), promise) for promise in promises]


def _take(batch: Batch, places: list[int]) -> Batch:
    where = np.asarray(places, dtype=np.int64)
    return replace(
        batch,
        rows=batch.rows[where],
        activations=None if batch.activations is None else batch.activations[where],
        images=None if batch.images is None else batch.images[where],
    )


def _same(one: Array, other: Array, message: str) -> None:
    size = float(np.abs(other).max(initial=0))
    assert np.allclose(one, other, rtol=1e-4, atol=1e-5 * size), message


def _raises(error: type[Exception], run: Callable[[], object]) -> None:
    try:
        run()
    except error as caught:
        assert len(str(caught)) > 20, f"{error.__name__} without a sentence on what to do"
        return
    raise AssertionError(f"{error.__name__} was expected and nothing was raised")
