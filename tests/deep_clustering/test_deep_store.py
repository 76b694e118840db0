"""A store that opens with the clusters of its autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widgetkit as wk
from tests.deep import NAMES, Deep, make_deep
from tests.deep_clustering.planted import planted
from tests.deep_clustering.test_autoencoder import small
from widgetkit.deep_clustering import ClusterNetwork, ConvAutoencoder, DeepClustering
from widgetkit.errors import BadImage, InvalidInput, StoreExists, StoreMismatch
from widgetkit.extraction import ModelContext
from widgetkit.session import grouping
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array
from widgetkit.tiles.base import TileSource


def source_of(images: np.ndarray) -> TileSource:
    return from_array(images, volume=images.ndim == 4)


@pytest.fixture(scope="module", params=[(16, 16), (8, 8, 8)], ids=["2-D", "3-D"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deep:
    return make_deep(tmp_path_factory.mktemp("deep") / "s.wk", shape=request.param)


def test_layers_outputs_and_classes_are_those_of_the_network(made: Deep) -> None:
    store, ae = made.store, made.autoencoder
    assert list(store.layers) == ["encoder.last", "latent"]
    assert store.default_layer == "encoder.last"
    assert tuple(store.class_names or ()) == NAMES
    np.testing.assert_allclose(store.embeddings("latent"), ae.encode(made.images), atol=2e-3)
    outputs = np.asarray(store.outputs, float)
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        shares, made.clustering.soft_assign(ae.encode(made.images)), atol=1e-5
    )
    assert store.head("latent") is None  # a distance is not linear


def test_the_clustering_is_kept_with_what_made_it(made: Deep) -> None:
    (name,) = made.store.derived.names("clustering")
    entry = made.store.derived.get("clustering", name)
    assert dict(entry.params) | {"names": list(NAMES)} == dict(entry.params)
    wanted = {"layer": "latent", "method": "deep", "k": 3, "refine": "none", "seed": 0, "n": 48}
    assert {key: entry.params[key] for key in wanted} == wanted
    assert entry.seed == 0
    np.testing.assert_array_equal(entry.arrays["labels"], made.clustering.labels_)
    np.testing.assert_array_equal(entry.arrays["prototypes"], made.clustering.cluster_centers_)


@pytest.mark.parametrize("layer", ["encoder.last", "latent"])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_session_takes_them_on_either_layer_and_fits_nothing(
    made: Deep, layer: str, seed: int
) -> None:
    session = wk.Session(made.store, layer=layer, seed=seed)
    found = session.clustering
    assert found is not None
    assert (found.method, found.layer, found.names) == ("deep", "latent", NAMES)
    np.testing.assert_array_equal(found.labels, made.clustering.labels_)
    np.testing.assert_array_equal(found.prototypes, made.clustering.cluster_centers_)
    assert len(made.store.derived.names("clustering")) == 1


def test_the_network_is_that_of_the_store(made: Deep) -> None:
    context = ModelContext.for_store(made.network, made.store)
    np.testing.assert_allclose(context.logits(made.images[:4]), made.store.outputs[:4], atol=1e-4)
    explorer = wk.explore(made.store, made.clustering.network(made.autoencoder))
    assert explorer.session.model is not None
    assert "3 clusters by deep" in explorer.clusters.describe()
    with pytest.raises(StoreMismatch):
        ModelContext.for_store(made.autoencoder.module, made.store)


def test_later_the_autoencoders_file_is_enough(made: Deep, tmp_path: Path) -> None:
    made.autoencoder.save(tmp_path / "ae.npz")
    ae = ConvAutoencoder.load(tmp_path / "ae.npz", device="cpu")
    clustering = wk.Session(ActivationStore.open(made.store.path)).clustering
    assert clustering is not None and clustering.prototypes is not None
    ModelContext.for_store(ClusterNetwork(ae.module, clustering.prototypes), made.store)


def test_after_refining_it_is_of_the_refined_encoder(tmp_path: Path) -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=3)
    deep = DeepClustering(3, refine="dec", refine_epochs=1, random_state=4).fit(
        autoencoder=ae, images=images
    )
    store = deep.to_store(None, from_array(images), tmp_path / "s.wk", progress=False)
    np.testing.assert_allclose(store.embeddings("latent"), deep.latents_, atol=2e-3)
    assert tuple(store.class_names or ()) == ("cluster 1", "cluster 2", "cluster 3")
    ModelContext.for_store(deep.network(), store)
    found = grouping.deep(store)
    assert found is not None
    assert (found.params["refine"], found.seed) == ("dec", 4)


def test_other_tiles_belong_to_the_nearest_centre(made: Deep, tmp_path: Path) -> None:
    others, _ = planted(made.autoencoder.shape, seed=3)
    store = made.clustering.to_store(
        made.autoencoder, source_of(others[:20]), tmp_path / "other.wk", progress=False
    )
    found = grouping.deep(store)
    assert found is not None
    np.testing.assert_array_equal(
        found.labels, made.clustering.predict(made.autoencoder.encode(others[:20]))
    )
    assert found.params["n"] == 48  # those that the clusters were found among


def test_the_same_call_mends_what_an_interruption_left(made: Deep, tmp_path: Path) -> None:
    source, out = source_of(made.images), tmp_path / "s.wk"
    store = made.clustering.to_store(made.autoencoder, source, out, progress=False)
    (name,) = store.derived.names("clustering")
    store.derived.delete("clustering", name)  # killed after the last segment
    again = made.clustering.to_store(made.autoencoder, source, out, progress=False)
    assert again.id == store.id
    assert again.derived.names("clustering") == [name]
    with pytest.raises(StoreExists, match="class_names"):
        made.clustering.to_store(made.autoencoder, source, out, names=("a", "b", "c"))


def test_the_newest_of_several_is_the_default(tmp_path: Path) -> None:
    images, _ = planted()
    ae = small().fit(images, epochs=3)
    Z = ae.encode(images)
    three, two = DeepClustering(3).fit(Z), DeepClustering(2).fit(Z)
    store = three.to_store(ae, from_array(images), tmp_path / "s.wk", progress=False)
    # as a later to_store would, were its outputs not another store's
    store.derived.put(
        "clustering",
        "latent-deep-2-later",
        {"labels": two.labels_, "prototypes": two.cluster_centers_.astype(np.float32)},
        params={"layer": "latent", "method": "deep", "k": 2},
        seed=0,
    )
    session = wk.Session(store)
    assert session.clustering is not None
    assert session.clustering.k == 2
    session.cluster("deep", 3)
    np.testing.assert_array_equal(session.clustering.labels, three.labels_)
    assert session.clustering.k == 3


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", ""), ("a", "b", "c\n"), "abc", (1, 2, 3)])
def test_names_are_one_text_a_cluster(made: Deep, tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="names="):
        made.clustering.to_store(
            made.autoencoder, source_of(made.images), tmp_path / "s.wk", names=names
        )
    assert not (tmp_path / "s.wk").exists()


def test_images_of_another_shape_are_refused(made: Deep, tmp_path: Path) -> None:
    with pytest.raises(BadImage):
        made.clustering.to_store(
            made.autoencoder, source_of(np.zeros((3, 20, 20), np.uint8)), tmp_path / "s.wk"
        )


def test_a_damaged_clustering_is_as_if_not_kept(tmp_path: Path) -> None:
    store = make_deep(tmp_path / "s.wk", epochs=1).store
    for file in (store.path / "derived").rglob("labels*.npy"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 0x40
        file.write_bytes(bytes(content))
    session = wk.Session(ActivationStore.open(store.path), layer="latent")
    assert session.clustering is not None
    assert session.clustering.method == "kmeans"
