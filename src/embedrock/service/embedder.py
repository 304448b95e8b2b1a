"""The one path: from what a caller wants embedded to vectors in its order.

A request is checked as a whole, cut into calls, and a few lanes pull calls from one iterator. Each answer is turned
into what the caller wants as it arrives, and the first failure stops the rest: an answer is whole, or it is one error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from embedrock import vectors
from embedrock.catalog import ModelSpec, Names, Target
from embedrock.catalog.prices import cost_usd
from embedrock.errors import BadRequest, ModelNotSupported
from embedrock.families import FAMILIES, Family
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Inputs, Item, is_heavy, read_inputs
from embedrock.service import clips, guard
from embedrock.service.attempts import Patience
from embedrock.service.bill import Bill
from embedrock.service.callers import ANYBODY, Caller
from embedrock.service.calls import Calls, estimate_tokens
from embedrock.service.checks import large, prepare
from embedrock.service.defaults import Defaults
from embedrock.service.door import Admission
from embedrock.service.jobs import JobRunner
from embedrock.service.objects import Objects, names_objects
from embedrock.service.s3_rules import S3Rules
from embedrock.service.slow import Slow
from embedrock.service.staging import Staging
from embedrock.service.ways import Ways
from embedrock.service.work import Work, billed
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Headers
from embedrock.upstream.guardrail import Guardrail
from embedrock.vectors import Label, Render

V = TypeVar("V")
#: Takes a request for the background, and returns a job for each of its inputs.
Accept = Callable[[Work[Any]], Awaitable[Sequence[Any]]]

_BULK_INPUTS: Final = 128  # a request with more waits behind smaller ones


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator decides about every request."""

    lanes: int = 64
    max_inputs: int = 2048
    empty_as_space: bool = False
    timeout_s: float = 600.0
    attempt_timeout_s: float = 30.0
    shares_calls: bool = True  # texts of different requests may share calls
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
    items: Sequence[Item] = ()  # that were sent
    regions: tuple[str, ...] = ()  # that answered
    seconds: Mapping[int, float] | None = None  # by item, of sound and film, where it is known
    jobs: Sequence[Any] | None = None  # in place of vectors: what `accept` made of a request in the background

    @property
    def cost_usd(self) -> Decimal:
        """US dollars, by the catalogue's prices, or the alias's."""
        alias = self.target.alias
        return cost_usd(
            self.target.spec,
            billed(self.items, self.tokens, self.seconds),
            alias.usd_per_million_tokens if alias else None,
        )


