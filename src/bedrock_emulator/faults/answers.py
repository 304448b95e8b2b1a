"""The vectors in an answer, wherever a family puts them, for the faults that alter answers.

    Titan           {"embedding": [...], "embeddingsByType": {"float": [...], "binary": [...]}, ...}
    Cohere          {"embeddings": [[...], ...], ...} or {"embeddings": {"float": [[...], ...], "int8": ...}, ...}
    Nova            {"embeddings": [{"embedding": [...], "embeddingType": "TEXT"}, ...]}
    Marengo         {"data": [{"embedding": [...]}, ...]}

No family is named in the code: a list of numbers is a vector, a list whose items are or hold vectors is a list of
inputs. A vector that stands in several types, floats and bytes say, is altered in each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import orjson

from ..response import Response

Vector: TypeAlias = list[float]


def altered(response: Response, change: Callable[[Any], Any]) -> Response:
    """Return an answer with its parsed body changed; every untouched number keeps its value."""
    return replace(response, body=orjson.dumps(change(orjson.loads(response.body))))


def is_vector(value: object) -> bool:
    """Tell whether a JSON value is a list of numbers, not empty."""
    return isinstance(value, list) and bool(value) and all(type(item) in (int, float) for item in value)


def each_vector(value: Any, change: Callable[[Vector], Any], *, at: int | None = None) -> Any:
    """Return a parsed body with all vectors changed, or those of the input `at` alone (past the end: the last)."""
    return _each_vector(value, change, at, position=0, last=0)


def each_list(value: Any, change: Callable[[list[Any]], list[Any]]) -> Any:
    """Return a parsed body with all lists of inputs changed; Titan's has none."""
    if isinstance(value, list):
        return change(value) if value and all(map(_holds_vector, value)) else value
    if isinstance(value, dict):
        return {key: each_list(item, change) for key, item in value.items()}
    return value


def _each_vector(value: Any, change: Callable[[Vector], Any], at: int | None, *, position: int, last: int) -> Any:
    if is_vector(value):
        return change(value) if at is None or position == min(at, last) else value
    if isinstance(value, list):
        end = len(value) - 1
        return [_each_vector(item, change, at, position=number, last=end) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _each_vector(item, change, at, position=position, last=last) for key, item in value.items()}
    return value


def _holds_vector(item: object) -> bool:
    return is_vector(item) or (isinstance(item, dict) and any(map(is_vector, item.values())))
