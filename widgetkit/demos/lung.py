"""The third demo: simulated chest CT, an autoencoder of them, and what CLAM says of its clusters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.demos.ship import DATA
from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    from widgetkit.deep_clustering import ConvAutoencoder
    from widgetkit.extraction import ModelContext
    from widgetkit.simulate import LungSimulation, Training
    from widgetkit.store import ActivationStore
    from widgetkit.tiles import TileSource

Dims = Literal[2, 3]

#: Kind of derived result that holds the truth.
TRUTH = "truth"
_SEED = 0
#: Of the abnormalities where it does not vary.
_SIZE_MM = 60.0
#: Images; levels of what varies; sizes and training of the autoencoder.
_IMAGES: Mapping[int, int] = {2: 240, 3: 30}
_LEVELS: Mapping[int, Mapping[str, Any]] = {
    2: {"size": (32, 56), "location": 2},
    3: {"location": 2},
}
_TRAINING: Mapping[int, Mapping[str, Any]] = {
    2: {},
    3: {"channels": (8, 16), "epochs": 40, "batch_size": 4},
}
#: Maps of the class, which is the cluster, that are kept beside CLAM's.
_BESIDE: Mapping[int, tuple[str, ...]] = {2: ("gradcam", "scorecam", "occlusion"), 3: ("gradcam",)}
#: Images whose maps are kept, those nearest to the mean of their cluster.
_KEPT: Mapping[int, int] = {2: 120, 3: 30}


def lung_simulation(dims: Dims = 2) -> LungSimulation:
    """What :func:`lung_store` is of: 240 slices of a drawn thorax in four groups, by size and side.

    In three dimensions 30 volumes in two groups, by side. No patient is in it.
    """
    from widgetkit.simulate import lung_abnormalities

    levels = _LEVELS[_dims(dims)]
    return lung_abnormalities(
        _IMAGES[dims],
        vary=tuple(levels),
        levels=levels,
        dims=dims,
        size=_SIZE_MM,
        background="phantom",
        seed=_SEED,
    )


def lung_training(dims: Dims = 2) -> Training:
    """How the autoencoder of :func:`lung_store` was trained; needs torch."""
    from widgetkit.simulate import Training

    return Training(**_TRAINING[_dims(dims)])


def _dims(dims: int) -> int:
    if dims not in _IMAGES:
        raise InvalidInput(f"dims={dims!r}: 2 for slices or 3 for volumes.")
    return dims


def lung_tiles(simulation: LungSimulation, images: npt.NDArray[np.uint8]) -> TileSource:
    """Its images as the autoencoder sees them, each of a person of its own, with clinical variables.

    Columns beside those of the simulation: ``background`` (which of the drawn thoraxes),
    ``patient``, and the variables of ``simulate.covariates``.
    """
    from widgetkit.simulate import covariates
    from widgetkit.tiles.array import from_array

    table = simulation.table.rename(columns={"patient": "background"})
    table["patient"] = [f"simulated {i + 1:03d}" for i in range(len(table))]
    planted = covariates(simulation, seed=_SEED).table
    return from_array(
        images,
        volume=len(simulation.shape) == 3,
        source="lung simulation",
        mpp=simulation.spacing[-1] * 1000,
        metadata=table.join(planted),
    )


def lung_truth(
    store: ActivationStore, what: Literal["abnormality", "lung"] = "abnormality"
) -> npt.NDArray[np.bool_]:
    """Where the abnormality, or the lungs, of each tile of a lung demo are, (n, *shape).

    Raises
    ------
    UnknownName
        The store is no lung demo.
    """
    entry = store.derived.get(TRUTH, what)
    assert store.image_shape is not None
    shape = (len(store), *store.image_shape)
    bits = np.unpackbits(np.asarray(entry.arrays["bits"], np.uint8), count=int(np.prod(shape)))
    return bits.astype(bool).reshape(shape)


def lung_autoencoder(dims: Dims = 2) -> ConvAutoencoder:
    """The autoencoder of :func:`lung_store`, with the weights that ship; needs torch."""
    from widgetkit.deep_clustering import ConvAutoencoder

    return ConvAutoencoder.load(weights(dims), device="cpu")


def lung_model(store: ActivationStore) -> ModelContext:
    """The encoder with the clusters of a lung demo, as sessions take it; needs torch.

    ``wk.Session(store, demos.lung_model(store))`` draws CLAM of every tile and cluster.
    """
    from widgetkit.deep_clustering import ClusterNetwork
    from widgetkit.extraction import ModelContext

    assert store.image_shape is not None
    encoder = lung_autoencoder(3 if len(store.image_shape) == 3 else 2)
    (name,) = store.derived.names("clustering")
    centres = np.asarray(store.derived.get("clustering", name).arrays["prototypes"])
    return ModelContext.for_store(ClusterNetwork(encoder.module, centres), store, device="cpu")


def weights(dims: Dims, folder: Path = DATA) -> Path:
    """File of the autoencoder's weights."""
    return folder / f"lung-autoencoder-{_dims(dims)}d.npz"


def build_lung_store(
    out: str | os.PathLike[str], *, dims: Dims = 2, progress: bool = True, overwrite: bool = False
) -> tuple[ActivationStore, ConvAutoencoder]:
    """Images, autoencoder, clusters, maps: all that the third demo shows, made anew; needs torch.

    A minute or two of one core.

    Parameters
    ----------
    out : path
        Folder of the new store.
    dims : 2 or 3
    progress : bool
        Show a bar.
    overwrite : bool
        Replace another store at ``out``.
    """
    from widgetkit.extraction import ModelContext
    from widgetkit.session import Session
    from widgetkit.simulate.fitting import fit

    simulation = lung_simulation(dims)
    fitted = fit(simulation, training=lung_training(dims), seed=_SEED)
    encoder, clusters = fitted.autoencoder, fitted.clusters
    store = clusters.to_store(
        encoder,
        lung_tiles(simulation, fitted.images),
        out,
        progress=progress,
        overwrite=overwrite,
        device="cpu",
    )
    for name, mask in (("abnormality", simulation.masks), ("lung", simulation.lung)):
        store.derived.put(
            TRUTH, name, {"bits": np.packbits(mask)}, params={"source": simulation.source}
        )
    context = ModelContext.for_store(clusters.network(encoder), store, device="cpu")
    session = Session(store, context, layer="latent", seed=_SEED)
    try:
        session.wait()  # the projection is kept, too
        for method in ("clam", *_BESIDE[dims]):
            session.keep_maps(method, count=_KEPT[dims])
            session.wait()
    finally:
        session.close()
    return store, encoder
