"""Request bodies, parsed as leniently as Bedrock's front does: the last of equal keys wins, lone surrogates pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from .errors import malformed

# Where the families have their texts: Titan and Marengo, Nova, the parts of Cohere v4; Cohere's `texts` is a list.
TEXT_MEMBERS = ("inputText", "value", "text")
TEXT_LIST = "texts"


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises AwsError for anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_leniently(body)
    if not isinstance(value, dict):
        raise malformed()
    return value


def texts(value: object) -> Iterator[str]:
    """Yield the texts in a request, of whatever family."""
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                if key in TEXT_MEMBERS:
                    yield item
            elif key == TEXT_LIST and isinstance(item, list):
                yield from (text for text in item if isinstance(text, str))
            else:
                yield from texts(item)


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
