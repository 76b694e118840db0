"""Which columns of a table may name a person or a file, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Columns that may hold such names, whatever their case, spaces and underscores. ``id`` is made of
#: the file's name without a secret: who guesses the name can check the guess.
IDENTIFYING = frozenset(
    [
        "patient",
        "patientid",
        "patientname",
        "case",
        "caseid",
        "mrn",
        "name",
        "surname",
        "firstname",
        "person",
        "subject",
        "subjectid",
        "birthdate",
        "dateofbirth",
        "dob",
        "accession",
        "accessionnumber",
        "slide",
        "slideid",
        "slidename",
        "source",
        "file",
        "filename",
        "path",
        "filepath",
        "specimen",
        "specimenid",
        "barcode",
        "id",
    ]
)


def is_identifying(column: object) -> bool:
    """Whether a column of this name may hold names of people or of their files."""
    return bare(column) in IDENTIFYING


def bare(column: object) -> str:
    """The name of a column without case, spaces and punctuation."""
    return "".join(c for c in str(column).casefold() if c.isalnum())


def numbered(name: str, values: pd.Series[Any], given: dict[str, str]) -> dict[str, str]:
    """``given``, with ``"<name> 1"`` and so on for values not in it, in order of appearance."""
    for value in values.dropna().unique():
        given.setdefault(str(value), f"{name} {len(given) + 1}")
    return given
