"""Access is denied: 403 AccessDeniedException, for one of three reasons (texts seen live)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import CORAL, AwsError
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """`reason`: `model` (default; access to it was not granted), `policy` (IAM, key `Message`) or `account`."""

    NAME: ClassVar[str] = "access_denied"
    OP: ClassVar[str | None] = None
    reason: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its reason."""
        return cls(settings.choice("reason", ("model", "policy", "account"), "model"))

    async def strike(self, call: Struck) -> Response:
        """Return the 403."""
        if self.reason == "policy":
            resource = f"foundation-model/{call.model}" if call.model else "*"
            message = (
                f"User: arn:aws:iam::123456789012:user/emulated is not authorized to perform: bedrock:{call.op} on "
                f"resource: arn:aws:bedrock:{call.region}::{resource} because no identity-based policy allows the "
                f"bedrock:{call.op} action"
            )
            return as_error(AwsError(403, "AccessDeniedException", message, namespace=CORAL, key="Message"))
        message = (
            "You don't have access to the model with the specified model ID."
            if self.reason == "model"
            else "Your account is not authorized to invoke this API operation."
        )
        return as_error(AwsError(403, "AccessDeniedException", message))
