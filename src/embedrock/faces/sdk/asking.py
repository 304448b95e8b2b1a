"""What is asked, checked by the rules of the HTTP endpoint, and what comes back, whoever answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from embedrock import vectors
from embedrock.errors import ContentBlocked
from embedrock.faces.batches import of_invocation
from embedrock.faces.http.bedrock_headers import BedrockHeaders
from embedrock.faces.sdk.arguments import InvalidArgument, read_headers
from embedrock.families import FAMILIES
from embedrock.service.embedder import Reply
from embedrock.vectors import Array, Label, Render
from embedrock.wire import openai
from embedrock.wire.batches import members
from embedrock.wiring import Gateway

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of a caller's."""

    model: str
    input: object
    members: Mapping[str, Any]  # of the endpoint's body, beside model and input
    request: openai.EmbeddingsRequest  # the same, read; without the input
    headers: BedrockHeaders
    timeout_s: float
    retries: int | None
    drop: bool  # parameters the model does not know

    @property
    def as_list(self) -> Sequence[object] | None:
        """The inputs, when there is a list of them; None when there is one."""
        value = self.input
        return value if isinstance(value, list) and not (value and type(value[0]) is int) else None

    def part(self, inputs: Sequence[object]) -> Ask:
        """Return the same ask of some of the inputs."""
        return replace(self, input=inputs)

    def without(self, name: str) -> Ask | None:
        """Return the same ask without a parameter; None when it has no such parameter."""
        extra = self.members.get("extra_body")
        members = {key: value for key, value in self.members.items() if key != name}
        if isinstance(extra, dict) and name in extra:
            members["extra_body"] = {key: value for key, value in extra.items() if key != name}
        return replace(self, members=members) if members != self.members else None


def make_ask(
    model: object,
    value: object,
    members: Mapping[str, Any],
    *,
    extra_headers: Mapping[str, str] | None,
    timeout_s: float,
    retries: int | None,
    drop: bool,
) -> Ask:
    """Return what is asked. Raises BadRequest where the endpoint would."""
    members = {name: member for name, member in members.items() if member is not None}
    try:
        body = json.dumps({"model": model, **members}).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidArgument("A parameter is none that JSON can say.") from None
    request = openai.decode_request(body)
    inputs = list(value) if isinstance(value, list | tuple) else value  # a copy: the caller's may change meanwhile
    return Ask(request.model, inputs, members, request, read_headers(extra_headers), timeout_s, retries, drop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[V]):
    """The vectors of one call, and what they took."""

    vectors: list[V]
    labels: Sequence[Label] | None  # one a vector; None: one vector an input
    model: str  # as the answer calls it
    model_id: str
    regions: tuple[str, ...]
    tokens: int
    reported: bool
    cost_usd: Decimal
    calls: int
    emptied: tuple[int, ...]
    truncated: tuple[int, ...]
    dropped: tuple[str, ...]
    masked: tuple[int, ...]
    guardrail: str | None
    batches: Sequence[Mapping[str, Any]] = ()  # of a request in the background: in place of vectors, one an input

    @property
    def indexes(self) -> tuple[int, ...]:
        """The input that each vector is of."""
        return tuple(range(len(self.vectors)) if self.labels is None else (label.index for label in self.labels))


def as_numbers(array: Array, dimensions: int) -> list[float]:
    """Return the vector as Python's numbers, exactly those of Bedrock's text."""
    text = bytes(vectors.as_json(array, dimensions))
    # Without a point or an exponent in the whole of it, it is a vector of whole numbers, which somebody asked for.
    numbers: Any = list[float] if b"." in text or b"e" in text.lower() else list[int]
    found: list[float] = msgspec.json.decode(text, type=numbers)
    return found


async def ask_here(gateway: Gateway, ask: Ask, render: Render[V]) -> Result[V]:
    """Return the answer of an engine in this process. Raises EmbedrockError."""
    params, dropped = _dropped(gateway, ask) if ask.drop else (ask.request.params, ())
    try:
        reply: Reply[V] = await gateway.embedder.embed(
            ask.model,
            ask.input,
            render=render,
            dimensions=ask.request.dimensions,
            params=params,
            headers=ask.headers.forwarded,
            guardrail=ask.headers.guardrail,
            timeout_s=ask.timeout_s,
            retries=ask.retries,
            accept=gateway.runner.launch,
        )
    except ContentBlocked as exc:
        exc.outcome = exc.outcome if ask.headers.trace else None
        raise
    return Result(
        vectors=reply.vectors,
        labels=reply.labels,
        model=ask.model.removeprefix("bedrock/"),
        model_id=reply.target.spec.id,
        regions=reply.regions,
        tokens=reply.tokens,
        reported=reply.reported,
        cost_usd=reply.cost_usd,
        calls=reply.calls,
        emptied=reply.emptied,
        truncated=reply.truncated,
        dropped=dropped,
        masked=reply.masked,
        guardrail=reply.guardrail if ask.headers.trace else None,
        batches=[members(of_invocation(*job)) for job in reply.jobs or ()],
    )


def _dropped(gateway: Gateway, ask: Ask) -> tuple[Sequence[Mapping[str, object]], tuple[str, ...]]:
    """Return the parameters the model knows, and the names of the others."""
    table = FAMILIES[gateway.names.find(ask.model).spec.family].table
    unknown = {name for members in ask.request.params for name in table.read(members)[1]}
    known = [{key: value for key, value in members.items() if key not in unknown} for members in ask.request.params]
    return known, tuple(sorted(unknown))
