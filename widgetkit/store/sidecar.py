"""What is kept while a store is being written: the plan, and one record a finished segment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widgetkit.errors import StoreCorrupt, StoreMismatch, StoreNotFound
from widgetkit.store import jsonio, paths
from widgetkit.store.atomic import FileRecord, write_bytes
from widgetkit.store.manifest import VERSION

_PLAN = f"{paths.WRITING}/plan.json"


def plan_digest(record: dict[str, Any]) -> str:
    """One word for a whole plan."""
    return hashlib.sha256(jsonio.canonical(record)).hexdigest()


def write_plan(root: Path, record: dict[str, Any]) -> None:
    """Keep the plan, so that a later run can be compared with it."""
    write_bytes(root, _PLAN, jsonio.canonical({"version": VERSION, "plan": record}))


def read_plan(root: Path) -> dict[str, Any] | None:
    """The plan of the run that began here, or None."""
    try:
        value, _ = jsonio.read(root / _PLAN)
    except StoreNotFound:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("plan"), dict):
        raise StoreCorrupt(f"{root / _PLAN} is damaged. Pass overwrite=True to begin anew.")
    if value.get("version") != VERSION:
        raise StoreMismatch(
            f"The extraction at {root} was begun by another version of widgetkit. "
            "Finish it with that one, or pass overwrite=True to begin anew."
        )
    plan: dict[str, Any] = value["plan"]
    return plan


def _path(index: int) -> str:
    return f"{paths.WRITING}/{index:05d}/segment.json"


@dataclass(frozen=True)
class Sidecar:
    """Written after all files of a segment: while it is absent, the segment does not count.

    ``files`` stay in the store; ``parts`` (pooled vectors, ranges, thumbnails) are merged by commit.
    """

    index: int
    plan: str
    files: tuple[FileRecord, ...]
    parts: tuple[FileRecord, ...]

    def write(self, root: Path) -> None:
        value = {
            "index": self.index,
            "plan": self.plan,
            "files": [[file.path, file.size, file.sha256] for file in self.files],
            "parts": [[file.path, file.size, file.sha256] for file in self.parts],
        }
        write_bytes(root, _path(self.index), jsonio.canonical(value), sync=False)

    @classmethod
    def read(cls, root: Path, index: int) -> Sidecar | None:
        """The record of a segment; None when there is none that can be trusted."""
        try:
            value, _ = jsonio.read(root / _path(index))
            fields = jsonio.Fields(value, _path(index))
            return cls(
                fields.integer("index", index, index),
                fields.text("plan"),
                tuple(FileRecord(str(p), int(s), str(h)) for p, s, h in fields.take("files")),
                tuple(FileRecord(str(p), int(s), str(h)) for p, s, h in fields.take("parts")),
            )
        except (StoreNotFound, StoreCorrupt, TypeError, ValueError):
            return None

    @staticmethod
    def remove(root: Path, index: int) -> None:
        (root / _path(index)).unlink(missing_ok=True)

    def is_whole(self, root: Path, plan: str) -> bool:
        """Whether it belongs to the plan and its files are there in full length."""
        return self.plan == plan and not paths.problems_with(root, self.files + self.parts)
