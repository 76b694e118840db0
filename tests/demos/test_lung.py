"""The third demo: what ships is what the simulation and the shipped weights give."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

from widgetkit import Session, demos
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session import MapSpec
from widgetkit.simulate.agreement import agreement
from widgetkit.simulate.fitting import common_lung

Dims = Literal[2, 3]
both = pytest.mark.parametrize("dims", [2, 3])


@both
def test_the_store_is_of_the_simulation(dims: Dims) -> None:
    made, store = demos.lung_simulation(dims), demos.lung_store(dims)
    assert store.verify().ok and len(store) == len(made)
    inside = common_lung(made, 0.9)
    images = store.images(np.arange(len(store)))
    there = images[:, inside].astype(int)
    assert np.abs(there - made.windowed()[:, inside]).max() <= 1
    assert len(np.unique(images[:, ~inside])) == 1  # one grey round the lungs
    assert np.array_equal(demos.lung_truth(store), made.masks)
    assert np.array_equal(demos.lung_truth(store, "lung"), made.lung)
    assert store.tiles["label"].tolist() == made.table["label"].tolist()
    assert store.tiles["patient"].nunique() == len(store)


@both
def test_its_clusters_are_the_groups(dims: Dims) -> None:
    store = demos.lung_store(dims)
    for layer in store.layers:
        clustering = Session(store, layer=layer).clustering
        assert clustering is not None and clustering.method == "deep"
        assert agreement(store.tiles["group"].to_numpy(), clustering.labels).accuracy == 1


@both
def test_the_weights_that_ship_give_the_activations_and_maps_that_ship(dims: Dims) -> None:
    pytest.importorskip("torch")
    store = demos.lung_store(dims)
    model = demos.lung_model(store)
    kept = Session(store, layer="latent").maps(np.arange(len(store)), MapSpec("clam"))
    rows = kept.rows[kept.ready][:4]
    latent = model.forward_to_layer(store.images(rows), "latent")
    np.testing.assert_allclose(latent, store.embeddings("latent")[rows], atol=5e-3)
    again = Session(store, model, layer="latent").maps(rows, MapSpec("clam"))
    np.testing.assert_allclose(
        again.values, kept.values[kept.ready][:4], atol=2e-2 * float(kept.vmax)
    )


def test_every_kept_map_opens_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from widgetkit import Session, demos
from widgetkit.session import MapSpec
for dims, methods in ((2, ("clam", "gradcam", "scorecam", "occlusion")), (3, ("clam", "gradcam"))):
    store = demos.lung_store(dims)
    session = Session(store, layer="latent")
    for method in methods:
        result = session.maps(np.arange(len(store)), MapSpec(method))
        print(dims, method, int(result.ready.sum()), bool(result.values.any()))
"""
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    assert [line.split() for line in said if line] == [
        *([str(2), name, "120", "True"] for name in ("clam", "gradcam", "scorecam", "occlusion")),
        *([str(3), name, "30", "True"] for name in ("clam", "gradcam")),
    ]


def test_what_is_no_lung_demo_is_refused() -> None:
    with pytest.raises(InvalidInput, match="2 for slices or 3 for volumes"):
        demos.lung_store(4)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="2 for slices or 3 for volumes"):
        demos.lung_simulation(1)  # type: ignore[arg-type]
    with pytest.raises(UnknownName):
        demos.lung_truth(demos.demo_store())
