"""JSON as the standard has it, and nothing else: one document in UTF-8, no key twice, no NaN, no infinity.

The standard library's decoder is the one that can refuse a repeated key; on a usual body it costs two microseconds.
"""

from __future__ import annotations

import json
import math
from typing import Any, Never

from embedrock.errors import BadRequest


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises BadRequest with code `invalid_json` or `duplicate_key`."""
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
