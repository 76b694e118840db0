"""Trains the lesion classifier on semi-synthetic lesions, and counts what it gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.errors import Cancelled, InvalidInput
from widgetkit.extraction.progress import ProgressLike, progress_for

if TYPE_CHECKING:
    from torch import Tensor

    from widgetkit.demos.lesion_network import LesionNet
    from widgetkit.simulate import LiverSimulation

EPOCHS, BATCH, RATE, DECAY = 20, 32, 1e-3, 1e-2
#: Weight of the mean activation of ``features.last`` in the loss: fewer positions then answer to more
#: than they must, maps are clearer, and what ships is smaller.
SPARSITY = 0.2
#: Targets are this much less sure than the labels, so that logits stay moderate.
SMOOTHING = 0.05
#: Lesions moved by this many voxels in the plane, grey values scaled and moved by these deviations.
SHIFT, GAIN, OFFSET = 2, 0.05, 0.1


def train_lesion_net(
    simulation: LiverSimulation,
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH,
    lr: float = RATE,
    seed: int = 0,
    progress: ProgressLike = False,
    cancel: Event | Callable[[], object] | None = None,
) -> LesionNet:
    """A :class:`LesionNet` that learned the classes of simulated lesions (semi-synthetic).

    AdamW with a rate that falls to 0; lesions are mirrored, turned by quarters in the plane, moved, and
    scaled in grey. With the default 20 epochs and 1,200 lesions some three minutes of one core.

    Parameters
    ----------
    simulation : LiverSimulation
    epochs, batch_size : int
    lr : float
        First rate.
    seed : int
        The same seed on the same machine with the same number of threads gives the same weights.
    progress : bool or callable
        A bar; or ``progress(done, total)`` in lesions, after each batch.
    cancel : threading.Event or callable, optional
        Looked at before each batch.

    Returns
    -------
    LesionNet
        In evaluation mode.

    Raises
    ------
    Cancelled
    InvalidInput
        No simulation of lesions, or settings that make no sense.
    """
    from widgetkit.demos.lesion_network import PREPROCESS, LesionNet
    from widgetkit.extraction._torch import nn, torch
    from widgetkit.extraction.device import reproducible

    images, labels = _checked(simulation)
    epochs, batch_size = check_count(epochs, "epochs"), check_count(batch_size, "batch_size")
    seed = check_seed(seed)
    if not (isinstance(lr, (int, float)) and 0 < lr < 1):
        raise InvalidInput(f"lr={lr!r}: a number above 0 and below 1.")
    targets = torch.from_numpy(labels.astype(np.int64))
    done, total = 0, epochs * len(images)
    bar = progress_for(progress, "Training on semi-synthetic lesions")
    try:
        with reproducible(), torch.random.fork_rng(devices=[]):
            net = LesionNet()  # torch draws weights of its own, which are not used
            net.initialise(seed)
            optimiser = torch.optim.AdamW(
                net.parameters(), lr=lr, weight_decay=DECAY, foreach=False
            )
            torch.manual_seed(seed)  # which units are dropped
            net.train()
            for epoch in range(epochs):
                rng = np.random.default_rng([seed, epoch])
                order = rng.permutation(len(images))
                for start in range(0, len(order), batch_size):
                    if cancel is not None and (
                        cancel.is_set() if isinstance(cancel, Event) else cancel()
                    ):
                        raise Cancelled("Training was cancelled; there is no network.")
                    rows = order[start : start + batch_size]
                    for group in optimiser.param_groups:
                        group["lr"] = lr * (1 - done / total)
                    maps = net.features(_varied(PREPROCESS(images[rows]), rng))
                    loss = nn.functional.cross_entropy(
                        net.classes(maps), targets[rows], label_smoothing=SMOOTHING
                    )
                    loss = loss + SPARSITY * maps.mean()
                    if not torch.isfinite(loss):
                        raise InvalidInput(f"The loss is {loss.item()}: lower lr (it is {lr:g}).")
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    optimiser.step()
                    done += len(rows)
                    bar.update(done, total)
    finally:
        bar.close()
    return net.eval()


def classify(
    net: LesionNet, images: npt.NDArray[np.uint8], *, batch: int = 60
) -> npt.NDArray[np.float32]:
    """Logits (n, 6) of images (n, 12, 32, 32, 3)."""
    from widgetkit.demos.lesion_network import PREPROCESS
    from widgetkit.extraction._torch import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            parts.append(net(PREPROCESS(images[start : start + batch])).numpy())
    logits: npt.NDArray[np.float32] = np.concatenate(parts)
    return logits


def confusion(net: LesionNet, simulation: LiverSimulation) -> pd.DataFrame:
    """How many lesions of each true class (rows) are given each class (columns)."""
    images, labels = _checked(simulation)
    names = list(simulation.class_names)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels, classify(net, images).argmax(axis=1)), 1)
    return pd.DataFrame(counts, index=names, columns=names)


def figures(net: LesionNet, simulation: LiverSimulation) -> dict[str, Any]:
    """What of a simulation is classified correctly: shares, by what they could depend on, and counts."""
    images, labels = _checked(simulation)
    found = classify(net, images).argmax(axis=1)
    right, marked = found == labels, simulation.marked
    size = simulation.table["size_mm"].to_numpy()
    metastasis = len(simulation.class_names) - 1
    parts = {
        "all": np.ones(len(right), bool),
        "below 20 mm": size < 20,
        "from 20 mm": size >= 20,
        "with line": marked,
        "without line": ~marked,
    }
    return {
        "lesions": len(right),
        "accuracy": {name: round(float(right[part].mean()), 3) for name, part in parts.items() if part.any()},
        "other classes called metastasis": {
            name: round(float((found == metastasis)[part & (labels != metastasis)].mean()), 3)
            for name, part in parts.items()
            if (part & (labels != metastasis)).any()
        },
        "confusion": confusion(net, simulation).to_numpy().tolist(),
    }  # fmt: skip


def _checked(
    simulation: LiverSimulation,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    images = getattr(simulation, "images", None)
    labels = getattr(simulation, "labels", None)
    if images is None or labels is None or images.shape[1:] != (12, 32, 32, 3):
        raise InvalidInput(
            f"A {type(simulation).__name__} holds no simulated lesions: pass what "
            "widgetkit.simulate.liver_lesions returns."
        )
    return images, labels


def _varied(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Turned, mirrored, moved, brighter or darker: the same for a batch, another for the next."""
    from widgetkit.extraction._torch import torch

    x = torch.rot90(x, int(rng.integers(4)), (3, 4))
    for axis, mirror in zip((2, 4), rng.random(2) < 0.5, strict=True):
        x = x.flip(axis) if mirror else x
    moved = tuple(int(step) for step in rng.integers(-SHIFT, SHIFT + 1, 2))
    gain, offset = float(1 + rng.normal(0, GAIN)), float(rng.normal(0, OFFSET))
    return torch.roll(x, moved, (3, 4)) * gain + offset
