"""The encoder with its clusters as classes: what class maps are drawn of."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from widgetkit.deep_clustering.network import AutoencoderNetwork
from widgetkit.deep_clustering.soft import squared_distances
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput
from widgetkit.extraction._torch import nn, torch


class ClusterNetwork(nn.Module):
    """An autoencoder's way to the latent vector, and how near that is to each cluster.

    ``logits_c(x) = -log(1 + |z(x) - mu_c|^2)``, from the differences themselves; their softmax is
    the soft assignment of :func:`widgetkit.deep_clustering.soft_assign`. Every method that draws
    maps of a class thereby draws maps of a cluster: ``ModelContext(network,
    preprocess=ae.preprocess)`` with ``ClassTarget(cluster)``.

    Layers have the names they have in the autoencoder: ``encoder.last`` and ``latent``. Weights
    are copies; training the autoencoder on leaves them as they are.

    Parameters
    ----------
    network : AutoencoderNetwork
    centres : (k, d) float
        In the units of its latent vectors.

    Raises
    ------
    ChannelMismatch
        Centres of another length than the latent vectors.
    InvalidInput
        Not a table, or no centre.
    BadActivations
        A centre is not finite.
    """

    centres: torch.Tensor

    def __init__(self, network: AutoencoderNetwork, centres: npt.ArrayLike) -> None:
        super().__init__()
        mu = np.asarray(centres, np.float32)
        if mu.ndim != 2 or not len(mu):
            raise InvalidInput(f"centres {mu.shape}: expected (k, d), k at least 1.")
        if mu.shape[1] != network.latent.out_features:
            raise ChannelMismatch(
                f"Centres have {mu.shape[1]} numbers each and the latent vectors of this "
                f"autoencoder {network.latent.out_features}: they were made with another one."
            )
        if not np.isfinite(mu).all():
            raise BadActivations("centres hold NaN, infinity or values beyond float32.")
        self.encoder = copy.deepcopy(network.encoder)
        self.latent = copy.deepcopy(network.latent)
        self.register_buffer("centres", torch.tensor(mu, device=self.latent.weight.device))
        self.eval()

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latent vectors (m, d) of inputs (m, planes, *shape)."""
        z: torch.Tensor = self.latent(self.encoder(x).flatten(1))
        return z

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (m, k) of the clusters."""
        return -torch.log1p(squared_distances(self.encode(x), self.centres))
