"""The model families: one module each, pure functions from a request body to an answer.

A family knows nothing of HTTP. It raises `errors.AwsError` for what the model or its schema refuses.
"""

from __future__ import annotations

from typing import Any, Protocol

from . import cohere, cohere_v4, marengo, nova, titan_image, titan_text
from .answer import Answer
from .files import Objects


class Family(Protocol):
    """What a module of this package offers."""

    MODEL_IDS: tuple[str, ...]

    def invoke(self, model_id: str, body: dict[str, Any], objects: Objects) -> Answer:
        """Return the answer to an InvokeModel body. `objects`: what is in S3. Raises AwsError."""

    def vectors(self, answer: dict[str, Any]) -> list[list[float]]:
        """Return the vectors in an answer's parsed body, in its order: as a rule one per input."""


_FAMILIES: tuple[Family, ...] = (titan_text, titan_image, nova, cohere, cohere_v4, marengo)

#: model id → the family that answers for it
FAMILIES: dict[str, Family] = {model_id: family for family in _FAMILIES for model_id in family.MODEL_IDS}
