"""Training an autoencoder: epochs over shuffled batches, stopped early, resumable to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from widgetkit.deep_clustering import checkpoint as files
from widgetkit.deep_clustering.images import Images, Masks
from widgetkit.deep_clustering.network import AutoencoderNetwork
from widgetkit.errors import Cancelled, InvalidInput, StopTraining, StoreMismatch
from widgetkit.extraction._torch import torch
from widgetkit.extraction.preprocess import Preprocess
from widgetkit.extraction.progress import Progress

#: What counts as getting better: a thousandth of the lowest loss so far.
BETTER = 1e-3

Epoch = dict[str, Any]
OnEpoch = Callable[[Epoch], object]
CancelLike = Event | Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """How long and how fast. All but ``epochs`` and ``patience`` must agree to resume a run."""

    epochs: int
    batch_size: int
    lr: float
    validation: float
    patience: int | None
    seed: int

    def key(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the run that goes on from it."""
        record = asdict(self)
        return {name: record[name] for name in ("batch_size", "lr", "validation", "seed")}


@dataclass(frozen=True)
class Hooks:
    """Whom to tell, and whom to ask whether to go on.

    Any of them may raise :class:`StopTraining`, at any time.
    """

    progress: Progress
    cancel: CancelLike | None = None
    on_epoch: OnEpoch | None = None

    def check(self) -> None:
        """Raise :class:`Cancelled` if asked to stop."""
        asked = self.cancel
        if asked is None:
            return
        if asked.is_set() if isinstance(asked, Event) else asked():
            raise Cancelled(
                "Training was cancelled; the autoencoder is as it was. With a checkpoint, the same "
                "call goes on from the last finished epoch."
            )


@dataclass(frozen=True)
class Data:
    """Images, where they count, and how they become the network's input."""

    images: Images
    masks: Masks
    preprocess: Preprocess
    device: torch.device

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs (m, planes, *space) and weights (m, 1, *space)."""
        x = self.preprocess(self.images.read(rows), device=self.device)
        mask = self.masks.read(rows)
        if mask is None:
            return x, None
        return x, torch.from_numpy(mask).to(self.device, torch.float32).unsqueeze(1)


def squared_error(
    given: torch.Tensor, found: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """Mean squared error where ``weight`` is 1, and the number of values it is the mean of."""
    difference = (found - given) ** 2
    if weight is None:
        return difference.mean(), float(difference.numel())
    count = float(weight.sum()) * given.shape[1]
    return (difference * weight).sum() / max(count, 1.0), count


def split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on; none of the latter where too few are left."""
    held = round(n * share)
    if not held or n - held < 1:
        return np.arange(n), np.empty(0, np.int64)
    order = np.random.default_rng([seed, 2**31]).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def best_epoch(history: Sequence[Epoch]) -> int:
    """Position of the epoch with the lowest loss: on the validation rows where there are some."""
    return int(np.argmin([monitored(epoch) for epoch in history]))


def monitored(epoch: Epoch) -> float:
    """The loss that decides."""
    value = epoch["validation"]
    return float(epoch["loss"] if value is None else value)


def is_stalled(history: Sequence[Epoch], patience: int | None) -> bool:
    """Whether the last ``patience`` epochs brought the loss down by less than :data:`BETTER`."""
    if patience is None or len(history) <= patience:
        return False
    losses = [monitored(epoch) for epoch in history]
    return min(losses[-patience:]) > min(losses[:-patience]) * (1 - BETTER)


