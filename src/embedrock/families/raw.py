"""JSON text that is put into a body as it is."""

from __future__ import annotations

import msgspec


def json_string(base64: str) -> msgspec.Raw:
    """Return base64, which may be megabytes, as a JSON string: it has nothing to escape, so it is only copied."""
    return msgspec.Raw(b'"%b"' % base64.encode())
