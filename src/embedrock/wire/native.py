"""Bedrock's own bodies, `POST /v1/aws-bedrock/embeddings`: checked by shape, answered byte for byte, with `usage` last.

The model decides the schema. A member the schema does not have is refused; a value that Bedrock would refuse, such as
a number of dimensions it lacks, is Bedrock's to refuse. Nothing is added to a request but `truncate`, which is sent as
NONE beside texts when absent, and nothing to an answer but `usage`, and `embedding: null` where Titan leaves it out
because only other types were asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import msgspec

from embedrock.errors import BadRequest, InvalidUpstream, ValidationError
from embedrock.inputs import Media, S3Object
from embedrock.vectors import Array
from embedrock.wire import strict_json
from embedrock.wire.openai import Body

#: What ids begin with that this path takes.
PREFIXES: Final = ("amazon.titan-", "cohere.")

_SHOWN_CHARS: Final = 100  # of a member's name in a message

_Check = Callable[[object], str | None]  # what is wrong with a value, ending "'name' must be …"


class NativeRequest(NamedTuple):
    """A native call: Bedrock's body, and what is billed beside tokens: its texts, how many images, sound and film."""

    body: bytes
    texts: tuple[str, ...]
    images: int
    objects: tuple[str, ...] = ()  # URIs in S3
    clips: tuple[Media | S3Object, ...] = ()  # as the body says; nobody has looked at them


@dataclass(frozen=True, slots=True)
class _Schema:
    """A family's members → checks; which must be there, and of which one, or at least one."""

    members: Mapping[str, _Check]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    cuts: bool = False  # it has `truncate`


def _string(value: object) -> str | None:
    return None if isinstance(value, str) else "a string"


def _integer(value: object) -> str | None:
    return None if type(value) is int else "an integer"


def _boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _config(value: object) -> str | None:
    good = isinstance(value, dict) and all(
        name == "outputEmbeddingLength" and type(size) is int for name, size in value.items()
    )
    return None if good else "an object with outputEmbeddingLength, an integer"


def _strings(value: object) -> str | None:
    good = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return None if good else "an array of one or more strings"


def _objects(value: object) -> str | None:
    good = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    return None if good else "an array of one or more objects"


def _one_of(*allowed: str) -> _Check:
    def check(value: object) -> str | None:
        return None if isinstance(value, str) and value in allowed else f"one of {', '.join(allowed)}"

    return check


def _some_of(*allowed: str) -> _Check:
    def check(value: object) -> str | None:
        good = isinstance(value, list) and value and all(item in allowed and value.count(item) == 1 for item in value)
        return None if good else f"an array of {', '.join(allowed)}, each at most once"

    return check


_PURPOSES: Final = ("search_document", "search_query", "classification", "clustering")
_COHERE_TYPES: Final = _some_of("float", "int8", "uint8", "binary", "ubinary")
_SCHEMAS: Final[Mapping[str, _Schema]] = {
    "titan_text_v1": _Schema({"inputText": _string}, required=("inputText",)),
    "titan_text_v2": _Schema(
        {
            "inputText": _string,
            "dimensions": _integer,
            "normalize": _boolean,
            "embeddingTypes": _some_of("float", "binary"),
        },
        required=("inputText",),
    ),
    "titan_image": _Schema(
        {"inputText": _string, "inputImage": _string, "embeddingConfig": _config}, any_of=("inputText", "inputImage")
    ),
    "cohere_v3": _Schema(
        {
            "texts": _strings,
            "images": _strings,
            "input_type": _one_of(*_PURPOSES, "image"),
            "embedding_types": _COHERE_TYPES,
            "truncate": _one_of("NONE", "START", "END"),
        },
        required=("input_type",),
        one_of=("texts", "images"),
        cuts=True,
    ),
    "cohere_v4": _Schema(
        {
            "texts": _strings,
            "images": _strings,
            "inputs": _objects,
            "input_type": _one_of(*_PURPOSES, "image"),
            "embedding_types": _COHERE_TYPES,
            "truncate": _one_of("NONE", "START", "END", "LEFT", "RIGHT"),
            "output_dimension": _integer,
            "max_tokens": _integer,
        },
        required=("input_type",),
        one_of=("texts", "images", "inputs"),
        cuts=True,
    ),
}
#: Members, at any depth, that are a text or an image, or a list of them, in the bodies of any family.
_TEXTS: Final = frozenset({"inputText", "texts", "text", "value"})
_IMAGES: Final = frozenset({"inputImage", "images", "image", "image_url", "mediaSource", "mediaSources"})

