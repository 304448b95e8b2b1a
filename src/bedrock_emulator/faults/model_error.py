"""The model itself fails: 424 ModelErrorException, which holds the model's own status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import BadSettingError, Settings


@dataclass(frozen=True, slots=True)
class ModelError:
    """`original_status`: 400 (trying again is of no use) or 500 (default), in the member `originalStatusCode`."""

    NAME: ClassVar[str] = "model_error"
    OP: ClassVar[str | None] = "InvokeModel"
    original_status: int

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its status."""
        status = settings.whole("original_status", 500)
        if status not in (400, 500):
            raise BadSettingError("original_status: must be one of 400, 500")
        return cls(status)

    async def strike(self, call: Struck) -> Response:
        """Return the 424. Uncertain: its text was not seen."""
        members = {"originalStatusCode": self.original_status, "resourceName": call.model}
        message = "The request failed due to an error while processing the model."
        return as_error(AwsError(424, "ModelErrorException", message, members=members))
