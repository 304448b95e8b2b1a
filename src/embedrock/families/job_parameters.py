"""Parameters of jobs: what only StartAsyncInvoke knows, and where its results go.

Bedrock nests them (`segmentationConfig.durationSeconds`, `segmentation.fixed.durationSec`); callers say them flat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from embedrock.errors import BadRequest
from embedrock.families.parameters import Parameter, WrongType
from embedrock.media import read_s3_uri

_FOLDER_CHARS: Final = 900  # what a job adds to it must fit into the 1,024 of a key


def flag(name: str, field: str, explanation: str) -> Parameter:
    """Return a parameter that takes true or false."""

    def check(value: object) -> object:
        if not isinstance(value, bool):
            raise WrongType("true or false")
        return value

    return Parameter(name, field, "true or false", check, explanation)


def seconds(name: str, field: str, explanation: str) -> Parameter:
    """Return a parameter that takes a number of seconds, not negative."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongType("a number")
        if not (math.isfinite(value) and 0 <= value <= 1_000_000):
            raise ValueError("from 0 to 1000000")
        return value

    return Parameter(name, field, "a number from 0", check, explanation)


def words(name: str, field: str, values: Sequence[str], explanation: str) -> Parameter:
    """Return a parameter that takes one or several of a few words, each once."""
    expects = f"an array of {', '.join(values)}"

    def check(value: object) -> object:
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise WrongType("an array of strings")
        if not found or len(set(found)) != len(found) or not set(found) <= set(values):
            raise ValueError(expects)
        return tuple(found)

    return Parameter(name, field, expects, check, explanation)


def cuts(explanation: str) -> Parameter:
    """Return Marengo 3's `segmentation`: a method, or Bedrock's own object of the method and its length."""

    def check(value: object) -> object:
        if isinstance(value, str):
            value = {"method": value}
        if not isinstance(value, dict):
            raise WrongType("'fixed' or 'dynamic', or Bedrock's object of it")
        method = value.get("method")
        if method not in _CUTS or not value.keys() <= {"method", method}:
            raise ValueError("'fixed' or 'dynamic', or Bedrock's object of it")
        name, low, high = _CUTS[method]
        inner: Any = value.get(method, {})
        length = inner.get(name) if isinstance(inner, dict) and inner.keys() <= {name} else ""
        if length is not None and (type(length) is not int or not low <= length <= high):
            raise ValueError(f"of {name} from {low} to {high}")
        return method, length

    return Parameter("segmentation", "segmentation", "`fixed` or `dynamic`", check, explanation)


_CUTS: Final = {"fixed": ("durationSec", 1, 10), "dynamic": ("minDurationSec", 1, 5)}


def _folder(value: object) -> object:
    if not isinstance(value, str):
        raise WrongType("a string")
    folder = value.rstrip("/")
    if value.endswith("//") or len(folder) > _FOLDER_CHARS:
        raise ValueError("s3://bucket/folder")
    try:
        read_s3_uri(f"{folder}/x", "output_s3_uri")
    except BadRequest:
        raise ValueError("s3://bucket/folder") from None
    return folder


#: Every model that has jobs takes these.
BACKGROUND: Final = flag("background", "background", "Answer at once, with a job for each input.")
OUTPUT_S3_URI: Final = Parameter(
    "output_s3_uri",
    "output_s3_uri",
    "s3://bucket/folder",
    _folder,
    "Where Bedrock writes the results of jobs, which stay there; else a folder of the gateway's own.",
)
