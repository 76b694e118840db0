"""Slides: where tiles lie, what is beneath them, and maps stitched together over them."""

from __future__ import annotations

from widgetkit.slides.pictures import Level, Picture, Pictures, open_pictures
from widgetkit.slides.placement import Placement, SlideRecord, level0_sides, placement
from widgetkit.slides.stitch import Stitcher, stitch, stitch_winner

__all__ = [
    "Level",
    "Picture",
    "Pictures",
    "Placement",
    "SlideRecord",
    "Stitcher",
    "level0_sides",
    "open_pictures",
    "placement",
    "stitch",
    "stitch_winner",
]
