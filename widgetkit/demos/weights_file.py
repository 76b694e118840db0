"""Weights of a demo's network in one ``.npz``: the same weights give the same bytes, and no pickle is read."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.demos.ship import EPOCH
from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Counters of batch normalisation, which say nothing of the network.
COUNTERS = "num_batches_tracked"


def save_state(
    state: Mapping[str, Tensor], path: str | os.PathLike[str], dtype: npt.DTypeLike
) -> None:
    """Write tensors by name, as ``dtype``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, value in state.items():
            if name.endswith(COUNTERS):
                continue
            stream = io.BytesIO()
            values = value.cpu().numpy().astype(dtype)
            np.lib.format.write_array(stream, values, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            out.writestr(member, stream.getvalue())


def load_state(
    like: Mapping[str, Tensor], path: str | os.PathLike[str], dtype: npt.DTypeLike, what: str
) -> dict[str, Tensor]:
    """Tensors of the names and shapes of ``like``, float32; ``what`` names the network in errors.

    Raises
    ------
    InvalidInput
        The file does not hold these weights, or NaN or infinity among them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                key: value if key.endswith(COUNTERS) else _tensor(file, key, value, np.dtype(dtype))
                for key, value in like.items()
            }
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidInput(
            f"{Path(path).name!r} does not hold the weights of {what}: {error}."
        ) from error


def _tensor(
    file: np.lib.npyio.NpzFile, key: str, like: Tensor, dtype: np.dtype[np.generic]
) -> Tensor:
    values = file[key]
    if values.shape != tuple(like.shape) or values.dtype != dtype:
        raise ValueError(f"{key} is {values.shape}, {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"{key} holds NaN or infinity")
    return torch.from_numpy(values.astype(np.float32))
