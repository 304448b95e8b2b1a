"""An upload in parts cannot be completed, which S3 says in the body of a 200."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..s3.errors import S3Error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class S3Complete:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "s3_complete"
    OP: ClassVar[str | None] = "CompleteMultipartUpload"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Raise the error, with a status that it does not deserve; the parts are still there."""
        raise S3Error("InternalError", status=200)
