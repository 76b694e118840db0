"""A clustering of the tiles as a value, and its edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.palette import CATEGORICAL

#: Text a person may give a cluster; longer names are refused.
MAX_NAME = 200
MAX_CLUSTERS = 254  # one byte a tile on the wire, 255 means "none"
#: Methods whose prototypes are centres among the embeddings that tiles belong to by distance.
CENTRED = frozenset({"kmeans", "deep"})


@dataclass(frozen=True, eq=False)
class Clustering:
    """Which cluster each tile belongs to. Edits return new clusterings.

    Attributes
    ----------
    name : str
        What it is called where several are kept.
    method : str
        ``"nmf"``, ``"kmeans"``, ``"deep"`` (of an autoencoder), or what else made it.
    layer : str
        Layer whose activations were clustered.
    labels : (n,) int32, read-only
        Cluster of each tile; -1 where it is in none (outside a clustered selection).
    names : tuple of str
        Of the k clusters. Free text: the views escape it.
    colors : tuple of int
        Palette index of each.
    prototypes : (k, C) float32, or None
        Factors of an NMF (unit length), or centres of a k-means or deep clustering, in activation
        space.
    weights : (n, k) float32, or None
        How much of each factor a tile holds (mean over its positions); NMF only.
    params : dict
        What made it, JSON-able.
    seed : int
    hidden : frozenset of int
        Clusters that are drawn as background.
    base : (k0, C) float32, or None
        The prototypes before any were merged or split; None while none was.
    owners : (k0, 1) or (k0, n) uint8, or None
        Cluster that each of the prototypes in ``base`` counts for, tile by tile after a split:
        weights of positions in ``base`` become those of the clusters by :meth:`fold`, with
        nothing assigned again. None while nothing was merged or split.
    """

    name: str
    method: str
    layer: str
    labels: npt.NDArray[np.int32] = field(repr=False)
    names: tuple[str, ...]
    colors: tuple[int, ...] = field(repr=False)
    prototypes: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    weights: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seed: int = 0
    hidden: frozenset[int] = frozenset()
    base: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    owners: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        labels = _frozen(self.labels, np.int32)
        k = len(self.names)
        if labels.ndim != 1:
            raise InvalidInput(f"Labels are one number a tile; got shape {labels.shape}.")
        if k > MAX_CLUSTERS:
            raise InvalidInput(f"{k} clusters are more than the {MAX_CLUSTERS} that can be shown.")
        if len(labels) and not (int(labels.min()) >= -1 and int(labels.max()) < k):
            raise InvalidInput(
                f"Labels go from {labels.min()} to {labels.max()}; with {k} clusters they must lie "
                f"in -1..{k - 1}."
            )
        if len(self.colors) != k:
            raise InvalidInput(f"{k} clusters need {k} colours; got {len(self.colors)}.")
        object.__setattr__(self, "labels", labels)
        for attribute, rows in (("prototypes", k), ("weights", len(labels))):
            array = getattr(self, attribute)
            if array is None:
                continue
            array = _frozen(array, np.float32)
            if (
                array.ndim != 2
                or len(array) != rows
                or (attribute == "weights" and array.shape[1] != k)
            ):
                raise ChannelMismatch(
                    f"{attribute} of {len(labels)} tiles in {k} clusters have shape {array.shape}."
                )
            object.__setattr__(self, attribute, array)
        object.__setattr__(self, "hidden", frozenset(self.check(i) for i in self.hidden))
        self._check_origin()

    def _check_origin(self) -> None:
        if (self.base is None) != (self.owners is None):
            raise InvalidInput("base and owners of a clustering come together or not at all.")
        if self.base is None or self.owners is None:
            return
        base, owners = _frozen(self.base, np.float32), _frozen(self.owners, np.uint8)
        if base.ndim != 2 or owners.ndim != 2 or len(owners) != len(base):
            raise ChannelMismatch(f"base has shape {base.shape}, owners {owners.shape}.")
        if owners.shape[1] not in (1, self.n) or int(owners.max(initial=0)) >= max(self.k, 1):
            raise InvalidInput(
                f"owners has shape {owners.shape} and values up to {owners.max(initial=0)}; it holds "
                f"one of {self.k} clusters for each of {len(base)} prototypes, for all tiles or each."
            )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "owners", owners)

    @classmethod
    def make(
        cls,
        labels: npt.ArrayLike,
        k: int,
        *,
        method: str,
        layer: str,
        name: str = "",
        prototypes: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Clustering:
        """With names ``"cluster 1"..`` and the colours of the palette in order."""
        return cls(
            name or method,
            method,
            layer,
            np.asarray(labels, dtype=np.int32),
            tuple(f"cluster {i + 1}" for i in range(k)),
            tuple(i % len(CATEGORICAL) for i in range(k)),
            None if prototypes is None else np.asarray(prototypes, dtype=np.float32),
            None if weights is None else np.asarray(weights, dtype=np.float32),
            dict(params or {}),
            seed,
        )

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def k(self) -> int:
        return len(self.names)

    @property
    def centres(self) -> npt.NDArray[np.float32] | None:
        """(k, C) centres among the embeddings of :attr:`layer`; None where the prototypes are none."""
        return self.prototypes if self.method in CENTRED else None

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(k,) tiles in each cluster."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.k).astype(np.int64)

    def mask(self, i: int) -> npt.NDArray[np.bool_]:
        """(n,) bool: tiles of cluster ``i``; -1 gives those in none."""
        if i != -1:
            self.check(i)
        found: npt.NDArray[np.bool_] = self.labels == i
        return found

    def check(self, i: int) -> int:
        """``i`` if there is such a cluster, else InvalidInput."""
        if isinstance(i, bool) or not isinstance(i, int | np.integer) or not 0 <= i < self.k:
            raise InvalidInput(
                f"There is no cluster {i!r}; this clustering has {self.k}, numbered from 0."
            )
        return int(i)

    # -- weights of positions ------------------------------------------------------------
    @property
    def fitted(self) -> npt.NDArray[np.float32] | None:
        """(k0, C) the prototypes as they were fitted: what weights of positions are in."""
        return self.prototypes if self.base is None else self.base

    def holds(self, i: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(k0, 1) or (k0, m) bool: which columns of weights count for cluster ``i`` in these tiles."""
        self.check(i)
        if self.owners is None:
            alone: npt.NDArray[np.bool_] = (np.arange(self.k) == i)[:, None]
            return alone
        owners = self.owners if self.owners.shape[1] == 1 else self.owners[:, rows]
        found: npt.NDArray[np.bool_] = owners == i
        return found

    def fold(
        self, weights: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Weights in the clusters from weights in :attr:`fitted`: columns of a merged cluster are
        added, those of a split one go to the part that the tile is in.

        Parameters
        ----------
        weights : (m, k0, ...) float
        rows : (m,) int
            The tiles.

        Returns
        -------
        (m, k, ...) float32
        """
        if self.owners is None:
            return weights
        folded = np.empty((len(weights), self.k, *weights.shape[2:]), dtype=np.float32)
        for i in range(self.k):
            folded[:, i] = self.fold_one(weights, rows, i)
        return folded

    def fold_one(
        self, weights: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], i: int
    ) -> npt.NDArray[np.float32]:
        """(m, ...) the weights of cluster ``i`` alone, see :meth:`fold`."""
        if self.owners is None:
            return weights[:, self.check(i)]
        total = np.zeros((len(weights), *weights.shape[2:]), dtype=np.float32)
        held = self.holds(i, rows)
        for column in np.flatnonzero(held.any(axis=1)):
            part = held[column]
            if part.all():
                total += weights[:, column]
            else:
                at = np.flatnonzero(part)
                total[at] += weights[at, column]
        return total

    # -- edits ---------------------------------------------------------------------------
    def hide(self, i: int, hidden: bool = True) -> Clustering:
        """With cluster ``i`` drawn as background, or drawn again; no tile changes its cluster."""
        self.check(i)
        return replace(self, hidden=self.hidden | {int(i)} if hidden else self.hidden - {int(i)})

    def rename(self, i: int, name: str) -> Clustering:
        """With another name for cluster ``i``. Control characters become spaces."""
        self.check(i)
        if not isinstance(name, str):
            raise InvalidInput(f"A cluster's name is text; got {type(name).__name__}.")
        clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
        if not clean or len(clean) > MAX_NAME:
            raise InvalidInput(
                f"A cluster's name has 1 to {MAX_NAME} characters; got {len(clean)}."
            )
        if clean == self.names[i]:
            return self
        return replace(self, names=(*self.names[:i], clean, *self.names[i + 1 :]))

    def recolour(self, i: int, color: int) -> Clustering:
        """With another palette index for cluster ``i``."""
        self.check(i)
        if (
            isinstance(color, bool)
            or not isinstance(color, int | np.integer)
            or not 0 <= color < len(CATEGORICAL)
        ):
            raise InvalidInput(
                f"Colours are palette indices 0..{len(CATEGORICAL) - 1}; got {color!r}."
            )
        if color == self.colors[i]:
            return self
        return replace(self, colors=(*self.colors[:i], int(color), *self.colors[i + 1 :]))

    def merge(self, indices: Sequence[int]) -> Clustering:
        """With several clusters made one, which takes the lowest index, its name and colour.

        Indices above the others close ranks. It is hidden where that of the lowest index was. The weight of the merged factor is the sum of
        theirs; its prototype is their mean, weighted by the total weight (k-means: by size).
        """
        group = sorted({self.check(i) for i in indices})
        if len(group) < 2:
            raise InvalidInput("Merging takes two clusters or more.")
        keep = group[0]
        others = [i for i in range(self.k) if i not in group[1:]]
        target = np.full(self.k + 1, -1, dtype=np.int32)  # the last entry serves label -1
        for new, old in enumerate(others):
            target[old] = new
        target[group] = target[keep]
        share = (
            self.weights[:, group].sum(axis=0) if self.weights is not None else self.sizes[group]
        )
        prototypes, weights = self.prototypes, self.weights
        if prototypes is not None:
            prototypes = prototypes.copy()
            total = share if share.sum() > 0 else np.ones(len(group))
            prototypes[keep] = np.average(prototypes[group], axis=0, weights=total)
            prototypes = prototypes[others]
        if weights is not None:
            weights = weights.copy()
            weights[:, keep] = weights[:, group].sum(axis=1)
            weights = weights[:, others]
        base, owners = self._origin()
        return replace(
            self,
            labels=target[self.labels],
            names=tuple(self.names[i] for i in others),
            colors=tuple(self.colors[i] for i in others),
            prototypes=prototypes,
            weights=weights,
            params={**self.params, "edited": True},
            hidden=frozenset(int(target[i]) for i in self.hidden if i not in group or i == keep),
            base=base,
            owners=None if owners is None else target[owners].astype(np.uint8),
        )

    def _origin(self) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.uint8] | None]:
        """``base`` and ``owners``, also while nothing was merged or split."""
        if self.base is not None or self.prototypes is None:
            return self.base, self.owners
        return self.prototypes, np.arange(self.k, dtype=np.uint8)[:, None]

    def split(
        self, i: int, parts: npt.ArrayLike, prototypes: npt.NDArray[np.float32] | None = None
    ) -> Clustering:
        """With cluster ``i`` cut into parts; the first keeps the index, others come last.

        Parameters
        ----------
        i : int
        parts : (size of cluster i,) int
            Part of each of its tiles in row order, ``0..m-1``, none empty.
        prototypes : (m, C), optional
            Of the parts. Without them the clustering keeps none.

        Returns
        -------
        Clustering
            In an NMF each tile's weight in the factor goes to the part it is in.
        """
        self.check(i)
        part = np.asarray(parts)
        rows = np.flatnonzero(self.labels == i)
        m = int(part.max()) + 1 if len(part) else 0
        if part.shape != rows.shape or m < 2 or len(np.unique(part)) != m:
            raise InvalidInput(
                f"Cluster {i} has {len(rows)} tiles; splitting takes one part number for each, "
                "0..m-1 with m of at least 2."
            )
        labels = self.labels.copy()
        labels[rows] = np.where(part == 0, i, self.k + part - 1)
        weights = self.weights
        if weights is not None:
            extra = np.zeros((self.n, m - 1), dtype=np.float32)
            weights = np.hstack([weights, extra])
            moved = rows[part > 0]
            weights[moved, labels[moved]] = weights[moved, i]
            weights[moved, i] = 0
        merged = None
        if self.prototypes is not None and prototypes is not None:
            merged = np.vstack([self.prototypes, prototypes[1:]]).astype(np.float32)
            merged[i] = prototypes[0]
        base, owners = self._origin()
        if owners is not None:
            moved = rows[part > 0]
            owners = np.repeat(owners, self.n, axis=1) if owners.shape[1] == 1 else owners.copy()
            owners[:, moved] = np.where(owners[:, moved] == i, labels[moved], owners[:, moved])
        used = set(self.colors)
        free = [c for c in range(len(CATEGORICAL)) if c not in used]
        colors = [
            free[j] if j < len(free) else (self.k + j) % len(CATEGORICAL) for j in range(m - 1)
        ]
        return replace(
            self,
            labels=labels,
            names=(*self.names, *(f"{self.names[i]} ({j + 2})" for j in range(m - 1))),
            colors=(*self.colors, *colors),
            prototypes=merged,
            weights=weights,
            params={**self.params, "edited": True},
            hidden=self.hidden | set(range(self.k, self.k + m - 1))
            if i in self.hidden
            else self.hidden,
            base=base,
            owners=owners,
        )

    def same_as(self, other: object) -> bool:
        """Whether all arrays and texts are equal (``==`` is identity: arrays are large)."""
        if not isinstance(other, Clustering):
            return False
        return (
            (self.name, self.method, self.layer, self.names, self.colors, self.seed, self.hidden)
            == (
                *(other.name, other.method, other.layer, other.names, other.colors, other.seed),
                other.hidden,
            )
            and np.array_equal(self.labels, other.labels)
            and _same(self.prototypes, other.prototypes)
            and _same(self.weights, other.weights)
            and _same(self.base, other.base)
            and _same(self.owners, other.owners)
        )


def _frozen(array: npt.ArrayLike, dtype: Any) -> npt.NDArray[Any]:
    """Read-only; a copy where somebody could still write to the original."""
    given = np.ascontiguousarray(array, dtype=dtype)
    if given.flags.writeable:
        given = given.copy() if given is array else given
        given.flags.writeable = False
    return given


def _same(a: npt.NDArray[Any] | None, b: npt.NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b)
