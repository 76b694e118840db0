"""A slide put together from the pictures of its tiles that the store holds."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Pixels = npt.NDArray[np.uint8]

#: Where no tile lies; and a tile that has no picture.
PAPER, PLAIN = 255, 216
#: Pages of thumbnails kept decoded (a page of 2048 x 2048 px is 12 MB).
_PAGES = 4
#: Pixels of stored pictures decoded at once.
_AT_ONCE = 32 * 2**20
#: Side of the overview, px: pictures coarser than it are made from it.
OVERVIEW = 4096


class Mosaic:
    """Tiles at their places, white between them; where tiles overlap, the later row lies on top.

    Coarse levels are put together from the store's pages of thumbnails, and of a large slide one
    overview is kept, so that no level decodes all pictures for one of its tiles.

    Parameters
    ----------
    store : ActivationStore
    rows : (m,) int64
        Tiles of the slide.
    boxes : (n, 4) float64
        Of all tiles of the store, level-0 px.
    """

    def __init__(
        self,
        store: ActivationStore,
        rows: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.float64],
    ) -> None:
        self._store = store
        self._rows = rows
        self._boxes = boxes[rows]
        self._extent = self._boxes[:, 2:].max(axis=0)
        self._pages: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()  # of the overview, held while it is made
        self._pages_lock = threading.Lock()
        self._overview: tuple[Pixels, int] | None = None
        self.note = (
            "Shown by the pictures of its tiles: the slide's file is not there."
            if store.has_images
            else "Neither the slide's file nor pictures of its tiles are there: grey where tiles lie."
        )

    def region(self, x: int, y: int, width: int, height: int, down: int) -> Pixels:
        """(height, width, 3): the mosaic at ``1 / down`` from level-0 pixel (x, y) on."""
        own = 1 << max(0, math.ceil(math.log2(max(1.0, float(self._extent.max()) / OVERVIEW))))
        if down >= own > 1 or down > own:  # many small tiles: drawn once
            return self._from_overview(x, y, width, height, down, own)
        return self._draw(x, y, width, height, down)

    def _draw(self, x: int, y: int, width: int, height: int, down: int) -> Pixels:
        from PIL import Image

        canvas = Image.new("RGB", (width, height), (PAPER,) * 3)
        ends = (x + width * down, y + height * down)
        boxes = self._boxes
        meets = (boxes[:, 0] < ends[0]) & (boxes[:, 2] > x)
        meets &= (boxes[:, 1] < ends[1]) & (boxes[:, 3] > y)
        at = np.flatnonzero(meets)
        # Rounded edges: neighbours that touch on the slide touch in the picture.
        edges = np.round((boxes[at] - np.array([x, y, x, y])) / down).astype(np.int64)
        size = np.maximum(edges[:, 2:] - edges[:, :2], 1)
        step = max(1, _AT_ONCE // max(1, int(np.prod(self._store.image_shape or (1,)))))
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            pictures = self._pictures(self._rows[at[part]], int(size[part].max(initial=1)))
            for picture, edge, (wide, high) in zip(
                pictures, edges[part].tolist(), size[part].tolist(), strict=True
            ):
                image = Image.fromarray(picture)
                if image.size != (wide, high):
                    filter_ = (
                        Image.Resampling.BOX if wide < image.width else Image.Resampling.BILINEAR
                    )
                    # Only the part within the canvas is scaled up.
                    left, top = max(0, -edge[0]), max(0, -edge[1])
                    right, bottom = min(wide, width - edge[0]), min(high, height - edge[1])
                    if right <= left or bottom <= top:
                        continue
                    sx, sy = image.width / wide, image.height / high
                    image = image.resize(
                        (right - left, bottom - top),
                        filter_,
                        box=(left * sx, top * sy, right * sx, bottom * sy),
                    )
                    edge = [edge[0] + left, edge[1] + top]
                canvas.paste(image, (edge[0], edge[1]))
        return np.asarray(canvas)

    def _from_overview(
        self, x: int, y: int, width: int, height: int, down: int, own: int
    ) -> Pixels:
        from PIL import Image

        with self._lock:
            if self._overview is None:
                wide, high = (max(1, math.ceil(v / own)) for v in self._extent)
                self._overview = (self._draw(0, 0, wide, high, own), own)
        pixels, own = self._overview
        canvas = Image.new("RGB", (width, height), (PAPER,) * 3)
        scale = down // own
        left, top = x // own, y // own
        part = pixels[top : top + height * scale, left : left + width * scale]
        if part.size:
            canvas.paste(Image.fromarray(part).reduce(scale), (0, 0))
        return np.asarray(canvas)

    def _pictures(self, rows: npt.NDArray[np.int64], px: int) -> list[Pixels]:
        """(h, w, 3) of each tile, at least ``px`` wide where the store has it so large."""
        store = self._store
        if not store.has_images:
            return [np.full((2, 2, 3), PLAIN, np.uint8)] * len(rows)
        sprites = store.sprites
        shape = store.image_shape
        square = shape is not None and shape[0] == shape[1]
        if sprites is not None and px <= sprites.tile and square:
            return self._sprites(rows)
        images = store.images(rows)
        if images.ndim == 3:
            images = np.repeat(images[..., None], 3, axis=3)
        return list(images)

    def _sprites(self, rows: npt.NDArray[np.int64]) -> list[Pixels]:
        sprites = self._store.sprites
        assert sprites is not None
        found = []
        for row in rows.tolist():
            page, place = divmod(row, sprites.per_page)
            line, column = divmod(place, sprites.columns)
            top, left = line * sprites.tile, column * sprites.tile
            found.append(self._page(page)[top : top + sprites.tile, left : left + sprites.tile])
        return found

    def _page(self, index: int) -> Pixels:
        from PIL import Image

        with self._pages_lock:
            page = self._pages.get(index)
            if page is not None:
                self._pages.move_to_end(index)
                return page
        with Image.open(io.BytesIO(self._store.sprite_page(index))) as image:
            page = np.asarray(image.convert("RGB"))
        with self._pages_lock:
            self._pages[index] = page
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return page
