"""Misbehaviour that is switched on while the emulator runs: one file a fault.

A fault wraps a call: it is given the call, which can make the true answer, and returns that, another one, or one that
breaks the connection. Which calls it strikes is decided here, the same way for all; a fault that makes sense for one
operation only strikes no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Protocol, Self

from ..response import Response, Struck
from ..settings import BadSettingError, Settings
from .access_denied import AccessDenied
from .bad_numbers import BadNumbers
from .credentials import ExpiredToken, SignatureExpired, UnrecognizedClient
from .dimensions import Dimensions
from .foreign import Foreign
from .guardrail import GuardrailFault
from .model_error import ModelError
from .model_not_ready import ModelNotReady
from .model_timeout import ModelTimeout
from .norm import Norm
from .not_found import NotFound
from .permuted import Permuted
from .reset import Reset
from .server_error import ServerError
from .throttle import Throttle
from .tokens import Tokens
from .vector_count import VectorCount
from .zeros import Zeros


class Fault(Protocol):
    """What a module of this package offers. `OP`: the one operation it is for; None: any."""

    NAME: ClassVar[str]
    OP: ClassVar[str | None]

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its own settings. Raises BadSettingError."""

    async def strike(self, call: Struck) -> Response:
        """Return what the caller gets instead of the true answer. Raises AwsError when there is no true answer."""


_FAULTS: tuple[type[Fault], ...] = (
    *(Throttle, ServerError, Reset, ModelNotReady, ModelTimeout, ModelError, NotFound, AccessDenied),
    *(ExpiredToken, UnrecognizedClient, SignatureExpired, GuardrailFault),
    *(VectorCount, Dimensions, BadNumbers, Zeros, Norm, Permuted, Foreign, Tokens),
)

#: name → fault
FAULTS: dict[str, type[Fault]] = {fault.NAME: fault for fault in _FAULTS}
_MATCH = ("op", "model", "region")


@dataclass(slots=True)
class Entry:
    """One fault that is on.

    Of the calls that match, the first `after` are spared; each later one is struck with probability `p`, drawn from
    `seed`, until `n` were struck or `for_s` seconds have passed.
    """

    id: int
    fault: Fault
    posted: dict[str, Any]
    match: dict[str, str]
    p: float
    n: int | None
    after: int
    for_s: float | None
    rng: Random
    since: float = field(default_factory=time.monotonic)
    seen: int = 0
    fired: int = 0

    def takes(self, call: Mapping[str, tuple[str | None, ...]]) -> bool:
        """Decide about one call, and count it."""
        if any(value not in call[key] for key, value in self.match.items()):
            return False
        if self.n is not None and self.fired >= self.n:
            return False
        if self.for_s is not None and time.monotonic() - self.since > self.for_s:
            return False
        self.seen += 1
        if self.seen <= self.after or self.rng.random() >= self.p:
            return False
        self.fired += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """Return the entry as posted, with its id and how often it fired."""
        return {"id": self.id, **self.posted, "fired": self.fired}


class FaultTable:
    """The faults that are on, in the order they were posted: the first that takes a call strikes it."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._next_id = 1

    def post(self, body: object) -> dict[str, Any]:
        """Switch a fault on. Raises BadSettingError, which names the member that is wrong."""
        settings = Settings(body)
        fault = FAULTS[settings.choice("fault", tuple(FAULTS))]
        match = settings.texts("match", _MATCH)
        if fault.OP is not None and match.setdefault("op", fault.OP) != fault.OP:
            raise BadSettingError(f"match.op: this fault is for {fault.OP}")
        entry = Entry(
            id=self._next_id,
            fault=fault.read(settings),
            posted=settings.posted,
            match=match,
            p=settings.number("p", 1.0, most=1.0),
            n=settings.whole("n", None),
            after=settings.whole("after", 0) or 0,
            for_s=settings.number("for_s", None),
            rng=Random(settings.whole("seed", 0)),  # noqa: S311  # repeatable on purpose
        )
        settings.done()
        self._entries[entry.id] = entry
        self._next_id += 1
        return entry.as_json()

    def list(self) -> list[dict[str, Any]]:
        """Return all entries, spent ones too."""
        return [entry.as_json() for entry in self._entries.values()]

    def remove(self, entry_id: int | None = None) -> bool:
        """Switch one fault off, or all; return whether there was one."""
        if entry_id is not None:
            return self._entries.pop(entry_id, None) is not None
        self._entries.clear()
        return True

    def pick(self, call: Mapping[str, tuple[str | None, ...]]) -> Fault | None:
        """Return the fault that strikes a call, given every name of its `op`, `model` and `region`."""
        return next((entry.fault for entry in self._entries.values() if entry.takes(call)), None)


__all__ = ["FAULTS", "Fault", "FaultTable"]
