"""Request bodies, parsed as leniently as Bedrock's front does: the last of equal keys wins, lone surrogates pass."""

from __future__ import annotations

import json
from typing import Any

import orjson

from .errors import malformed


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises AwsError for anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_leniently(body)
    if not isinstance(value, dict):
        raise malformed()
    return value


def _parse_leniently(body: bytes) -> object:
    """Return what Python's own parser makes of a body that is not strict JSON, with lone surrogates as U+FFFD."""
    try:
        return _without_surrogates(json.loads(body.decode("utf-8")))
    except (ValueError, RecursionError):
        raise malformed() from None


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {str(_without_surrogates(key)): _without_surrogates(item) for key, item in value.items()}
    return value
