"""Which network it is: class, weights, size."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.capture import unwrap


def model_identity(model: nn.Module) -> dict[str, Any]:
    """What tells this network from another, as plain values.

    Returns
    -------
    dict
        ``class`` (module and name), ``weights_hash`` (SHA-256 over the sorted state: names, dtypes,
        shapes and bytes of parameters and buffers), ``parameters`` (their number), ``dtype``. The
        same on every device.

    Raises
    ------
    InvalidInput
        Parameters without values (lazy modules that never ran, the meta device).
    """
    model = unwrap(model)
    digest = hashlib.sha256()
    state = model.state_dict()
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, torch.Tensor):
            continue
        if nn.parameter.is_lazy(value) or value.is_meta:
            raise InvalidInput(
                f"Parameter {name!r} of the model has no values yet. Load its weights, or run the "
                "model once, first."
            )
        # `weight_orig` or `weight`, a parameter or a view of one: the values alone count.
        plain = value.detach().cpu().contiguous()
        header = json.dumps([name, str(plain.dtype), list(plain.shape)])
        digest.update(header.encode())
        if plain.numel():
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    first = next(model.parameters(), None)
    kind = type(model)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "weights_hash": digest.hexdigest(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(first.dtype).removeprefix("torch.") if first is not None else "float32",
    }
