"""The one path: from what a caller wants embedded to vectors in its order.

A request is checked as a whole, cut into calls, and a few lanes pull calls from one iterator. Each answer is turned
into what the caller wants as it arrives, and the first failure stops the rest: an answer is whole, or it is one error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from embedrock import vectors
from embedrock.catalog import Names, Target
from embedrock.catalog.prices import Billed, cost_usd
from embedrock.errors import BadRequest, ContextTooLong, ModelNotSupported
from embedrock.families import FAMILIES, Family
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Inputs, Item, is_heavy, read_inputs
from embedrock.service import guard
from embedrock.service.attempts import Patience
from embedrock.service.checks import prepare
from embedrock.service.defaults import Defaults
from embedrock.service.lanes import in_lanes
from embedrock.service.planner import plan
from embedrock.service.s3_rules import S3Rules
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock, Headers
from embedrock.upstream.connection import Response
from embedrock.upstream.guardrail import Guardrail
from embedrock.vectors import Label, Render, Segment

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator decides about every request."""

    lanes: int = 64
    max_inputs: int = 2048
    empty_as_space: bool = False
    timeout_s: float = 600.0
    attempt_timeout_s: float = 30.0
    pairs: bool = True  # a text and an image, alone in a request, are one input to Marengo 3
    s3: S3Rules = field(default_factory=S3Rules)


class Reply(NamedTuple, Generic[V]):
    """The vectors of one request, in the order of its inputs, and what they took."""

    vectors: list[V]
    labels: Sequence[Label] | None  # one a vector; None: one vector an input
    target: Target
    tokens: int
    reported: bool  # False when some of the tokens are our estimate
    calls: int
    emptied: tuple[int, ...]  # inputs that were empty and became one space
    truncated: tuple[int, ...] = ()  # texts that were cut, as far as the gateway or the model tells
    dropped: tuple[str, ...] = ()  # parameters the model does not know
    masked: tuple[int, ...] = ()  # texts in which the guardrail masked something
    guardrail: str | None = None  # what the guardrail did
    billed: Billed = Billed()
    regions: tuple[str, ...] = ()  # that answered

    @property
    def cost_usd(self) -> Decimal:
        """US dollars, by the catalogue's prices, or the alias's."""
        alias = self.target.alias
        return cost_usd(self.target.spec, self.billed, alias.usd_per_million_tokens if alias else None)


@dataclass(slots=True)
class _Work(Generic[V]):
    """One request on its way: what is asked, and what has come in."""

    target: Target
    family: Family
    inputs: Inputs
    items: Sequence[Item]
    wanted: Wanted
    render: Render[V]
    headers: Headers
    deadline: float
    retries: int | None
    tokens: int = 0
    reported: bool = True
    calls: int = 0
    regions: set[str] = field(default_factory=set)  # that answered
    truncated: list[int] = field(default_factory=list)
    segments: dict[int, Sequence[Segment]] = field(default_factory=dict)  # by input, of those with several vectors


