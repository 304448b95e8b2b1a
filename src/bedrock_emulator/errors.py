"""Answers other than 200, in the shapes AWS uses.

AWS names the exception in the header `x-amzn-ErrorType` and puts the text into a JSON body: under `message` for errors
of the service, under `Message` for errors of the layer that checks credentials (seen in live recordings).
"""

from __future__ import annotations

import orjson

BEDROCK = "http://internal.amazon.com/coral/com.amazon.bedrock/"
CORAL = "http://internal.amazon.com/coral/com.amazon.coral.service/"


class AwsError(Exception):
    """An answer with an error status; raised anywhere, turned into a response by the app."""

    def __init__(self, status: int, name: str, message: str, *, namespace: str = BEDROCK, key: str = "message") -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.namespace = namespace
        self.key = key

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that belong to the error."""
        return [(b"x-amzn-errortype", f"{self.name}:{self.namespace}".encode())]

    @property
    def body(self) -> bytes:
        """The response body, as JSON."""
        return orjson.dumps({self.key: self.message})


def validation(message: str) -> AwsError:
    """Return the 400 for anything wrong with an id or a body."""
    return AwsError(400, "ValidationException", message)


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


def throttled() -> AwsError:
    """Return the 429 of an exceeded quota."""
    return AwsError(429, "ThrottlingException", "Too many requests, please wait before trying again.")


def missing_credentials() -> AwsError:
    """Return the 403 for a request without `Authorization`.

    Uncertain: the name is AWS-wide, Bedrock's own answer was not seen.
    """
    return AwsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token", namespace=CORAL)


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
