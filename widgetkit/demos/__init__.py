"""A demo that needs nothing: a store that ships with the package, and what made it.

``wk.demo()`` opens the Explorer over it. ``fetch``, ``demo_tiles``, ``demo_model`` and
``build_demo_store`` make it anew from the slide and the network, which are downloaded then.

The second demo is a tile classifier on four slides: ``activation_store``, ``activation_slides``,
``activation_model``; ``activation_tiles`` and ``build_activation_store`` make it anew. See
``docs/demo-data.md`` for what its labels are worth.

The third is of simulated chest CT in deep clusters, in slices and in volumes: ``lung_store``,
``lung_simulation``, ``lung_truth``, ``lung_model``; ``build_lung_store`` makes it anew.

The fourth is of **semi-synthetic** liver lesions of which every radiological concept is known, and a 3-D
classifier of them: ``lesion_store``, ``lesion_truth``, ``lesion_simulation``, ``lesion_net``,
``lesion_concepts``, ``lesion_model``; ``train_lesion_net`` trains another, ``lesion_tiles`` and ``build_lesion_store`` make the
store anew. See ``docs/liver-lesions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from widgetkit.demos.activation import (
    activation_model,
    activation_tiles,
    build_activation_store,
)
from widgetkit.demos.build import build_demo_store, demo_model, demo_tiles, green_share
from widgetkit.demos.lesion_training import train_lesion_net
from widgetkit.demos.lesions import (
    build_lesion_store,
    lesion_concepts,
    lesion_model,
    lesion_net,
    lesion_simulation,
    lesion_store,
    lesion_tiles,
    lesion_truth,
)
from widgetkit.demos.lung import (
    build_lung_store,
    lung_autoencoder,
    lung_model,
    lung_simulation,
    lung_training,
    lung_truth,
)
from widgetkit.demos.ship import activation_slides, activation_store, demo_store, lung_store
from widgetkit.tiles.fetch import cache_folder, fetch

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore
    from widgetkit.widgets import Explorer

__all__ = [
    "activation_model",
    "activation_slides",
    "activation_store",
    "activation_tiles",
    "build_activation_store",
    "build_demo_store",
    "build_lesion_store",
    "build_lung_store",
    "cache_folder",
    "demo",
    "demo_model",
    "demo_store",
    "demo_tiles",
    "fetch",
    "green_share",
    "lesion_concepts",
    "lesion_model",
    "lesion_net",
    "lesion_simulation",
    "lesion_store",
    "lesion_tiles",
    "lesion_truth",
    "lung_autoencoder",
    "lung_model",
    "lung_simulation",
    "lung_store",
    "lung_training",
    "lung_truth",
    "train_lesion_net",
]


@overload
def demo(explore: Literal[True] = True) -> Explorer: ...
@overload
def demo(explore: Literal[False]) -> ActivationStore: ...
def demo(explore: bool = True) -> Explorer | ActivationStore:
    """Open the Explorer over the shipped demo store: ``wk.demo()``.

    Parameters
    ----------
    explore : bool
        False gives the store itself, as :func:`demo_store` does.

    Examples
    --------
    Lasso the island of green ink: the gallery shows inked tiles, the maps where the ink is.
    """
    store = demo_store()
    if not explore:
        return store
    from widgetkit.widgets import explore as open_explorer

    return open_explorer(store)
