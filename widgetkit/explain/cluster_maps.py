"""What the maps of a cluster's members have in common: mean, variance, members that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import representatives
from widgetkit.analysis._arrays import check_count, choice
from widgetkit.errors import InvalidInput
from widgetkit.explain.organ_box import Boxes, Float, align, check_boxes, checked, organ_boxes

Scaling = Literal["own", "shared"]
SCALINGS: tuple[str, ...] = get_args(Scaling)

#: Cells along the longest side of a frame that nobody asked for.
FRAME_MOST = 64
#: Cells along a side that members are compared on, in two and in three dimensions: 1024 and 4096.
_COARSE = {2: 32, 3: 16}


@dataclass(frozen=True, eq=False)
class ClusterMaps:
    """Maps of clusters, in one frame of ``shape`` cells.

    Attributes
    ----------
    mean : (k, *shape) float32
        0 everywhere for a cluster without members.
    variance : (k, *shape) float32
        Between the members, with ``count - 1``; 0 for a cluster of one or none, never NaN.
    count : (k,) int64
        Members.
    rows : (k, r) int64
        Members that stand for the cluster, best first; -1 where there are fewer.
    member_maps : (k, r, *shape) float32
        Their maps; 0 where there is none.
    images : (k, *shape[, 3]) float32, or None
        Mean image of the members, in the units of the images.
    member_images : (k, r, *shape[, 3]) float32, or None
    organ : (k, *shape) float32, or None
        Share of the members whose organ covers a place; with masks.
    names : tuple of str
        Free text. Not escaped.
    scaling : "own" or "shared"
    sentences : tuple of str
        What has to be known to read the maps: numbers, alignment, scaling, rule, and what is missing.
    """

    mean: Float = field(repr=False)
    variance: Float = field(repr=False)
    count: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64] = field(repr=False)
    member_maps: Float = field(repr=False)
    images: Float | None = field(repr=False)
    member_images: Float | None = field(repr=False)
    organ: Float | None = field(repr=False)
    names: tuple[str, ...]
    scaling: Scaling
    sentences: tuple[str, ...] = field(repr=False)

    @property
    def k(self) -> int:
        return len(self.count)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of the frame along each axis."""
        return self.mean.shape[1:]

    @property
    def signed(self) -> bool:
        """Whether some values lie below 0, so that 0 is the middle colour."""
        return bool(min(self.mean.min(initial=0), self.member_maps.min(initial=0)) < 0)

    def describe(self) -> str:
        """The sentences, one line each."""
        return "\n".join(self.sentences)


