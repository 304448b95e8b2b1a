"""A gateway in the engine's place: the same asks, the same results, over HTTP.

A list is cut where the gateway wants it cut, and a few parts are in flight at once.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from embedrock import media
from embedrock.catalog import MODELS, ModelSpec
from embedrock.catalog.prices import Billed, cost_usd
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.faces.http import headers as header
from embedrock.faces.sdk.arguments import InvalidArgument
from embedrock.faces.sdk.asking import Ask, Result
from embedrock.faces.sdk.link import Link, Request
from embedrock.inputs import read_inputs
from embedrock.service import clips
from embedrock.service.lanes import in_lanes
from embedrock.service.work import billed
from embedrock.vectors import BROKEN_JSON, Label, Render, Segment, as_base64

V = TypeVar("V")

_MOST_INPUTS: Final = 2048  # of a request, until a gateway says otherwise: its own default
_LANES: Final = 4
_INDEX: Final = re.compile(r"(?<=\binput\[)\d+")


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int
    segment: Segment | None = None
    input_indices: tuple[int, ...] | None = None
    batch: dict[str, Any] | None = None  # of a request in the background

    @property
    def label(self) -> Label:
        return Label(self.index, self.segment, self.input_indices)


class _Usage(msgspec.Struct):
    prompt_tokens: int


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Usage
    model: str


class _Model(msgspec.Struct):
    max_inputs: int


class _Models(msgspec.Struct):
    data: list[_Model]


class Remote:
    """One gateway. Whose key is sent is said with each call."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._most = _MOST_INPUTS

    async def ask(self, ask: Ask, render: Render[V], key: str | None) -> Result[V]:
        """Return the gateway's answer. Raises EmbedrockError."""
        deadline = time.monotonic() + ask.timeout_s
        dropped: list[str] = []
        while True:
            try:
                result = await self._in_parts(ask, render, key, deadline)
            except BadRequest as exc:  # before Bedrock was called, so that asking anew costs nothing
                if exc.code == "unsupported_parameter" and ask.drop and (rest := ask.without(exc.param or "")):
                    dropped.append(exc.param or "")
                    ask = rest
                elif exc.code == "too_many_inputs" and (most := await self._limit(key, deadline)) < self._most:
                    self._most = most
                else:
                    raise
            else:
                return replace(result, dropped=tuple(sorted({*result.dropped, *dropped})))

    async def batch(self, id_: str, key: str | None, deadline: float) -> dict[str, Any]:
        """Return the members of one of the gateway's batches. Raises EmbedrockError."""
        response = await self._link.send(Request("GET", f"/batches/{quote(id_, safe='')}", key), deadline)
        try:
            return msgspec.json.decode(response.body, type=dict[str, Any])
        except BROKEN_JSON as exc:
            raise InvalidUpstream("The gateway's answer is not a batch.") from exc

    async def _limit(self, key: str | None, deadline: float) -> int:
        """Return how many inputs the gateway takes at once."""
        response = await self._link.send(Request("GET", "/models", key), deadline)
        try:
            return max(1, msgspec.json.decode(response.body, type=_Models).data[0].max_inputs)
        except (*BROKEN_JSON, IndexError):
            return sys.maxsize

    async def _in_parts(self, ask: Ask, render: Render[V], key: str | None, deadline: float) -> Result[V]:
        inputs = ask.as_list
        if inputs is None or len(inputs) <= self._most:
            return await self._one(ask, render, key, deadline)
        parts = cut(len(inputs), self._most)
        results: dict[range, Result[V]] = {}

        async def run(part: range) -> None:
            try:
                results[part] = await self._one(ask.part(inputs[part.start : part.stop]), render, key, deadline)
            except BadRequest as exc:
                raise _moved(exc, part.start) from exc.__cause__

        await in_lanes(parts, _LANES, run)
        return _joined({part.start: results[part] for part in parts})

    async def _one(self, ask: Ask, render: Render[V], key: str | None, deadline: float) -> Result[V]:
        as_sent = render is as_base64  # what the gateway sends then is what the render would make
        body = {
            "model": ask.model,
            "input": ask.input,
            **ask.members,
            "encoding_format": "base64" if as_sent else "float",
        }
        try:
            text = json.dumps(body).encode()  # unlike msgspec's, it spells lone surrogates
        except (TypeError, ValueError, RecursionError):
            raise InvalidArgument("The input is none that JSON can say.", param="input") from None
        headers = (("idempotency-key", secrets.token_hex(16)), *ask.headers.forwarded)
        response = await self._link.send(Request("POST", "/embeddings", key, text, headers), deadline, ask.retries)
        try:
            answer = msgspec.json.decode(response.body, type=_Answer)
        except BROKEN_JSON as exc:
            raise InvalidUpstream("The gateway's answer is not one of embeddings.") from exc
        _check_complete(answer.data, ask)
        arrays = [bytes(item.embedding) for item in answer.data if item.batch is None]
        found: list[Any] = [array if as_sent else render(array, array.count(b",") + 1) for array in arrays]
        return _result(ask, answer, found, response.headers)


