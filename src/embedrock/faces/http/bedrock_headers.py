"""The headers of Bedrock's own that callers may send: five, by strict allow-list; any other stops here.

Source: AWS API reference, InvokeModel; Bedrock wants the trace in upper case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from embedrock.errors import BadRequest
from embedrock.upstream.bedrock import Headers
from embedrock.upstream.guardrail import Guardrail

_ID = r"[a-z0-9]+"
_ALLOWED: Final[Mapping[bytes, tuple[str, re.Pattern[str]]]] = {
    name.lower().encode(): (name, re.compile(pattern))
    for name, pattern in {
        "X-Amzn-Bedrock-GuardrailIdentifier": (
            rf"{_ID}|arn:aws(-[a-z]+)*:bedrock:[a-z0-9-]{{1,20}}:[0-9]{{12}}:guardrail(-profile)?/[a-z0-9.:-]+"
        ),
        "X-Amzn-Bedrock-GuardrailVersion": r"[1-9][0-9]{0,7}|DRAFT",
        "X-Amzn-Bedrock-PerformanceConfig-Latency": "standard|optimized",
        "X-Amzn-Bedrock-Service-Tier": "priority|default|flex|reserved",
        "X-Amzn-Bedrock-Trace": "ENABLED|DISABLED|ENABLED_FULL",
    }.items()
}
_IDENTIFIER: Final = b"x-amzn-bedrock-guardrailidentifier"
_VERSION: Final = b"x-amzn-bedrock-guardrailversion"
_TRACE: Final = b"x-amzn-bedrock-trace"
_LONGEST: Final = 2048


class BedrockHeaders(NamedTuple):
    """What a caller says to Bedrock beside the body."""

    forwarded: Headers = ()
    guardrail: Guardrail | None = None
    trace: bool = False  # the caller wants to know what the guardrail did


NONE: Final = BedrockHeaders()


def read(headers: Mapping[bytes, bytes], raw: Iterable[tuple[bytes, bytes]]) -> BedrockHeaders:
    """Return the five headers of a request, checked. `raw` are all headers, repeated ones too.

    Raises BadRequest that names the header.
    """
    if not any(name in headers for name in _ALLOWED):
        return NONE
    values: dict[bytes, str] = {}
    for name, value in raw:
        if name in _ALLOWED:
            values[name] = _checked(name, value, again=name in values)
    identifier, version = values.get(_IDENTIFIER), values.get(_VERSION)
    if (identifier is None) != (version is None):
        missing = _ALLOWED[_VERSION if version is None else _IDENTIFIER][0]
        raise BadRequest(f"A guardrail needs '{missing}' too.", param=missing, code="invalid_header_value")
    forwarded = tuple(sorted((name.decode(), value) for name, value in values.items()))
    guardrail = Guardrail(identifier, version) if identifier and version else None
    return BedrockHeaders(forwarded, guardrail, values.get(_TRACE, "").startswith("ENABLED"))


def _checked(name: bytes, value: bytes, *, again: bool) -> str:
    shown, pattern = _ALLOWED[name]
    text = value.decode("latin-1")
    if name == _TRACE:
        text = text.upper()
    if again or len(text) > _LONGEST or not pattern.fullmatch(text):
        problem = "is there twice" if again else "has a value that Bedrock does not know"
        raise BadRequest(f"'{shown}' {problem}.", param=shown, code="invalid_header_value")
    return text
