"""Factors beside the network's own maps and its own predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from tests.stores import textures
from widgetkit import explain
from widgetkit.errors import Cancelled, InvalidInput, NeedsModel, UnknownName
from widgetkit.explain import Batch, ClassTarget
from widgetkit.extraction import ModelContext, Preprocess, extract
from widgetkit.factors import Factors, factorise, kept_maps, map_correlations, predict_classes
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array

CLASSES = ("stripes", "bars")


class Net(nn.Module):
    """Two convolutions, mean over space, a linear head solved for the two textures."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, ModelContext, Factors]:
    kind = np.random.default_rng(0).integers(0, 2, 60)
    images = textures(kind, 48, seed=1)
    net = Net().eval()
    preprocess = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), scale=255.0)
    with torch.no_grad():
        features = net.body(preprocess(images)).mean((2, 3)).numpy()
        centred = features - features.mean(0)
        side = np.where(kind == 1, 1.0, -1.0)
        weight = np.linalg.solve(centred.T @ centred + 0.1 * np.eye(12), centred.T @ side)
        # what both classes share leaves the prediction as it is and gives maps a positive part
        both = np.stack([-weight, weight]) + np.abs(weight).max() / 2
        net.head.weight.copy_(torch.from_numpy(both.astype(np.float32)))
        bias = float(features.mean(0) @ weight)
        net.head.bias.copy_(torch.tensor([bias, -bias]))
    table = pd.DataFrame(
        {
            "slide": [f"slide {i // 10}" for i in range(60)],
            "label": [CLASSES[k] for k in kind],
        }
    )
    store = extract(
        net,
        from_array(images, metadata=table),
        ["body"],
        out=tmp_path_factory.mktemp("linking") / "s.wk",
        preprocess=preprocess,
        class_names=CLASSES,
        progress=False,
    )
    return store, ModelContext.for_store(net, store), factorise(store, k=3)


def test_correlations_are_those_of_the_flattened_maps(made) -> None:
    store, model, factors = made
    table = map_correlations(
        store, factors, target_class="bars", methods=("gradcam", "occlusion"), model=model, n=40
    )
    assert table.attrs["class_name"] == "bars" and table.attrs["tiles"] == 40
    assert set(table["map"]) == {explain.get(m).title for m in ("gradcam", "occlusion")}
    rows = kept_maps.kept(store, "gradcam", 1, layer="body").rows
    weights = factors.weights(rows)
    maps = explain.compute("gradcam", Batch.from_store(store, rows, model=model), ClassTarget(1))
    for j in range(3):
        of = (table["factor"] == f"factor {j + 1}") & (table["map"] == "Grad-CAM")
        found = table[of & (table["method"] == "pearson")].iloc[0]
        assert_allclose(
            found["r"], np.corrcoef(weights[:, j].ravel(), maps.ravel())[0, 1], atol=1e-5
        )
        assert found["low"] <= found["r"] <= found["high"]


def test_kept_maps_need_no_model_and_tell_the_same(made) -> None:
    store, model, factors = made
    options = {"target_class": 1, "methods": ("gradcam",), "seed": 3}
    first = map_correlations(store, factors, model=model, rows=np.arange(30), **options)
    again = map_correlations(store, factors, rows=np.arange(30), **options)
    pd.testing.assert_frame_equal(first, again)
    found = map_correlations(store, factors, target_class=1)  # whatever is kept
    assert "Grad-CAM" in set(found["map"])
    with pytest.raises(NeedsModel, match="scorecam"):
        map_correlations(store, factors, target_class=1, methods=("gradcam", "scorecam"))
    with pytest.raises(NeedsModel, match="stripes"):
        map_correlations(store, factors, target_class=0)