class Embedder:
    """Embeds requests by the ways to their models."""

    def __init__(
        self,
        names: Names,
        ways: Ways,
        metrics: Metrics,
        options: Options,
        defaults: Defaults | None = None,
        objects: Objects | None = None,
        runner: JobRunner | None = None,
        staging: Staging | None = None,
    ) -> None:
        self._names = names
        self._ways = ways
        self._metrics = metrics
        self._options = options
        self._defaults = defaults or Defaults()
        self._objects = objects or Objects({}, 0)
        self._patience = Patience(metrics, options.attempt_timeout_s)
        self._calls = Calls(
            self._patience, lanes=options.lanes, shares=options.shares_calls, timeout_s=options.timeout_s
        )
        self._staging = staging or Staging({}, {})
        self._slow = Slow(self._calls, runner or JobRunner(ways, self._patience, {}, {}))

    async def close(self) -> None:
        """Wait for what still has to be tidied up."""
        await self._slow.close()
        await self._staging.close()

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
        caller: Caller = ANYBODY,
        admission: Admission | None = None,
        accept: Accept | None = None,
        bill: Bill | None = None,
    ) -> Reply[V]:
        """Return `render` of the vectors of the inputs in `value`, in order.

        `params` are what the caller says of the model's own parameters, the stronger mapping first; `headers` go to
        Bedrock with each call. `timeout_s` can only shorten the operator's limit. `retries` is how often a call is
        tried again at most; None: as often as makes sense. Callers take turns; `admission` is of one with limits,
        `bill` of one with an account. `accept` takes requests that are to be jobs in the background; None: there are
        none here.
        Raises EmbedrockError; a request that is refused is refused before anything is sent.
        """
        options = self._options
        deadline = time.monotonic() + min(options.timeout_s, timeout_s or options.timeout_s)
        target = self._names.find(model)
        caller.check_model(target)
        guardrail = caller.guarded_by(guardrail)
        family = FAMILIES[target.spec.family]
        if own := caller.params.get(target.spec.id):
            params = (*(params or ({},)), own)  # the first are the request's own
        wanted, dropped = self._defaults.wanted(target, family, dimensions, params)
        later: bool = family.jobs is not None and wanted.values.get("background", target.background)
        if later or target.background:
            accept = _can_wait(target, family, accept)
        if wanted.kind != "float" and render is vectors.as_base64:
            raise BadRequest(
                f"base64 is of floats, and the vectors are of {wanted.kind}.",
                param="encoding_format",
                code="invalid_value",
            )
        rendered = vectors.rendering(render, integers=wanted.kind != "float", scale=wanted.scale)
        limits = (options.max_inputs, options.empty_as_space, target.token_encoding)
        inputs = (
            await asyncio.to_thread(read_inputs, value, *limits) if is_heavy(value) else read_inputs(value, *limits)
        )
        if "output_s3_uri" in wanted.values:
            options.s3.check_folder(wanted.values["output_s3_uri"], inputs, caller.s3_prefixes)
        if not inputs.texts_only:
            options.s3.check(inputs, caller.s3_prefixes)
            if options.pairs and target.spec.family == "marengo_3_0":
                inputs = _paired(inputs)
        ready = prepare(target.spec, family, inputs, wanted, background=later)
        ways = self._ways.of(target)
        if not inputs.texts_only and names_objects(inputs):
            said = wanted.values.get("input_type")
            stays = partial(_needs_job, target.spec, family, wanted, later=later)
            inputs = await self._objects.resolve(target, inputs, said, deadline, stays)
            ready = prepare(target.spec, family, inputs, wanted, background=later)
            ways = ways[:1]  # that other regions and accounts read the objects too is not known
        if admission is not None:
            await admission.spend(sum(map(estimate_tokens, set(ready.items) if inputs.texts_only else ready.items)))
        lengths = None if inputs.texts_only else clips.lengths(target.spec, ready.items, wanted.values)
        if bill is not None:
            sent = list(set(ready.items)) if inputs.texts_only else ready.items
            bill.hold(target, billed(sent, sum(map(estimate_tokens, sent)), lengths))
        guarded = None
        if guardrail is not None:
            if bill is not None:
                await bill.held()
            guarded = await guard.enforce(inputs, guardrail, self._ways.of_guardrail(target), self._patience, deadline)
            inputs = guarded.inputs
            ready = prepare(target.spec, family, inputs, wanted, background=later)
        once = inputs.texts_only and not ready.slow
        items, firsts, places = _once(ready.items) if once else (ready.items, None, None)
        work = Work(
            target,
            family,
            inputs,
            items,
            firsts,
            wanted,
            rendered,
            ways,
            headers,
            deadline,
            caller.name,
            len(items) > _BULK_INPUTS,
            retries,
            caller.shares_calls,
            bill,
            lengths,
        )
        if later and accept is not None:
            if bill is not None:
                await bill.held()
            tokens = sum(map(estimate_tokens, work.items))
            reply: Reply[V] = Reply([], None, target, tokens, False, 0, inputs.emptied, ready.truncated, dropped)
            jobs = await accept(work)
            if admission is not None:
                admission.correct(tokens)  # what jobs take, Bedrock does not tell
            return reply._replace(
                jobs=jobs,
                regions=(work.ways[0].region,),
                masked=guarded.masked if guarded else (),
                guardrail=guarded.outcome if guarded else None,
            )
        try:
            if not inputs.texts_only and (positions := large(work.items, ready.slow)):
                async with self._staging.staged(work, positions):
                    found = await self._run(work, ready.slow)
            else:
                found = await self._run(work, ready.slow)
        finally:
            if admission is not None:
                admission.correct(work.tokens)
        if places is not None:
            found = [found[place] for place in places]
        self._metrics.embedded(target.spec.id, len(inputs.items), work.tokens, reported=work.reported)
        return Reply(
            found,
            _labels(work),
            target,
            work.tokens,
            work.reported,
            work.calls + (guarded.calls if guarded else 0),
            inputs.emptied,
            _truncated(ready.truncated, work.truncated, places),
            dropped,
            guarded.masked if guarded else (),
            guarded.outcome if guarded else None,
            work.items,
            work.regions,
            work.seconds,
        )

    def _run(self, work: Work[V], slow: Sequence[int]) -> Awaitable[list[V]]:
        jobs = work.family.jobs
        doubtful: tuple[int, ...] = ()
        if jobs is not None and not work.inputs.texts_only:
            asked = enumerate(work.items)
            doubtful = tuple(at for at, item in asked if at not in slow and jobs.may_be_slow(item, work.wanted))
        return self._slow.run(work, slow, doubtful) if slow or doubtful else self._calls.run(work)


def _once(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[int] | None, Sequence[int] | None]:
    """Return the items with equal ones once, where each of those stands first, and which of them each item is."""
    if len(items) == 1 or len(set(items)) == len(items):
        return items, None, None
    numbers: dict[Item, int] = {}
    places = [numbers.setdefault(item, len(numbers)) for item in items]
    firsts = dict.fromkeys(numbers, 0) | {item: index for index, item in reversed(list(enumerate(items)))}
    return list(numbers), list(firsts.values()), places


def _truncated(here: tuple[int, ...], there: tuple[int, ...], places: Sequence[int] | None) -> tuple[int, ...]:
    """Return the indexes of inputs that were cut: by the gateway, and by the model, which knows items."""
    if not there:
        return here
    cut = there if places is None else (index for index, place in enumerate(places) if place in there)
    return tuple(sorted({*here, *cut}))


def _needs_job(spec: ModelSpec, family: Family, wanted: Wanted, item: Item, *, later: bool) -> bool:
    return family.jobs is not None and (later or family.jobs.is_slow(spec, item, wanted))


def _can_wait(target: Target, family: Family, accept: Accept | None) -> Accept:
    """Return who takes jobs of a model. Raises ModelNotSupported when nobody does."""
    if family.jobs is None:
        message = f"{target.spec.id} has no background jobs: name it without async_invoke/."
    elif accept is None:
        message = "There are no background jobs here: ask at /v1/embeddings, or leave out 'background'."
    else:
        return accept
    raise ModelNotSupported(message, param="model" if target.background else "background")


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


def _labels(work: Work[Any]) -> list[Label] | None:
    if work.inputs.pair:
        return [Label(0, input_indices=(0, 1))]
    segments = work.segments
    if not segments:
        return None
    return [Label(index, segment) for index in range(len(work.items)) for segment in segments.get(index, (None,))]