def cut(inputs: int, most: int) -> list[range]:
    """Return parts of at most `most` inputs, about equal, and never of two.

    Two inputs alone in a request may become one vector: a text and an image do on Marengo 3.
    """
    count = -(-inputs // most)
    if inputs // count <= 2:
        count = inputs
    bounds = [number * inputs // count for number in range(count + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(bounds)]


def _moved(exc: BadRequest, start: int) -> BadRequest:
    """Return an error of a part as one of the whole: the index it names counts from where the part begins."""

    def move(text: str) -> str:
        return _INDEX.sub(lambda found: str(int(found[0]) + start), text)

    exc.param = exc.param and move(exc.param)
    exc.message = move(exc.message)
    exc.args = (exc.message,)
    return exc


def _check_complete(items: Sequence[_Item], ask: Ask) -> None:
    inputs = ask.as_list
    there = {index for item in items for index in item.input_indices or (item.index,)}
    if there != set(range(1 if inputs is None else len(inputs))):
        raise InvalidUpstream("The gateway's answer does not have a vector for each input.")


def _result(ask: Ask, answer: _Answer, found: list[V], headers: Mapping[bytes, bytes]) -> Result[V]:
    batches = [item.batch for item in answer.data if item.batch is not None]
    labels = [item.label for item in answer.data if item.batch is None]
    model_id = headers.get(header.MODEL, b"").decode("latin-1") or answer.model
    tokens = answer.usage.prompt_tokens
    spec = MODELS.get(model_id)
    guardrail = headers.get(header.GUARDRAIL)
    return Result(
        vectors=found,
        labels=None if labels == list(map(Label, range(len(labels)))) else labels,
        model=answer.model,
        model_id=model_id,
        regions=_words(headers, header.REGION),
        tokens=tokens,
        reported=headers.get(header.USAGE) != b"estimated",
        # The gateway does not say what it cost. What nobody here knows the price of adds nothing.
        cost_usd=cost_usd(spec, _billed(spec, ask, tokens)) if spec else Decimal(),
        calls=int(headers.get(header.CALLS, b"1")),
        emptied=_indexes(headers, header.EMPTY),
        truncated=_indexes(headers, header.TRUNCATED),
        dropped=_words(headers, header.DROPPED),
        masked=_indexes(headers, header.MASKED),
        guardrail=guardrail.decode("latin-1") if guardrail else None,
        batches=batches,
    )


def _billed(spec: ModelSpec, ask: Ask, tokens: int) -> Billed:
    inputs = ask.as_list
    items = [ask.input] if inputs is None else inputs
    if not any(map(_may_be_media, items)):
        return Billed(tokens, texts=len(items))
    sent = read_inputs(ask.input, max_inputs=sys.maxsize, empty_as_space=True).items
    return billed(sent, tokens, clips.lengths(spec, sent))


def _may_be_media(item: object) -> bool:
    if isinstance(item, str):
        return media.is_media(item) or media.is_s3(item)
    return isinstance(item, list) and bool(item) and isinstance(item[0], dict)


def _joined(parts: Mapping[int, Result[V]]) -> Result[V]:
    """Return the results of parts as one; each has the index at which its part begins."""
    results = list(parts.values())
    first = results[0]
    labels = None
    if any(result.labels is not None for result in results):
        labels = [
            replace(label, index=label.index + start)
            for start, result in parts.items()
            for label in result.labels or map(Label, range(len(result.vectors)))
        ]

    def indexes(name: str) -> tuple[int, ...]:
        return tuple(index + start for start, result in parts.items() for index in getattr(result, name))

    return replace(
        first,
        vectors=[vector for result in results for vector in result.vectors],
        labels=labels,
        regions=tuple(sorted({region for result in results for region in result.regions})),
        tokens=sum(result.tokens for result in results),
        reported=all(result.reported for result in results),
        cost_usd=sum((result.cost_usd for result in results), Decimal()),
        calls=sum(result.calls for result in results),
        emptied=indexes("emptied"),
        truncated=indexes("truncated"),
        dropped=tuple(sorted({name for result in results for name in result.dropped})),
        masked=indexes("masked"),
        batches=[batch for result in results for batch in result.batches],
        guardrail=min((result.guardrail for result in results if result.guardrail), default=None),  # masked, passed
    )


def _words(headers: Mapping[bytes, bytes], name: bytes) -> tuple[str, ...]:
    value = headers.get(name)
    return tuple(value.decode("latin-1").split(",")) if value else ()


def _indexes(headers: Mapping[bytes, bytes], name: bytes) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(headers, name) if word.isdigit())
