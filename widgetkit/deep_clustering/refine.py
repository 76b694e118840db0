"""Deep embedded clustering: the encoder is trained on until its groups stand apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.deep_clustering.network import AutoencoderNetwork
from widgetkit.deep_clustering.soft import soft_assign, target_distribution
from widgetkit.deep_clustering.training import (
    Data,
    Hooks,
    adam,
    batches,
    finite,
    plain,
    squared_error,
    stopped_too_soon,
)
from widgetkit.errors import StopTraining
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.device import reproducible


@dataclass(frozen=True)
class Schedule:
    """How long and how hard."""

    epochs: int
    batch_size: int
    lr: float
    weight: float
    seed: int


def refine(
    network: AutoencoderNetwork,
    data: Data,
    centres: npt.NDArray[np.floating[Any]],
    schedule: Schedule,
    hooks: Hooks,
) -> tuple[npt.NDArray[np.float32], list[dict[str, Any]]]:
    """Train encoder, decoder and centres on ``reconstruction + weight * KL(p || q)``.

    ``network`` is changed. The target ``p`` is made anew from all images before each epoch, and
    stays fixed in it. A hook that raises :class:`StopTraining` ends it after the epochs that are
    finished.

    Parameters
    ----------
    centres : (k, d)
        To start from.

    Returns
    -------
    centres : (k, d) float32
    history : list of dict
        ``epoch``, ``loss``, ``reconstruction``, ``clustering`` (the divergence, a row's mean),
        ``confidence`` (mean of the largest ``q``, before the epoch) and ``changed`` (share of rows
        in another cluster than before the epoch before; 0 in the first).

    References
    ----------
    Xie, Girshick & Farhadi (2016), ICML; Guo et al. (2017), IJCAI, for keeping the reconstruction.
    """
    mu = nn.Parameter(torch.tensor(np.asarray(centres, np.float32), device=data.device))
    history: list[dict[str, Any]] = []
    trained = [*network.parameters(), mu]
    finished: list[torch.Tensor] = []

    def epoch_ended(found: dict[str, Any]) -> None:
        history.append(found)
        finished[:] = [value.detach().clone() for value in trained]
        if hooks.on_epoch is not None:
            hooks.on_epoch(dict(found))

    try:
        with reproducible():
            _epochs(network, mu, data, schedule, hooks, epoch_ended)
    except StopTraining:
        if not history:
            raise stopped_too_soon() from None
        with torch.no_grad():  # an epoch that was stopped half-way leaves no trace
            for value, last in zip(trained, finished, strict=True):
                value.copy_(last)
    network.eval()
    return plain(mu), history


def _epochs(
    network: AutoencoderNetwork,
    mu: nn.Parameter,
    data: Data,
    schedule: Schedule,
    hooks: Hooks,
    ended: Callable[[dict[str, Any]], None],
) -> None:
    device, n = data.device, len(data.images)
    optimiser = adam([*network.parameters(), mu], schedule.lr)
    before: torch.Tensor | None = None
    for epoch in range(schedule.epochs):
        q = _assign_all(network, data, mu, schedule.batch_size, hooks)
        labels = q.argmax(dim=1)
        target = target_distribution(q)
        sums = np.zeros(2)
        order = np.random.default_rng([schedule.seed, epoch]).permutation(n)
        network.train()
        done = epoch * n
        for rows in batches(order, schedule.batch_size):
            hooks.check()
            x, mask = data.batch(rows)
            z = network.encode(x)
            error, _ = squared_error(x, network.decode(z), mask)
            p, now = target[torch.from_numpy(rows).to(device)], soft_assign(z, mu)
            divergence = _divergence(p, now)
            loss = error + schedule.weight * divergence
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sums += len(rows) * np.array([float(error.detach()), float(divergence.detach())])
            done += len(rows)
            hooks.progress.update(done, schedule.epochs * n)
        reconstruction, clustering = (float(value) for value in sums / n)
        changed = 0.0 if before is None else float((labels != before).float().mean())
        before = labels
        ended(
            {
                "epoch": epoch + 1,
                "loss": finite(reconstruction + schedule.weight * clustering, schedule.lr),
                "reconstruction": reconstruction,
                "clustering": clustering,
                "confidence": float(q.max(dim=1).values.mean()),
                "changed": changed,
            }
        )


def _divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q), the mean over rows; 0 log 0 is 0."""
    least = 1e-12
    return (p * (p.clamp_min(least).log() - q.clamp_min(least).log())).sum(dim=1).mean()


@torch.no_grad()
def _assign_all(
    network: AutoencoderNetwork, data: Data, centres: torch.Tensor, size: int, hooks: Hooks
) -> torch.Tensor:
    network.eval()
    parts = []
    for rows in batches(np.arange(len(data.images)), size):
        hooks.check()
        parts.append(soft_assign(network.encode(data.batch(rows)[0]), centres))
    return torch.cat(parts)
