"""Servers that do what neither emulator nor gateway does, and what a journal's row says."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

RunScript: TypeAlias = Callable[..., str]
Scripted: TypeAlias = Callable[..., "Stub"]
StartSts: TypeAlias = Callable[[str], "Stub"]

_KEY = re.compile(r"Credential=([A-Z0-9]+)/\d{8}/([a-z0-9-]+)/")


def whose(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the access key and the region that a journal's call was signed for."""
    found = _KEY.search(row["headers"]["authorization"])
    assert found, row["headers"]
    return found[1], found[2]


class Silent:
    """Takes connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self.hung_up = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                self.asked.set()
        self.hung_up.set()

    def close(self) -> None:
        self._listener.close()


class Reply(NamedTuple):
    """One answer of a stub."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Got(NamedTuple):
    """One request a stub got; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The members of a form."""
        return dict(parse_qsl(self.body.decode()))


@dataclass
class Stub:
    """An HTTP server that gives its replies in turn, the last one for ever."""

    replies: Sequence[Reply]
    got: list[Got] = field(default_factory=list)
    url: str = ""
