"""The pixels of a slide's file at any scale, through OpenSlide."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadImage, MissingDependency, StoreMismatch, missing
from widgetkit.slides.placement import SlideRecord

Pixels = npt.NDArray[np.uint8]

#: Slides kept open at once, of all pictures together; each holds a file handle and a cache of 32 MB.
OPEN_SLIDES = 16
#: Pixels of a level read for one of the picture, along a side, at most, where the overview is as fine.
MOST_REDUCTION = 8
#: Pixels of the overview along its longer side, at most (50 MB as RGB).
OVERVIEW = 4096
#: The most pixels read at once (64 MB as RGBA), whatever the slide's size.
STRIP_PIXELS = 16_000_000

_Stamp = tuple[int, int]
_open: OrderedDict[tuple[Path, _Stamp], Any] = OrderedDict()
_lock = threading.Lock()


class SlideFile:
    """One slide. Opened when read, closed when many others were read since; any thread may read.

    Parameters
    ----------
    path : Path
    name : str
        For messages.

    Raises
    ------
    MissingDependency
        openslide is not installed.
    BadImage
        The file is not a slide.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path.resolve()
        self.name = name
        self.note = ""
        self._overview: tuple[Pixels, int] | None = None
        self._making = threading.Lock()
        self._stamp = self._stamp_now()
        handle = self._handle()
        self.size: tuple[int, int] = handle.dimensions
        self.quickhash = str(handle.properties.get("openslide.quickhash-1", ""))
        self._downs = tuple(float(v) for v in handle.level_downsamples)
        self._sizes = tuple(handle.level_dimensions)

    @staticmethod
    def opens(path: Path) -> bool:
        """Whether OpenSlide knows the format of a file."""
        return _openslide().OpenSlide.detect_format(path) is not None

    def check(
        self,
        record: SlideRecord | None,
        reach: tuple[float, float],
        listed: Sequence[SlideRecord] = (),
    ) -> None:
        """Raise StoreMismatch unless this is the slide that the tiles were cut from.

        Parameters
        ----------
        record : SlideRecord or None
            Of the slide; None where the store does not tell which of ``listed`` it is.
        reach : (float, float)
            How far the tiles reach, level-0 px.
        listed : sequence of SlideRecord
            All that the store recorded.
        """
        width, height = self.size
        candidates = [r for r in listed if r.quickhash] if record is None else [record]
        known = [r for r in candidates if r.quickhash or r.width]
        if known and not any(self._is(r) for r in known):
            said = known[0]
            was = (
                f"it was {said.width} x {said.height} px, this file has {width} x {height} px"
                if len(known) == 1 and (said.width, said.height) != (width, height)
                else "its size or its hash differs from what was recorded"
            )
            raise StoreMismatch(
                f"Slide {self.name!r} changed since extraction, or the file is another slide: {was}. "
                "Give the file that the tiles were cut from."
            )
        if reach[0] > width + 1 or reach[1] > height + 1:
            raise StoreMismatch(
                f"The tiles of slide {self.name!r} reach {reach[0]:.0f} x {reach[1]:.0f} px, and this "
                f"file has {width} x {height} px: it is another slide."
            )
        if not known:
            self.note = "The store does not say which file its tiles were cut from; not checked."

    def _is(self, record: SlideRecord) -> bool:
        if record.width is not None and (record.width, record.height) != self.size:
            return False
        return not record.quickhash or record.quickhash == self.quickhash

    def region(self, x: int, y: int, width: int, height: int, down: int) -> Pixels:
        """(height, width, 3): the slide at ``1 / down`` from level-0 pixel (x, y) on."""
        level = max(i for i, d in enumerate(self._downs) if i == 0 or d <= down * 1.01)
        ratio = down / self._downs[level]
        if ratio > MOST_REDUCTION and down >= self._overview_down():
            return self._from_overview(x, y, width, height, down)
        # In blocks, so that no more is read at once than a strip.
        side = max(1, math.floor(math.sqrt(STRIP_PIXELS) / ratio))
        if width <= side and height <= side:
            return self._reduced(x, y, width, height, level, ratio)
        out = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, side):
            for left in range(0, width, side):
                wide, high = min(side, width - left), min(side, height - top)
                at = (x + left * down, y + top * down)
                out[top : top + high, left : left + wide] = self._reduced(
                    *at, wide, high, level, ratio
                )
        return out

    def _reduced(self, x: int, y: int, width: int, height: int, level: int, ratio: float) -> Pixels:
        from PIL import Image

        # Not beyond the slide's edge: what is not there would mix into the last row.
        own = self._downs[level]
        wide = min(width * ratio, max(1.0, (self.size[0] - x) / own))
        high = min(height * ratio, max(1.0, (self.size[1] - y) / own))
        image = self._read((x, y), level, (math.ceil(wide), math.ceil(high)))
        if image.size != (width, height) or abs(ratio - 1) > 0.01:
            box = (0.0, 0.0, wide, high)
            image = image.resize(
                (width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0
            )
        return np.asarray(image)

    def _overview_down(self) -> int:
        return 1 << max(0, math.ceil(math.log2(max(self.size) / OVERVIEW)))

    def _from_overview(self, x: int, y: int, width: int, height: int, down: int) -> Pixels:
        from PIL import Image

        with self._making:
            if self._overview is None:
                self._overview = self._make_overview()
        pixels, own = self._overview
        scale = down / own
        left, top = x / own, y / own
        right = min(left + width * scale, pixels.shape[1])
        bottom = min(top + height * scale, pixels.shape[0])
        image = Image.fromarray(pixels).resize(
            (width, height),
            Image.Resampling.LANCZOS,
            box=(min(left, right - 1e-3), min(top, bottom - 1e-3), right, bottom),
        )
        return np.asarray(image)

    def _make_overview(self) -> tuple[Pixels, int]:
        """A picture of the whole slide, read in strips, and its downsample."""
        down = self._overview_down()
        level = max(i for i, d in enumerate(self._downs) if i == 0 or d <= down * 1.01)
        own = self._downs[level]
        reduce = max(1, round(down / own))
        wide, high = self._sizes[level]
        # Strips as wide as the slide where a row of the overview fits; else blocks side by side.
        across = min(wide, max(1, STRIP_PIXELS // reduce // reduce) * reduce)
        tall = max(1, STRIP_PIXELS // across // reduce) * reduce
        strips = []
        for top in range(0, high, tall):
            blocks = []
            for left in range(0, wide, across):
                corner = (round(left * own), round(top * own))
                extent = (min(across, wide - left), min(tall, high - top))
                block = self._read(corner, level, extent)
                blocks.append(np.asarray(block.reduce(reduce) if reduce > 1 else block))
            strips.append(np.hstack(blocks))
        return np.vstack(strips), round(reduce * own)

    def _read(self, corner: tuple[int, int], level: int, extent: tuple[int, int]) -> Any:
        """RGB on white: what was not scanned is transparent."""
        from PIL import Image

        try:
            region = self._handle().read_region(corner, level, extent)
        except _openslide().OpenSlideError as error:
            with _lock:  # a handle that failed stays in its error state for ever
                _open.pop((self.path, self._stamp), None)
            raise BadImage(
                f"Slide {self.name!r} cannot be read at x={corner[0]}, y={corner[1]}, level {level}: "
                f"{error}. The file may be truncated."
            ) from error
        alpha = region.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return region.convert("RGB")
        white = Image.new("RGB", region.size, (255, 255, 255))
        white.paste(region, mask=alpha)
        return white

    def _stamp_now(self) -> _Stamp:
        """Size and time of change of the file: a file written anew is another slide."""
        try:
            stat = self.path.stat()
        except OSError as error:
            raise BadImage(f"The file of slide {self.name!r} is no longer there.") from error
        return stat.st_size, stat.st_mtime_ns

    def _handle(self) -> Any:
        """The open slide. A handle dropped here is closed when the last thread has done with it."""
        openslide = _openslide()
        key = (self.path, self._stamp)
        with _lock:
            slide = _open.pop(key, None)
            if slide is None:
                if self._stamp_now() != self._stamp:
                    raise StoreMismatch(
                        f"The file of slide {self.name!r} was written anew since it was opened. Open "
                        "the slides again."
                    )
                try:
                    slide = openslide.OpenSlide(self.path)
                except openslide.OpenSlideError as error:
                    raise BadImage(
                        f"The file of slide {self.name!r} cannot be opened as a slide ({error})."
                    ) from error
                while len(_open) >= OPEN_SLIDES:
                    _open.popitem(last=False)
            _open[key] = slide
            return slide


def _openslide() -> Any:
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: the Python part without the library
        raise _no_openslide() from error
    return openslide


def _no_openslide() -> MissingDependency:
    return missing("openslide", "slides", "Reading whole slides")
