"""The five optional headers of InvokeModel: what they may hold, and which of them the answer repeats.

Source: the enumerations and patterns of the API's service model. Uncertain, because not documented for embedding
models: what a guardrail named here does. It does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import constraints, enum_rule, validation

IDENTIFIER = "(|([a-z0-9]+)|(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+))"
VERSION = "(|([1-9][0-9]{0,7})|(DRAFT))"
_MAX_IDENTIFIER = 2048
_ENUMS = {  # header, in lower case → its name in the API and its values
    "x-amzn-bedrock-trace": ("trace", ("ENABLED", "DISABLED", "ENABLED_FULL")),
    "x-amzn-bedrock-performanceconfig-latency": ("performanceConfigLatency", ("standard", "optimized")),
    "x-amzn-bedrock-service-tier": ("serviceTier", ("priority", "default", "flex", "reserved")),
}
_ECHOED = ("x-amzn-bedrock-performanceconfig-latency", "x-amzn-bedrock-service-tier")


def check(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that the answer repeats. Raises AwsError for a value the API does not know.

    The answer names the tier and the latency that served: here always the ones asked for.
    """
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    failures: list[tuple[str, str | None, str]] = [
        (member, given[name], enum_rule(allowed))
        for name, (member, allowed) in _ENUMS.items()
        if name in given and given[name] not in allowed
    ]
    identifier = given.get("x-amzn-bedrock-guardrailidentifier", "")
    version = given.get("x-amzn-bedrock-guardrailversion", "")
    if failures := [*failures, *check_guardrail(identifier, version)]:
        raise constraints(*failures)
    if identifier and not version:  # documented as an error; the text is uncertain
        raise validation("The guardrail version is required when a guardrail identifier is given.")
    return [(name.encode(), given[name].encode()) for name in _ECHOED if name in given]


def check_guardrail(identifier: str, version: str) -> list[tuple[str, str | None, str]]:
    """Return what is wrong with a guardrail's id or ARN and its version, in the terms of `errors.constraints`."""
    failures: list[tuple[str, str | None, str]] = []
    if len(identifier) > _MAX_IDENTIFIER:
        rule = f"Member must have length less than or equal to {_MAX_IDENTIFIER}"
        failures.append(("guardrailIdentifier", identifier, rule))
    for member, value, pattern in (
        ("guardrailIdentifier", identifier, IDENTIFIER),
        ("guardrailVersion", version, VERSION),
    ):
        if not re.fullmatch(pattern, value):
            failures.append((member, value, f"Member must satisfy regular expression pattern: {pattern}"))
    return failures
