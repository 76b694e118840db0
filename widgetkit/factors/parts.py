"""Activations taken apart into factors, and put together again without some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput

Float: TypeAlias = npt.NDArray[np.float32]
Residual = Literal["keep", "drop"]


@dataclass(frozen=True, eq=False)
class Parts:
    """Activations of some tiles beside what the factors make of them.

    In units of the layer, whatever was done before the factorisation: a tile's activations are
    about ``offset + scale * sum_j W_j H_j``, and what is left over is the residual.

    Attributes
    ----------
    activations : (m, C, *grid) float32
    weights : (m, k, *grid) float32
        ``W``.
    prototypes : (k, C) float32
        ``H``.
    scale : (m, C) or (C,) float, optional
        What a normalisation divided by. Default: 1.
    offset : (m, C) or (C,) float, optional
        What was subtracted. Default: 0. Belongs to no factor, so it is never removed.

    Raises
    ------
    ChannelMismatch
        Shapes do not fit each other.
    BadActivations
        A value is not finite.
    """

    activations: Float
    weights: Float
    prototypes: Float
    scale: npt.NDArray[np.floating] | None = None
    offset: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        for name in ("activations", "weights", "prototypes"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        a, w, h = self.activations, self.weights, self.prototypes
        if (
            a.ndim < 3
            or h.ndim != 2
            or w.shape != (len(a), len(h), *a.shape[2:])
            or h.shape[1] != a.shape[1]
        ):
            raise ChannelMismatch(
                f"Activations {a.shape}, weights {w.shape} and prototypes {h.shape} do not belong "
                "together: (m, C, *grid), (m, k, *grid) and (k, C) are needed."
            )
        for name in ("scale", "offset"):
            value = getattr(self, name)
            if value is not None:
                if np.shape(value) not in ((a.shape[1],), a.shape[:2]):
                    raise ChannelMismatch(
                        f"{name} has shape {np.shape(value)}; (C,) = ({a.shape[1]},) or (m, C) = "
                        f"{a.shape[:2]} is needed."
                    )
                rows = np.broadcast_to(np.asarray(value, np.float32), a.shape[:2])
                object.__setattr__(self, name, rows)
        for name in ("activations", "weights", "prototypes", "scale", "offset"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise BadActivations(
                    f"NaN or infinity in the {name} of these tiles. Look for them with "
                    "store.verify(), and extract or factorise again."
                )

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.activations)

    @property
    def k(self) -> int:
        return len(self.prototypes)

    def take(self, tiles: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Parts:
        """Some of the tiles."""
        return Parts(
            self.activations[tiles],
            self.weights[tiles],
            self.prototypes,
            None if self.scale is None else self.scale[tiles],
            None if self.offset is None else self.offset[tiles],
        )

    def made(self, tiles: npt.NDArray[np.intp], strength: npt.ArrayLike) -> Float:
        """``scale * sum_j strength_j W_j H_j`` of tiles ``(b,)``, strengths ``(b, k)``: (b, C, *grid)."""
        strengths = np.asarray(strength, np.float32)
        m, k = self.weights.shape[:2]
        grid = self.weights.shape[2:]
        mixing = strengths[:, None, :] * self.prototypes.T  # (b, C, k)
        if self.scale is not None:
            mixing = mixing * self.scale[tiles][:, :, None]
        flat = self.weights.reshape(m, k, int(np.prod(grid)))[tiles]
        return cast(Float, np.matmul(mixing, flat).reshape(len(tiles), -1, *grid))

    def under(
        self, tiles: npt.NDArray[np.intp], masks: npt.ArrayLike, residual: Residual = "keep"
    ) -> Float:
        """Activations of tiles ``(b,)`` with every factor at the strength its mask says.

        Parameters
        ----------
        tiles : (b,) int
        masks : (b, k) float
            1 leaves a factor as it is, 0 takes it away.
        residual : "keep" or "drop"
            Keep: ``A - sum_j (1 - mask_j) W_j H_j``, which under a mask of ones is A. Drop:
            ``offset + sum_j mask_j W_j H_j``, which under a mask of ones is the reconstruction.

        Returns
        -------
        (b, C, *grid) float32
        """
        strengths = np.asarray(masks, np.float32)
        if residual == "keep":
            return self.activations[tiles] - self.made(tiles, 1 - strengths)
        made = self.made(tiles, strengths)
        if self.offset is not None:
            made += self.offset[tiles].reshape(*made.shape[:2], *(1,) * (made.ndim - 2))
        return made

    def reconstruction(self) -> Float:
        """``offset + scale * W H``, ``(m, C, *grid)``."""
        return self.under(np.arange(len(self)), np.ones((len(self), self.k)), "drop")


def check_residual(residual: str) -> None:
    if residual not in get_args(Residual):
        raise InvalidInput(f"residual is {residual!r}: use 'keep' or 'drop'.")
