"""DICOM, NIfTI and NRRD as tiles: :func:`from_volumes` of what lies at a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from widgetkit.errors import InvalidInput, NoTissue
from widgetkit.tiles.dicom import list_series
from widgetkit.tiles.metadata import Metadata
from widgetkit.tiles.prepared import DicomSeries, Mask
from widgetkit.tiles.volume import Place, medical_files
from widgetkit.tiles.volumes import Kind, VolumeTiles, WindowLike, from_volumes


def from_dicom(
    path: Place | Sequence[Place],
    *,
    series: int | Sequence[int] | Literal["all"] | None = None,
    as_: Kind = "slices",
    shape: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    window: WindowLike = None,
    mask: Mask | Sequence[Mask | None] | None = None,
    least_mask: float = 0.0,
    crop: bool = False,
    margin: float = 5.0,
    names: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
    progress: Callable[[int, int], None] | None = None,
) -> VolumeTiles:
    """Series of a folder of DICOM (or of a list of files); see :func:`from_volumes`.

    ``series`` chooses, from 1, one or several of those that :func:`list_series` lists, or ``"all"``.
    """
    if series == "all":
        chosen: list[int | None] = [int(number) for number in list_series(path)["series"]]
        if not chosen:
            raise NoTissue("There is no DICOM series at the path given.")
    elif series is None or isinstance(series, int | np.integer):
        chosen = [None if series is None else int(series)]
    else:
        chosen = [int(number) for number in series]
        if len(set(chosen)) < len(chosen) or not chosen:
            raise InvalidInput(f"series={chosen}: give each number once.")
    return from_volumes(
        [DicomSeries(path, number) for number in chosen],
        as_=as_,
        shape=shape,
        spacing=spacing,
        window=window,
        mask=mask,
        least_mask=least_mask,
        crop=crop,
        margin=margin,
        names=names or [f"series {number or 1}" for number in chosen],
        metadata=metadata,
        on=on,
        anonymise_patients=anonymise_patients,
        progress=progress,
    )


def from_nifti(
    path: Place | Sequence[Place],
    *,
    modality: str | None = None,
    as_: Kind = "slices",
    shape: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    window: WindowLike = None,
    mask: Mask | Sequence[Mask | None] | None = None,
    least_mask: float = 0.0,
    crop: bool = False,
    margin: float = 5.0,
    names: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
    progress: Callable[[int, int], None] | None = None,
) -> VolumeTiles:
    """NIfTI files, or all of a folder in order of name; see :func:`from_volumes`."""
    return from_volumes(
        _files(path, (".nii", ".nii.gz"), "NIfTI"),
        modality=modality,
        as_=as_,
        shape=shape,
        spacing=spacing,
        window=window,
        mask=mask,
        least_mask=least_mask,
        crop=crop,
        margin=margin,
        names=names,
        metadata=metadata,
        on=on,
        anonymise_patients=anonymise_patients,
        progress=progress,
    )


def from_nrrd(
    path: Place | Sequence[Place],
    *,
    modality: str | None = None,
    as_: Kind = "slices",
    shape: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    window: WindowLike = None,
    mask: Mask | Sequence[Mask | None] | None = None,
    least_mask: float = 0.0,
    crop: bool = False,
    margin: float = 5.0,
    names: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
    progress: Callable[[int, int], None] | None = None,
) -> VolumeTiles:
    """NRRD files, or all of a folder in order of name; see :func:`from_volumes`."""
    return from_volumes(
        _files(path, (".nrrd", ".nhdr"), "NRRD"),
        modality=modality,
        as_=as_,
        shape=shape,
        spacing=spacing,
        window=window,
        mask=mask,
        least_mask=least_mask,
        crop=crop,
        margin=margin,
        names=names,
        metadata=metadata,
        on=on,
        anonymise_patients=anonymise_patients,
        progress=progress,
    )


def _files(path: Place | Sequence[Place], suffixes: tuple[str, ...], kind: str) -> list[Place]:
    if not isinstance(path, str | os.PathLike):
        return list(path)
    if not Path(path).is_dir():
        return [path]
    files = medical_files(Path(path), suffixes)
    if not files:
        raise NoTissue(f"The folder holds no {kind} file ({', '.join(suffixes)}).")
    return list(files)
