"""The answer, with status 200, is said to be something else than JSON, or is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import JSON, Response, Struck
from ..settings import Settings

_HTML = (b"content-type", b"text/html")
_PAGE = b"<html>\r\n<head><title>Welcome</title></head>\r\n<body><h1>Welcome</h1></body>\r\n</html>\r\n"


@dataclass(frozen=True, slots=True)
class WrongContentType:
    """`kind`: `html` (default; the true body said to be that), `none` (no type said), `page` (a page of HTML)."""

    NAME: ClassVar[str] = "wrong_content_type"
    OP: ClassVar[str | None] = None
    kind: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        return cls(settings.choice("kind", ("html", "none", "page"), "html"))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with another type."""
        answer = await call.true_answer()
        headers = [header for header in answer.headers if header != JSON]
        if self.kind == "none":
            return replace(answer, headers=headers)
        return replace(answer, headers=[_HTML, *headers], body=_PAGE if self.kind == "page" else answer.body)
