"""The model is cold: 429 ModelNotReadyException, which clients may try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class ModelNotReady:
    """Has no settings of its own; `for_s` says how long the model stays cold."""

    NAME: ClassVar[str] = "model_not_ready"
    OP: ClassVar[str | None] = "InvokeModel"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 429. Uncertain: its text was not seen."""
        message = "Model is not ready for inference. Wait and try your request again."
        return as_error(AwsError(429, "ModelNotReadyException", message))
