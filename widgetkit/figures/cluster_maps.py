"""Maps of clusters on paper: mean image, mean map, variance, and members with their maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput
from widgetkit.figures import tiles
from widgetkit.figures.compose import LETTER, PT_MM, _area, _page, _wrapped
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, Area
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.explain import ClusterMaps
    from widgetkit.session import Session

#: Colours of the variance: not those of the maps, so that nobody reads one on the other's bar.
SPREAD = "magma"
#: The scales end where this share of all cells has its value: single hot ones would darken the rest.
QUANTILE = 0.995
#: Room for the names of clusters, and between the means and the members; millimetres.
NAME_MM, PART_MM = 20.0, 3.0
#: A colour bar.
BAR_MM = 2.2
#: Smallest side of a cell that still shows something.
LEAST_MM = 4.0


def clustermaps(session: Session, spec: FigureSpec | None = None, **options: Any) -> Figure:
    """Mean, variance and members of the maps of each cluster of a session, computed now.

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    **options
        Of ``session.cluster_maps``: ``spec``, ``most``, ``boxes``, ``masks``, ``shape`` ...

    Raises
    ------
    NeedsActivations, NeedsModel, InvalidInput
        There are no clusters, or what the maps need is not there.
    """
    found = session.cluster_maps(**options)
    clustering = session.clustering
    assert clustering is not None
    return cluster_maps(found, spec, colours=clustering.colors)


def cluster_maps(
    found: ClusterMaps,
    spec: FigureSpec | None = None,
    *,
    colours: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    opacity: float = 0.75,
) -> Figure:
    """A row a cluster: mean image, mean map over it, variance, and members with their maps.

    All maps share one scale and all variances another, each with its bar. Of volumes the slice is
    shown in which the cluster's mean map is strongest; its number stands at the row. The line is
    the mean organ, where there are masks.

    Parameters
    ----------
    found : ClusterMaps
        Of :func:`widgetkit.explain.cluster_maps`.
    spec : FigureSpec, optional
    colours : k palette indices, optional
    window : (low, high), optional
        Values of the images that are black and white; by default 0 to 255 where they lie in that
        range, else nearly all of what is shown.
    opacity : float
        Of the maps, 0..1.

    Raises
    ------
    InvalidInput
        A page that is too narrow.
    """
    spec = spec or FigureSpec()
    if window is not None and not window[0] < window[1]:
        raise InvalidInput(f"window={window!r}: two values of the images, the lower one first.")
    layout = _Layout(found, spec)
    return _page(
        spec.with_height(layout.height),
        lambda page: _draw(
            _area(page, spec.with_height(layout.height)), found, layout, colours, window, opacity
        ),
        placed=True,
    )


def cluster_maps_caption(found: ClusterMaps) -> str:
    """What :func:`cluster_maps` shows, as plain sentences. Nothing in it names an image."""
    parts = ["mean map over it", "variance between the members"]
    if found.images is not None:
        parts.insert(0, "mean image of its members")
    else:
        parts[0] = "mean map of its members"
    if found.rows.shape[1]:
        with_image = "members with their maps" if found.images is not None else "maps of members"
        parts.append(with_image)
    said = f"Maps of {found.k} cluster{'s' if found.k > 1 else ''}, a row each: {', '.join(parts)}."
    if len(found.shape) == 3:
        said += " Of each the slice in which its mean map is strongest."
    if found.organ is not None:
        said += " Line: where half of the members have their organ."
    return " ".join([said, *found.sentences, f"widgetkit {__version__}."])


def cluster_maps_methods(found: ClusterMaps) -> str:
    """Sentences for the methods section of a paper: how the maps of clusters were made."""
    aligned = "were aligned" if "Nothing was aligned" not in found.describe() else "were compared"
    scaled = (
        "divided by its own mean, so that maps count by where they are and not by how strong they are"
        if found.scaling == "own"
        else "taken in the scale it has"
    )
    how = "linear interpolation between cell centres, and area means where the frame is coarser"
    return (
        f"Maps and images of {int(found.count.sum()):,} images in {found.k} clusters {aligned} in a "
        f"frame of {' x '.join(map(str, found.shape))} cells ({how}); each map was {scaled}. Mean and "
        "variance (n - 1) were taken cell by cell over the members of each cluster. "
        + " ".join(found.sentences[1:2])
        + f" widgetkit {__version__}."
    )


class _Layout:
    """Where things stand, in millimetres from the top left."""

    def __init__(self, found: ClusterMaps, spec: FigureSpec) -> None:
        self.line: float = spec.font_pt * PT_MM
        rows, columns = found.shape[-2:]
        self.pictured = found.images is not None
        self.means: int = 2 + self.pictured
        self.across: int = 1 + self.pictured  # a member and its map
        self.members: int = found.rows.shape[1]
        cells = self.means + self.across * self.members
        gaps = (self.means - 1) * GAP_MM + (PART_MM + (self.members - 1) * GAP_MM) * bool(
            self.members
        )
        pairs = self.members * (self.across - 1) * tiles.PAIR_MM
        self.width: float = (spec.width_mm - 2 * EDGE_MM - NAME_MM - gaps - pairs) / cells
        if self.width < LEAST_MM:
            raise InvalidInput(
                f"{self.members} members of each cluster leave {max(self.width, 0):.1f} mm for a "
                f"picture on a page of {spec.width_mm:g} mm. Use fewer, or a wider page."
            )
        self.cell: float = self.width * rows / columns
        self.top: float = EDGE_MM + 2.6 * self.line
        self.foot = 2.0 + BAR_MM + 3.4 * self.line
        around = self.top + self.foot
        self.height = around + found.k * (self.cell + GAP_MM) - GAP_MM
        if spec.height_mm is not None and spec.height_mm < self.height:
            room = (spec.height_mm - around + GAP_MM) / found.k - GAP_MM
            if room < LEAST_MM:
                raise InvalidInput(
                    f"{found.k} clusters do not fit a page of {spec.height_mm:g} mm; it takes "
                    f"{self.height:.0f} mm. Leave the height out."
                )
            self.width, self.cell = self.width * room / self.cell, room

    def y(self, row: int) -> float:
        return self.top + row * (self.cell + GAP_MM)

    def mean_x(self, column: int) -> float:
        return EDGE_MM + NAME_MM + column * (self.width + GAP_MM)

    def member_x(self, member: int, part: int) -> float:
        unit = self.across * self.width + (self.across - 1) * tiles.PAIR_MM
        begin = self.mean_x(self.means) - GAP_MM + PART_MM
        return begin + member * (unit + GAP_MM) + part * (self.width + tiles.PAIR_MM)


def _draw(
    area: Area,
    found: ClusterMaps,
    layout: _Layout,
    colours: Sequence[int] | None,
    window: tuple[float, float] | None,
    opacity: float,
) -> None:
    from matplotlib.colors import Normalize

    top = _end(np.concatenate([np.abs(found.mean).ravel(), np.abs(found.member_maps).ravel()]))
    norm = Normalize(-top if found.signed else 0.0, top, clip=True)
    spread = Normalize(0.0, _end(found.variance.ravel()), clip=True)
    shown = _Pictures(found, window)
    _headings(area, layout)
    for c in range(found.k):
        y, at = layout.y(c), _strongest(found.mean[c])
        _name(area, layout, found, c, at, y, (colours or range(found.k))[c])
        column = 0
        organ = None if found.organ is None else _slice(found.organ[c], at)
        there = bool(found.count[c])
        if layout.pictured:
            axes = area.axes(layout.mean_x(0), y, layout.width, layout.cell)
            if there:
                tiles.show_tile(axes, shown.mean(c, at))
            else:
                _nothing(axes)
            column = 1
        for values, variance in ((found.mean[c], False), (found.variance[c], True)):
            axes = area.axes(layout.mean_x(column), y, layout.width, layout.cell)
            column += 1
            if not there or (variance and found.count[c] < 2):  # of one nothing is known to vary
                _nothing(axes)
            elif variance:
                axes.imshow(_slice(values, at), cmap=SPREAD, norm=spread, interpolation="nearest")
                tiles.frame(axes)
                _outline(axes, organ)
            else:
                ground = shown.mean(c, at) if layout.pictured else None
                _overlay(axes, ground, _slice(values, at), norm, found.signed, opacity)
                _outline(axes, organ)
        for m, row in enumerate(found.rows[c]):
            if row < 0:
                continue
            picture = shown.member(c, m, at) if layout.pictured else None
            if picture is not None:
                axes = area.axes(layout.member_x(m, 0), y, layout.width, layout.cell)
                tiles.show_tile(axes, picture)
            axes = area.axes(layout.member_x(m, layout.across - 1), y, layout.width, layout.cell)
            _overlay(
                axes, picture, _slice(found.member_maps[c, m], at), norm, found.signed, opacity
            )
    _bars(area, layout, found, norm, spread)


# -- parts -------------------------------------------------------------------------------
class _Pictures:
    """Mean images and members as 8-bit pictures in one window."""

    def __init__(self, found: ClusterMaps, window: tuple[float, float] | None) -> None:
        self._mean, self._members = found.images, found.member_images
        if window is None and found.images is not None:
            assert found.member_images is not None
            there = [found.images[found.count > 0].ravel()]
            there.append(found.member_images[found.rows >= 0].ravel())
            values = np.concatenate(there)
            low, high = (float(values.min(initial=0)), float(values.max(initial=0)))
            if low < 0 or high > 255 or high <= 1:
                low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
                window = (low, high if high > low else low + 1)
        self._window = window or (0.0, 255.0)

    def mean(self, c: int, at: int) -> np.ndarray:
        assert self._mean is not None
        return self._picture(self._mean[c], at)

    def member(self, c: int, m: int, at: int) -> np.ndarray:
        assert self._members is not None
        return self._picture(self._members[c, m], at)

    def _picture(self, values: np.ndarray, at: int) -> np.ndarray:
        low, high = self._window
        flat = _slice(values, at) if at >= 0 else values
        unit = np.clip((flat - low) / (high - low), 0, 1)
        return np.asarray(np.rint(255 * unit), np.uint8)


def _strongest(mean: np.ndarray) -> int:
    """Slice of a volume in which its map is strongest; -1 for a plane."""
    if mean.ndim == 2:
        return -1
    return int(np.abs(mean).sum(axis=(1, 2)).argmax())


def _slice(values: np.ndarray, at: int) -> np.ndarray:
    return values if at < 0 else values[at]


def _end(values: np.ndarray) -> float:
    """Upper end of a scale; above 0 where all is 0."""
    if not values.size:
        return 1.0
    return float(np.quantile(values, QUANTILE)) or float(values.max()) or 1.0


def _overlay(
    axes: Axes,
    ground: np.ndarray | None,
    values: np.ndarray,
    norm: Any,
    signed: bool,
    opacity: float,
) -> None:
    if ground is None:
        name = tiles.SIGNED if signed else tiles.UNSIGNED
        axes.imshow(values, cmap=name, norm=norm, interpolation="nearest")
        tiles.frame(axes)
    else:
        tiles.overlay(axes, ground, values, norm, signed=signed, opacity=opacity)


def _outline(axes: Axes, organ: np.ndarray | None) -> None:
    """Where half of the members have their organ."""
    if organ is None or min(organ.shape) < 2 or not organ.min() < 0.5 < organ.max():
        return
    for hue, width in (("white", 1.4), ("black", 0.6)):
        axes.contour(organ, levels=[0.5], colors=hue, linewidths=width)


def _nothing(axes: Axes) -> None:
    axes.set_facecolor("#F4F4F4")
    axes.text(0.5, 0.5, "\N{EN DASH}", ha="center", va="center", transform=axes.transAxes)
    tiles.frame(axes)


def _headings(area: Area, layout: _Layout) -> None:
    means = [*(["mean\nimage"] if layout.pictured else []), "mean\nmap", "variance"]
    places = [(layout.mean_x(i) + layout.width / 2, words) for i, words in enumerate(means)]
    if layout.members:
        end = layout.member_x(layout.members - 1, layout.across - 1) + layout.width
        words = "members, each with its map" if layout.pictured else "maps of members"
        places.append(((layout.member_x(0, 0) + end) / 2, words))
    for x, words in places:
        area.page.text(
            x / area.width_mm, 1 - (layout.top - 0.4 * layout.line) / area.height_mm, words,
            ha="center", va="bottom", linespacing=1.0,
        )  # fmt: skip


def _name(
    area: Area, layout: _Layout, found: ClusterMaps, c: int, at: int, y: float, hue: int
) -> None:
    swatch = area.axes(EDGE_MM, y, 1.6, layout.cell)
    swatch.set_facecolor(colour(hue))
    tiles.frame(swatch)
    words = [_wrapped(found.names[c], NAME_MM - 3, layout.line), f"n = {int(found.count[c]):,}"]
    if at >= 0:
        words.append(f"slice {at + 1} of {found.shape[0]}")
    most = max(1, int(layout.cell / (1.2 * layout.line)))
    lines = "\n".join(words).split("\n")
    if len(lines) > most:  # the number of members is worth more than the end of a name
        lines = [*lines[: max(0, most - 1)], words[1]]
    area.page.text(
        (EDGE_MM + 2.6) / area.width_mm, 1 - (y + layout.cell / 2) / area.height_mm,
        "\n".join(lines), va="center", ha="left", linespacing=1.1,
    )  # fmt: skip


def _bars(area: Area, layout: _Layout, found: ClusterMaps, norm: Any, spread: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    y = layout.y(found.k) - GAP_MM + 2.0
    unit = "map (1 = even)" if found.scaling == "own" else "map"
    wide = LETTER * layout.line * len(unit)
    name = tiles.SIGNED if found.signed else tiles.UNSIGNED
    first = layout.mean_x(0)
    second = layout.mean_x(layout.means - 1)
    for x, width, drawn, words in (
        (first, max(second - first - 2 * GAP_MM, min(wide, layout.width)), (norm, name), unit),
        (
            second,
            1.6 * layout.width if layout.members else layout.width,
            (spread, SPREAD),
            "variance",
        ),
    ):
        axes = area.axes(x, y, width, BAR_MM)
        bar = area.page.colorbar(
            ScalarMappable(*drawn), cax=axes, orientation="horizontal", label=words, extend="max"
        )
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(max(2, int(width / (5 * layout.line))))
        bar.update_ticks()
        axes.xaxis.labelpad = 1
