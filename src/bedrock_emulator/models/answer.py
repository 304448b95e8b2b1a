"""What a model family returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers: the JSON body, the billed input tokens, the number of inputs.

    `tokens` is None when the model does not count them, `in_header` False when it does but has no header for them.
    """

    body: bytes
    tokens: int | None
    items: int
    in_header: bool = True
