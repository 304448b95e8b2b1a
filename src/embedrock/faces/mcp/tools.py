"""What the tools do: arguments in, a JSON object out; nothing here knows the protocol.

`openai_embedding` reads its arguments as the HTTP endpoint reads a body, so that the same things are refused in the
same words. The other tools embed through the same path and answer what an agent is after, in few tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.catalog.specs import Family
from embedrock.errors import BadRequest
from embedrock.faces.http import bedrock_headers
from embedrock.faces.http.bedrock_headers import BedrockHeaders
from embedrock.faces.mcp.schemas import (
    DEFAULT_MODEL,
    DEFAULT_PAIRS,
    DEFAULT_RESULTS,
    MOST_COMPARED,
    MOST_FULL,
    MOST_SHOWN,
    TOOLS,
)
from embedrock.service.bill import Bill
from embedrock.service.callers import ANYBODY, Caller
from embedrock.service.door import Admission
from embedrock.service.embedder import Reply
from embedrock.settings import Settings
from embedrock.vectors import Array, Label, Render
from embedrock.wire import openai
from embedrock.wiring import Gateway

Arguments = Mapping[str, Any]
Members = dict[str, Any]
Matrix = NDArray[np.float64]

#: What the families that tell queries from documents call either.
_QUERY: Final[Mapping[Family, Members]] = {
    "cohere_v3": {"input_type": "search_query"},
    "cohere_v4": {"input_type": "search_query"},
    "nova": {"embedding_purpose": "GENERIC_RETRIEVAL"},
}
_DOCUMENT: Final[Mapping[Family, Members]] = {
    "cohere_v3": {"input_type": "search_document"},
    "cohere_v4": {"input_type": "search_document"},
    "nova": {"embedding_purpose": "GENERIC_INDEX"},
}
_FIRST_NUMBERS: Final = 4
_SHOWN_CHARS: Final = 200  # of a text that was found
_DIGITS: Final = 4  # of a score
_NORM_DIGITS: Final = 6


class Asked(NamedTuple):
    """What a caller says beside the arguments, in headers; over standard input and output, nothing."""

    bedrock: BedrockHeaders = bedrock_headers.NONE
    timeout_s: float | None = None
    caller: Caller = ANYBODY
    admission: Admission | None = None
    bill: Bill | None = None


class Tools:
    """The tools of one gateway."""

    def __init__(self, settings: Settings, gateway: Gateway) -> None:
        self._settings = settings
        self._gateway = gateway
        self._by_name = {
            "openai_embedding": self._openai_embedding,
            "similarity": self._similarity,
            "search_texts": self._search_texts,
            "list_embedding_models": self._list_embedding_models,
        }

    async def call(self, name: str, arguments: Arguments, asked: Asked) -> Members:
        """Return what tool `name`, one of TOOLS, answers. Raises EmbedrockError that names the argument."""
        tool = TOOLS[name]
        given = {argument: value for argument, value in arguments.items() if value is not None}
        if not tool.open and (unknown := [argument for argument in given if argument not in tool.takes]):
            shown = unknown[0] if unknown[0].isprintable() and len(unknown[0]) <= 100 else "…"
            known = ", ".join(tool.takes) or "no arguments"
            raise BadRequest(
                f"Unknown argument: '{shown}'. {name} takes {known}.", param=shown, code="unsupported_parameter"
            )
        return await self._by_name[name](given, asked)

    async def _openai_embedding(self, arguments: Arguments, asked: Asked) -> Members:
        full = arguments.get("full_vectors", False)
        if not isinstance(full, bool):
            raise BadRequest("'full_vectors' must be true or false.", param="full_vectors", code="invalid_type")
        ask = _read(arguments)
        if full and ask.render is vectors.as_json and _count(ask.input) > MOST_FULL:
            raise BadRequest(
                f"'full_vectors' answers the numbers of at most {MOST_FULL} inputs; ask for more as base64.",
                param="full_vectors",
                code="invalid_value",
            )
        if not full:
            reply: Reply[Any] = await self._embed(ask, vectors.as_float32, asked)
            shown = reply.vectors[:MOST_SHOWN]
            return _told(ask.model, reply) | {
                "dimensions": reply.vectors[0].size,
                "data": [_labelled(reply, at) | _glimpse(vector) for at, vector in enumerate(shown)],
            }
        reply = await self._embed(ask, ask.render, asked)
        found = [msgspec.json.decode(vector) for vector in reply.vectors]
        return _told(ask.model, reply) | {
            "dimensions": _size(found[0]),
            "data": [_labelled(reply, at) | {"embedding": vector} for at, vector in enumerate(found)],
        }

    async def _similarity(self, arguments: Arguments, asked: Asked) -> Members:
        texts = _texts(arguments)
        if not 2 <= len(texts) <= MOST_COMPARED:
            raise BadRequest(
                f"'texts' must be 2 to {MOST_COMPARED} texts, not {len(texts)}.", param="texts", code="invalid_value"
            )
        top = _positive(arguments, "top", DEFAULT_PAIRS)
        matrix, reply = await self._directions("texts", texts, arguments, {}, asked)
        cosines = matrix @ matrix.T
        first, second = np.triu_indices(len(texts), 1)
        scores = cosines[first, second]
        pairs = zip(first.tolist(), second.tolist(), _rounded(scores), strict=True)
        best = np.argsort(-scores, kind="stable")[:top].tolist()
        listed = [{"a": a, "b": b, "score": score} for a, b, score in pairs]
        return _told(_model(arguments), reply) | {
            "pairs": [listed[at] for at in best],
            "matrix": _rounded(cosines),
        }

    async def _search_texts(self, arguments: Arguments, asked: Asked) -> Members:
        query = arguments.get("query")
        if not isinstance(query, str):
            raise BadRequest("'query' must be a string.", param="query", code="invalid_type")
        if not query:
            raise BadRequest("'query' is empty.", param="query", code="empty_input")
        texts = _texts(arguments)
        top = _positive(arguments, "top", DEFAULT_RESULTS)
        family = self._gateway.names.find(_model(arguments)).spec.family
        (wanted,), asking = await self._directions("query", query, arguments, _QUERY.get(family, {}), asked)
        matrix, reply = await self._directions("texts", texts, arguments, _DOCUMENT.get(family, {}), asked)
        scores = matrix @ wanted
        best = np.argsort(-scores, kind="stable")[:top]
        found = zip(best.tolist(), _rounded(scores[best]), strict=True)
        return _told(_model(arguments), reply, asking) | {
            "results": [{"index": at, "score": score, "text": _beginning(texts[at])} for at, score in found]
        }

    async def _list_embedding_models(self, arguments: Arguments, asked: Asked) -> Members:  # noqa: ARG002
        names, sees = self._gateway.names, asked.caller.sees
        seen = [(name, spec) for name, spec in MODELS.items() if sees(name, spec.id)]
        listed = msgspec.json.decode(openai.encode_models(seen, self._settings.max_inputs))
        aliases = [(alias, names.find(alias).spec.id) for alias in names.aliases]
        return {
            "default": DEFAULT_MODEL,
            "models": listed["data"],
            "aliases": [{"name": alias, "model": model} for alias, model in aliases if sees(alias, model)],
        }

    async def _directions(
        self, name: str, value: str | list[str], arguments: Arguments, params: Members, asked: Asked
    ) -> tuple[Matrix, Reply[Any]]:
        """Return what argument `name` becomes, at length 1: shape (texts, dimensions)."""
        chosen = {member: arguments[member] for member in ("model", "dimensions") if member in arguments}
        try:
            ask = _read({**chosen, **params, "input": value})
            reply: Reply[Any] = await self._embed(ask, vectors.as_float32, asked)
        except BadRequest as exc:
            _rename(exc, name)
            raise
        if reply.labels is not None:
            raise BadRequest(f"'{name}' does not become one vector for each.", param=name, code="invalid_value")
        matrix = np.stack(reply.vectors).astype(np.float64)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return matrix, reply

    async def _embed(self, ask: openai.EmbeddingsRequest, render: Render[Any], asked: Asked) -> Reply[Any]:
        bill = asked.bill.another() if asked.bill is not None else None
        try:
            reply = await self._gateway.embedder.embed(
                ask.model,
                ask.input,
                render=render,
                dimensions=ask.dimensions,
                params=ask.params,
                headers=asked.bedrock.forwarded,
                guardrail=asked.bedrock.guardrail,
                timeout_s=asked.timeout_s,
                caller=asked.caller,
                admission=asked.admission,
                bill=bill,
            )
            if bill is not None:
                await bill.settle()
            return reply
        finally:
            if bill is not None:
                bill.end()


# -------------------------------------------------------------------------------------------------------- arguments


def _read(arguments: Arguments) -> openai.EmbeddingsRequest:
    body = {name: value for name, value in arguments.items() if name != "full_vectors"} | {"model": _model(arguments)}
    try:
        return openai.decode_request(json.dumps(body).encode())
    except RecursionError:
        raise BadRequest("The arguments are nested too deeply.", code="invalid_json") from None


def _model(arguments: Arguments) -> str:
    model = arguments.get("model", DEFAULT_MODEL)
    if not isinstance(model, str):
        raise BadRequest("'model' must be a string.", param="model", code="invalid_type")
    return model


def _count(value: object) -> int:
    """Return how many inputs there are in the argument `input`; a list of token ids is one."""
    return len(value) if isinstance(value, list) and value and type(value[0]) is not int else 1


def _texts(arguments: Arguments) -> list[str]:
    texts = arguments.get("texts")
    if not isinstance(texts, list):
        raise BadRequest("'texts' must be an array of strings.", param="texts", code="invalid_type")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRequest(f"'texts[{index}]' must be a string.", param=f"texts[{index}]", code="invalid_type")
    return texts


def _positive(arguments: Arguments, name: str, default: int) -> int:
    value = arguments.get(name, default)
    if type(value) is not int:
        raise BadRequest(f"'{name}' must be an integer.", param=name, code="invalid_type")
    if value < 1:
        raise BadRequest(f"'{name}' must be at least 1.", param=name, code="invalid_value")
    return value


def _rename(error: BadRequest, name: str) -> None:
    """Have an error about `input` speak of the argument that was embedded."""
    if error.param is not None and error.param.startswith("input") and not error.param.startswith("input_"):
        error.param = name + error.param.removeprefix("input")
        error.message = error.message.replace("'input", f"'{name}")


# ---------------------------------------------------------------------------------------------------------- answers


def _told(model: str, reply: Reply[Any], *others: Reply[Any]) -> Members:
    """Return what every answer says, and the remarks on the inputs of `reply` for which there is a reason."""
    replies = (reply, *others)
    remarks = {
        "tokens_estimated": not all(each.reported for each in replies),
        "emptied": list(reply.emptied),
        "truncated": list(reply.truncated),
        "masked": list(reply.masked),
        "dropped_params": list(reply.dropped),
    }
    told = {
        "model": model,
        "count": sum(len(each.vectors) for each in replies),
        "tokens": sum(each.tokens for each in replies),
    }
    return told | {name: value for name, value in remarks.items() if value}


def _labelled(reply: Reply[Any], at: int) -> Members:
    """Return which input vector `at` is of."""
    label = Label(at) if reply.labels is None else reply.labels[at]
    members: Members = {"index": label.index}
    if label.segment is not None:
        members["segment"] = msgspec.to_builtins(label.segment)
    if label.input_indices is not None:
        members["input_indices"] = list(label.input_indices)
    return members


def _glimpse(vector: NDArray[np.float32]) -> Members:
    return {
        "norm": round(float(np.linalg.norm(vector.astype(np.float64))), _NORM_DIGITS),
        "first": [float(str(number)) for number in vector[:_FIRST_NUMBERS]],
    }


def _size(vector: Array | str | list[float]) -> int:
    """Return how many numbers a vector has, as numbers or as base64 of float32."""
    return len(vector) if isinstance(vector, list) else len(vector) * 3 // 4 // 4


def _rounded(scores: NDArray[np.float64]) -> list[Any]:
    rounded: list[Any] = (np.round(scores, _DIGITS) + 0.0).tolist()  # no -0.0
    return rounded


def _beginning(text: str) -> str:
    clean = text[: _SHOWN_CHARS + 1].encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    return clean if len(clean) <= _SHOWN_CHARS else clean[: _SHOWN_CHARS - 1] + "…"