class Training:
    """One run: network, optimiser, history, and the best weights so far."""

    def __init__(
        self,
        network: AutoencoderNetwork,
        data: Data,
        settings: Settings,
        *,
        identity: Mapping[str, Any],
    ) -> None:
        """``identity``: plain values that a checkpoint must share (architecture, data)."""
        self.network, self.data, self.settings = network, data, settings
        self.identity = {**identity, **settings.key()}
        self.history: list[Epoch] = []
        self.optimiser = adam(network.parameters(), settings.lr)
        self.best = self._weights()
        self.training, self.validation = split(len(data.images), settings.validation, settings.seed)

    # -- running -------------------------------------------------------------------------
    def run(self, hooks: Hooks, path: str | os.PathLike[str] | None) -> None:
        """Train until the epochs are done, the loss stalls or a hook stops it.

        The network then has its best weights. An epoch that was stopped half-way leaves no trace:
        the end is that of a run of as many epochs as were finished.
        """
        try:
            self._epochs(hooks, path)
        except StopTraining:
            if not self.history:
                raise stopped_too_soon() from None
        self._set_weights(self.best)

    def _epochs(self, hooks: Hooks, path: str | os.PathLike[str] | None) -> None:
        epochs, patience = self.settings.epochs, self.settings.patience
        total = epochs * len(self.training)
        hooks.progress.update(min(len(self.history), epochs) * len(self.training), total)
        while len(self.history) < epochs and not is_stalled(self.history, patience):
            loss = self._epoch(hooks, total)
            validation = self._validate(hooks) if len(self.validation) else None
            self.history.append(
                {"epoch": len(self.history) + 1, "loss": loss, "validation": validation}
            )
            if best_epoch(self.history) == len(self.history) - 1:
                self.best = self._weights()
            if path is not None:
                self.save(path)
            if hooks.on_epoch is not None:
                hooks.on_epoch(dict(self.history[-1]))
        hooks.progress.update(total, total)

    def _epoch(self, hooks: Hooks, total: int) -> float:
        epoch = len(self.history)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(self.training)
        lost = counted = 0.0
        done = epoch * len(order)
        self.network.train()
        for rows in batches(order, self.settings.batch_size):
            hooks.check()
            x, weight = self.data.batch(rows)
            loss, count = squared_error(x, self.network(x), weight)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            lost += float(loss.detach()) * count
            counted += count
            done += len(rows)
            hooks.progress.update(done, total)
        return finite(lost / max(counted, 1.0), self.settings.lr)

    @torch.no_grad()
    def _validate(self, hooks: Hooks) -> float:
        lost = counted = 0.0
        self.network.eval()
        for rows in batches(self.validation, self.settings.batch_size):
            hooks.check()
            x, weight = self.data.batch(rows)
            loss, count = squared_error(x, self.network(x), weight)
            lost += float(loss) * count
            counted += count
        return finite(lost / max(counted, 1.0), self.settings.lr)

    # -- weights and files ---------------------------------------------------------------
    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def _set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(weights[name])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Everything that is needed to go on as if nothing had happened."""
        state = self.optimiser.state
        arrays: dict[str, files.Floats] = {}
        step = 0
        for name, value in self.network.named_parameters():
            arrays[f"now.{name}"] = plain(value)
            arrays[f"best.{name}"] = plain(self.best[name])
            arrays[f"mean.{name}"] = plain(state[value]["exp_avg"])
            arrays[f"square.{name}"] = plain(state[value]["exp_avg_sq"])
            step = int(state[value]["step"])
        files.write(
            path,
            {"kind": "training", "run": self.identity, "history": self.history, "step": step},
            arrays,
        )

    def resume(self, path: str | os.PathLike[str]) -> bool:
        """Go on from the file if it is there.

        Raises
        ------
        StoreMismatch
            It is of another run; says what differs.
        StoreCorrupt
        """
        if not Path(path).exists():
            return False
        parameters = dict(self.network.named_parameters())

        def expected(header: dict[str, Any]) -> files.Shapes:
            self._check_same(header, path)
            check_history(header["history"])
            if not isinstance(header["step"], int) or header["step"] < 1:
                raise ValueError("no step")
            return {
                f"{part}.{name}": tuple(value.shape)
                for part in ("now", "best", "mean", "square")
                for name, value in parameters.items()
            }

        header, arrays = files.read(path, expected)
        self._set_weights({name: torch.from_numpy(arrays[f"now.{name}"]) for name in parameters})
        self.best = {
            name: torch.from_numpy(arrays[f"best.{name}"]).to(self.data.device)
            for name in parameters
        }
        for name, value in parameters.items():
            self.optimiser.state[value] = {
                "step": torch.tensor(float(header["step"])),
                "exp_avg": torch.empty_like(value).copy_(torch.from_numpy(arrays[f"mean.{name}"])),
                "exp_avg_sq": torch.empty_like(value).copy_(
                    torch.from_numpy(arrays[f"square.{name}"])
                ),
            }
        self.history = header["history"]
        return True

    def _check_same(self, header: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
        if header.get("kind") != "training" or not isinstance(header.get("run"), dict):
            raise StoreMismatch(
                f"{os.fspath(path)} is a saved autoencoder, not a checkpoint of training. Give "
                "checkpoint= another path, or resume=False to write over it."
            )
        run = header["run"]
        differ = [name for name, value in self.identity.items() if run.get(name) != value]
        if differ:
            raise StoreMismatch(
                f"The checkpoint {os.fspath(path)} is of another run: {', '.join(differ)} differ. "
                "Give checkpoint= another path, or resume=False to begin anew."
            )


def batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in parts of ``size``; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def adam(parameters: Any, lr: float) -> torch.optim.Adam:
    """Adam whose arithmetic does not depend on how many parameters are grouped."""
    return torch.optim.Adam(parameters, lr=lr, foreach=False)


def plain(value: torch.Tensor) -> files.Floats:
    """A float32 array of its own, in C order."""
    array: files.Floats = value.detach().cpu().contiguous().numpy().copy()
    return array


def stopped_too_soon() -> Cancelled:
    """What stopping comes to while no epoch is finished."""
    return Cancelled(
        "Training was stopped before its first epoch ended: there is nothing to keep, and all is "
        "as it was."
    )


def finite(loss: float, lr: float) -> float:
    """The loss, if training still makes sense."""
    if not np.isfinite(loss):
        raise InvalidInput(
            f"The loss is {loss}: training ran away. Lower lr (it is {lr:g}), or look for extreme "
            "values in the images."
        )
    return loss


def check_history(history: object) -> None:
    """Raise ValueError unless this is a history as :class:`Training` writes it."""
    if not isinstance(history, list) or not history:
        raise ValueError("no history")
    for number, epoch in enumerate(history, 1):
        if not isinstance(epoch, dict) or set(epoch) != {"epoch", "loss", "validation"}:
            raise ValueError("a history of other fields")
        numbers = [epoch["loss"], *([] if epoch["validation"] is None else [epoch["validation"]])]
        fits = all(isinstance(value, float) and np.isfinite(value) for value in numbers)
        if epoch["epoch"] != number or not fits:
            raise ValueError("a history of other values")
