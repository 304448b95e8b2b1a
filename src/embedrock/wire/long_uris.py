"""Long data URIs of a body, taken out before it is read as JSON: their megabytes stay where they are, once.

A film of 60 MB is 80 MB of body. Read as JSON it would be there again as text, and a third time as what follows the
head of its URI. So a string of the body that is a long data URI in base64 gives way to a short mark, and what is read
holds a view of the body in its place. Only strings that nothing is escaped in are taken out; whether it is base64 is
checked by who reads media.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

from embedrock.inputs import LongUri, is_media

_LONG_BYTES: Final = 1_000_000
_LONGEST_HEAD: Final = 1_000
_BEFORE_A_STRING: Final = b" \t\r\n[,:"
_START: Final = b'"data:'
_BASE64: Final = b";base64,"


class Cut:
    """A body without its long data URIs."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._mark = token_hex(16)  # nobody can guess it, so no string of the body's own is taken for one
        self._uris: list[LongUri] = []
        whole = memoryview(body)
        rest: list[bytes | memoryview] = []
        done = 0
        for start, end in _long_strings(body):
            head_end = body.find(_BASE64, start, start + _LONGEST_HEAD) + len(_BASE64)
            head = str(whole[start:head_end], "latin-1")
            if head_end < len(_BASE64) or not is_media(head) or body.find(b"\\", start, end) >= 0:
                continue
            rest += (whole[done:start], f"{self._mark}{len(self._uris)}".encode())
            self._uris.append(LongUri(head, whole[head_end:end]))
            done = end
        self.body = b"".join((*rest, whole[done:])) if self._uris else body

    def whole(self, value: Any) -> Any:
        """Return what was read from `body`, with the data URIs in their places."""
        if not self._uris:
            return value
        if isinstance(value, str) and value.startswith(self._mark):
            return self._uris[int(value.removeprefix(self._mark))]
        if isinstance(value, list):
            return [self.whole(item) for item in value]
        if isinstance(value, dict):
            return {name: self.whole(item) for name, item in value.items()}
        return value


def _long_strings(body: bytes | bytearray) -> Sequence[tuple[int, int]]:
    """Return where the strings that begin like data URIs and are long begin and end, without their quotes.

    A quote behind one of these characters is not escaped, so it begins or ends a string, and the next one that is not
    escaped ends or begins one: what is between them can be replaced without turning one document into another.
    """
    found = []
    at = body.find(_START)
    while at >= 0:
        end = body.find(b'"', at + 1)
        if end < 0:
            break
        if end - at > _LONG_BYTES and at and body[at - 1] in _BEFORE_A_STRING:
            found.append((at + 1, end))
        at = body.find(_START, end)
    return found
