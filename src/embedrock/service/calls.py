"""The calls of one request: cut, in lanes, alone or shared with other requests; answers turned into what is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from embedrock import vectors
from embedrock.errors import BadRequest, ContextTooLong, EmbedrockError, InsufficientCredits, UpstreamTimeout
from embedrock.families.answer import Answer
from embedrock.inputs import Fused, Item
from embedrock.service.attempts import Call, Patience, choose, start
from embedrock.service.coalescer import Coalescer, Part
from embedrock.service.lanes import in_lanes
from embedrock.service.pacer import Pacer
from embedrock.service.planner import plan
from embedrock.service.ways import Way
from embedrock.service.work import V, Work
from embedrock.upstream.connection import Response

T = TypeVar("T")

_COALESCERS_KEPT: Final = 256
_SHARED: Final = "shared"  # who shares calls is one caller to the pacer: among them, they take turns in the calls


class _Found(NamedTuple):
    """What an answer holds, turned into what is wanted."""

    vectors: list[object]
    answer: Answer


class Calls:
    """Makes the calls of requests. `shares`: texts of different requests may share calls."""

    def __init__(self, patience: Patience, *, lanes: int, shares: bool, timeout_s: float) -> None:
        self._patience = patience
        self._lanes = lanes
        self._shares = shares
        self._timeout_s = timeout_s
        self._coalescers: dict[object, Coalescer] = {}

    async def run(self, work: Work[V]) -> list[V]:
        """Return the vectors of all items, in order; the first failure stops the rest."""
        calls = plan(work.target.spec, work.items, texts_only=work.inputs.texts_only)
        pacer = self._admit(work, len(calls))
        if len(calls) == 1:
            return await self._embed(work, calls[0])
        if work.bill is not None:
            await work.bill.held()
        answers: list[list[V]] = [[]] * len(calls)

        with pacer.expecting(len(calls), caller=work.caller, bulk=work.bulk) as come:

            async def run(job: tuple[int, range]) -> None:
                number, positions = job
                come()
                answers[number] = await self._embed(work, positions)

            await in_lanes(enumerate(calls), min(self._lanes, len(calls)), run)
        return [vector for answer in answers for vector in answer]

    def _admit(self, work: Work[V], calls: int) -> Pacer:
        """Refuse at the door what could not end in time: half-way would be too late, and charged.

        Returns where most of the calls will be made.
        """
        pacer = (work.ways[0] if len(work.ways) == 1 else choose(work.ways, 0)).pacer
        if not pacer.is_free:
            tokens = sum(map(estimate_tokens, work.items)) if pacer.counts_tokens else 0
            if self._may_share(work):
                rest = len(work.items) % work.target.spec.max_inputs_per_call
                calls += self._coalescer(work).calls_before(work.caller, rest)
            here = len(work.ways)  # each takes a part
            pacer.admit(-(-calls // here), tokens // here, work.deadline, caller=work.caller, bulk=work.bulk)
        return pacer

    def _may_share(self, work: Work[V]) -> bool:
        many = work.target.spec.max_inputs_per_call > 1 and work.inputs.texts_only
        return self._shares and work.shares_calls and many and work.retries is None  # a call has one number of retries

    async def _embed(self, work: Work[V], positions: range) -> list[V]:
        try:
            if not self._may_share(work):
                return await self._alone(work, positions)
            shared = self._coalescer(work)
            if len(positions) < work.target.spec.max_inputs_per_call and not shared.idle:
                return await self._together(work, positions, shared)
            shared.calls += 1  # who comes meanwhile shares the next
            try:
                return await self._alone(work, positions)
            finally:
                shared.ended()
        except ContextTooLong as exc:
            raise _too_long(work, positions) from exc
        except InsufficientCredits:
            raise  # no input's fault
        except BadRequest as exc:
            if exc.param is None:
                exc.param = work.param(positions.start) if len(positions) == 1 else "input"
            raise

    # ------------------------------------------------------------------------------------------- a call of its own

    async def _alone(self, work: Work[V], positions: range) -> list[V]:
        target, wanted, family = work.target, work.wanted, work.family
        items = work.items[positions.start : positions.stop]
        body = family.build_request(target.spec, items, wanted)

        def parse(response: Response) -> _Found:
            answer = family.parse_response(response.body, response.headers, items, wanted)
            return _Found(vectors.each(work.render, answer.vectors, wanted.size), answer)

        def send(way: Way, timeout_s: float) -> Awaitable[_Found]:
            work.calls += 1
            return way.upstream.invoke(way.invoke_id, body, parse, headers=work.headers, timeout_s=timeout_s)

        call = Call(
            send,
            _spent,
            target.spec.id,
            work.deadline,
            sum(map(estimate_tokens, items)) if _count_tokens(work.ways) else 0,
            work.caller,
            work.bulk,
            work.retries,
            lambda: sum(map(estimate_tokens, items)),
        )
        if work.bill is not None:
            await work.bill.held()
        (found, answer), way = await self._patience.call(work.ways, call)
        work.answered(way.region)
        if answer.segments is not None:
            work.segments = {**(work.segments or {}), positions.start: answer.segments}
        if answer.cut:
            work.truncated = (*work.truncated, positions.start)
        tokens = answer.tokens
        counted = sum(map(estimate_tokens, items)) if tokens is None else tokens
        work.counted(items, counted, reported=tokens is not None, seconds=work.timed(positions))
        return found  # type: ignore[return-value]  # made by the work's own render

    # ------------------------------------------------------------------------------------------- calls with others

    async def _together(self, work: Work[V], positions: range, shared: Coalescer) -> list[V]:
        texts = [item for item in work.items[positions.start : positions.stop] if isinstance(item, str)]
        found: list[V] = []
        if work.bill is not None:
            await work.bill.held()
        work.calls += 1
        try:
            async with (
                asyncio.timeout(work.deadline - time.monotonic()),
                aclosing(shared.embed(texts, work.caller)) as parts,
            ):
                async for part in parts:
                    found.append(work.render(part.vector, work.wanted.size))
                    work.counted([texts[len(found) - 1]], part.tokens, reported=part.reported)
                    work.answered(part.region)
        except TimeoutError:
            raise UpstreamTimeout("The request's time passed while its texts waited for a call.") from None
        except EmbedrockError as exc:
            at = positions[len(found)]
            if isinstance(exc, ContextTooLong):
                raise _too_long(work, range(at, at + 1)) from exc
            if isinstance(exc, BadRequest) and not isinstance(exc, InsufficientCredits) and exc.param is None:
                exc.param = work.param(at)
            raise
        return found

    def _coalescer(self, work: Work[V]) -> Coalescer:
        """Return what fills calls of the same place, model, parameters and headers."""
        kind = (work.ways, work.target.spec.id, work.wanted.key, work.headers)
        found = self._coalescers.get(kind)
        if found is None:
            if len(self._coalescers) >= _COALESCERS_KEPT:
                self._coalescers = {key: shared for key, shared in self._coalescers.items() if not shared.idle}
            found = self._coalescers[kind] = self._make_coalescer(work)
        return found

    def _make_coalescer(self, work: Work[V]) -> Coalescer:
        spec, wanted, family, ways, headers = work.target.spec, work.wanted, work.family, work.ways, work.headers
        check = vectors.rendering(vectors.as_json, integers=wanted.kind != "float")

        def begin() -> Awaitable[Way]:
            # Which texts will go is known only when it may start: then their tokens are reserved.
            return start(ways, 0, time.monotonic() + self._timeout_s, _SHARED)

        async def send(texts: Sequence[str], started: Way) -> list[Part]:
            estimates = [estimate_tokens(text) for text in texts]
            reserved = sum(estimates) if _count_tokens(ways) else 0
            started.pacer.reserve(reserved)

            def parse(response: Response) -> _Found:
                answer = family.parse_response(response.body, response.headers, texts, wanted)
                # Copied out of the answer, which would else live as long as the slowest of its owners.
                return _Found([bytes(array) for array in vectors.each(check, answer.vectors, wanted.size)], answer)

            def invoke(way: Way, timeout_s: float) -> Awaitable[_Found]:
                body = family.build_request(spec, texts, wanted)  # in the attempt, which gives the start back
                return way.upstream.invoke(way.invoke_id, body, parse, headers=headers, timeout_s=timeout_s)

            deadline = time.monotonic() + self._timeout_s
            call = Call(invoke, _spent, spec.id, deadline, reserved, _SHARED, estimate=lambda: sum(estimates))
            (found, answer), way = await self._patience.call(ways, call, started=started)
            reported = answer.tokens is not None
            tokens = split(answer.tokens, estimates) if answer.tokens is not None else estimates
            return [
                Part(vector, count, reported, way.region)  # type: ignore[arg-type]  # bytes, as made above
                for vector, count in zip(found, tokens, strict=True)
            ]

        return Coalescer(send, begin, spec.max_inputs_per_call)


def _count_tokens(ways: Sequence[Way]) -> bool:
    return any(way.pacer.counts_tokens for way in ways)


def _spent(found: _Found) -> int | None:
    return found.answer.tokens


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Return `total` in whole parts as near to `weights` as they can be; they add up to it exactly."""
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for i in remainders[: total - sum(parts)]:
        parts[i] += 1
    return parts


def estimate_tokens(item: Item) -> int:
    """Return about how many tokens a text has; media have none that anybody counts."""
    parts = item.parts if isinstance(item, Fused) else (item,)
    return sum(max(1, -(-len(part) // 4)) for part in parts if isinstance(part, str))


def _too_long(work: Work[V], positions: range) -> ContextTooLong:
    """Return the error for a call in which Bedrock found a text too long; it does not say which."""
    spec = work.target.spec
    first, last = (work.param(position) for position in (positions[0], positions[-1]))
    which = f"'{first}'" if len(positions) == 1 else f"One of '{first}' to '{last}'"
    limit = f"the {spec.max_input_tokens} tokens" if spec.max_input_tokens else "what"
    hint = " 'truncate' cuts what is too long." if spec.truncate_values and work.wanted.cut is None else ""
    return ContextTooLong(
        f"{which} is longer than {limit} that {spec.id} reads.{hint}", param=first if len(positions) == 1 else "input"
    )
