"""Does a map change when the network forgets what it learned? If not, it shows the image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, Float, MapMethod, Model, Target
from widgetkit.explain.compare import rank_correlation
from widgetkit.explain.registry import compute, get

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sanity:
    """Rank correlation of maps with those of the trained network, along a cascade.

    Attributes
    ----------
    stages : tuple of str
        What was randomised last at each stage; everything before it is random too.
    correlation : (n_stages, m) float in [-1, 1]
        Spearman's, one a tile; NaN where a map is constant.
    """

    stages: tuple[str, ...]
    correlation: npt.NDArray[np.float64]

    def to_frame(self) -> pd.DataFrame:
        """One row a stage: ``stage``, ``correlation`` (mean over tiles), ``tiles`` (how many)."""
        import pandas as pd

        defined = np.isfinite(self.correlation)
        count = defined.sum(axis=1)
        total = np.where(defined, self.correlation, 0).sum(axis=1)
        mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return pd.DataFrame({"stage": list(self.stages), "correlation": mean, "tiles": count})


def cascade(
    network: Any, wrap: Callable[[Any], Model], *, seed: int = 0
) -> Iterator[tuple[str, Model]]:
    """Ever more random copies of a network, from its last module to its first: the ``stages``.

    The values of every weight are shuffled within the weight. Their distribution stays, so the
    activations keep their size and nothing overflows; what they say is lost.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    wrap : callable
        Makes a :class:`Model` of a module:
        ``lambda module: ModelContext(module, preprocess=context.preprocess)``.
    seed : int

    Yields
    ------
    (name, Model)
        The module that was shuffled last, and the network. All stages share one copy, which the
        next stage changes: use each before asking for the next. "Last" is the order in which
        modules were defined.
    """
    generator = np.random.default_rng(seed)
    changed = copy.deepcopy(network)
    for name, module in reversed(list(changed.named_modules())):
        weights = list(module.parameters(recurse=False))
        for weight in weights:
            values = weight.detach().cpu().double().numpy().ravel()
            shuffled = generator.permutation(values).reshape(tuple(weight.shape))
            weight.data.copy_(weight.data.new_tensor(shuffled))
        if weights:
            yield name, wrap(changed)


def randomised(
    method: MapMethod | str,
    batch: Batch,
    target: Target,
    stages: Iterable[tuple[str, Model]],
) -> Sanity:
    """Maps of networks that are random from the top down to ever earlier layers.

    A method that explains the network must lose its maps: a correlation that stays near 1 down to
    the last stage says that the map follows edges of the image, not what was learned.

    Parameters
    ----------
    method : MapMethod or str
    batch : Batch
        With the trained network in ``batch.model``, and images.
    target : Target
    stages : iterable of (name, Model)
        The same network with its weights replaced by random ones, layer by layer from the output:
        :func:`cascade` makes them. Each is used before the next is asked for.

    Returns
    -------
    Sanity

    Raises
    ------
    InvalidInput
        No stages were given, or the method needs the head of the network at each stage (CAM; use
        Grad-CAM, which equals it).
    NeedsModel
        The batch has no network to compare with.

    References
    ----------
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv:1810.03292.
    """
    chosen = get(method) if isinstance(method, str) else method
    trained = _flat(_maps(chosen, batch, target, batch.need_model("The randomisation check")))
    names, rows = [], []
    for name, model in stages:
        batch.check()
        names.append(name)
        rows.append(rank_correlation(trained, _flat(_maps(chosen, batch, target, model))))
    if not rows:
        raise InvalidInput(
            "The randomisation check was given no stages: at least one random network."
        )
    return Sanity(tuple(names), np.stack(rows))


def _maps(method: MapMethod, batch: Batch, target: Target, model: Model) -> Float:
    """Maps made with this network alone: stored activations and head belong to the trained one."""
    images = batch.need_images("The randomisation check")
    activations = (
        model.forward_to_layer(images, batch.layer.name)
        if "activations" in method.requires
        else None
    )
    return compute(method, replace(batch, activations=activations, head=None, model=model), target)


def _flat(maps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return maps.reshape(len(maps), int(np.prod(maps.shape[1:]))).astype(np.float64)
