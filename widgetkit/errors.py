"""Every error of the kit.

Each is a :class:`WidgetkitError` and also the builtin a caller would catch anyway, so
``except ValueError`` keeps working and ``except WidgetkitError`` catches all of ours.
A message says what was given, where it was looked for, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WidgetkitError(Exception):
    """Base of every error raised on purpose by widgetkit."""


# -- arguments ---------------------------------------------------------------------------
class InvalidInput(WidgetkitError, ValueError):
    """An argument has a value that cannot be used. The message names it and the cure."""


class UnknownName(WidgetkitError, LookupError):
    """A name (layer, method, clustering, column, ...) is not known; near ones are listed."""


class UnknownLayer(UnknownName):
    """The layer is not in the model or not in the store."""


class ChannelMismatch(InvalidInput):
    """Two arrays or results disagree in their number of channels C."""


class NoSpatialOutput(InvalidInput):
    """A map was asked of a layer that has one vector an image, or a layer gives no tensor."""


class BadActivations(InvalidInput):
    """Activations hold NaN or infinity, overflow float16, or change shape between batches."""


class BadMetadata(InvalidInput):
    """A metadata table does not fit the tiles (length, keys, types)."""


class BadImage(InvalidInput):
    """An image cannot be read as a tile (shape, dtype, channels, truncated file)."""


class NoTissue(InvalidInput):
    """A slide or a folder yields no tile at all."""


class TooFew(InvalidInput):
    """Fewer rows than the computation needs (fewer patches than clusters, ...)."""


class NeedsModel(InvalidInput):
    """The map needs the network (gradients or forward passes) and the session has none."""


class NeedsActivations(InvalidInput):
    """The store holds no maps of activations (ready-made features): maps cannot be drawn."""


class MissingDependency(WidgetkitError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


# -- files written for other programs ----------------------------------------------------
class OutputExists(WidgetkitError, FileExistsError):
    """A file is at the path already; nothing was overwritten."""


class OutputFailed(WidgetkitError, OSError):
    """A file cannot be written: no space, no permission. Nothing half-written is left."""


# -- the store ---------------------------------------------------------------------------
class StoreError(WidgetkitError):
    """Something is wrong with an activation store on disk."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store at the path, or its extraction was never committed."""


class StoreExists(StoreError, FileExistsError):
    """A different store is already at the path; nothing was overwritten."""


class StoreCorrupt(StoreError, ValueError):
    """A file of the store is truncated, altered, missing, or points outside its folder."""


class StoreTooNew(StoreError, ValueError):
    """The store was written by a newer version of widgetkit."""


class StoreLocked(StoreError, PermissionError):
    """Another process is writing to the store; the message says which."""


class StoreMismatch(StoreError, ValueError):
    """A resumed extraction or a restored state belongs to another model, source or store."""


# -- running -----------------------------------------------------------------------------
class Cancelled(WidgetkitError, RuntimeError):
    """A job was cancelled, or a newer one took its place."""


class StopTraining(WidgetkitError, RuntimeError):
    """Raised by a callback of ``fit``: end training here and keep what the finished epochs gave."""


class FetchFailed(WidgetkitError, OSError):
    """A data file could not be fetched or does not have its recorded checksum."""


def near(name: str, known: Iterable[str], *, most: int = 6) -> str:
    """``"Near: 'a', 'b'."`` for the known names closest to ``name``; all of them when few."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=most, cutoff=0.4)
    if not close and len(names) <= most:
        return f"Known: {', '.join(map(repr, names))}." if names else "There are none."
    return f"Near: {', '.join(map(repr, close))}." if close else ""


def missing(package: str, extra: str, purpose: str) -> MissingDependency:
    """The error for an optional package that is not installed."""
    return MissingDependency(
        f"{purpose} needs {package}, which is not installed. "
        f"Install it with: pip install 'widgetkit[{extra}]'"
    )