def cluster_maps(
    maps: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    k: int | None = None,
    boxes: npt.ArrayLike | None = None,
    images: npt.ArrayLike | None = None,
    masks: npt.ArrayLike | None = None,
    shape: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    weights: npt.ArrayLike | None = None,
    scaling: Scaling = "own",
    members: int = 3,
    least: int = 5,
    names: Sequence[str] | None = None,
) -> ClusterMaps:
    """Mean and variance of the maps of each cluster's members, after alignment to the organ.

    Parameters
    ----------
    maps : (n, *grid) float
        The map of each image for its own cluster, such as CLAM's; in two or three dimensions.
    labels : (n,) int
        Cluster of each image from 0; -1: in none, left out.
    k : int, optional
        Clusters; by default as many as the labels name.
    boxes : (n, d, 2) float, optional
        Organ of each image (:func:`organ_boxes`). Each image and map is resampled from its box to
        the frame; without boxes (and masks) places are compared as they lie in the images.
    images : (n, *space[, 3]), optional
        The images, for their mean and for the members shown.
    masks : (n, *space) bool, optional
        Organs. Boxes are taken from them where none are given.
    shape : d ints, optional
        The frame; by default the median box (else the image), at most 64 cells along a side.
    size : d ints, optional
        Pixels of the images, that ``boxes`` are in; needed only where neither images nor masks say.
    weights : (n,) or (n, k) float, optional
        How surely an image belongs to its cluster, such as ``DeepClustering.soft_assign``. The
        surest members stand for the cluster; without weights those whose aligned maps lie in the
        middle of the others (medoid). Mean and variance count every member once.
    scaling : {"own", "shared"}
        "own": each map is divided by its own mean in the frame (of its size, where it has negative
        values): 1 is an even map, and a map counts by where it is, not by how strong. "shared":
        maps are taken as they are.
    members : int
        Members that stand for each cluster.
    least : int
        Clusters of fewer members are named in the sentences.
    names : k texts, optional
        Of the clusters; "cluster 1" ... by default.

    Returns
    -------
    ClusterMaps

    Raises
    ------
    InvalidInput
        Numbers and shapes that do not fit; a box that is empty or outside its image.
    BadImage
        NaN or infinity in a map or an image, with its number.

    Warns
    -----
    UserWarning
        Some masks are empty.
    """
    given = checked(maps, "maps")
    if given.ndim not in (3, 4):
        raise InvalidInput(
            f"maps have shape {given.shape}; expected (n, h, w) or (n, d, h, w), one an image."
        )
    n, d = len(given), given.ndim - 1
    owner, count = _owners(labels, n, k)
    clusters, choice_of = len(count), check_count(members, "members", least=0)
    choice(scaling, SCALINGS, "scaling")
    few = check_count(least, "least")
    called = _names(names, clusters)
    surely = _weights(weights, owner, n, clusters)
    pictures, organs = _fitting(images, masks, n, d)
    sides = _sides(size, pictures, organs, given.shape[1:])
    if boxes is None and organs is not None:
        edges: Boxes | None = organ_boxes(organs)
    else:
        edges = None if boxes is None else check_boxes(boxes, n, sides)
    frame = _frame(shape, edges, sides)

    aligned = align(given, edges, frame, size=sides)
    empty = 0
    if scaling == "own":
        aligned, empty = _by_own_mean(aligned, owner >= 0)
    mean = np.zeros((clusters, *frame), np.float32)
    variance = np.zeros_like(mean)
    for c in range(clusters):
        own = aligned[owner == c].astype(np.float64)
        if len(own):
            mean[c] = own.mean(axis=0)
        if len(own) > 1:
            variance[c] = own.var(axis=0, ddof=1)
    rows, rule = _members(aligned, owner, count, surely, choice_of)
    shown = rows >= 0
    member_maps = np.zeros((*rows.shape, *frame), np.float32)
    member_maps[shown] = aligned[rows[shown]]
    mean_image = member_images = None
    if pictures is not None:
        mean_image, member_images = _pictures(pictures, edges, frame, owner, rows, clusters)
    said = [
        _numbers(called, count, n),
        _alignment(edges, organs is not None and boxes is None, frame),
        _SCALING[scaling],
        rule,
        *_remarks(called, count, few, empty),
    ]
    return ClusterMaps(
        mean, variance, count, rows, member_maps, mean_image, member_images,
        None if organs is None else _share(organs, edges, frame, owner, clusters),
        called, scaling, tuple(filter(None, said)),
    )  # fmt: skip


