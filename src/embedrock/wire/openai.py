"""OpenAI's embeddings, models and errors, as its API reference has them.

A member that is null counts as absent. A member OpenAI does not have may be a parameter of the model, and so may those
in `extra_body`, which hand-written clients send as it stands in Python: who knows the model accepts or refuses them.
`encoding_format` is answered here and never forwarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

import msgspec

from embedrock import vectors
from embedrock.catalog import ModelSpec, Prices
from embedrock.errors import BadRequest, EmbedrockError
from embedrock.vectors import Array, Label, Render
from embedrock.wire import strict_json
from embedrock.wire.long_uris import Cut

_MEMBERS: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user", "metadata"})
_RENDERERS: Final[dict[str, Render[Array]]] = {"float": vectors.as_json, "base64": vectors.as_base64}
_PRICES: Final = tuple(field.name for field in fields(Prices))
_MAX_USER_CHARS: Final = 512
_MAX_METADATA: Final = (16, 64, 512)  # pairs, characters a key, characters a value: OpenAI's limits for metadata


class EmbeddingsRequest(NamedTuple):
    """A body of `POST /v1/embeddings`, its shape checked; `input` is checked by who embeds it."""

    model: str
    input: object
    render: Render[Array]
    dimensions: int | None
    params: Sequence[Mapping[str, object]]  # parameters of the model, the stronger mapping first
    user: str | None = None  # for the record of use, as the next
    metadata: Mapping[str, str] | None = None


def decode_request(body: bytes | bytearray, model: str | None = None) -> EmbeddingsRequest:
    """Return what `body` asks for; `model` holds when the path names one, whatever the body says.

    Raises BadRequest naming the member that is wrong.
    """
    members = _members(body)
    user, metadata = members.get("user"), members.get("metadata")
    _check_user(user)
    _check_metadata(metadata)
    return EmbeddingsRequest(
        model or _model(members.get("model")),
        members.get("input"),
        _renderer(members.get("encoding_format")),
        _dimensions(members.get("dimensions")),
        () if members.keys() <= _MEMBERS else _params(members),
        user,
        metadata,
    )


def _members(body: bytes | bytearray) -> dict[str, Any]:
    if len(body) <= strict_json.LARGE_BYTES:
        return strict_json.decode_object(body)
    cut = Cut(body)
    members: dict[str, Any] = cut.whole(strict_json.decode_object(cut.body))
    return members


def _params(members: Mapping[str, Any]) -> Sequence[Mapping[str, object]]:
    top = {name: value for name, value in members.items() if name not in _MEMBERS}
    extra = top.pop("extra_body", None)
    if extra is None:
        return [top]
    if not isinstance(extra, dict):
        raise BadRequest("'extra_body' must be an object.", param="extra_body", code="invalid_type")
    return [top, extra]


def _model(value: object) -> str:
    if value is None or value == "":
        raise BadRequest("'model' is missing.", param="model", code="invalid_value")
    if not isinstance(value, str):
        raise BadRequest("'model' must be a string.", param="model", code="invalid_type")
    return value


def _renderer(value: object) -> Render[Array]:
    if value is None:
        return vectors.as_json
    if not isinstance(value, str):
        raise BadRequest("'encoding_format' must be a string.", param="encoding_format", code="invalid_type")
    if value not in _RENDERERS:
        raise BadRequest(
            "'encoding_format' must be 'float' or 'base64'.", param="encoding_format", code="invalid_value"
        )
    return _RENDERERS[value]


def _dimensions(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest("'dimensions' must be an integer.", param="dimensions", code="invalid_type")
    if value < 1:
        raise BadRequest("'dimensions' must be at least 1.", param="dimensions", code="invalid_value")
    return value


def _check_user(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise BadRequest("'user' must be a string.", param="user", code="invalid_type")
    if len(value) > _MAX_USER_CHARS or not value.isprintable():
        raise BadRequest(
            f"'user' must be at most {_MAX_USER_CHARS} printable characters.", param="user", code="invalid_value"
        )


def _check_metadata(value: object) -> None:
    if value is None:
        return
    pairs, key_chars, value_chars = _MAX_METADATA
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadRequest("'metadata' must be an object of strings.", param="metadata", code="invalid_type")
    if len(value) > pairs or any(len(key) > key_chars or len(text) > value_chars for key, text in value.items()):
        raise BadRequest(
            f"'metadata' takes at most {pairs} pairs, keys of {key_chars} and values of {value_chars} characters.",
            param="metadata",
            code="invalid_value",
        )


class Body(NamedTuple):
    """An answer's body: its length in bytes, and its pieces. A large one is never joined, that costs a third more."""

    length: int
    pieces: Sequence[Array]


def encode_response(
    model: str, embeddings: Sequence[Array], tokens: int, labels: Sequence[Label] | None = None
) -> Body:
    """Return the answer's body. `embeddings` are JSON values, in the order of the inputs: one each without `labels`."""
    usage = b'"usage":{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
    tail = b'],"model":%b,%b}' % (msgspec.json.encode(model), usage)
    pieces = (b'{"object":"list","data":[', *encode_data(embeddings, labels), tail)
    return Body(sum(map(len, pieces)), pieces)


def encode_data(embeddings: Sequence[Array], labels: Sequence[Label] | None) -> list[Array]:
    """Return the items of `data`, in pieces, without the brackets around them."""
    if labels is None:
        pieces: list[Array] = [b'{"object":"embedding","index":0,"embedding":', embeddings[0]]
        for index in range(1, len(embeddings)):
            pieces += (b'},{"object":"embedding","index":%d,"embedding":' % index, embeddings[index])
    else:
        pieces = []
        for number, (label, embedding) in enumerate(zip(labels, embeddings, strict=True)):
            joint = b"}," if number else b""
            pieces += (b'%b{"object":"embedding",%b,"embedding":' % (joint, _label(label)), embedding)
    pieces.append(b"}")
    return pieces


def _label(label: Label) -> bytes:
    members: dict[str, object] = {"index": label.index}
    if label.segment is not None:
        members["segment"] = label.segment
    if label.input_indices is not None:
        members["input_indices"] = label.input_indices
    return msgspec.json.encode(members)[1:-1]


def encode_error(error: EmbedrockError) -> bytes:
    """Return the error envelope: message, type, param and code, all four always there."""
    members = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": members})


def encode_models(models: Iterable[tuple[str, ModelSpec]], max_inputs: int) -> bytes:
    """Return the answer of `GET /v1/models`: each name with its model; `max_inputs` is what a request may hold."""
    data = [_model_object(name, spec, max_inputs) for name, spec in models]
    return msgspec.json.encode({"object": "list", "data": data})


def encode_model(name: str, spec: ModelSpec, max_inputs: int) -> bytes:
    """Return the answer of `GET /v1/models/{name}`."""
    return msgspec.json.encode(_model_object(name, spec, max_inputs))


def _model_object(name: str, spec: ModelSpec, max_inputs: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": spec.provider.lower(),
        "supported_features": ["bedrock_embeddings"],
        "input_modalities": list(dict.fromkeys((*spec.input_modalities, *spec.async_modalities))),
        "dimensions": list(spec.dimensions),
        "default_dimensions": spec.default_dimensions,
        "max_inputs": max_inputs,
        "max_input_tokens": spec.max_input_tokens,
        "prices": {name: str(price) for name in _PRICES if (price := getattr(spec.prices, name)) is not None},
    }
