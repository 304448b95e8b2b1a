"""What each of AWS's errors means to our caller: one row an exception and text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock import errors
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
from embedrock.upstream.aws_errors import REFUSED_CREDENTIALS, name_and_text, to_error

CORAL = b":http://internal.amazon.com/coral/com.amazon.bedrock/"
ARN = "arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-v4:0"

MALFORMED = "Malformed input request: {}, please reformat your input and try again."
IAM_DENIAL = (
    "User: arn:aws:iam::123456789012:user/embed is not authorized to perform: bedrock:InvokeModel on resource: "
    f"{ARN} because no identity-based policy allows the bedrock:InvokeModel action"
)
LEGACY = (
    "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the "
    "last 30 days. Please upgrade to an active model on Amazon Bedrock"
)
PROFILE_NEEDED = (
    "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn’t supported. Retry your request with the "
    "ID or ARN of an inference profile that contains this model."
)

#: AWS's status, name and text; our class, retry kind and `param`. The class gives status and code.
TABLE: list[tuple[int, str, str, type[EmbedrockError], Retry, str | None]] = [
    # throttling, and what will pass
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", UpstreamThrottled,
     Retry.THROTTLE, None),
    (429, "ModelNotReadyException", "The model is not ready.", ModelWarming, Retry.WARMING, None),
    (408, "ModelTimeoutException", "", UpstreamTimeout, Retry.ONCE, None),
    (500, "InternalServerException", "", Unavailable, Retry.TRANSIENT, None),
    (503, "ServiceUnavailableException", "", Unavailable, Retry.TRANSIENT, None),
    (529, "overloaded_error", "Overloaded", Unavailable, Retry.TRANSIENT, None),
    (424, "ModelErrorException", "", Unavailable, Retry.ONCE, None),
    (400, "ServiceQuotaExceededException", "", UpstreamQuota, Retry.NEVER, None),
    # the gateway's own credentials
    (403, "UnrecognizedClientException", "The security token included in the request is invalid.", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "ExpiredTokenException", "The security token included in the request is expired", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "InvalidSignatureException", "The request signature we calculated does not match", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "MissingAuthenticationTokenException", "Missing Authentication Token", UpstreamAuthFailed, Retry.NEVER, None),
    (400, "IncompleteSignature", "", UpstreamAuthFailed, Retry.NEVER, None),
    (403, "InvalidClientTokenId", "", UpstreamAuthFailed, Retry.NEVER, None),
    (400, "RequestExpired", "", UpstreamAuthFailed, Retry.NEVER, None),
    (400, "NotAuthorized", "", UpstreamAuthFailed, Retry.NEVER, None),
    (403, "AccessDeniedException", "Invalid API Key format: Must start with pre-defined prefix", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.", UpstreamAuthFailed,
     Retry.NEVER, None),
    (403, "", "Invalid API Key format: Must start with pre-defined prefix", UpstreamAuthFailed, Retry.NEVER, None),
    # what the account may do
    (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.",
     ModelAccessDenied, Retry.NEVER, "model"),
    (403, "AccessDeniedException", IAM_DENIAL, ModelAccessDenied, Retry.NEVER, "model"),
    (403, "AccessDeniedException", "Your account is not authorized to invoke this API operation.", ModelAccessDenied,
     Retry.NEVER, "model"),
    (400, "ValidationException", "Your account is not authorized to invoke this API operation.", ModelAccessDenied,
     Retry.NEVER, "model"),
    (400, "ValidationException", "Operation not allowed", ModelAccessDenied, Retry.NEVER, "model"),
    # which model
    (404, "ResourceNotFoundException",
     "Could not resolve the foundation model from the provided model identifier.", ModelNotFound, Retry.NEVER, "model"),
    (404, "ResourceNotFoundException", LEGACY, ModelNotFound, Retry.NEVER, "model"),
    (404, "ResourceNotFoundException",
     "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
     ModelNotFound, Retry.NEVER, "model"),
    (400, "ValidationException", "The provided model identifier is invalid.", ModelNotFound, Retry.NEVER, "model"),
    (400, "ValidationException", PROFILE_NEEDED, ModelNotSupported, Retry.NEVER, "model"),
    # which text: the caller of this function knows its place
    (400, "ValidationException",
     "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9279 ",
     ContextTooLong, Retry.NEVER, None),
    (400, "ValidationException", "Input is too long for requested model.", ContextTooLong, Retry.NEVER, None),
    (400, "ValidationException", MALFORMED.format("expected maxLength: 50000, actual: 52611"), ContextTooLong,
     Retry.NEVER, None),
    (400, "ValidationException", MALFORMED.format("#/texts/0: expected maxLength: 2048, actual: 4680"), ContextTooLong,
     Retry.NEVER, None),
    # anything else that is wrong with it
    (400, "ValidationException", MALFORMED.format("expected type: String, found: JSONArray"), BadRequest,
     Retry.NEVER, None),
    (400, "ValidationException", MALFORMED.format("#: required key [input_type] not found"), BadRequest,
     Retry.NEVER, None),
    (400, "ValidationException", "Malformed request. Please check your parameter/values and try again.", BadRequest,
     Retry.NEVER, None),
    (400, "ValidationException", "The provided request is not valid", BadRequest, Retry.NEVER, None),
    (400, "ValidationException", "", BadRequest, Retry.NEVER, None),
    (400, "ValidationException", "Invalid S3 credentials", S3AccessDenied, Retry.NEVER, None),
    (400, "ConflictException", "", JobFailed, Retry.NEVER, None),
]  # fmt: skip


@pytest.mark.parametrize("status, name, text, cls, retry, param", TABLE)
def test_error_of_aws_is_ours(
    status: int, name: str, text: str, cls: type[EmbedrockError], retry: Retry, param: str | None
) -> None:
    error = to_error(status, name, text)

    assert (type(error), error.retry, error.param) == (cls, retry, param)
    assert (error.status, error.code) == (cls.status, cls.code)


@pytest.mark.parametrize(
    "cls, status, code",
    [
        (UpstreamThrottled, 429, "upstream_throttled"),
        (ModelWarming, 503, "model_warming"),
        (UpstreamTimeout, 504, "upstream_timeout"),
        (Unavailable, 503, "upstream_unavailable"),
        (UpstreamQuota, 503, "upstream_quota"),
        (UpstreamAuthFailed, 503, "upstream_auth_failed"),
        (ModelAccessDenied, 403, "model_access_denied"),
        (ModelNotFound, 404, "model_not_found"),
        (ModelNotSupported, 400, "model_not_supported"),
        (ContextTooLong, 400, "context_length_exceeded"),
        (BadRequest, 400, None),
    ],
)
def test_what_the_caller_sees_of_a_class(cls: type[EmbedrockError], status: int, code: str | None) -> None:
    assert (cls.status, cls.code) == (status, code)


def test_table_has_a_row_for_every_class_it_could_give() -> None:
    assert {row[3] for row in TABLE} == {
        BadRequest, ContextTooLong, JobFailed, ModelAccessDenied, ModelNotFound, ModelNotSupported, ModelWarming,
        S3AccessDenied, Unavailable, UpstreamAuthFailed, UpstreamQuota, UpstreamThrottled, UpstreamTimeout,
    }  # fmt: skip


@pytest.mark.parametrize(
    "original, cls, retry",
    [
        (None, Unavailable, Retry.ONCE),
        (500, Unavailable, Retry.ONCE),
        (503, Unavailable, Retry.ONCE),
        (200, Unavailable, Retry.ONCE),
        (400, BadRequest, Retry.NEVER),
        (422, BadRequest, Retry.NEVER),
    ],
)
def test_model_error_depends_on_the_models_own_status(
    original: int | None, cls: type[EmbedrockError], retry: Retry
) -> None:
    error = to_error(424, "ModelErrorException", "", original)

    assert (type(error), error.retry) == (cls, retry)


@pytest.mark.parametrize(
    "status, cls, retry",
    [
        (400, BadRequest, Retry.NEVER),
        (401, UpstreamAuthFailed, Retry.NEVER),
        (403, UpstreamAuthFailed, Retry.NEVER),
        (404, ModelNotFound, Retry.NEVER),
        (408, UpstreamTimeout, Retry.ONCE),
        (413, BadRequest, Retry.NEVER),
        (429, UpstreamThrottled, Retry.THROTTLE),
        (500, Unavailable, Retry.TRANSIENT),
        (502, Unavailable, Retry.TRANSIENT),
        (503, Unavailable, Retry.TRANSIENT),
        (504, Unavailable, Retry.TRANSIENT),
        (529, Unavailable, Retry.TRANSIENT),
    ],
)
def test_without_a_name_the_status_speaks(status: int, cls: type[EmbedrockError], retry: Retry) -> None:
    """A load balancer in front of Bedrock answers in HTML."""
    page = b"<html><head><title>Error</title></head></html>"

    error = to_error(status, *name_and_text({b"content-type": b"text/html"}, page))

    assert (type(error), error.retry) == (cls, retry)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"upstream connect error",
        b"<html>caf\xe9</html>",
        b"[]",
        b'"x"',
        b"{}",
        b'{"message":null}',
        b'{"message":"\xff"}',
        b'{"a":' * 100_000,
        b"\x1f\x8b\x08",
    ],
    ids=lambda body: f"{body[:20]!r}",
)
def test_body_of_any_kind_is_an_error_of_its_status(body: bytes) -> None:
    assert name_and_text({}, body) == name_and_text({}, bytearray(body)) == ("", "")
    assert type(to_error(503, *name_and_text({}, body))) is Unavailable


@pytest.mark.parametrize(
    "headers, body, name",
    [
        ({b"x-amzn-errortype": b"ValidationException" + CORAL}, b'{"message":"m"}', "ValidationException"),
        ({b"x-amzn-errortype": b"ValidationException"}, b'{"message":"m"}', "ValidationException"),
        ({b"x-amzn-errortype": b"ValidationException:"}, b"", "ValidationException"),
        ({b"x-amzn-errortype": b"ValidationException" + CORAL}, b"<html>", "ValidationException"),
        ({b"x-amzn-errortype": b"aws.bedrock#ValidationException" + CORAL}, b"", "ValidationException"),
        ({b"x-amzn-errortype": b"ValidationException"}, b'{"__type":"Other"}', "ValidationException"),
        ({}, b'{"__type":"ThrottlingException"}', "ThrottlingException"),
        ({}, b'{"__type":"com.amazon.coral.service#UnrecognizedClientException"}', "UnrecognizedClientException"),
        ({}, b'{"code":"ThrottlingException","message":"m"}', "ThrottlingException"),
        ({b"x-amzn-errortype": b""}, b'{"__type":"ThrottlingException"}', "ThrottlingException"),
        ({}, b'{"message":"m"}', ""),
        ({}, b"", ""),
    ],
)
def test_name_is_in_the_header_or_the_body(headers: dict[bytes, bytes], body: bytes, name: str) -> None:
    assert name_and_text(headers, body)[0] == name


@pytest.mark.parametrize(
    "body, text",
    [
        (b'{"message":"m"}', "m"),
        (b'{"Message":"M"}', "M"),
        (b'{"message":"m","Message":"M"}', "m"),
        (b'{"message":"","Message":"M"}', "M"),
        (b'{"message":null,"Message":"M"}', "M"),
        (b"{}", ""),
        (b"<html>", ""),
    ],
)
def test_text_is_under_either_spelling(body: bytes, text: str) -> None:
    assert name_and_text({}, body)[1] == text


def test_denial_by_the_authorization_layer_is_understood() -> None:
    """It spells `Message` with a capital letter."""
    headers = {b"x-amzn-errortype": b"AccessDeniedException" + CORAL}

    error = to_error(403, *name_and_text(headers, json.dumps({"Message": IAM_DENIAL}).encode()))

    assert isinstance(error, ModelAccessDenied)


@pytest.mark.parametrize("status, name, text", [row[:3] for row in TABLE])
def test_text_of_aws_is_never_passed_on(status: int, name: str, text: str) -> None:
    """It can hold ARNs and account ids."""
    secret = "arn:aws:iam::123456789012:role/secret"

    message = to_error(status, name, f"{text} {secret}").message

    assert message == to_error(status, name, text).message
    assert not text.strip() or text.strip() not in message
    assert "arn:" not in message
    assert "123456789012" not in message


@given(st.integers(300, 599), st.text(max_size=30), st.text(max_size=60), st.none() | st.integers())
def test_any_error_becomes_one_of_ours(status: int, name: str, text: str, original: int | None) -> None:
    error = to_error(status, name, text, original)

    assert type(error) in vars(errors).values()
    assert error.message.isprintable()
    assert error.retry is Retry.NEVER or not error.hopeless


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_answer_has_a_name_and_a_text(header: bytes, body: bytes) -> None:
    name, text = name_and_text({b"x-amzn-errortype": header}, body)

    assert (type(name), type(text)) == (str, str)


def test_only_refusals_that_other_credentials_can_mend_are_refreshed() -> None:
    expired = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
    unknown = {"UnrecognizedClientException", "InvalidClientTokenId"}

    assert expired | unknown == REFUSED_CREDENTIALS
