"""Training and using an autoencoder."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.deep_clustering.planted import planted
from widgetkit.deep_clustering import ConvAutoencoder
from widgetkit.deep_clustering.autoencoder import NotTrained
from widgetkit.deep_clustering.training import finite, is_stalled, split, squared_error
from widgetkit.errors import BadImage, Cancelled, InvalidInput, TooFew, WidgetkitError
from widgetkit.extraction import ModelContext, extract
from widgetkit.tiles import from_array


def small(shape: tuple[int, ...] = (16, 16), **options: Any) -> ConvAutoencoder:
    return ConvAutoencoder(shape, **{"channels": (4, 8), "latent": 4, "device": "cpu", **options})


def weights(ae: ConvAutoencoder) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in ae.module.parameters())


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8), (13, 18)])
def test_the_loss_falls_and_the_shapes_are_right(shape: tuple[int, ...]) -> None:
    images, _ = planted(shape)
    ae = small(shape).fit(images, epochs=15, batch_size=16)
    assert ae.history_[-1]["loss"] < 0.8 * ae.history_[0]["loss"]
    assert [one["epoch"] for one in ae.history_] == list(range(1, len(ae.history_) + 1))
    assert ae.encode(images).shape == (48, 4)
    assert ae.reconstruct(images).shape == images.shape
    maps = ae.activations(images)
    assert maps.shape == (48, 8, *ae.grid)
    assert maps.min() == 0


def test_reconstructions_are_in_the_units_of_the_images_and_better_than_their_mean() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=25, batch_size=8)
    error = ((ae.reconstruct(images) - images) ** 2).mean()
    assert error < 0.7 * images.var()


def test_the_latent_space_has_mean_zero_and_a_known_scale() -> None:
    images, _ = planted()
    z = small().fit(images, epochs=3).encode(images)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    assert (z**2).sum(axis=1).mean() == pytest.approx(4, rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_whatever_was_drawn_before() -> None:
    images, _ = planted()
    first = small().fit(images, epochs=3, batch_size=16)
    torch.manual_seed(99)
    np.random.default_rng().random()
    second = small().fit(images, epochs=3, batch_size=16)
    assert weights(first) == weights(second)
    assert first.history_ == second.history_
    assert weights(second.fit(images, epochs=3, batch_size=16)) == weights(first)
    assert weights(small(seed=1).fit(images, epochs=3, batch_size=16)) != weights(first)


def test_training_draws_nothing_from_torchs_own_generator() -> None:
    before = torch.get_rng_state()
    small().fit(planted()[0], epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_float_images_give_what_the_same_values_in_bytes_give() -> None:
    images, _ = planted()
    bytes_, floats = small().fit(images, epochs=2), small().fit(images.astype(np.float32), epochs=2)
    assert bytes_.preprocess.scale == 255
    assert floats.preprocess.scale == 1
    np.testing.assert_allclose(bytes_.encode(images), floats.encode(images), atol=1e-3)
    # pictures times a mask are floats on the scale of the bytes
    np.testing.assert_array_equal(bytes_.encode(images), bytes_.encode(images.astype(np.float32)))


def test_hounsfield_units_and_large_offsets_keep_their_contrast() -> None:
    images, _ = planted()
    ct = images.astype(np.int16) * 8 - 1024
    ae = small().fit(ct, epochs=2)
    np.testing.assert_allclose(ae.preprocess.mean[0], ct.mean(), rtol=1e-5)
    np.testing.assert_allclose(ae.preprocess.std[0], ct.std(), rtol=1e-5)
    far = small().fit(images.astype(np.float64) + 1e6, epochs=1)
    np.testing.assert_allclose(far.preprocess.std[0], images.std(), rtol=1e-4)


# -- masks -------------------------------------------------------------------------------
def test_masked_error_is_the_mean_inside() -> None:
    rng = np.random.default_rng(0)
    given, found = rng.normal(size=(2, 3, 2, 5, 4)).astype(np.float32)
    mask = rng.random((3, 1, 5, 4)) < 0.4
    loss, count = squared_error(
        torch.from_numpy(given), torch.from_numpy(found), torch.from_numpy(mask).float()
    )
    inside = np.broadcast_to(mask, given.shape)
    assert count == inside.sum()
    assert float(loss) == pytest.approx(((given - found) ** 2)[inside].mean(), rel=1e-5)


def test_what_is_outside_the_mask_is_not_learned() -> None:
    images, _ = planted()
    mask = np.zeros((16, 16), bool)
    mask[:9, :9] = True
    ae = small().fit(images, mask=mask, epochs=30, batch_size=4, patience=None)
    error = ((ae.reconstruct(images) - images) ** 2).mean(axis=0)
    assert error[mask].mean() < 0.7 * error[~mask].mean()
    assert ae.preprocess.mean[0] * 255 == pytest.approx(images[:, mask].mean(), rel=1e-6)
    each = np.broadcast_to(mask, images.shape).copy()
    assert weights(small().fit(images, mask=each, epochs=2)) == weights(
        small().fit(images, mask=mask, epochs=2)
    )


def test_an_image_whose_mask_is_empty_counts_for_nothing() -> None:
    images, _ = planted()
    masks = np.ones(images.shape, bool)
    masks[5] = False
    ae = small().fit(images, mask=masks, epochs=1, batch_size=1)
    assert np.isfinite(ae.encode(images)).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((16, 15), bool), "shape"),
        (np.ones((16, 16), np.uint8), "boolean"),
        (np.zeros((16, 16), bool), "False everywhere"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        small().fit(planted()[0], mask=mask, epochs=1)


# -- stopping ----------------------------------------------------------------------------
def test_a_loss_that_stays_stops_training_and_the_best_is_kept() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=60, patience=3, batch_size=4, lr=0.02)
    assert len(ae.history_) < 60
    held = [one["validation"] for one in ae.history_]
    assert ae.best_epoch_ == int(np.argmin(held)) + 1
    short = small().fit(images, epochs=ae.best_epoch_, patience=None, batch_size=4, lr=0.02)
    assert weights(short) == weights(ae)


def test_patience_counts_from_the_best() -> None:
    def history(*losses: float) -> list[dict[str, Any]]:
        return [{"epoch": 0, "loss": 9.0, "validation": loss} for loss in losses]

    assert not is_stalled(history(5, 4, 3, 2), 2)
    assert is_stalled(history(5, 2, 3, 2), 2)
    assert is_stalled(history(5, 2, 1.9999, 1.9998), 2)  # too little to count
    assert not is_stalled(history(5, 2, 3), 2)
    assert not is_stalled(history(1, 2, 3, 4, 5), None)


def test_the_split_is_seeded_disjoint_and_leaves_something() -> None:
    train, held = split(50, 0.2, 3)
    assert len(held) == 10
    assert np.array_equal(np.sort(np.r_[train, held]), np.arange(50))
    assert np.array_equal(held, split(50, 0.2, 3)[1])
    assert not np.array_equal(held, split(50, 0.2, 4)[1])
    assert [len(part) for part in split(1, 0.5, 0)] == [1, 0]
    assert [len(part) for part in split(50, 0.0, 0)] == [50, 0]


def test_without_validation_the_training_loss_decides() -> None:
    ae = small().fit(planted()[0], epochs=2, validation=0)
    assert [one["validation"] for one in ae.history_] == [None, None]


def test_progress_counts_images_and_the_chart_gets_each_epoch() -> None:
    seen: list[tuple[int, int]] = []
    epochs: list[dict[str, Any]] = []
    ae = small().fit(
        planted()[0],
        epochs=2,
        batch_size=10,
        progress=lambda done, total: seen.append((done, total)),
        on_epoch=epochs.append,
    )
    assert epochs == ae.history_
    assert seen[-1] == (86, 86)  # 43 of 48 images, twice
    assert seen == sorted(seen)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_cancelling_leaves_the_autoencoder_as_it_was(after: int) -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=1)
    before, history = weights(ae), ae.history_
    asked = iter(range(100))
    with pytest.raises(Cancelled, match="checkpoint"):
        ae.fit(images, epochs=5, batch_size=16, cancel=lambda: next(asked) >= after)
    assert weights(ae) == before
    assert ae.history_ is history
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        small().fit(images, cancel=event)


# -- bad input ---------------------------------------------------------------------------
def test_images_of_other_shapes_are_refused_with_both() -> None:
    images, _ = planted()
    with pytest.raises(BadImage, match=r"\(12, 16\).*\(16, 16\)"):
        small().fit(images[:, :12])
    with pytest.raises(BadImage, match=r"Image 2 has shape \(8, 8, 7\)"):
        small((8, 8, 8)).fit([np.zeros((8, 8, 8)), np.zeros((8, 8, 8)), np.zeros((8, 8, 7))])
    with pytest.raises(BadImage, match="expected"):
        small().fit(images[0])
    with pytest.raises(BadImage, match="numbers"):
        small().fit(images.astype(str))
    with pytest.raises(TooFew):
        small().fit(images[:0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(bad: float) -> None:
    images = planted()[0].astype(np.float32)
    ae = small().fit(images, epochs=1)
    images[7, 3, 3] = bad
    with pytest.raises(BadImage, match="Image 7 holds NaN or infinity"):
        small().fit(images)
    with pytest.raises(BadImage, match="Image 7"):
        ae.encode(images)


def test_constant_images_are_said_and_work() -> None:
    images, _ = planted()
    images[[4, 9]] = 30
    with pytest.warns(UserWarning, match="2 of 48 images are constant"):
        ae = small().fit(images, epochs=2)
    assert np.isfinite(ae.encode(images)).all()
    with pytest.warns(UserWarning, match="48 of 48"):
        nothing = small().fit(np.full((48, 16, 16), 7, np.uint8), epochs=2)
    assert np.isfinite(nothing.encode(images)).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_images_than_a_batch(n: int) -> None:
    images, _ = planted()
    ae = small().fit(images[:n], epochs=2, batch_size=64)
    assert np.isfinite(ae.encode(images)).all()


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"batch_size": 0}, {"lr": 0}, {"lr": float("nan")}, {"validation": 1.0},
     {"validation": -0.1}, {"patience": 0}, {"epochs": 2.5}],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        small().fit(planted()[0], **options)


def test_a_loss_that_runs_away_is_an_error() -> None:
    assert finite(0.5, 0.1) == 0.5
    for loss in (float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match=r"ran away.*0\.1"):
            finite(loss, 0.1)


def test_nothing_is_encoded_before_training() -> None:
    for use in (small().encode, small().activations, small().reconstruct):
        with pytest.raises(NotTrained, match="fit"):
            use(planted()[0])
    assert issubclass(NotTrained, WidgetkitError)


def test_no_images_give_no_rows() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=1)
    assert ae.encode(images[:0]).shape == (0, 4)
    assert ae.activations(images[:0]).shape == (0, 8, 4, 4)
    assert ae.reconstruct(images[:0]).shape == (0, 16, 16)


def test_using_it_leaves_no_gradients() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=1)
    ae.encode(images)
    for value in ae.module.parameters():
        assert value.grad is None
        assert value.requires_grad
    assert not ae.module.training


# -- the rest of the kit -----------------------------------------------------------------
def test_colour_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 14, 3), dtype=np.uint8)
    ae = small((16, 14, 3)).fit(images, epochs=1)
    assert ae.reconstruct(images).shape == images.shape
    assert ae.encode(images).shape == (12, 4)


def test_tiles_are_trained_on_like_arrays() -> None:
    images, _ = planted()
    assert weights(small().fit(from_array(images), epochs=2)) == weights(
        small().fit(images, epochs=2)
    )


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8), (32, 32, 8)])
def test_the_store_holds_what_it_says(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images, _ = planted(shape)
    ae = small(shape).fit(images, epochs=2)
    tiles = from_array(images, volume=len(shape) == 3)
    store = ae.to_store(tiles, tmp_path / "a.wk", progress=False)
    assert list(store.layers) == ["encoder.last", "latent"]
    z, maps = ae.encode(images), ae.activations(images)
    np.testing.assert_allclose(store.embeddings("latent"), z, atol=4e-3)
    np.testing.assert_allclose(store.activations("encoder.last"), maps, atol=4e-3)
    # and as anybody would extract it, nothing said about layouts
    own = extract(
        ae.module,
        tiles,
        ["encoder.last", "latent"],
        out=tmp_path / "b.wk",
        preprocess=ae.preprocess,
        progress=False,
    )
    assert np.array_equal(own.embeddings("latent"), store.embeddings("latent"))
    assert np.array_equal(own.activations("encoder.last"), store.activations("encoder.last"))
    context = ModelContext.for_store(ae.module, store, device="cpu")
    np.testing.assert_allclose(context.forward_to_layer(images, "latent"), z, atol=1e-5)
    np.testing.assert_allclose(context.forward_to_layer(images, "encoder.last"), maps, atol=1e-5)


def test_tiles_in_their_own_units_agree_with_their_pictures(tmp_path: Path) -> None:
    images, _ = planted()
    ct = images.astype(np.float32) * 4 - 500
    ae = small().fit(ct, epochs=2)
    tiles = from_array(ct, window=(-500, 520))
    store = ae.to_store(tiles, tmp_path / "a.wk", progress=False)
    np.testing.assert_allclose(store.embeddings("latent"), ae.encode(ct), atol=4e-3)
    context = ModelContext.for_store(ae.module, store, device="cpu")
    pictures = store.images(range(48))
    np.testing.assert_allclose(
        context.forward_to_layer(pictures, "latent"), ae.encode(ct), atol=1e-2
    )


def test_training_on_a_copy_leaves_the_original() -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=1)
    before = weights(ae)
    ae.copy().fit(images, epochs=2)
    assert weights(ae) == before


def test_the_module_is_the_same_before_and_after() -> None:
    ae = small()
    module = ae.module
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ae.fit(planted()[0], epochs=1)
    assert ae.module is module
