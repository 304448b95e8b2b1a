"""JSON text that is put into a body as it is."""

from __future__ import annotations

import msgspec


def json_string(base64: str | memoryview) -> msgspec.Raw:
    """Return base64, which may be megabytes, as a JSON string: it has nothing to escape, so it is only copied."""
    data: bytes | memoryview = base64.encode() if isinstance(base64, str) else base64
    return msgspec.Raw(b"".join((b'"', data, b'"')))
