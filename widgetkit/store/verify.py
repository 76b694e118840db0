"""Comparing a store with its manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from widgetkit.errors import StoreError
from widgetkit.store.atomic import FileRecord, sha256_of
from widgetkit.store.derived import Derived
from widgetkit.store.manifest import Manifest, content_id
from widgetkit.store.paths import MANIFEST, problems_with
from widgetkit.store.pool import in_threads


@dataclass(frozen=True)
class VerifyReport:
    """What :meth:`ActivationStore.verify` found.

    Attributes
    ----------
    ok : bool
        Nothing is wrong.
    problems : list of str
        One sentence each, with the file it is about.
    files, bytes : int
        Listed in the manifest; all were read when ``full``.
    """

    ok: bool
    problems: list[str]
    files: int
    bytes: int


def verify(root: Path, manifest: Manifest, derived: Derived, *, full: bool) -> VerifyReport:
    """Compare sizes of all files with the manifest, and when ``full`` every byte of them."""
    problems = problems_with(root, manifest.files)
    if full:
        broken = {problem.split(" ", 1)[0] for problem in problems}
        whole = [file for file in manifest.files if file.path not in broken]
        problems += [found for found in in_threads(lambda f: _compare(root, f), whole) if found]
        problems += _manifest_problems(root, manifest)
        problems += derived.problems()
    size = sum(file.size for file in manifest.files)
    return VerifyReport(not problems, problems, len(manifest.files), size)


def _compare(root: Path, file: FileRecord) -> str | None:
    try:
        size, digest = sha256_of(root / file.path)
    except OSError as error:
        return f"{file.path} cannot be read ({error.strerror})"
    if (size, digest) != (file.size, file.sha256):
        return f"{file.path} was altered: its SHA-256 is not the one recorded"
    return None


def _manifest_problems(root: Path, manifest: Manifest) -> list[str]:
    try:
        data = (root / MANIFEST).read_bytes()
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    try:
        written = manifest.to_bytes()
    except StoreError as error:
        return [f"{MANIFEST}: {error}"]
    problems = []
    if hashlib.sha256(data).digest() != hashlib.sha256(written).digest():
        problems.append(f"{MANIFEST} is not byte for byte what was written")
    if content_id(manifest) != manifest.id:
        problems.append(f"{MANIFEST}: the id of the store does not belong to its content")
    return problems
