"""A comm that keeps what a widget sends, in place of the kernel's websocket."""

from __future__ import annotations

import json
from typing import Any

from ipywidgets import Widget


class Wire:
    """Takes the place of ``widget.comm``; everything the widget sends is in ``messages``."""

    def __init__(self, widget: Widget) -> None:
        self.comm_id = widget.comm.comm_id
        self.messages: list[tuple[dict[str, Any], list[Any]]] = []
        widget.comm = self

    def send(self, data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
        # As JSON and bytes, at once: a later change of the widget must not change what was sent.
        self.messages.append((json.loads(json.dumps(data)), [bytes(b) for b in buffers or ()]))

    def on_msg(self, _callback: Any) -> None:
        """Nothing arrives here: tests hand messages to the widget themselves."""

    def close(self, *_: Any, **__: Any) -> None:
        self.messages.clear()

    def take(self) -> list[tuple[dict[str, Any], list[bytes]]]:
        taken, self.messages = self.messages, []
        return taken

    def custom(self) -> list[tuple[dict[str, Any], list[bytes]]]:
        """Contents and buffers of the custom messages so far."""
        return [(d["content"], b) for d, b in self.take() if d["method"] == "custom"]

    @property
    def size(self) -> int:
        """Bytes of all messages: JSON and buffers."""
        return sum(len(json.dumps(d)) + sum(map(len, b)) for d, b in self.messages)

    @property
    def traits(self) -> set[str]:
        """Names of the traits that were sent."""
        return {
            name
            for data, _ in self.messages
            if data["method"] == "update"
            for name in (*data["state"], *(path[0] for path in data["buffer_paths"]))
        }
