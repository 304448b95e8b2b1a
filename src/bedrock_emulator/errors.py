"""Answers other than 200, in the shapes AWS uses.

AWS names the exception in the header `x-amzn-ErrorType` and puts the text into a JSON body: under `message` for errors
of the service, under `Message` for errors of the layer that checks credentials (seen in live recordings).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

BEDROCK = "http://internal.amazon.com/coral/com.amazon.bedrock/"
CORAL = "http://internal.amazon.com/coral/com.amazon.coral.service/"
MISSING_GUARDRAIL = "The guardrail identifier or version provided in the request does not exist."
MAX_SKEW = timedelta(minutes=5)  # of a signature's date; pasted errors of Bedrock say so
_AMZ_DATE = "%Y%m%dT%H%M%SZ"
_TOO_MANY = {"requests": "requests", "tokens": "tokens", "tokens_per_day": "tokens per day"}
#: what there can be too much of
QUOTAS = tuple(_TOO_MANY)


class AwsError(Exception):
    """An answer with an error status; raised anywhere, turned into a response by the app."""

    def __init__(
        self,
        status: int,
        name: str,
        message: str,
        *,
        namespace: str = BEDROCK,
        key: str = "message",
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.namespace = namespace
        self.key = key
        self.members = dict(members or {})

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that belong to the error."""
        return [(b"x-amzn-errortype", f"{self.name}:{self.namespace}".encode())]

    @property
    def body(self) -> bytes:
        """The response body, as JSON."""
        return orjson.dumps({self.key: self.message, **self.members})


def validation(message: str) -> AwsError:
    """Return the 400 for anything wrong with an id or a body."""
    return AwsError(400, "ValidationException", message)


def constraints(*failures: tuple[str, str | None, str]) -> AwsError:
    """Return the 400 for parameters that break the API's own model: each one's name, value and the rule it breaks."""
    shown = [(name, "null" if value is None else f"'{value}'", rule) for name, value, rule in failures]
    parts = [f"Value {value} at '{name}' failed to satisfy constraint: {rule}" for name, value, rule in shown]
    return validation(f"{len(parts)} validation error{'s'[: len(parts) > 1]} detected: {'; '.join(parts)}")


def enum_rule(allowed: tuple[str, ...]) -> str:
    """Return the rule of an enumeration, as `constraints` words it."""
    return f"Member must satisfy enum value set: [{', '.join(allowed)}]"


def malformed(details: str | None = None) -> AwsError:
    """Return the 400 for a body that is not JSON, or that breaks the model's schema in the ways of `details`."""
    middle = f": {details}" if details else ""
    return validation(f"Malformed input request{middle}, please reformat your input and try again.")


def unknown_model() -> AwsError:
    """Return the 400 for an id that means nothing in this region; a mistyped id and a wrong region read the same."""
    return validation("The provided model identifier is invalid.")


def profile_needed(model_id: str) -> AwsError:
    """Return the 400 for a model that is not served by its bare id. The apostrophe is U+2019 (seen live)."""
    return validation(
        f"Invocation of model ID {model_id} with on-demand throughput isn\u2019t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )


def throttled(quota: str = "requests") -> AwsError:
    """Return the 429 of an exceeded quota, one of `QUOTAS` (seen live; those of tokens from other models)."""
    return AwsError(429, "ThrottlingException", f"Too many {_TOO_MANY[quota]}, please wait before trying again.")


def quota_exceeded() -> AwsError:
    """Return the 400 for a quota of the account. Uncertain: the API declares the error, its text was not seen."""
    return AwsError(400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account.")


def conflict(message: str) -> AwsError:
    """Return the 400 for a client token that was used for something else. Uncertain: the text."""
    return AwsError(400, "ConflictException", message)


def missing_credentials() -> AwsError:
    """Return the 403 for a request without `Authorization`.

    Uncertain: the name is AWS-wide, Bedrock's own answer was not seen.
    """
    return AwsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token", namespace=CORAL)


def incomplete_signature(message: str) -> AwsError:
    """Return the 400 for an `Authorization` that is no whole signature. AWS-wide, not seen from Bedrock."""
    return AwsError(400, "IncompleteSignatureException", message, namespace=CORAL)


def wrong_api_key() -> AwsError:
    """Return the 403 for a bearer key that is not known. Uncertain: only clients quote this text."""
    message = "Authentication failed: Please make sure your API Key is valid."
    return AwsError(403, "AccessDeniedException", message, namespace=CORAL, key="Message")


def unrecognized_client() -> AwsError:
    """Return the 403 for an access key or session token that is not known (seen live)."""
    message = "The security token included in the request is invalid."
    return AwsError(403, "UnrecognizedClientException", message, namespace=CORAL)


def expired_token() -> AwsError:
    """Return the 403 for temporary credentials past their end. The text has no full stop (pasted errors)."""
    message = "The security token included in the request is expired"
    return AwsError(403, "ExpiredTokenException", message, namespace=CORAL)


def invalid_signature(message: str) -> AwsError:
    """Return the 403 for a signature that is not right."""
    return AwsError(403, "InvalidSignatureException", message, namespace=CORAL)


def wrong_signature() -> AwsError:
    """Return the 403 for a signature made with another secret, or of another request. AWS-wide text."""
    return invalid_signature(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )


def signature_outdated(signed: datetime, now: datetime) -> AwsError:
    """Return the 403 for a signature whose date is more than `MAX_SKEW` behind or ahead (text of a pasted error)."""
    at, minutes = now.strftime(_AMZ_DATE), int(MAX_SKEW.total_seconds() // 60)
    if signed < now:
        bound = (now - MAX_SKEW).strftime(_AMZ_DATE)
        message = f"Signature expired: {signed.strftime(_AMZ_DATE)} is now earlier than {bound} ({at} - {minutes} min.)"
    else:
        bound = (now + MAX_SKEW).strftime(_AMZ_DATE)
        message = (
            f"Signature not yet current: {signed.strftime(_AMZ_DATE)} is still later than {bound} "
            f"({at} + {minutes} min.)"
        )
    return invalid_signature(message)


def unknown_guardrail() -> AwsError:
    """Return the 404 for a guardrail, or a version of it, that does not exist.

    Uncertain: ApplyGuardrail declares the error, its text was not seen. This text was seen from InvokeModel, as a
    ValidationException with status 400, for a wrong id and a wrong version alike.
    """
    return AwsError(404, "ResourceNotFoundException", MISSING_GUARDRAIL)


def unknown_operation() -> AwsError:
    """Return the 404 for a path that is no operation. Uncertain: AWS-wide shape, not seen from Bedrock."""
    return AwsError(404, "UnknownOperationException", "Unknown operation.", namespace=CORAL)


def body_too_large(limit: int) -> AwsError:
    """Return the refusal of a body over `limit` bytes.

    Uncertain: AWS documents the limit, not the answer; this is the answer of AWS's front for other services.
    """
    return AwsError(
        413, "RequestEntityTooLargeException", f"Request body is larger than {limit} bytes.", namespace=CORAL
    )
