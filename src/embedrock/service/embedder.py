"""The one path: from what a caller wants embedded to vectors in its order.

A request is cut into runs of as many texts as the model takes in a call. A few lanes pull runs from one iterator,
each answer is turned into what the caller wants as it arrives, and the first failure stops the rest: an answer is
whole, or it is one error.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import random
from typing import Generic, NamedTuple, TypeVar

from embedrock import inputs
from embedrock.catalog import ModelSpec, Names, Target
from embedrock.errors import BadRequest, ContextTooLong, EmbedrockError, ModelNotSupported
from embedrock.families import FAMILIES, Family
from embedrock.inputs import Texts
from embedrock.service.retry import next_wait
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock
from embedrock.upstream.connection import Response
from embedrock.vectors import Render

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator decides about every request."""

    lanes: int = 64
    max_inputs: int = 2048
    empty_as_space: bool = False
    timeout_s: float = 600.0
    attempt_timeout_s: float = 30.0


class Reply(NamedTuple, Generic[V]):
    """The vectors of one request, one an input, in its order, and what they took."""

    vectors: list[V]
    target: Target
    tokens: int
    reported: bool  # False when some of the tokens are our estimate
    calls: int
    emptied: tuple[int, ...]  # inputs that were empty and became one space


@dataclass(slots=True)
class _Work(Generic[V]):
    """One request on its way: what is asked, and what has come in."""

    target: Target
    family: Family
    texts: Texts
    dimensions: int | None
    size: int  # numbers a vector: `dimensions`, or the model's default
    render: Render[V]
    deadline: float
    tokens: int = 0
    reported: bool = True
    calls: int = 0


class Embedder:
    """Embeds requests through the regions in `upstreams`."""

    def __init__(self, names: Names, upstreams: Mapping[str, Bedrock], metrics: Metrics, options: Options) -> None:
        self._names = names
        self._upstreams = upstreams
        self._metrics = metrics
        self._options = options

    async def embed(
        self,
        model: str,
        value: object,
        *,
        render: Render[V],
        dimensions: int | None = None,
        timeout_s: float | None = None,
    ) -> Reply[V]:
        """Return `render` of one vector per input in `value`, in order.

        `timeout_s` can only shorten the operator's limit.
        Raises EmbedrockError; a request that is refused is refused before anything is sent.
        """
        options = self._options
        deadline = time.monotonic() + min(options.timeout_s, timeout_s or options.timeout_s)
        target = self._names.find(model)
        spec = target.spec
        size = _size(spec, dimensions)
        texts = inputs.read_texts(value, max_inputs=options.max_inputs, empty_as_space=options.empty_as_space)
        _check_lengths(spec, texts)
        work = _Work(target, _family(target), texts, dimensions, size, render, deadline)
        starts = range(0, len(texts.values), spec.max_inputs_per_call)
        vectors = await (self._embed_run(work, 0) if len(starts) == 1 else self._fan_out(work, starts))
        self._metrics.embedded(spec.id, len(vectors), work.tokens, reported=work.reported)
        return Reply(vectors, target, work.tokens, work.reported, work.calls, texts.emptied)

    async def _fan_out(self, work: _Work[V], starts: range) -> list[V]:
        """Embed the runs that begin at `starts`, a few at once; the first failure stops the rest."""
        runs: list[list[V]] = [[]] * len(starts)
        waiting = iter(enumerate(starts))

        async def lane() -> None:
            for run, start in waiting:
                runs[run] = await self._embed_run(work, start)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._options.lanes, len(starts))):
                    group.create_task(lane())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [vector for run in runs for vector in run]

    async def _embed_run(self, work: _Work[V], start: int) -> list[V]:
        """Call Bedrock with the run that begins at `start` until it answers or trying again makes no sense."""
        target = work.target
        spec = target.spec
        texts = work.texts.values[start : start + spec.max_inputs_per_call]
        body = work.family.build_request(spec, texts, work.dimensions)

        def parse(response: Response) -> tuple[list[V], int | None]:
            answer = work.family.parse_response(response.body, response.headers, len(texts))
            return [work.render(array, work.size) for array in answer.vectors], answer.tokens

        upstream = self._upstreams[target.region]
        for attempt in itertools.count(1):
            work.calls += 1
            started = time.monotonic()
            timeout_s = min(self._options.attempt_timeout_s, work.deadline - started)
            outcome = "ok"
            try:
                vectors, tokens = await upstream.invoke(target.invoke_id, body, parse, timeout_s=timeout_s)
                break
            except EmbedrockError as exc:
                outcome = exc.code or "invalid_request"
                wait_s = next_wait(exc, attempt, random)
                if wait_s is None or time.monotonic() + wait_s >= work.deadline:
                    if isinstance(exc, ContextTooLong):
                        raise _too_long(spec, work.texts, start, len(texts)) from exc
                    if isinstance(exc, BadRequest) and exc.param is None:
                        exc.param = work.texts.param(start) if len(texts) == 1 else "input"
                    raise
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                self._metrics.upstream_call(spec.id, target.region, outcome, time.monotonic() - started)
            await asyncio.sleep(wait_s)
        if tokens is None:
            work.reported = False
            tokens = sum(_estimate_tokens(text) for text in texts)
        work.tokens += tokens
        return vectors


def _family(target: Target) -> Family:
    family = FAMILIES.get(target.spec.family)
    if family is None:
        raise ModelNotSupported(f"This version of Embedrock cannot call {target.spec.id} yet.", param="model")
    if target.background:
        raise ModelNotSupported(f"{target.spec.id} embeds at once; it has no background jobs.", param="model")
    return family


def _size(spec: ModelSpec, dimensions: int | None) -> int:
    if dimensions is None:
        return spec.default_dimensions
    if dimensions not in spec.dimensions:
        *others, last = map(str, spec.dimensions)
        offered = f"{', '.join(others)} or {last}" if others else last
        asked = f", not {dimensions}" if dimensions < 1_000_000 else ""
        raise BadRequest(
            f"{spec.id} makes vectors of {offered} numbers{asked}.", param="dimensions", code="invalid_value"
        )
    return dimensions


def _check_lengths(spec: ModelSpec, texts: Texts) -> None:
    limit = spec.max_input_chars
    if limit is None or max(map(len, texts.values)) <= limit:
        return
    index, text = next((i, text) for i, text in enumerate(texts.values) if len(text) > limit)
    param = texts.param(index)
    raise ContextTooLong(f"'{param}' has {len(text)} characters; {spec.id} reads at most {limit} a text.", param=param)


def _too_long(spec: ModelSpec, texts: Texts, start: int, count: int) -> ContextTooLong:
    """Return the error for a run in which Bedrock found a text too long; it does not say which."""
    first = texts.param(start)
    which = f"'{first}'" if count == 1 else f"One of '{first}' to '{texts.param(start + count - 1)}'"
    limit = f"the {spec.max_input_tokens} tokens" if spec.max_input_tokens else "what"
    return ContextTooLong(
        f"{which} is longer than {limit} that {spec.id} reads.", param=first if count == 1 else "input"
    )


def _estimate_tokens(text: str) -> int:
    return max(1, -(-len(text) // 4))