# -- what is given -----------------------------------------------------------------------
def _owners(
    labels: npt.ArrayLike, n: int, k: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cluster of each image, and members of each cluster."""
    found = np.asarray(labels)
    if found.shape != (n,) or (n and found.dtype.kind not in "iu"):
        raise InvalidInput(
            f"labels must be {n} whole numbers, one a map; got {found.dtype} of shape {found.shape}."
        )
    owner = found.astype(np.int64)
    most = int(owner.max(initial=-1)) + 1
    clusters = most if k is None else check_count(k, "k")
    if most > clusters or int(owner.min(initial=-1)) < -1 or not clusters:
        raise InvalidInput(
            f"labels go from {owner.min(initial=-1)} to {owner.max(initial=-1)}; there are "
            f"{clusters} clusters, numbered from 0, and -1 for none."
        )
    return owner, np.bincount(owner[owner >= 0], minlength=clusters).astype(np.int64)


def _names(names: Sequence[str] | None, k: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"cluster {c + 1}" for c in range(k))
    if isinstance(names, str) or len(names) != k:
        raise InvalidInput(f"names must be {k} texts, one a cluster; got {names!r}.")
    return tuple(map(str, names))


def _weights(
    weights: npt.ArrayLike | None, owner: npt.NDArray[np.int64], n: int, k: int
) -> npt.NDArray[np.float64] | None:
    """(n,) how surely each image belongs to its own cluster."""
    if weights is None:
        return None
    found = checked(weights, "weights").astype(np.float64)
    if found.shape == (n,):
        return found
    if found.shape != (n, k):
        raise InvalidInput(f"weights have shape {found.shape}; expected ({n},) or ({n}, {k}).")
    return np.asarray(found[np.arange(n), np.maximum(owner, 0)])


def _fitting(
    images: npt.ArrayLike | None, masks: npt.ArrayLike | None, n: int, d: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    pictures = None if images is None else checked(images, "images")
    organs = None if masks is None else np.asarray(masks)
    for what, one in (("images", pictures), ("masks", organs)):
        if one is None:
            continue
        colours = what == "images" and one.ndim == d + 2 and one.shape[-1] == 3
        if one.ndim != d + 1 + colours or len(one) != n:
            raise InvalidInput(
                f"{what} have shape {one.shape}; expected {n} of {d} dimensions, as the maps have."
            )
    if (
        pictures is not None
        and organs is not None
        and pictures.shape[1 : d + 1] != organs.shape[1:]
    ):
        raise InvalidInput(
            f"Images of {pictures.shape[1:]} and masks of {organs.shape[1:]}: they must be of one size."
        )
    return pictures, organs


def _sides(
    size: Sequence[int] | None,
    images: np.ndarray | None,
    masks: np.ndarray | None,
    grid: tuple[int, ...],
) -> tuple[int, ...]:
    d = len(grid)
    known = images if images is not None else masks
    own = None if known is None else known.shape[1 : d + 1]
    if size is None:
        return grid if own is None else own
    sides = tuple(int(side) for side in size)
    if len(sides) != d or min(sides) < 1 or (own is not None and sides != own):
        raise InvalidInput(f"size={sides} does not fit images of {own or f'{d} dimensions'}.")
    return sides


def _frame(
    shape: Sequence[int] | None, boxes: Boxes | None, sides: tuple[int, ...]
) -> tuple[int, ...]:
    if shape is not None:
        frame = tuple(check_count(side, "each of shape") for side in shape)
        if len(frame) != len(sides):
            raise InvalidInput(f"shape={frame} for maps of {len(sides)} dimensions.")
        return frame
    wanted = np.array(sides, float)
    if boxes is not None and len(boxes):
        wanted = np.median(boxes[..., 1] - boxes[..., 0], axis=0)
    factor = min(1.0, FRAME_MOST / float(wanted.max()))
    return tuple(max(1, round(float(side) * factor)) for side in wanted)


# -- what is made of it ------------------------------------------------------------------
def _by_own_mean(maps: Float, counted: npt.NDArray[np.bool_]) -> tuple[Float, int]:
    """Each map over the mean of its size; how many of the counted ones are zero everywhere."""
    level = np.abs(maps).mean(axis=tuple(range(1, maps.ndim)), dtype=np.float64)
    zero = level <= 0
    scale = np.where(zero, 1.0, level).reshape(-1, *(1,) * (maps.ndim - 1))
    return (maps / scale).astype(np.float32), int((zero & counted).sum())


def _members(
    aligned: Float,
    owner: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    surely: npt.NDArray[np.float64] | None,
    wanted: int,
) -> tuple[npt.NDArray[np.int64], str]:
    rows = np.full((len(count), wanted), -1, np.int64)
    if not wanted:
        return rows, ""
    flat = np.zeros((len(aligned), 1), np.float32)
    if surely is None and len(aligned):
        coarse = [min(side, _COARSE[aligned.ndim - 1]) for side in aligned.shape[1:]]
        flat = align(aligned, None, coarse).reshape(len(aligned), -1)
    for c in np.flatnonzero(count):
        found = representatives(
            np.zeros(len(owner)) if surely is None else surely,
            rule="medoid" if surely is None else "highest",
            count=wanted,
            rows=owner == c,
            embeddings=flat,
        )
        rows[c, : len(found.rows)] = found.rows
    said = (
        "whose aligned maps differ least from those of all others (medoid)"
        if surely is None
        else "with the largest weight in their cluster"
    )
    return rows, f"Shown of each cluster: the members {said}, best first."


def _pictures(
    images: np.ndarray,
    boxes: Boxes | None,
    frame: tuple[int, ...],
    owner: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    k: int,
) -> tuple[Float, Float]:
    """Mean image of each cluster, and the images of its members that are shown."""
    colours = images.shape[len(frame) + 1 :]
    mean = np.zeros((k, *frame, *colours), np.float32)
    shown = np.zeros((*rows.shape, *frame, *colours), np.float32)
    sides = images.shape[1 : len(frame) + 1]
    for c in range(k):
        own = np.flatnonzero(owner == c)
        if not len(own):
            continue
        made = align(images[own], None if boxes is None else boxes[own], frame, size=sides)
        mean[c] = made.mean(axis=0, dtype=np.float64)
        there = rows[c] >= 0
        shown[c, there] = made[np.searchsorted(own, rows[c, there])]
    return mean, shown


def _share(
    masks: np.ndarray,
    boxes: Boxes | None,
    frame: tuple[int, ...],
    owner: npt.NDArray[np.int64],
    k: int,
) -> Float:
    return _pictures(masks, boxes, frame, owner, np.empty((k, 0), np.int64), k)[0]


# -- words -------------------------------------------------------------------------------
_SCALING = {
    "own": "Each map was divided by its own mean in the frame: 1 is what an even map has.",
    "shared": "Maps have the scale they were given in.",
}


def _numbers(names: Sequence[str], count: npt.NDArray[np.int64], n: int) -> str:
    each = ", ".join(f"{name} {int(c):,}" for name, c in zip(names, count, strict=True))
    left = n - int(count.sum())
    without = f" {left:,} image{'s are' if left > 1 else ' is'} in no cluster." if left else ""
    return f"Mean and variance of the maps of each cluster's members: {each}.{without}"


def _alignment(boxes: Boxes | None, by_masks: bool, frame: tuple[int, ...]) -> str:
    cells = " x ".join(map(str, frame))
    if boxes is None:
        return f"Nothing was aligned: maps are compared at the same place of the image, on {cells} cells."
    box = "the box around its organ's mask" if by_masks else "the box of its organ"
    return f"Each image and map was resampled from {box} to {cells} cells."


def _remarks(
    names: Sequence[str], count: npt.NDArray[np.int64], least: int, empty: int
) -> list[str]:
    said = []
    none = [name for name, c in zip(names, count, strict=True) if c == 0]
    one = [name for name, c in zip(names, count, strict=True) if c == 1]
    few = [name for name, c in zip(names, count, strict=True) if 1 < c < least]
    if none:
        said.append(f"Without a member, and drawn empty: {', '.join(none)}.")
    if one:
        said.append(
            f"With one member, whose map is the mean and whose variance is set to 0: {', '.join(one)}."
        )
    if few:
        said.append(f"Of fewer than {least} members, so that little is known: {', '.join(few)}.")
    if empty:
        said.append(
            f"{empty:,} map{'s are' if empty > 1 else ' is'} 0 everywhere and "
            f"count{'' if empty > 1 else 's'} as such."
        )
    return said
