"""What the OME schema of June 2016 asks of an image, checked without our own code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
_ID = {
    "Image": r"Image:\S+", "Pixels": r"Pixels:\S+", "Channel": r"Channel:\S+",
    "MapAnnotation": r"Annotation:\S+", "AnnotationRef": r"Annotation:\S+",
}  # fmt: skip
#: Children in the schema's order (a sequence), those that we may write.
_ORDER = {
    "OME": ["Image", "StructuredAnnotations"],
    "Image": ["Description", "Pixels", "AnnotationRef"],
    "Pixels": ["Channel", "TiffData"],
    "StructuredAnnotations": ["MapAnnotation"],
    "MapAnnotation": ["Value"],
    "Value": ["M"],
    "Channel": [], "TiffData": [], "Description": [], "AnnotationRef": [], "M": [],
}  # fmt: skip
_REQUIRED = {
    "Image": {"ID"},
    "Pixels": {"ID", "DimensionOrder", "Type", "SizeX", "SizeY", "SizeZ", "SizeC", "SizeT"},
    "Channel": {"ID"},
    "MapAnnotation": {"ID"},
    "AnnotationRef": {"ID"},
    "M": {"K"},
}
_ALLOWED = {
    "OME": {"Creator", "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"},
    "Image": {"ID", "Name"},
    "Pixels": _REQUIRED["Pixels"]
    | {"BigEndian", "Interleaved", "PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeY"}
    | {"PhysicalSizeYUnit"},
    "Channel": {"ID", "Name", "Color", "SamplesPerPixel"},
    "TiffData": {"IFD", "FirstZ", "FirstT", "FirstC", "PlaneCount"},
    "MapAnnotation": {"ID", "Namespace"},
    "AnnotationRef": {"ID"},
    "M": {"K"},
}


def check(xml: str) -> ET.Element:
    """The root; AssertionError where a rule is broken."""
    assert xml.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    root = ET.fromstring(xml.encode("utf-8"))
    assert root.tag == f"{OME}OME"
    _element(root)
    (image,) = root.findall(f"{OME}Image")
    (pixels,) = image.findall(f"{OME}Pixels")
    size = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "XYZCT"}
    assert min(size.values()) >= 1
    assert pixels.attrib["DimensionOrder"] in {"XYCZT", "XYCTZ", "XYZCT", "XYZTC", "XYTCZ", "XYTZC"}
    assert pixels.attrib["Type"] in {"uint8", "float"}
    for axis in "XY":
        if f"PhysicalSize{axis}" in pixels.attrib:
            assert float(pixels.attrib[f"PhysicalSize{axis}"]) > 0
            assert pixels.attrib[f"PhysicalSize{axis}Unit"] == "µm"
    channels = pixels.findall(f"{OME}Channel")
    assert sum(int(c.attrib["SamplesPerPixel"]) for c in channels) == size["C"]
    for channel in channels:
        assert -(2**31) <= int(channel.attrib.get("Color", "-1")) < 2**31
    ifds = [int(d.attrib["IFD"]) for d in pixels.findall(f"{OME}TiffData")]
    assert ifds == list(range(len(channels)))
    ids = [e.attrib["ID"] for e in root.iter() if "ID" in e.attrib and "Ref" not in e.tag]
    assert len(set(ids)) == len(ids)
    refs = {e.attrib["ID"] for e in root.iter(f"{OME}AnnotationRef")}
    assert refs <= set(ids)
    return root


def _element(element: ET.Element) -> None:
    assert element.tag.startswith(OME)
    name = element.tag.removeprefix(OME)
    assert _REQUIRED.get(name, set()) <= set(element.attrib) <= _ALLOWED.get(name, set())
    if name in _ID:
        assert re.fullmatch(_ID[name], element.attrib["ID"])
    order = [_ORDER[name].index(child.tag.removeprefix(OME)) for child in element]
    assert order == sorted(order)
    for child in element:
        _element(child)
