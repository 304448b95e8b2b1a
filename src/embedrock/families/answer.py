"""What a family reads from one of Bedrock's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from embedrock.vectors import Array, Segment


class Answer(NamedTuple):
    """The vectors of one call, each the text of a JSON array, not checked yet, in the order of its inputs."""

    vectors: Sequence[Array]
    tokens: int | None  # None when AWS reported none
    segments: Sequence[Segment] | None = None  # one a vector, when the call's one input has several vectors
    cut: bool = False  # the model says that it cut the call's one text


def header_tokens(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the input tokens of a call from its header, or None when it is absent or no number.

    Source: seen in live answers for Titan, Cohere and Nova; the sum over all inputs of the call.
    """
    value = headers.get(b"x-amzn-bedrock-input-token-count", b"")
    return counted(int(value)) if value.isdigit() and len(value) < 20 else None


def counted(value: object) -> int | None:
    """Return a count of tokens, or None when it is none that can be: no call reads a thousand million."""
    return value if type(value) is int and 0 <= value < 1_000_000_000 else None
