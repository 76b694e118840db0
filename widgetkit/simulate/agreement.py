"""How well clusters are the groups they should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import label_agreement
from widgetkit.errors import InvalidInput, TooFew


@dataclass(frozen=True)
class Agreement:
    """Clusters against groups, each 1 when they are the same but for their numbers.

    Attributes
    ----------
    accuracy : float
        Share of images whose cluster is the one paired with their group; each cluster is paired
        with one group at most, so that most images are right. With fewer clusters than groups, or
        more, it cannot be 1.
    ari, nmi : float
        Adjusted Rand index, and mutual information over the mean of both entropies.
    """

    accuracy: float
    ari: float
    nmi: float


def agreement(groups: npt.ArrayLike, clusters: npt.ArrayLike) -> Agreement:
    """Compare clusters with the true groups.

    Parameters
    ----------
    groups, clusters : (n,) int

    Raises
    ------
    InvalidInput, TooFew
        Of different length, or empty.

    References
    ----------
    Kuhn (1955) for the pairing; Hubert & Arabie (1985); Vinh et al. (2010).
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    truth, found = np.asarray(groups), np.asarray(clusters)
    if truth.ndim != 1 or truth.shape != found.shape:
        raise InvalidInput(
            f"groups {truth.shape} and clusters {found.shape}: one of each an image."
        )
    if not len(truth):
        raise TooFew("No image, no agreement.")
    table = contingency_matrix(truth, found)
    rows, columns = linear_sum_assignment(-table)
    return Agreement(
        float(table[rows, columns].sum() / len(truth)),
        label_agreement(truth, found),
        float(normalized_mutual_info_score(truth, found)),
    )
