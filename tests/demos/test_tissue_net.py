"""The tile classifier: its shapes, its weights in a file, and its training."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from widgetkit.demos import activation_model, fetch  # noqa: E402
from widgetkit.demos.labelled import CLASSES  # noqa: E402
from widgetkit.demos.ship import DATA  # noqa: E402
from widgetkit.demos.tissue_net import (  # noqa: E402
    CHANNELS,
    LAYER,
    TissueNet,
    load_weights,
    save_weights,
)
from widgetkit.errors import FetchFailed, InvalidInput  # noqa: E402


def test_shapes_and_size() -> None:
    net = activation_model()
    assert not net.training
    seen = {}
    net.get_submodule(LAYER).register_forward_hook(lambda m, i, out: seen.update(maps=out))
    with torch.no_grad():
        assert net(torch.randn(2, 3, 128, 128)).shape == (2, len(CLASSES))
    assert seen["maps"].shape == (2, CHANNELS, 8, 8) and seen["maps"].min() >= 0
    assert 0.2 < (seen["maps"] == 0).float().mean() < 0.8
    assert sum(p.numel() for p in net.parameters()) == 259_298


def test_every_channel_is_used() -> None:
    """No channel of the shipped layer is dead, and the classes read all of them."""
    net = activation_model()
    assert (net.fc.weight.abs().sum(0) > 1e-3).all()
    assert torch.isfinite(torch.cat([p.flatten() for p in net.parameters()])).all()


def test_weights_come_back_bit_for_bit(tmp_path) -> None:
    torch.manual_seed(0)
    net = TissueNet().eval()
    save_weights(net, tmp_path / "net.npz")
    again = load_weights(tmp_path / "net.npz")
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    save_weights(again, tmp_path / "again.npz")
    assert (tmp_path / "net.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_files_of_other_things_are_refused(tmp_path) -> None:
    cases = {
        "absent.npz": None, "text.npz": b"text", "cut.npz": (DATA / "tissue-net.npz").read_bytes()[:900],
    }  # fmt: skip
    for name, data in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidInput, match=name):
            load_weights(tmp_path / name)
    np.savez(tmp_path / "other.npz", **{"fc.weight": np.zeros((2, 3), np.float32)})
    with pytest.raises(InvalidInput, match=r"other\.npz"):
        load_weights(tmp_path / "other.npz")
    with np.load(DATA / "tissue-net.npz") as file:
        values = dict(file)
    values["fc.weight"] = np.empty((2, 64), object)  # would have to be unpickled
    np.savez(tmp_path / "objects.npz", **values)
    with pytest.raises(InvalidInput, match=r"objects\.npz"):
        load_weights(tmp_path / "objects.npz")


def test_what_was_not_trained_is_as_imagenet_left_it() -> None:
    from widgetkit.demos.efficientnet import load_weights as imagenet

    try:
        whole = imagenet(fetch("efficientnet-lite0")).state_dict()
    except FetchFailed as error:
        pytest.skip(f"the ImageNet weights are not there: {error}")
    ours = activation_model().state_dict()
    frozen = [
        n
        for n in ours
        if n.startswith(("stem.", *(f"blocks.{i}." for i in range(7)))) and "num" not in n
    ]
    assert len(frozen) > 80
    assert all(torch.equal(ours[name], whole[name]) for name in frozen)
    tuned = [name for name in ours if name.startswith("blocks.7.") and name.endswith("conv.weight")]
    assert tuned and not any(torch.equal(ours[name], whole[name]) for name in tuned)


def test_the_figures_that_are_told_are_those_that_were_measured() -> None:
    """``tissue-net.json`` was written by the run that wrote the weights; docs quote it."""
    figures = json.loads((DATA / "tissue-net.json").read_text())
    assert set(figures["slides"]) == {"CMU-1 A", "CMU-1 B", "CMU-1 C", "CMU-1 D"}
    assert figures["held_out"]["clear"] > 0.8 and figures["held_out"]["auc"] > 0.85


def test_training_is_reproducible_and_learns() -> None:
    """On a few tiles: the same seed gives the same weights, and they say what was taught."""
    pytest.importorskip("openslide")
    pytest.importorskip("onnx")
    from widgetkit import tiles
    from widgetkit.demos import activation_tiles, train_tissue

    try:
        source = activation_tiles()
    except FetchFailed as error:
        pytest.skip(f"slide or SHELL are not there: {error}")
    few = tiles.subset(source, np.flatnonzero(source.table["clear"])[::6])
    views, rows = train_tissue._frozen(few), np.ones(len(few), bool)
    assert views.shape == (8, len(few), 80, 8, 8)
    one, two = (train_tissue._fit(views, few.table, rows, seed=1) for _ in range(2))
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    found = train_tissue._agreement(one, views[0], few.table, rows)
    assert found["all"] > 0.8 and found["auc"] > 0.9
