"""Writing a figure: whole or not at all, with what it shows in the file's own metadata."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput
from widgetkit.figures.spec import FigureSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    spec: FigureSpec | None = None,
    caption: str = "",
) -> Path:
    """Write a figure as PNG, SVG or PDF, by the suffix of ``path``.

    The file has exactly the figure's millimetres (nothing is cropped or padded). ``caption`` goes
    into the file's metadata. The same figure gives the same bytes: no date is written.

    Raises
    ------
    InvalidInput
        The suffix is none of .png, .svg, .pdf, or the folder does not exist.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"{target.name!r}: a figure is saved as {', '.join(SUFFIXES)}; give the path one of these."
        )
    if not target.parent.is_dir():
        raise InvalidInput(f"The folder of {target.name!r} does not exist; make it first.")
    import matplotlib as mpl

    spec = spec or FigureSpec()
    handle, temporary = tempfile.mkstemp(
        suffix=suffix, prefix=f".{target.stem}-", dir=target.parent
    )
    os.close(handle)
    try:
        settings: Any = spec.rc() | {"svg.hashsalt": "widgetkit"}
        with mpl.rc_context(settings):
            figure.savefig(temporary, dpi=spec.dpi, metadata=_metadata(suffix, caption))
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _metadata(suffix: str, caption: str) -> dict[str, Any]:
    made = f"widgetkit {__version__}"
    if suffix == ".png":
        return {"Software": made, "Description": caption}
    if suffix == ".svg":
        return {"Date": None, "Creator": made, "Description": caption}
    return {"CreationDate": None, "Creator": made, "Subject": caption}
