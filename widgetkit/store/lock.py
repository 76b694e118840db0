"""One writer at a time: a lock file that says who, and is taken over when its process is dead."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from widgetkit.errors import StoreLocked
from widgetkit.store.paths import LOCK


def _process_start(pid: int) -> str | None:
    """Something that a later process with the same number does not share; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return f"{boot}:{stat.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there; without knowing, trust the lock
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_stale(owner: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that is no more."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or type(pid) is not int or not 0 < pid < 2**31:
        return False
    if not _alive(pid):
        return True
    start = _process_start(pid)
    return start is not None and owner.get("start") not in (None, start)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself for the moment of a takeover; the system frees it at death."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every network file system locks folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Lock:
    """The right to write to a store, held from :meth:`take` to :meth:`release`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._token: str | None = None
        self._pid = os.getpid()

    def take(self) -> None:
        """Take the lock.

        Raises
        ------
        StoreLocked
            Another process holds it; the message says which, where and since when.
        """
        token = secrets.token_hex(8)
        data = json.dumps(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "start": _process_start(os.getpid()),
                "token": token,
            }
        ).encode()
        # The content is complete before the name exists: a reader never sees an empty lock.
        temporary = self._path.with_name(f".{LOCK}.{token}.tmp")
        temporary.write_bytes(data)
        try:
            with _alone(self._path.parent):
                owner = self._read()
                if owner is not None:
                    if not _is_stale(owner):
                        raise StoreLocked(self._message(owner))
                    self._path.unlink(missing_ok=True)
                self._place(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        self._token, self._pid = token, os.getpid()

    def _place(self, temporary: Path) -> None:
        try:
            os.link(temporary, self._path)  # fails when the name exists, unlike a rename
        except FileExistsError:
            raise StoreLocked(self._message(self._read() or {})) from None
        except OSError:  # no hard links on this file system
            try:
                with self._path.open("xb") as file:
                    file.write(temporary.read_bytes())
            except FileExistsError:
                raise StoreLocked(self._message(self._read() or {})) from None

    def _read(self) -> dict[str, Any] | None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            return {}
        try:
            owner = json.loads(data[:4096])
        except ValueError:
            owner = {}
        return owner if isinstance(owner, dict) else {}

    def _message(self, owner: dict[str, Any]) -> str:
        def shown(key: str) -> str:
            return str(owner.get(key, "unknown"))[:100]

        return (
            f"{self._path.parent} is being written by process {shown('pid')} on host "
            f"{shown('host')} since {shown('since')}. Wait until it has finished; if it is "
            f"certainly gone, delete {self._path}."
        )

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held or another took it over."""
        if self._token is None or self._pid != os.getpid():  # a forked child holds nothing
            return
        owner = self._read()
        if owner is not None and owner.get("token") == self._token:
            self._path.unlink(missing_ok=True)
        self._token = None
