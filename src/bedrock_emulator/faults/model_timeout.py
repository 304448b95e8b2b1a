"""The model takes too long: 408 ModelTimeoutException, answered at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class ModelTimeout:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "model_timeout"
    OP: ClassVar[str | None] = "InvokeModel"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 408, in the words of pasted errors of other models."""
        message = "Model has timed out in processing the request. Try your request again."
        return as_error(AwsError(408, "ModelTimeoutException", message))
