"""What a model family returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers: the JSON body, the billed input tokens (None: no token header), the number of inputs."""

    body: bytes
    tokens: int | None
    items: int