def test_maps_are_computed_once_and_in_any_order(made) -> None:
    store, model, _ = made
    few = kept_maps.maps_of(store, "layercam", 1, [7, 3], layer="body", model=model)
    more = kept_maps.maps_of(store, "layercam", 1, [3, 5, 7, 9], layer="body", model=model)
    assert_array_equal(more.rows, [3, 5, 7, 9])
    assert_array_equal(more.take(np.array([3, 7])), few.values)
    fresh = explain.compute(
        "layercam", Batch.from_store(store, [3, 5, 7, 9], model=model), ClassTarget(1)
    )
    assert_allclose(more.values, fresh, atol=1e-5)
    assert_array_equal(kept_maps.kept(store, "layercam", 1, layer="body").rows, [3, 5, 7, 9])
    with pytest.raises(InvalidInput, match="kept"):
        more.take(np.array([4]))


def test_a_stop_keeps_what_was_computed(made) -> None:
    store, model, _ = made
    done = []

    def progress(at: int, total: int) -> None:
        done.append(at)

    with pytest.raises(Cancelled):
        kept_maps.maps_of(
            store,
            "layercam",
            0,
            range(40),
            layer="body",
            model=model,
            progress=progress,
            cancel=lambda: len(done) > 2,
        )
    found = kept_maps.kept(store, "layercam", 0, layer="body")
    assert found is not None and 0 < len(found.rows) < 40
    whole = kept_maps.maps_of(store, "layercam", 0, range(40), layer="body", model=model)
    fresh = explain.compute(
        "layercam", Batch.from_store(store, range(40), model=model), ClassTarget(0)
    )
    assert_allclose(whole.values, fresh, atol=1e-5)


def test_damaged_maps_are_computed_again(made) -> None:
    store, model, _ = made
    kept_maps.maps_of(store, "gradcam", 0, [1, 2], layer="body", model=model)
    for file in (store.path / "derived").rglob("*gradcam-class-0*/*.npy"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 0x40
        file.write_bytes(bytes(content))
    assert kept_maps.kept(store, "gradcam", 0, layer="body") is None
    found = kept_maps.maps_of(store, "gradcam", 0, [1, 2], layer="body", model=model)
    assert found.values.shape[0] == 2


def test_textures_are_told_from_factors_on_unseen_slides(made) -> None:
    store, _, factors = made
    found = predict_classes(store, factors)
    assert found.by == "slide" and found.label == "label"
    table = found.table.set_index("measure")
    assert table.loc["AUC", "factors"] > 0.95 and table.loc["AUC", "network"] > 0.95
    assert {"network_low", "factors_high"} <= set(table.columns)
    assert list(found.order["coefficient"]) == sorted(found.order["coefficient"])
    # the factor that speaks most for the positive class is found more in its tiles
    top = int(found.order["factor"].iloc[-1])
    positive = store.tiles["label"].to_numpy() == found.factors.classes[-1]
    mean = factors.pooled.mean[:, top]
    assert mean[positive].mean() > mean[~positive].mean()


def test_labels_that_mean_nothing_are_predicted_at_chance(made, tmp_path) -> None:
    store, _, factors = made
    column = np.random.default_rng(1).permutation(store.tiles["label"].to_numpy())
    other = store.tiles.assign(label=column)
    found = predict_classes(_With(store, other), factors)
    row = found.table.set_index("measure").loc["AUC"]
    assert row["factors_low"] < 0.5 < row["factors_high"] or abs(row["factors"] - 0.5) < 0.15


class _With:
    """The same store under another table."""

    def __init__(self, store: ActivationStore, tiles: pd.DataFrame) -> None:
        self._store, self.tiles = store, tiles

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)


def test_what_is_not_there_is_named(made) -> None:
    store, model, factors = made
    with pytest.raises(UnknownName, match="lable"):
        predict_classes(store, factors, label="lable")
    with pytest.raises(UnknownName, match="bar"):
        map_correlations(store, factors, target_class="bar", model=model)
    with pytest.raises(InvalidInput, match="stripes"):
        map_correlations(store, factors, target_class=2, model=model)
    with pytest.raises(InvalidInput, match="names"):
        predict_classes(store, factors, names=["one"])
