"""Misbehaviour that is switched on while the emulator runs: one file a fault.

A fault wraps a call: it is given the call, which can make the true answer, and returns that, another one, or one that
breaks the connection. Which calls it strikes, and when, is decided here, the same way for all; a fault that makes sense
for one operation only strikes no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Protocol, Self

from ..response import Response, Struck
from ..s3.ask import OPERATIONS
from ..settings import BadSettingError, Settings
from ..table import Names, Table, matches
from .access_denied import AccessDenied
from .async_conflict import AsyncConflict
from .async_end import AsyncEnd
from .async_lost import AsyncLost
from .async_output import AsyncOutput
from .async_status import AsyncStatus
from .bad_numbers import BadNumbers
from .container_credentials import ContainerCredentials
from .continue_100 import Continue100
from .credentials import ExpiredToken, SignatureExpired, UnrecognizedClient
from .dimensions import Dimensions
from .fin_mid_body import FinMidBody
from .foreign import Foreign
from .guardrail import GuardrailFault
from .gzip_unasked import GzipUnasked
from .hang import Hang
from .latency_shift import LatencyShift
from .model_error import ModelError
from .model_not_ready import ModelNotReady
from .model_timeout import ModelTimeout
from .norm import Norm
from .not_found import NotFound
from .permuted import Permuted
from .reset import Reset
from .s3_complete import S3Complete
from .s3_corrupt import S3Corrupt
from .s3_error import S3ErrorFault
from .s3_reset import S3Reset
from .server_error import ServerError
from .service_quota_exceeded import ServiceQuotaExceeded
from .slow_body import SlowBody
from .stale_keep_alive import StaleKeepAlive
from .throttle import Throttle
from .tokens import Tokens
from .truncated_json import TruncatedJson
from .vector_count import VectorCount
from .wrong_content_length import WrongContentLength
from .wrong_content_type import WrongContentType
from .zeros import Zeros


class Fault(Protocol):
    """What a module of this package offers. `OP`: the one operation it is for; None: any of Bedrock's, or of S3's."""

    NAME: ClassVar[str]
    OP: ClassVar[str | None]

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its own settings. Raises BadSettingError."""

    async def strike(self, call: Struck) -> Response:
        """Return what the caller gets instead of the true answer. Raises AwsError and Unanswered as that does."""


_FAULTS: tuple[type[Fault], ...] = (
    *(Throttle, ServiceQuotaExceeded, ServerError, ModelNotReady, ModelTimeout, ModelError, NotFound, AccessDenied),
    *(ExpiredToken, UnrecognizedClient, SignatureExpired, ContainerCredentials, GuardrailFault),
    *(LatencyShift, Hang, SlowBody, Continue100),
    *(Reset, FinMidBody, StaleKeepAlive, WrongContentLength, WrongContentType, TruncatedJson, GzipUnasked),
    *(VectorCount, Dimensions, BadNumbers, Zeros, Norm, Permuted, Foreign, Tokens),
    *(AsyncLost, AsyncConflict, AsyncEnd, AsyncOutput, AsyncStatus),
)
_S3_FAULTS: tuple[type[Fault], ...] = (S3ErrorFault, S3Reset, S3Corrupt, S3Complete)
_ANYWHERE = (Hang, LatencyShift)  # S3 too, where an operation of it is named

#: name → fault
FAULTS: dict[str, type[Fault]] = {fault.NAME: fault for fault in (*_FAULTS, *_S3_FAULTS)}
_MATCH = ("op", "model", "region", "account")


@dataclass(slots=True)
class Entry:
    """One fault that is on.

    Of the calls that match, the first `after` are spared; each later one is struck with probability `p`, drawn from
    `seed`, until `n` were struck or `for_s` seconds have passed. With `off_s` it sleeps that long after every `on_s`.
    `s3`: whether it is for S3, or else for Bedrock.
    """

    id: int
    fault: Fault
    posted: dict[str, Any]
    match: dict[str, str]
    p: float
    n: int | None
    after: int
    for_s: float | None
    on_s: float
    off_s: float
    rng: Random
    since: float
    s3: bool
    seen: int = 0
    fired: int = 0

    def takes(self, names: Names, now: float) -> bool:
        """Decide about one call, and count it."""
        if not matches(self.match, names):
            return False
        if self.n is not None and self.fired >= self.n:
            return False
        if self.for_s is not None and now - self.since > self.for_s:
            return False
        if self.off_s and (now - self.since) % (self.on_s + self.off_s) >= self.on_s:
            return False
        self.seen += 1
        if self.seen <= self.after or self.rng.random() >= self.p:
            return False
        self.fired += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """Return the entry as posted, with its id and how often it fired."""
        return {"id": self.id, **self.posted, "fired": self.fired}


class FaultTable(Table[Entry]):
    """The faults that are on, spent ones too: the first in the order of posting that takes a call strikes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock

    def post(self, body: object) -> dict[str, Any]:
        """Switch a fault on. Raises BadSettingError, which names the member that is wrong."""
        settings = Settings(body)
        fault = FAULTS[settings.choice("fault", tuple(FAULTS))]
        match = settings.texts("match", _MATCH)
        if fault.OP is not None and match.setdefault("op", fault.OP) != fault.OP:
            raise BadSettingError(f"match.op: this fault is for {fault.OP}")
        s3 = fault in _S3_FAULTS
        if "op" in match and (match["op"] in OPERATIONS) != s3:
            if fault not in _ANYWHERE:
                raise BadSettingError(f"match.op: this fault is for {'S3' if s3 else 'Bedrock'}")
            s3 = True
        if settings.has("on_s") != settings.has("off_s"):
            raise BadSettingError("off_s: goes with on_s")
        entry = Entry(
            id=self.next_id,
            fault=fault.read(settings),
            posted=settings.posted,
            match=match,
            p=settings.number("p", 1.0, most=1.0),
            n=settings.whole("n", None),
            after=settings.whole("after", 0) or 0,
            for_s=settings.number("for_s", None),
            on_s=settings.number("on_s", 0.0),
            off_s=settings.number("off_s", 0.0),
            rng=Random(settings.whole("seed", 0)),  # noqa: S311  # repeatable on purpose
            since=self._clock(),
            s3=s3,
        )
        settings.done()
        return self.keep(entry)

    def pick(self, names: Names, *, s3: bool = False) -> Fault | None:
        """Return the fault that strikes a call of Bedrock, or of S3."""
        now = self._clock()
        return next(
            (entry.fault for entry in self._entries.values() if entry.s3 == s3 and entry.takes(names, now)), None
        )


__all__ = ["FAULTS", "Fault", "FaultTable"]
