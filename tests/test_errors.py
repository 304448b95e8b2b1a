"""The tree of errors: what is drawn is what there is, and each can be told to a caller."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import embedrock
from embedrock import errors
from embedrock.errors import EmbedrockError, Retry
from embedrock.wire import openai

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, EmbedrockError)]

#: Every code a caller can see, with the class whose own it is. One that is only given where it is raised: None.
CODES = {
    "content_filter": "ContentBlocked",
    "context_length_exceeded": "ContextTooLong",
    "idempotency_in_progress": "IdempotencyInProgress",
    "idempotency_key_reused": "IdempotencyReused",
    "insufficient_credits": "InsufficientCredits",
    "identity_unavailable": "IdentityUnavailable",
    "ledger_unavailable": "StoreUnavailable",
    "job_failed": "JobFailed",
    "model_access_denied": "ModelAccessDenied",
    "model_not_found": "ModelNotFound",
    "model_not_supported": "ModelNotSupported",
    "model_warming": "ModelWarming",
    "overloaded": "Overloaded",
    "origin_not_allowed": "Forbidden",
    "permission_denied": "PermissionDenied",
    "rate_limit_exceeded": "RateLimited",
    "request_timeout": "RequestTimeout",
    "request_too_large": "RequestTooLarge",
    "s3_access_denied": "S3AccessDenied",
    "s3_bucket_unusable": "BucketUnusable",
    "s3_object_changed": "S3Changed",
    "s3_object_not_found": "S3NotFound",
    "unsupported_media_type": "UnsupportedMedia",
    "upstream_auth_failed": "UpstreamAuthFailed",
    "upstream_invalid_response": "InvalidUpstream",
    "upstream_quota": "UpstreamQuota",
    "upstream_throttled": "UpstreamThrottled",
    "upstream_timeout": "UpstreamTimeout",
    "upstream_unavailable": "Unavailable",
    "validation_error": "ValidationError",
    "duplicate_key": None,
    "empty_input": None,
    "expired_api_key": None,
    "guardrail_not_allowed": None,
    "guardrail_not_found": None,
    "guardrail_refused": None,
    "invalid_api_key": None,
    "invalid_base64": None,
    "invalid_data_uri": None,
    "invalid_header_value": None,
    "invalid_http": None,
    "invalid_json": None,
    "invalid_media": None,
    "invalid_output_location": None,
    "invalid_s3_uri": None,
    "invalid_token": None,
    "invalid_type": None,
    "invalid_value": None,
    "media_too_large": None,
    "media_type_mismatch": None,
    "request_tokens_exceeded": None,
    "s3_bucket_missing": None,
    "s3_object_archived": None,
    "s3_refused": None,
    "s3_region_mismatch": None,
    "too_many_inputs": None,
    "unsupported_content_encoding": None,
    "unsupported_input_combination": None,
    "unsupported_media": None,
    "unsupported_parameter": None,
    "url_input_unsupported": None,
}


def drawn() -> dict[str, tuple[str, int | None]]:
    """Return the class, its parent and its status of each line of the tree in the docstring."""
    found: dict[str, tuple[str, int | None]] = {}
    parents: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(
            r"    (?P<branch>(?:│   |    )*(?:├── |└── )?)(?P<name>[A-Z]\w+)(?: +(?P<status>\d+))?.*", line
        )
        if match:
            depth = len(match["branch"]) // 4
            parents[depth] = match["name"]
            status = int(match["status"]) if match["status"] else None
            found[match["name"]] = (parents.get(depth - 1, "Exception"), status)
    return found


def codes_raised() -> set[str]:
    """Return every literal in what is given as `code=` anywhere in the package."""
    return {
        literal.value
        for path in Path(str(embedrock.__file__)).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code"
        for literal in ast.walk(keyword.value)
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str)
    }


def test_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    base = {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}

    assert {name: parent for name, (parent, _) in drawn().items()} == base


def test_statuses_in_the_docstring_are_those_of_the_classes() -> None:
    statuses = {name: status for name, (_, status) in drawn().items() if name != "EmbedrockError"}

    assert statuses == {cls.__name__: cls.status for cls in CLASSES if cls is not EmbedrockError}


def test_codes_are_a_closed_list() -> None:
    own = {cls.code: cls.__name__ for cls in CLASSES if "code" in vars(cls) and cls.code is not None}

    assert own == {code: name for code, name in CODES.items() if name}
    # A class's own code may be given to another where a path has its own status for it.
    assert codes_raised() - own.keys() == {code for code, name in CODES.items() if not name}


def test_code_belongs_to_one_class() -> None:
    own = [cls.code for cls in CLASSES if "code" in vars(cls) and cls.code is not None]

    assert len(own) == len(set(own))


@pytest.mark.parametrize("cls", CLASSES)
def test_code_of_an_upstream_failure_is_never_missing(cls: type[EmbedrockError]) -> None:
    """OpenAI has no code for some refusals and for its own failures; what befell us upstream always has one."""
    assert cls.code is not None or cls.status < 500 or cls in (EmbedrockError, errors.InternalError)


@pytest.mark.parametrize("cls", CLASSES)
def test_waiting_is_named_where_it_helps_and_only_there(cls: type[EmbedrockError]) -> None:
    if cls.status in (429, 503) or cls is errors.IdempotencyInProgress:
        assert cls.retry_after_s is not None
        assert 1 <= cls.retry_after_s <= 60
    else:
        assert cls.retry_after_s is None


@pytest.mark.parametrize("cls", CLASSES)
def test_what_the_caller_or_the_operator_must_mend_is_hopeless_and_nothing_else_is(cls: type[EmbedrockError]) -> None:
    callers = 400 <= cls.status < 500 and cls.status != 429 and cls is not errors.IdempotencyInProgress

    # A job is charged also when it failed, or nobody waited for its end; another would be again.
    assert cls.hopeless is (callers or cls in (errors.UpstreamAuthFailed, errors.JobFailed, errors.JobUnfinished))


@pytest.mark.parametrize("cls", CLASSES)
def test_type_is_openais_for_the_status(cls: type[EmbedrockError]) -> None:
    expected = {402: "insufficient_quota", 429: "tokens" if cls is errors.TokensLimited else "requests"}

    assert cls.type == expected.get(cls.status, "server_error" if cls.status >= 500 else "invalid_request_error")


@pytest.mark.parametrize("cls", CLASSES)
def test_callers_mistake_is_never_tried_again(cls: type[EmbedrockError]) -> None:
    assert cls.retry is Retry.NEVER or not cls.hopeless


def test_wrong_aws_credentials_are_not_the_callers() -> None:
    """A 401 or 403 would tell the caller that its own key is wrong."""
    assert errors.UpstreamAuthFailed("no").status == 503


@pytest.mark.parametrize("cls", CLASSES)
def test_error_can_be_raised_and_told(cls: type[EmbedrockError]) -> None:
    more: dict[str, Any] = {"outcome": "blocked"} if cls is errors.ContentBlocked else {}
    with pytest.raises(cls, match="what is wrong") as caught:
        raise cls("what is wrong", param="input[3]", **more)

    body = json.loads(openai.encode_error(caught.value))
    assert body == {"error": {"message": "what is wrong", "type": cls.type, "param": "input[3]", "code": cls.code}}


def test_outcome_of_a_guardrail_is_not_told_to_everybody() -> None:
    """It names policies: only who asks for the trace gets it, in a header."""
    error = errors.ContentBlocked("no", param="input", outcome="blocked; topicPolicy")

    assert error.outcome == "blocked; topicPolicy"
    assert b"topicPolicy" not in openai.encode_error(error)


def test_code_and_retry_of_one_error_do_not_change_the_class() -> None:
    error = errors.BadRequest("no", code="invalid_json", retry=Retry.ONCE)

    assert (error.code, error.retry) == ("invalid_json", Retry.ONCE)
    assert (errors.BadRequest.code, errors.BadRequest.retry) == (None, Retry.NEVER)
    assert errors.ModelNotFound("no", code=None).code == "model_not_found"