class Embedder:
    """Embeds requests through the regions in `upstreams`."""

    def __init__(
        self,
        names: Names,
        upstreams: Mapping[str, Bedrock],
        metrics: Metrics,
        options: Options,
        defaults: Defaults | None = None,
    ) -> None:
        self._names = names
        self._upstreams = upstreams
        self._metrics = metrics
        self._options = options
        self._defaults = defaults or Defaults()
        self._patience = Patience(metrics, options.attempt_timeout_s)
        self._turns: dict[str, int] = {}  # of pools, by name

    async def embed(
        self,
        model: str,
        value: object,
        *,
        render: Render[V],
        dimensions: int | None = None,
        params: Sequence[Mapping[str, object]] = (),
        headers: Headers = (),
        guardrail: Guardrail | None = None,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> Reply[V]:
        """Return `render` of the vectors of the inputs in `value`, in order.

        `params` are what the caller says of the model's own parameters, the stronger mapping first; `headers` go to
        Bedrock with each call. `timeout_s` can only shorten the operator's limit. `retries` is how often a call is
        tried again at most; None: as often as makes sense.
        Raises EmbedrockError; a request that is refused is refused before anything is sent.
        """
        options = self._options
        deadline = time.monotonic() + min(options.timeout_s, timeout_s or options.timeout_s)
        target = self._names.find(model)
        family = _family(target)
        wanted, dropped = self._defaults.wanted(target, family, dimensions, params)
        if wanted.kind != "float" and render is vectors.as_base64:
            raise BadRequest(
                f"base64 is of floats, and the vectors are of {wanted.kind}.",
                param="encoding_format",
                code="invalid_value",
            )
        rendered = vectors.rendering(render, integers=wanted.kind != "float", scale=wanted.scale)
        read = partial(
            read_inputs,
            value,
            max_inputs=options.max_inputs,
            empty_as_space=options.empty_as_space,
            token_encoding=target.token_encoding,
        )
        inputs = await asyncio.to_thread(read) if is_heavy(value) else read()
        if not inputs.texts_only:
            options.s3.check(inputs)
            if options.pairs and target.spec.family == "marengo_3_0":
                inputs = _paired(inputs)
        ready = prepare(target.spec, family, inputs, wanted)
        guarded = None
        if guardrail is not None:
            guarded = await guard.enforce(inputs, guardrail, self._upstreams[target.place], self._patience, deadline)
            inputs = guarded.inputs
            ready = prepare(target.spec, family, inputs, wanted)
        work = _Work(target, family, inputs, ready.items, wanted, rendered, headers, deadline, retries)
        found = await self._run(work)
        self._metrics.embedded(target.spec.id, len(work.items), work.tokens, reported=work.reported)
        return Reply(
            found,
            _labels(work),
            target,
            work.tokens,
            work.reported,
            work.calls + (guarded.calls if guarded else 0),
            inputs.emptied,
            ready.truncated if not work.truncated else tuple(sorted({*ready.truncated, *work.truncated})),
            dropped,
            guarded.masked if guarded else (),
            guarded.outcome if guarded else None,
            _billed(work),
            tuple(sorted(work.regions)),
        )

    def _next_place(self, target: Target) -> Target:
        """Return the places of a pool in turn."""
        places = (target, *target.others)
        turn = self._turns[target.name] = (self._turns.get(target.name, -1) + 1) % len(places)
        return places[turn]

    async def _run(self, work: _Work[V]) -> list[V]:
        calls = plan(work.target.spec, work.items, texts_only=work.inputs.texts_only)
        if len(calls) == 1:
            return await self._embed(work, calls[0])
        answers: list[list[V]] = [[]] * len(calls)

        async def run(job: tuple[int, range]) -> None:
            number, positions = job
            answers[number] = await self._embed(work, positions)

        await in_lanes(enumerate(calls), min(self._options.lanes, len(calls)), run)
        return [vector for answer in answers for vector in answer]

    async def _embed(self, work: _Work[V], positions: range) -> list[V]:
        """Return the vectors of the items at `positions`, which make one call."""
        target, wanted, family = work.target, work.wanted, work.family
        items = work.items[positions.start : positions.stop]
        body = family.build_request(target.spec, items, wanted)

        def parse(response: Response) -> tuple[list[V], Any]:
            answer = family.parse_response(response.body, response.headers, items, wanted)
            return [work.render(array, wanted.size) for array in answer.vectors], answer

        place = target

        def send(timeout_s: float) -> Awaitable[tuple[list[V], Any]]:
            nonlocal place
            work.calls += 1
            if target.others:
                place = self._next_place(target)  # at each attempt: where one place throttles, another may not
            return self._upstreams[place.place].invoke(
                place.invoke_id, body, parse, headers=work.headers, timeout_s=timeout_s
            )

        try:
            (found, answer), _ = await self._patience.call(
                send, label=target.spec.id, region=lambda: place.region, deadline=work.deadline, retries=work.retries
            )
        except ContextTooLong as exc:
            raise _too_long(work, positions) from exc
        except BadRequest as exc:
            if exc.param is None:
                exc.param = work.inputs.param(positions.start) if len(positions) == 1 else "input"
            raise
        work.regions.add(place.region)
        if answer.segments is not None:
            work.segments[positions.start] = answer.segments
        if answer.cut:
            work.truncated.append(positions.start)
        tokens = answer.tokens
        if tokens is None:
            work.reported = False
            tokens = sum(map(estimate_tokens, items))
        work.tokens += tokens
        return found


def _family(target: Target) -> Family:
    if target.background:
        raise ModelNotSupported(
            "Background jobs are not a part of this version of Embedrock; "
            f"{target.spec.id} embeds texts and images at once.",
            param="model",
        )
    return FAMILIES[target.spec.family]


def _paired(inputs: Inputs) -> Inputs:
    """Return a text and an image, when that is all there is, as one input of two parts."""
    if len(inputs.items) != 2 or sorted(map(_is_text, inputs.items)) != [False, True]:
        return inputs
    image = next(item for item in inputs.items if not _is_text(item))
    if isinstance(image, str | Fused) or image.kind not in ("image", None):
        return inputs
    return inputs._replace(items=[Fused(tuple(inputs.items))], pair=True)  # type: ignore[arg-type]  # two parts


def _is_text(item: Item) -> bool:
    return isinstance(item, str)


def _labels(work: _Work[Any]) -> list[Label] | None:
    if work.inputs.pair:
        return [Label(0, input_indices=(0, 1))]
    if not work.segments:
        return None
    return [Label(index, segment) for index in range(len(work.items)) for segment in work.segments.get(index, (None,))]


def _too_long(work: _Work[Any], positions: range) -> ContextTooLong:
    """Return the error for a call in which Bedrock found a text too long; it does not say which."""
    spec = work.target.spec
    first, last = (work.inputs.param(position) for position in (positions[0], positions[-1]))
    which = f"'{first}'" if len(positions) == 1 else f"One of '{first}' to '{last}'"
    limit = f"the {spec.max_input_tokens} tokens" if spec.max_input_tokens else "what"
    hint = " 'truncate' cuts what is too long." if spec.truncate_values and work.wanted.cut is None else ""
    return ContextTooLong(
        f"{which} is longer than {limit} that {spec.id} reads.{hint}", param=first if len(positions) == 1 else "input"
    )


def _billed(work: _Work[Any]) -> Billed:
    if work.inputs.texts_only:
        return Billed(work.tokens, texts=len(work.items))
    return billed(work.items, work.tokens)


def billed(items: Sequence[Item], tokens: int) -> Billed:
    """Return what AWS bills for `items`, of which it counted `tokens`."""
    parts = [part for item in items for part in (item.parts if isinstance(item, Fused) else (item,))]
    texts = sum(isinstance(part, str) for part in parts)
    images = sum(not isinstance(part, str) and part.kind == "image" for part in parts)
    return Billed(tokens, texts=texts, images=images)


def estimate_tokens(item: Item) -> int:
    """Return about how many tokens a text has; media have none that anybody counts."""
    parts = item.parts if isinstance(item, Fused) else (item,)
    return sum(max(1, -(-len(part) // 4)) for part in parts if isinstance(part, str))
