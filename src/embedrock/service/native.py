"""Bedrock's own bodies, passed on as they are: no defaults, no cutting; tried again and counted like all else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from embedrock.catalog import Target
from embedrock.catalog.prices import Billed, cost_usd
from embedrock.errors import InvalidUpstream, PermissionDenied
from embedrock.families.answer import header_tokens
from embedrock.media import Media, S3Object
from embedrock.service.attempts import Call, Patience, choose
from embedrock.service.bill import Bill
from embedrock.service.callers import ANYBODY, Caller
from embedrock.service.calls import estimate_tokens
from embedrock.service.clips import seconds_of
from embedrock.service.door import Admission
from embedrock.service.ways import Way, Ways
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Headers
from embedrock.upstream.connection import Response
from embedrock.vectors import BROKEN_JSON


class NativeReply(NamedTuple):
    """Bedrock's answer, byte for byte, and what it is billed as."""

    body: bytes
    cost_usd: Decimal  # by the catalogue's prices, or the alias's
    reported: bool  # False when the tokens are our estimate
    calls: int
    region: str  # that answered


class _Counted(msgspec.Struct):
    inputTextTokenCount: object = None  # noqa: N815  # AWS's name


class Native:
    """Calls models with bodies that are theirs already."""

    def __init__(self, ways: Ways, metrics: Metrics, *, timeout_s: float, attempt_timeout_s: float = 30.0) -> None:
        self._ways = ways
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._patience = Patience(metrics, attempt_timeout_s)

    async def invoke(
        self,
        target: Target,
        body: bytes,
        *,
        texts: Sequence[str],
        images: int = 0,
        clips: Sequence[Media | S3Object] = (),
        headers: Headers = (),
        timeout_s: float | None = None,
        caller: Caller = ANYBODY,
        admission: Admission | None = None,
        bill: Bill | None = None,
    ) -> NativeReply:
        """Return what the model answers to `body`, which holds `texts`, so many images, and `clips`.

        Raises EmbedrockError.
        """
        caller.check_model(target)
        if caller.guardrail is not None:
            raise PermissionDenied("This key has a guardrail, which is enforced on /v1/embeddings only.")
        deadline = time.monotonic() + min(self._timeout_s, timeout_s or self._timeout_s)
        calls = 0

        def send(way: Way, timeout_s: float) -> Awaitable[tuple[bytes, int | None]]:
            nonlocal calls
            calls += 1
            return way.upstream.invoke(way.invoke_id, body, _take, headers=headers, timeout_s=timeout_s)

        ways = self._ways.of(target)
        estimate = sum(map(estimate_tokens, texts))
        beside = (len(texts), images, *(seconds_of(target.spec, clips) if clips else ()))
        if admission is not None:
            await admission.spend(estimate)
        if bill is not None:
            bill.hold(target, Billed(estimate, *beside))
        counted = 0
        try:
            choose(ways, estimate).pacer.admit(1, estimate, deadline, caller=caller.name)
            call = Call(send, _spent, target.spec.id, deadline, estimate, caller.name)
            if bill is not None:
                await bill.held()
            (answer, tokens), way = await self._patience.call(ways, call)
            counted = tokens if tokens is not None else estimate
        finally:
            if admission is not None:
                admission.correct(counted)
        self._metrics.embedded(target.spec.id, max(1, len(texts), images), counted, reported=tokens is not None)
        used = Billed(counted, *beside)
        if bill is not None:
            bill.add(used, reported=tokens is not None)
        price = target.alias.usd_per_million_tokens if target.alias else None
        cost = cost_usd(target.spec, used, price)
        return NativeReply(answer, cost, tokens is not None, calls, way.region)


def _spent(found: tuple[bytes, int | None]) -> int | None:
    return found[1]


def _take(response: Response) -> tuple[bytes, int | None]:
    """Return the answer and its tokens: from the header, which Titan's multimodal model does not have, or the body."""
    tokens = header_tokens(response.headers)
    if tokens is None:
        try:
            counted = msgspec.json.decode(response.body, type=_Counted).inputTextTokenCount
        except BROKEN_JSON as exc:
            raise InvalidUpstream("Bedrock's answer is not a JSON object.") from exc
        if type(counted) is int and counted >= 0:
            tokens = counted
    return bytes(response.body), tokens
