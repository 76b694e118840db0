"""What every view can do beside being looked at: be drawn on paper and put into words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from widgetkit.session import Session

FigureKind = Literal[
    "scatter",
    "gallery",
    "maps",
    "clusters",
    "summary",
    "explorer",
    "slide",
    "reading",
    "association",
    "volume",
    "concepts",
    "concept_card",
    "concept_trust",
]


class Drawn:
    """Mixin: ``figure``, ``caption`` and ``save`` of a view over a session."""

    #: Which function of :mod:`widgetkit.figures` draws this view.
    figure_kind: ClassVar[FigureKind]
    session: Session

    def _figure_options(self) -> dict[str, Any]:
        """Keyword arguments of this view's function in :mod:`widgetkit.figures`."""
        return {}

    def _caption_options(self) -> dict[str, Any]:
        """Keyword arguments of :func:`widgetkit.figures.caption`."""
        return {}

    def figure(self, *, width_mm: float = 180.0, height_mm: float | None = None) -> Figure:
        """What the view shows as a matplotlib figure of this size in millimetres."""
        from widgetkit import figures

        return self._draw(figures.FigureSpec(width_mm=width_mm, height_mm=height_mm))

    def _draw(self, spec: Any) -> Figure:
        from widgetkit import figures

        drawn: Figure = getattr(figures, self.figure_kind)(
            self.session, spec, **self._figure_options()
        )
        return drawn

    def caption(self) -> str:
        """Plain sentences that say what the figure shows; nothing in it names a patient."""
        from widgetkit import figures

        return figures.caption(self.session, self.figure_kind, **self._caption_options())

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        width_mm: float = 180.0,
        height_mm: float | None = None,
        dpi: float = 300.0,
    ) -> Path:
        """Write the figure as ``.png``, ``.svg`` or ``.pdf``, the caption in its metadata.

        Parameters
        ----------
        path : path
            The suffix chooses the format.
        width_mm, height_mm : float
            Size on paper; a height of None takes what the content needs.
        dpi : float
            Of PNG, and of the rasterised points inside SVG and PDF.

        Raises
        ------
        InvalidInput
            Unknown suffix, a size out of range, or a folder that does not exist.
        """
        from widgetkit import figures

        spec = figures.FigureSpec(width_mm=width_mm, height_mm=height_mm, dpi=dpi)
        return figures.save(self._draw(spec), path, spec=spec, caption=self.caption())
