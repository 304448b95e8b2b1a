"""The model is gone: 404 ResourceNotFoundException (texts seen live)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import Settings

_TEXTS = {
    "legacy": (
        "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in "
        "the last 30 days. Please upgrade to an active model on Amazon Bedrock"
    ),
    "end_of_life": (
        "This model version has reached the end of its life. Please refer to the AWS documentation for more details."
    ),
}


@dataclass(frozen=True, slots=True)
class NotFound:
    """`reason`: `legacy` (default; not used in the last 30 days) or `end_of_life`."""

    NAME: ClassVar[str] = "not_found"
    OP: ClassVar[str | None] = "InvokeModel"
    reason: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its reason."""
        return cls(settings.choice("reason", tuple(_TEXTS), "legacy"))

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 404."""
        return as_error(AwsError(404, "ResourceNotFoundException", _TEXTS[self.reason]))
