"""What the card of one case shows as pictures: its phases, a map a concept, a saliency map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, WidgetkitError
from widgetkit.figures import tiles
from widgetkit.session import MapSpec
from widgetkit.session.mapspec import kind_of
from widgetkit.session.notes import note_of

if TYPE_CHECKING:
    from widgetkit.session import MapResult, Session
    from widgetkit.session.concept_reading import ConceptCase, ConceptReading
    from widgetkit.store import ActivationStore

Pixels = npt.NDArray[np.uint8]

#: Maps that stand beside those of the concepts, in the order in which they are tried: exact ones first.
SALIENCY = (
    "cam",
    "gradcam",
    "layercam",
    "scorecam",
    "relevance",
    "integrated-gradients",
    "occlusion",
)


@dataclass(frozen=True, eq=False)
class Mapped:
    """One map of the case, or why there is none.

    Attributes
    ----------
    of : str
        The concept, or the method's title and the class.
    result : MapResult or None
        Of one tile.
    reason : str
        "" where there is a map.
    """

    of: str
    result: MapResult | None = field(repr=False)
    reason: str = ""


def phases_of(
    store: ActivationStore, row: int, names: Sequence[str] | None = None
) -> list[tuple[str, Pixels]]:
    """Pictures of one tile, each with its name: (H, W) or (H, W, 3) uint8.

    The colours of a volume ``(D, H, W, 3)`` are three phases, and each is a grey picture of its own, of the
    middle slice; every other picture is one. Empty where the store holds no images.

    Parameters
    ----------
    store : ActivationStore
    row : int
    names : sequence of str, optional
        Of the phases; by default those of ``manifest.info["phases"]``, else numbers.

    Raises
    ------
    InvalidInput
        There are three phases, and another number of names.
    """
    if not store.has_images:
        return []
    image = store.images([row])[0]
    shown = tiles.flat(image)
    if not (tiles.is_volume(image) and shown.ndim == 3):
        return [("image", shown)]
    count = shown.shape[-1]
    if names is not None and len(names) != count:
        raise InvalidInput(f"The images have {count} phases; got {len(names)} names.")
    kept = store.manifest.info.get("phases")
    listed = kept if isinstance(kept, list) and len(kept) == count else None
    called = names or listed or [f"phase {i + 1}" for i in range(count)]
    return [(str(called[i]), shown[..., i]) for i in range(count)]


def concept_method(session: Session) -> str:
    """The method of concept maps: that of the session's map where it is one of concepts, else the published one."""
    spec = session.map_spec
    return spec.method if kind_of(spec) == "concept" else "concept"


def concept_map(session: Session, row: int, name: str) -> Mapped:
    """The map of one of the session's concepts in one tile, by :func:`concept_method`."""
    known = session.concepts
    if known is None or name not in known.names:
        return Mapped(name, None, f"{name!r} is no concept of the session any more.")
    return _mapped(session, row, MapSpec(concept_method(session), known.number(name)), name)


def saliency_map(session: Session, row: int, predicted: int | None) -> Mapped:
    """A map towards the predicted class: the first of :data:`SALIENCY` that can be drawn.

    Where the session has no network: CAM behind a linear head, else maps that the store keeps.
    """
    if predicted is None:
        return Mapped("saliency", None, "No class is predicted: the store holds no outputs.")
    reason = "no method for it is known"
    for name in SALIENCY:
        try:
            spec = MapSpec(name, predicted, of="class")
            if name != "cam" and not session.maps_at_once(spec) and session.model is None:
                continue
            found = _mapped(session, row, spec, "")
        except UnknownName:  # a method that is not installed
            continue
        if found.result is not None:
            return Mapped(found.result.title, found.result)
        if name != "cam":
            reason = found.reason
    if session.model is None:
        reason = (
            "no linear head lies directly behind a layer with maps, the store keeps no map towards this class "
            "and the session has no network. Pass it: wk.Session(store, model), or keep maps: "
            "session.keep_maps('gradcam')"
        )
    return Mapped("saliency", None, f"No saliency map: {reason.rstrip('.')}.")


def _mapped(session: Session, row: int, spec: MapSpec, name: str) -> Mapped:
    try:
        result = session.maps([row], spec)
    except UnknownName:
        raise
    except WidgetkitError as problem:
        return Mapped(name, None, str(problem))
    if not result.ready[0]:
        return Mapped(name, None, "The store keeps no such map of this tile.")
    return Mapped(name or result.title, result)


def blend(
    image: Pixels | None, result: MapResult, *, opacity: float = 0.75, side: int = 160
) -> Pixels:
    """A map over its picture in grey, (H, W, 3) uint8, enlarged to about ``side`` px.

    Parameters
    ----------
    image : (H, W), (H, W, 3) or volume, uint8, or None
    result : MapResult
        Of one tile.
    """
    from PIL import Image

    values = result.values[0]
    if image is None:
        shape: tuple[int, ...] = (side, side)
        ground = np.full((*shape, 1), 255.0)
    else:
        grey = tiles.luminance(tiles.flat(image))
        times = max(1, round(side / max(grey.shape)))
        shape = (grey.shape[0] * times, grey.shape[1] * times)
        large = Image.fromarray(grey).resize(shape[::-1], Image.Resampling.BICUBIC)
        ground = np.asarray(large, dtype=float)[..., None]
    tint = tiles.tint(values, shape, tiles.map_norm(result), signed=result.signed, opacity=opacity)
    alpha = tint[..., 3:] if image is not None else 1.0
    mixed: Pixels = np.rint(ground * (1 - alpha) + 255 * tint[..., :3] * alpha).astype(np.uint8)
    return mixed


def remarks_of(store: ActivationStore) -> list[str]:
    """What the store says about where its labels and images are from, such as that they are semi-synthetic.

    See :func:`widgetkit.session.notes.note_of`; free text, not escaped.
    """
    columns = ("label", "concepts", "labelled", "data")
    return list(dict.fromkeys(said for name in columns if (said := note_of(store, name))))


def identified(case: ConceptCase) -> list[str]:
    """Names of the concepts that were seen and kept, the most relevant first."""
    rows = case.concepts
    return [str(name) for name in rows["concept"][~rows["excluded"].to_numpy(bool)]]


def verdict(case: ConceptCase) -> list[str]:
    """What is predicted of a case, how surely, and whether it is so."""
    said = []
    if case.predicted is not None:
        sure = dict(case.probabilities).get(case.predicted)
        how = f" ({100 * sure:.0f} %)" if sure is not None else ""
        said.append(f"Tile {case.row}: predicted {case.predicted}{how}.")
    else:
        said.append(f"Tile {case.row}: no class is predicted.")
    if case.truth is not None:
        right = case.truth == case.predicted
        judged = f" The prediction is {'right' if right else 'wrong'}." if case.predicted else ""
        said.append(f"True class: {case.truth}.{judged}")
    if case.consistency is not None and np.isfinite(case.consistency):
        said.append(
            f"{100 * case.consistency:.0f} % of what was identified fits the predicted class."
        )
    if case.rest is not None and np.isfinite(case.rest):
        said.append(f"Not accounted for by any concept: {case.rest:.3g} of the logit.")
    return said


def source_of(reading: ConceptReading) -> str:
    """What read the concepts, from which layer, and on how many tiles, in a sentence."""
    return reading.note or (
        f"{reading.estimator} on layer {reading.layer!r}, learned from {int(reading.learned.sum()):,} tiles."
    )
