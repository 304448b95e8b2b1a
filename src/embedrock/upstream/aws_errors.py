"""What an AWS error means to our caller, and whether to try again. One table.

AWS names an error in `x-amzn-ErrorType` (the part before the first colon) or in the body's `__type` or `code`; its
text is in `message`, or `Message` when the authorization layer made it. A load balancer in front may answer HTML:
then only the status speaks. AWS's texts are matched on parts and never passed on: they can hold ARNs and account ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from embedrock.errors import (
    BadRequest,
    ContextTooLong,
    EmbedrockError,
    JobFailed,
    ModelAccessDenied,
    ModelNotFound,
    ModelNotSupported,
    ModelWarming,
    Retry,
    S3AccessDenied,
    Unavailable,
    UpstreamAuthFailed,
    UpstreamQuota,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.vectors import BROKEN_JSON

#: AWS no longer takes the credentials; others may do.
REFUSED_CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "RequestExpired", "InvalidClientTokenId"}
)
_REFUSED_SIGNATURES = frozenset(
    {
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "NotAuthorized",
    }
)


#: What may be told of the validator's text: its own words, names of members, and numbers; nothing a caller wrote.
_REASONS = re.compile(
    r"(?:#[/\w]*: )?(?:"
    r"required key \[\w+\] not found|extraneous key \[\w+\] is not permitted|expected type: \w+, found: \w+"
    r"|expected minLength: \d+, actual: \d+|expected minimum item count: \d+, found: \d+"
    r"|expected maximum item count: \d+, found: \d+|-?\d+ is not a valid enum value"
    r"|-?[\d.]+ is not (?:greater|less) or equal to -?[\d.]+)"
)
_MOST_REASONS = 5
_TOO_LONG = ("Too many input tokens", "too long for requested model", "expected maxLength")


def name_and_text(headers: Mapping[bytes, bytes], body: bytes | bytearray) -> tuple[str, str]:
    """Return AWS's name of an error and its text; empty strings for what is not there."""
    try:
        members = msgspec.json.decode(body, type=dict[str, object])
    except BROKEN_JSON:
        members = {}
    named = headers.get(b"x-amzn-errortype", b"").decode("latin-1") or members.get("__type") or members.get("code")
    name = str(named or "").split(":")[0].rpartition("#")[2]
    return name, str(members.get("message") or members.get("Message") or "")


def to_error(status: int, name: str, text: str, original_status: int | None = None) -> EmbedrockError:
    """Return our error for one of AWS's.

    `original_status` is the `originalStatusCode` of a ModelErrorException.
    """
    match name:
        case "ThrottlingException":
            error = _by_status(429)
            if isinstance(error, UpstreamThrottled):
                error.of_tokens = "too many tokens" in text.lower()
            return error
        case "ModelNotReadyException":
            return ModelWarming("Bedrock is still loading this model.")
        case "ModelTimeoutException":
            return UpstreamTimeout("The model did not answer in the time Bedrock gives it.", retry=Retry.ONCE)
        case "ModelErrorException":
            return _model_error(original_status)
        case "ServiceQuotaExceededException":
            return UpstreamQuota("A service quota of the AWS account is exceeded.")
        case "ConflictException":
            return JobFailed("Bedrock has another job under this one's token.")
        case "ValidationException":
            return _validation(text)
        case "AccessDeniedException" if "API Key" in text:
            return UpstreamAuthFailed("AWS refused the gateway's Bedrock API key.")
        case "AccessDeniedException":
            return ModelAccessDenied(
                "The gateway's AWS credentials may not use this model: the IAM action is bedrock:InvokeModel.",
                param="model",
            )
        case "ResourceNotFoundException":
            return _not_found(text)
        case _ if name in REFUSED_CREDENTIALS or name in _REFUSED_SIGNATURES or "Signature expired" in text:
            return UpstreamAuthFailed("AWS refused the gateway's credentials.")
    return _by_status(status)


def _by_status(status: int) -> EmbedrockError:
    if status == 429:
        return UpstreamThrottled("Bedrock is throttling this model; the request was retried and did not get through.")
    if status == 408:
        return UpstreamTimeout("Bedrock did not answer in time.", retry=Retry.ONCE)
    if status in (401, 403):
        return UpstreamAuthFailed("AWS refused the gateway's credentials.")
    if status == 404:
        return ModelNotFound("Bedrock does not know this model in this region.", param="model")
    if 400 <= status < 500:
        return BadRequest("Bedrock refused the request as invalid.")
    return Unavailable("Bedrock is not available at the moment.", retry=Retry.TRANSIENT)


def _model_error(original_status: int | None) -> EmbedrockError:
    if original_status is not None and 400 <= original_status < 500:
        return BadRequest("The model refused the request.")
    return Unavailable("The model failed inside Bedrock.", retry=Retry.ONCE)


def _not_found(text: str) -> EmbedrockError:
    if "end of its life" in text:
        return ModelNotFound("This model version has reached the end of its life on Bedrock.", param="model")
    if "Legacy" in text:
        return ModelNotFound(
            "This model is marked as legacy, and the AWS account has not used it in the last 30 days.", param="model"
        )
    return ModelNotFound("Bedrock does not know this model in this region.", param="model")


def _validation(text: str) -> EmbedrockError:
    if "model identifier is invalid" in text:
        return ModelNotFound("Bedrock does not know this model in this region.", param="model")
    if "on-demand throughput" in text:
        return ModelNotSupported(
            "In this region the model can only be called through an inference profile.", param="model"
        )
    if any(part in text for part in _TOO_LONG) or ("tokens" in text and "maximum" in text):
        return ContextTooLong("A text is longer than this model reads.")
    if "Operation not allowed" in text or "not authorized" in text:
        return ModelAccessDenied("AWS does not let this account use the model yet.", param="model")
    if "S3" in text or "bucket" in text:
        return S3AccessDenied(
            "Bedrock cannot read the object, or cannot write to the bucket: both have to be in the model's region, and "
            "open to the gateway's credentials."
        )
    reasons = [match[0] for match in _REASONS.finditer(text)][:_MOST_REASONS]
    return BadRequest(f"Bedrock refused the request as invalid{': ' if reasons else ''}{'; '.join(reasons)}.")
