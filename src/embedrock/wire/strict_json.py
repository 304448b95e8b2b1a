"""JSON as the standard has it, and nothing else: one document in UTF-8, no key twice, no NaN, no infinity.

The standard library's decoder is the one that can refuse a repeated key; on a usual body it costs two microseconds.
A large body could keep it busy for seconds, with a million members or numbers. So a large one is read by simdjson,
whose document is looked at before it becomes Python: what is in it is counted, and made piece by piece.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, Never

import simdjson

from embedrock.errors import BadRequest

#: A body larger than this takes long enough that it is better decoded in a thread.
LARGE_BYTES: Final = 256_000
_MOST_MEMBERS: Final = 1_000  # of one object
_MOST_CONTAINERS: Final = 200_000  # arrays and objects in a document
_MANY: Final = 10_000  # values of an array that are worth a look before they are made
_DEEPEST: Final = 64


def decode_object(body: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises BadRequest with code `invalid_json` or `duplicate_key`."""
    if len(body) > LARGE_BYTES:
        return _Large().decode(body)
    return _decode(body)


def _decode(body: bytes | bytearray) -> dict[str, Any]:
    try:
        text = body.decode().strip(" \t\r\n")
        document, end = _decoder.raw_decode(text)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None
    except ValueError:  # bad UTF-8 and numbers of thousands of digits are ValueErrors too
        raise BadRequest("The body is not valid JSON in UTF-8.", code="invalid_json") from None
    if end != len(text):
        raise BadRequest("The body is more than one JSON document.", code="invalid_json")
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadRequest("A member of the body is there twice.", code="duplicate_key")
    return members


def _constant(_: str) -> Never:
    raise ValueError("NaN and infinity are not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


class _Large:
    """Decodes one large body."""

    def __init__(self) -> None:
        self._containers = 0

    def decode(self, body: bytes | bytearray) -> dict[str, Any]:
        if body.startswith(b"\xef\xbb\xbf"):
            raise BadRequest("The body begins with a byte order mark.", code="invalid_json")
        parser: Any = simdjson.Parser()
        try:
            document = parser.parse(body)
        except RuntimeError:  # numbers of more than 64 bits, nested too deeply
            message = "The body holds a number that is too large, or is nested too deeply."
            raise BadRequest(message, code="invalid_json") from None
        except ValueError:
            if b"\\u" in body:  # perhaps a lone surrogate, which JSON can spell and simdjson refuses
                return _decode(body)
            raise BadRequest("The body is not valid JSON in UTF-8.", code="invalid_json") from None
        if not isinstance(document, simdjson.Object):
            raise BadRequest("The body must be a JSON object.", code="invalid_json")
        return self._object(document, _DEEPEST)

    def _object(self, document: Any, deepest: int) -> dict[str, Any]:
        if deepest < 0:
            raise BadRequest("The body is nested too deeply.", code="invalid_json")
        self._count(len(document))
        if len(document) > _MOST_MEMBERS:
            raise BadRequest(f"An object of the body has more than {_MOST_MEMBERS} members.", code="invalid_json")
        # Not by items(), which makes everything at once.
        members = {name: self._value(document[name], deepest - 1) for name in document.keys()}  # noqa: SIM118
        if len(members) != len(document):
            raise BadRequest("A member of the body is there twice.", code="duplicate_key")
        return members

    def _value(self, value: Any, deepest: int) -> Any:
        if isinstance(value, simdjson.Object):
            return self._object(value, deepest)
        if not isinstance(value, simdjson.Array):
            return value
        if not len(value):
            return []
        if deepest < 0:
            raise BadRequest("The body is nested too deeply.", code="invalid_json")
        if isinstance(value[0], simdjson.Array | simdjson.Object):
            self._count(len(value))
            return [self._value(item, deepest - 1) for item in value]
        # Texts, or token ids: made at once. What is nested behind the first would be made uncounted.
        if len(value) > _MANY and any(isinstance(item, simdjson.Array | simdjson.Object) for item in value):
            raise BadRequest("An array of the body mixes values and arrays or objects.", code="invalid_json")
        made = value.as_list()
        if {list, dict} & {*map(type, made)}:
            self._count(len(made))
        return made

    def _count(self, containers: int) -> None:
        self._containers += containers
        if self._containers > _MOST_CONTAINERS:
            raise BadRequest("The body holds too many arrays and objects.", code="invalid_json")
