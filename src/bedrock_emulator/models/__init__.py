"""The model families: one module each, pure functions from a request body to an answer.

A family knows nothing of HTTP. It raises `errors.AwsError` for what the model or its schema refuses.
"""

from __future__ import annotations

from typing import Any, Protocol

from . import cohere, titan_text
from .answer import Answer


class Family(Protocol):
    """What a module of this package offers."""

    MODEL_IDS: tuple[str, ...]

    def invoke(self, model_id: str, body: dict[str, Any]) -> Answer:
        """Return the answer to an InvokeModel body. Raises AwsError."""

    def vectors(self, answer: dict[str, Any]) -> list[list[float]]:
        """Return the vectors in an answer's parsed body, one per input, in input order."""


_FAMILIES: tuple[Family, ...] = (titan_text, cohere)

#: model id → the family that answers for it
FAMILIES: dict[str, Family] = {model_id: family for family in _FAMILIES for model_id in family.MODEL_IDS}
