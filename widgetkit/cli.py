"""The command line: ``widgetkit info|verify|demo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from widgetkit._version import __version__
from widgetkit.errors import WidgetkitError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 1 with one line when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="widgetkit", description="Look at what an image model has learned."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="say what a store holds")
    info.add_argument("store")
    verify = commands.add_parser("verify", help="check every byte of a store against its checksums")
    verify.add_argument("store")
    demo = commands.add_parser("demo", help="prepare the demo store and say where it is")
    demo.add_argument("--prepare", action="store_true", help="only prepare it")
    options = parser.parse_args(arguments)
    try:
        code = _COMMANDS[options.command](options)
    except (WidgetkitError, OSError) as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = 130
    if code:
        sys.exit(code)


def _info(options: argparse.Namespace) -> int:
    from widgetkit.store import open as open_store

    store = open_store(options.store)
    print(
        f"{store.path}: {len(store)} tiles from {store.tiles['source'].nunique()} sources, id {store.id}"
    )
    for layer in store.layers.values():
        grid = "x".join(map(str, layer.grid)) or "one vector a tile"
        print(
            f"  {layer.name}: {layer.channels} channels, {grid}{', signed' if layer.signed else ''}"
        )
    return 0


def _verify(options: argparse.Namespace) -> int:
    from widgetkit.store import open as open_store

    report = open_store(options.store).verify(full=True)
    for problem in report.problems:
        print(problem)
    print(f"{'sound' if report.ok else 'DAMAGED'}: {report.files} files, {report.bytes} bytes")
    return 0 if report.ok else 1


def _demo(options: argparse.Namespace) -> int:
    from widgetkit.demos import demo_store

    store = demo_store()
    print(f"Demo store: {store.path} ({len(store)} tiles)")
    if not options.prepare:
        print("In a notebook: import widgetkit as wk; wk.demo()")
    return 0


_COMMANDS = {"info": _info, "verify": _verify, "demo": _demo}
