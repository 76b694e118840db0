"""OME-XML (schema 2016-06): what a raster's channels, pixels and colours are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from widgetkit._version import __version__
from widgetkit.slides.export_frame import RasterFrame
from widgetkit.slides.export_output import plain

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
#: Namespace of the annotation that says where the raster lies.
NAMESPACE = "widgetkit/raster"

_TYPES = {"float32": "float", "uint8": "uint8"}


def ome_xml(
    shape: tuple[int, int, int],
    dtype: str,
    frame: RasterFrame,
    *,
    channel_names: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    name: str = "",
    rgb: bool = False,
    facts: Mapping[str, str] | None = None,
) -> str:
    """The OME-XML of an image of one plane a channel (rgb: one plane with three samples).

    Parameters
    ----------
    shape : (c, H, W)
    dtype : "float32" or "uint8"
    frame : RasterFrame
        ``PhysicalSizeX`` and ``Y`` are a cell's micrometres; left out where they are not known.
    channel_names, colours
        One a channel; for rgb only the first name counts.
    name : str
        Of the image.
    rgb : bool
    facts : mapping of str, optional
        Kept beside the place in a MapAnnotation.

    Returns
    -------
    str
        Text of any kind is escaped, control characters become spaces.

    References
    ----------
    Goldberg et al. (2005), the OME data model; its schema of June 2016.
    """
    channels, height, width = shape
    root = ET.Element(
        "OME",
        {
            "xmlns": SCHEMA,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{SCHEMA} {SCHEMA}/ome.xsd",
            "Creator": f"widgetkit {__version__}",
        },
    )
    image = ET.SubElement(root, "Image", {"ID": "Image:0", "Name": plain(name) or "map"})
    ET.SubElement(image, "Description").text = frame.sentence()
    pixels = ET.SubElement(
        image,
        "Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": "XYCZT",
            "Type": _TYPES[dtype],
            "SizeX": str(width),
            "SizeY": str(height),
            "SizeC": str(channels),
            "SizeZ": "1",
            "SizeT": "1",
            "BigEndian": "false",
            "Interleaved": "true" if rgb else "false",
        },
    )
    cell = frame.cell_um
    if cell is not None:
        for axis, size in zip("XY", cell, strict=True):
            pixels.set(f"PhysicalSize{axis}", repr(size))
            pixels.set(f"PhysicalSize{axis}Unit", "µm")
    planes = 1 if rgb else channels
    for i in range(planes):
        said = {
            "ID": f"Channel:0:{i}",
            "Name": plain(channel_names[i]) or f"channel {i + 1}",
            "SamplesPerPixel": "3" if rgb else "1",
        }
        if not rgb:
            said["Color"] = str(_signed(colours[i]))
        ET.SubElement(pixels, "Channel", said)
    for i in range(planes):
        data = {"IFD": str(i), "FirstZ": "0", "FirstT": "0", "FirstC": str(i), "PlaneCount": "1"}
        ET.SubElement(pixels, "TiffData", data)
    ET.SubElement(image, "AnnotationRef", {"ID": "Annotation:0"})
    notes = ET.SubElement(root, "StructuredAnnotations")
    note = ET.SubElement(notes, "MapAnnotation", {"ID": "Annotation:0", "Namespace": NAMESPACE})
    value = ET.SubElement(note, "Value")
    place = {
        "downsample_x": repr(frame.downsample[0]),
        "downsample_y": repr(frame.downsample[1]),
        "origin_x_px": repr(frame.origin[0]),
        "origin_y_px": repr(frame.origin[1]),
    }
    for key, text in (place | dict(facts or {})).items():
        ET.SubElement(value, "M", {"K": key}).text = plain(text, 2000)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _signed(colour: tuple[int, int, int]) -> int:
    """Red, green, blue and full opacity in one signed 32-bit number, as OME writes colours."""
    red, green, blue = colour
    number = red << 24 | green << 16 | blue << 8 | 255
    return number - 2**32 if number >= 2**31 else number