#: Members that are sound or film.
_CLIPS: Final[Mapping[str, Literal["audio", "video"]]] = {"audio": "audio", "video": "video"}


def read_model(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the model that a request names, and its other members. Raises BadRequest or ValidationError."""
    members = strict_json.decode_object(body)
    model = members.pop("model", None)
    if not isinstance(model, str) or not model:
        raise ValidationError("'model' must be a string that names a model.", param="model")
    return model, members


def decode_request(family: str, members: Mapping[str, Any]) -> NativeRequest:
    """Return the native call in `members`. Raises ValidationError naming the member that is wrong.

    A family without a schema here, which only an operator can let in, is Bedrock's to check.
    """
    schema = _SCHEMAS.get(family)
    if schema is not None:
        _validate(schema, members)
        if schema.cuts and "images" not in members:  # AWS's pages disagree on its default, and some say END
            members = {"truncate": "NONE", **members}
    texts, images, objects, clips = _count(members)
    return NativeRequest(_encode(members), tuple(texts), images, tuple(objects), tuple(clips))


def _validate(schema: _Schema, members: Mapping[str, Any]) -> None:
    for name in members:
        if name not in schema.members:
            shown = name if name.isprintable() and len(name) <= _SHOWN_CHARS else "…"
            raise ValidationError(f"Unknown member: '{shown}'.", param=shown)
    for name in schema.required:
        if name not in members:
            raise ValidationError(f"'{name}' is missing.", param=name)
    for names, most, needed in ((schema.one_of, 1, "Exactly one"), (schema.any_of, len(schema.any_of), "At least one")):
        if names and not 1 <= sum(name in members for name in names) <= most:
            raise ValidationError(f"{needed} of {', '.join(names)} must be there.", param=names[0])
    for name, value in members.items():
        if wrong := schema.members[name](value):
            raise ValidationError(f"'{name}' must be {wrong}.", param=name)


def _count(members: Mapping[str, Any]) -> tuple[list[str], int, list[str], list[Media | S3Object]]:
    """Return the texts of a body of any family, the number of its images, the objects in S3 it names, and its clips."""
    clips: list[Media | S3Object] = []
    texts: list[str] = []
    objects: list[str] = []
    images = 0
    left: list[tuple[str, Any]] = list(members.items())
    while left:  # no recursion: a body may be as deep as it likes
        name, value = left.pop()
        if name == "uri":
            objects.append(str(value))
        elif name in _IMAGES:
            images += len(value) if isinstance(value, list) else 1
        elif isinstance(value, dict):
            if name in _CLIPS:
                clips.append(_clip(_CLIPS[name], value))
            left += value.items()
        elif isinstance(value, list):
            left += ((name, item) for item in value)
        elif name in _TEXTS and isinstance(value, str):
            texts.append(value)
    return texts, images, objects, clips


def _clip(kind: Literal["audio", "video"], value: Mapping[str, Any]) -> Media | S3Object:
    source = value.get("source")
    data = source.get("bytes") if isinstance(source, dict) else None
    if isinstance(data, str):
        return Media(kind, str(value.get("format")), data, len(data) * 3 // 4, None, None)
    return S3Object("", kind, None)


def _encode(members: Mapping[str, Any]) -> bytes:
    try:
        try:
            return msgspec.json.encode(members)
        except UnicodeEncodeError:  # a lone surrogate somewhere, which UTF-8 cannot spell
            text = json.dumps(members, ensure_ascii=False)
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None


_EMBEDDING: Final = re.compile(rb'"embedding"\s*:')
_MEMBER: Final = re.compile(rb'\s*\{\s*"')


def open_end(family: str, answer: bytes | bytearray) -> list[Array]:
    """Return Bedrock's answer but for its last bracket. Raises InvalidUpstream when it is no JSON object."""
    end = answer.rfind(b"}")
    if end < 0 or answer[end + 1 :].strip() or not _MEMBER.match(answer):
        raise InvalidUpstream("Bedrock's answer is not a JSON object.")
    null = b',"embedding":null' if family.startswith("titan") and not _EMBEDDING.search(answer) else b""
    return [bytes(answer[:end]), null]


def encode_response(opened: Sequence[Array], used: int, remaining: int | None) -> Body:
    """Return the answer that `open_end` opened, with `usage` as its last member."""
    usage = msgspec.json.encode({"credits_used": used, "credits_remaining": remaining})
    pieces: list[Array] = [*opened, b',"usage":', usage, b"}"]
    return Body(sum(map(len, pieces)), pieces)
