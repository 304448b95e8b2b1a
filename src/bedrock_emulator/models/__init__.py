"""The model families: one module each, pure functions from a request body to an answer.

A family knows nothing of HTTP. It raises `errors.AwsError` for what the model or its schema refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers: the JSON body, the billed input tokens, the number of inputs."""

    body: bytes
    tokens: int
    items: int


class Family(Protocol):
    """What a module of this package offers."""

    MODEL_IDS: tuple[str, ...]

    def invoke(self, model_id: str, body: dict[str, Any]) -> Answer:
        """Return the answer to an InvokeModel body. Raises AwsError."""

    def vectors(self, answer: dict[str, Any]) -> list[list[float]]:
        """Return the vectors in an answer's parsed body, one per input, in input order."""


def _table() -> dict[str, Family]:
    from . import cohere, titan_text

    families: tuple[Family, ...] = (titan_text, cohere)
    return {model_id: family for family in families for model_id in family.MODEL_IDS}


FAMILIES: dict[str, Family] = _table()
