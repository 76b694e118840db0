"""Liver lesions in three phases of which every radiological concept is known, with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.simulate.liver_background import SHAPE, SPACING, LiverBackground, parenchyma
from widgetkit.simulate.liver_canvas import PHASES, Scan, mark_place
from widgetkit.simulate.liver_drawing import lesion
from widgetkit.simulate.liver_patterns import (
    CHARACTERISTIC,
    CLASSES,
    CONCEPTS,
    as_concepts,
    concept_frequencies,
    draw,
    labelled,
    likely_classes,
)
from widgetkit.tiles.array import from_array

if TYPE_CHECKING:
    from widgetkit.tiles.array import ArrayTiles

Bools = npt.NDArray[np.bool_]

#: Two scanners: the second leaves a line of interference at the edge of its images.
SCANNERS = ("scanner 1", "scanner 2 (line)")
#: Share of patients on the second scanner where it has nothing to do with their disease.
MARKED = 0.2
MARKED_CLASS = "colorectal metastasis"
#: How many lesions a patient has: one, two, three; and the share of patients with a single lesion
#: who have another one of another class.
LESIONS, MIXED = (0.66, 0.24, 0.10), 0.06
SIZE_MM = (14.0, 34.0)


@dataclass(frozen=True, eq=False, repr=False)
class LiverSimulation:
    """Simulated lesions and all that is true of them: semi-synthetic, or of a phantom.

    Attributes
    ----------
    images : (n, 12, 32, 32, 3) uint8
        Volumes of 48 x 46 x 46 mm with the lesion in their middle; the colours are the arterial,
        portal venous and delayed phase.
    labels : (n,) int32
        Class, a row of ``class_names``.
    concepts : (n, 14) bool
        Which concepts each lesion shows.
    labelled : (n, 14) bool
        What a reader noted: up to four of them, at random where there are more.
    patients : (n,) str
        Simulated ones; the patient decides the scanner.
    marked : (n,) bool
        Scanned with the line of interference.
    masks : mapping
        ``masks[concept]`` is (n, 12, 32, 32) bool: where the concept is visible, False throughout where
        it is not shown. Packed in memory, eight voxels a byte.
    lesions : (n, 12, 32, 32) bool
        The whole lesion.
    table : DataFrame (n, ...)
        ``label``, ``patient``, ``scanner``, ``marked``, ``size_mm`` (as drawn), ``concepts`` and
        ``labelled`` (names, with "; " between them), ``data`` (semi-synthetic or phantom) and a column of
        truth values for each concept.
    class_names, concept_names : tuple of str
    class_concepts : DataFrame (6, 14) bool
        Whether at least a tenth of a class's lesions show a concept.
    frequencies : DataFrame (6, 14) float
        What share of them does.
    spacing : tuple of float
        mm along (D, H, W).
    source : str
        Whether it is semi-synthetic or a phantom, in a sentence.
    seed : int
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    concepts: Bools
    labelled: Bools
    patients: npt.NDArray[np.str_]
    marked: Bools
    masks: ConceptMasks
    lesions: Bools
    table: pd.DataFrame
    class_names: tuple[str, ...]
    concept_names: tuple[str, ...]
    class_concepts: pd.DataFrame
    frequencies: pd.DataFrame
    spacing: tuple[float, ...]
    source: str
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, colours last."""
        return self.images.shape[1:]

    @property
    def phases(self) -> tuple[str, ...]:
        """What the three colours are."""
        return PHASES

    @property
    def kind(self) -> str:
        """ "semi-synthetic" or "phantom"; for titles."""
        return self.source.partition(":")[0]

    @property
    def mark(self) -> Bools:
        """Where the line of interference is in marked images, (12, 32, 32)."""
        return mark_place()

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape[:-1]))
        patients = len(np.unique(self.patients))
        return (
            f"<LiverSimulation ({self.kind}): {len(self)} lesions of {patients} simulated patients, "
            f"{len(self.class_names)} classes, {len(self.concept_names)} concepts; {size} voxels, 3 "
            f"phases; {self.source}>"
        )

    def tiles(self) -> ArrayTiles:
        """An ordinary tile source with :attr:`table` as its metadata.

        The name of the source says that it is semi-synthetic, or a phantom.
        """
        return from_array(
            self.images,
            volume=True,
            source=f"liver lesions ({self.kind}), seed {self.seed}",
            mpp=self.spacing[-1] * 1000,
            metadata=self.table,
        )


class ConceptMasks(Mapping[str, Bools]):
    """Places of concepts, kept as bits; a concept's are unpacked when they are asked for.

    Attributes
    ----------
    packed : (n, 14, bytes) uint8
        As ``numpy.packbits`` gives it for each place in C order.
    """

    def __init__(
        self,
        packed: npt.NDArray[np.uint8],
        names: Sequence[str] = CONCEPTS,
        shape: Sequence[int] = SHAPE,
    ) -> None:
        self.packed = packed
        self._names, self._shape = tuple(names), tuple(int(side) for side in shape)
        needed = -(-int(np.prod(self._shape)) // 8)
        if packed.ndim != 3 or packed.dtype != np.uint8 or packed.shape[1:] != (
            len(self._names), needed,
        ):  # fmt: skip
            raise InvalidInput(
                f"Packed places of shape {packed.shape} and {packed.dtype}: expected uint8 of (n, "
                f"{len(self._names)}, {needed}) for volumes of {self._shape}."
            )

    def __getitem__(self, name: str) -> Bools:
        return self.take(name)

    def take(self, name: str, rows: npt.ArrayLike | None = None) -> Bools:
        """Places of one concept in some images, (m, D, H, W).

        Raises
        ------
        UnknownName
        """
        if name not in self._names:
            raise UnknownName(f"There is no concept {name!r}. {near(str(name), self._names)}")
        bits = self.packed[:, self._names.index(name)]
        if rows is not None:
            bits = bits[np.asarray(rows)]
        count = int(np.prod(self._shape))
        return np.unpackbits(bits, axis=1, count=count).view(bool).reshape(-1, *self._shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def liver_lesions(
    n: int | None = None,
    *,
    concepts: Sequence[Collection[str]] | npt.ArrayLike | None = None,
    shortcut: float = 0.0,
    size_mm: tuple[float, float] = SIZE_MM,
    nuisance: float = 1.0,
    background: LiverBackground = "auto",
    seed: int = 0,
) -> LiverSimulation:
    """Semi-synthetic liver lesions in three phases: six classes, 14 concepts, their places.

    The class decides how likely each combination of concepts is, and the combination alone decides
    what is drawn; see :data:`~widgetkit.simulate.liver_patterns.PATTERNS` and ``docs/liver-lesions.md``.

    Parameters
    ----------
    n : int, optional
        Lesions; classes have the same size, or differ by one. Default 300, or as many as ``concepts`` says.
    concepts : sequence of collections of str, or (n, 14) of 0 and 1, optional
        Switches: what each lesion shows, instead of drawing it. The class is then drawn by how
        probable this makes each, and every lesion is a patient's only one.
    shortcut : float
        How much a line of interference that one of two scanners leaves says about the class: at 0
        a fifth of all patients has it, at 1 all with colorectal metastases and nobody else.
    size_mm : (least, largest)
        Diameters, drawn evenly between, 6 to 40; the class does not matter.
    nuisance : float
        Noise, motion, gain and shading as scanners have them (1), none of them (0), or more (up to
        3). Nothing else depends on it.
    background : "auto", "liver" or "phantom"
        ``"liver"``: parenchyma made from patches of the one real liver slice that comes with pydicom
        (semi-synthetic). ``"phantom"``: correlated noise. ``"auto"``: the phantom, with a warning, where
        pydicom is not installed.
    seed : int
        Same seed, same bytes. Other seeds have other patients.

    Returns
    -------
    LiverSimulation

    Raises
    ------
    UnknownName
        No such concept.
    InvalidInput
        Concepts that exclude each other, or numbers beyond what is sensible.
    MissingDependency
        ``background="liver"`` without pydicom.

    Notes
    -----
    Structures are drawn on a grid twice as fine as the voxels along each axis, so that their edges
    fill voxels in part; what a structure hides of another does not count to the other's place, and a place
    is where it fills more than half of a voxel (a thin one: its fullest voxels). How far a structure's
    grey is from its surroundings differs from lesion to lesion. Noise is Rician; each phase is
    shifted a little and some are smeared by motion. All patients have the parenchyma of one real slice.

    References
    ----------
    Wang et al., Deep learning for liver tumor diagnosis part II, Eur Radiol 29 (2019) 3348-3357,
    for classes and concepts; none of its data is used.

    Examples
    --------
    >>> from widgetkit import simulate
    >>> made = simulate.liver_lesions(6, background="phantom")
    >>> made.images.shape, made.class_names[0], made.masks["central scar"].shape
    ((6, 12, 32, 32, 3), 'cyst', (6, 12, 32, 32))
    """
    seed = check_seed(seed)
    rng = np.random.default_rng([seed, 2**31])
    if not (_is_number(shortcut) and 0 <= shortcut <= 1):
        raise InvalidInput(f"shortcut={shortcut!r}: a number from 0 to 1.")
    if not (_is_number(nuisance) and 0 <= nuisance <= 3):
        raise InvalidInput(f"nuisance={nuisance!r}: a number from 0 to 3.")
    low, high = _sizes(size_mm)
    if concepts is None:
        count = check_count(300 if n is None else n, "n")
        labels = (np.arange(count) % len(CLASSES))[rng.permutation(count)].astype(np.int32)
        owners = _patients(labels, rng)
        shown = draw(labels, rng)
    else:
        shown = as_concepts(concepts)
        count = len(shown)
        if not count or (n is not None and n != count):
            raise InvalidInput(f"n={n} and concepts for {count} lesions: leave n out.")
        labels = likely_classes(shown, rng)
        owners = np.arange(count)
    ground = parenchyma(background)
    noted = labelled(shown, rng)
    marked, gains = _scanners(labels, owners, float(shortcut), rng)
    sizes = rng.uniform(low, high, count)
    images = np.empty((count, *SHAPE, 3), np.uint8)
    packed = np.empty((count, len(CONCEPTS), int(np.prod(SHAPE)) // 8), np.uint8)
    lesions = np.empty((count, *SHAPE), bool)
    for i in range(count):
        scan = Scan(float(nuisance), float(gains[i]), bool(marked[i]))
        drawn = lesion(shown[i], float(sizes[i]), ground, scan, np.random.default_rng([seed, i]))
        images[i], lesions[i] = drawn.image, drawn.lesion
        packed[i] = np.packbits(drawn.masks.reshape(len(CONCEPTS), -1), axis=1)
    patients = np.array([f"P{seed}-{owner + 1:04d}" for owner in owners])
    frequencies = concept_frequencies()
    table = pd.DataFrame(
        {
            "label": np.array(CLASSES)[labels],
            "patient": patients,
            "scanner": np.array(SCANNERS)[marked.astype(int)],
            "marked": marked,
            "size_mm": sizes.round(1),
            "concepts": _names(shown),
            "labelled": _names(noted),
            "data": ground.source.partition(":")[0],
            **{name: shown[:, number] for number, name in enumerate(CONCEPTS)},
        }
    )
    for array in (images, labels, shown, noted, patients, marked, packed, lesions):
        array.flags.writeable = False
    return LiverSimulation(
        images, labels, shown, noted, patients, marked, ConceptMasks(packed), lesions, table,
        CLASSES, CONCEPTS, frequencies >= CHARACTERISTIC, frequencies, SPACING, ground.source, seed,
    )  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _sizes(size_mm: object) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in size_mm)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        low = high = float("nan")
    if not 6 <= low <= high <= 40:
        raise InvalidInput(f"size_mm={size_mm!r}: two diameters from 6 to 40, the smaller first.")
    return low, high


def _names(shown: Bools) -> list[str]:
    return ["; ".join(np.array(CONCEPTS)[row]) for row in shown]


def _patients(labels: npt.NDArray[np.int32], rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """The patient of each lesion, numbered from 0 in the order of their first lesions."""
    owners = np.empty(len(labels), np.intp)
    single: list[int] = []  # lesions of patients who have no other
    number = 0
    for label in range(len(CLASSES)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        at = 0
        while at < len(rows):
            many = 1 + int(rng.choice(3, p=LESIONS))
            here = rows[at : at + many]
            owners[here] = number
            if len(here) == 1:
                single.append(int(here[0]))
            number, at = number + 1, at + len(here)
    order = rng.permutation(single)
    pairs = round(MIXED * len(single) / 2)
    for a, b in zip(order[:pairs], order[pairs : 2 * pairs], strict=True):
        owners[b] = owners[a]  # may be of one class by chance: two lesions then, which is as well
    _, first, inverse = np.unique(owners, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _scanners(
    labels: npt.NDArray[np.int32],
    owners: npt.NDArray[np.intp],
    shortcut: float,
    rng: np.random.Generator,
) -> tuple[Bools, npt.NDArray[np.float64]]:
    """Whether each image has the line, and its gain; the same for all of a patient's."""
    count = int(owners.max()) + 1
    has = np.zeros(count, bool)
    has[owners[labels == CLASSES.index(MARKED_CLASS)]] = True
    chance = np.where(has, MARKED + (1 - MARKED) * shortcut, MARKED * (1 - shortcut))
    marked = rng.random(count) < chance
    gain = np.exp(rng.normal(0, 0.08, count).clip(-0.2, 0.2))
    return marked[owners], gain[owners]
