"""What StartAsyncInvoke and ListAsyncInvokes are asked, checked against the API's own model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from . import catalog, json_body
from .errors import constraints, enum_rule, validation
from .models import segmented

STATUSES = ("InProgress", "Completed", "Failed")
_URI_NAME = "outputDataConfig.s3OutputDataConfig.s3Uri"
_OWNER_NAME = "outputDataConfig.s3OutputDataConfig.bucketOwner"
_MODEL_ID = re.compile(r"[a-zA-Z_.\-/0-9:]{1,256}")
_URI = re.compile(r"s3://([a-z0-9][.\-a-z0-9]{1,61}[a-z0-9])(/.*)?")
_TOKEN = re.compile(r"[!-~]{1,256}")
_OWNER = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True)
class AsyncRequest:
    """A StartAsyncInvoke. `config`: where its output goes, as sent; `fingerprint`: of everything but the token."""

    model_id: str
    model_input: dict[str, Any]
    config: dict[str, Any]
    bucket: str
    prefix: str
    token: str | None
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls a ListAsyncInvokes is about; None: any."""

    status: str | None
    after: datetime | None
    before: datetime | None
    newest_first: bool


def find_model(asked: Mapping[str, Any], region: str) -> str | None:
    """Return the model that a call is for, by its id or the ARN of a foundation model; profiles are none."""
    model_id = str(asked.get("modelId")).removeprefix(f"arn:aws:bedrock:{region}::foundation-model/")
    return model_id if model_id in catalog.BY_ID else None


def read(sent: bytes, region: str) -> AsyncRequest:
    """Return the request in a body. Raises AwsError."""
    asked = json_body.parse(sent)
    output = asked.get("outputDataConfig")
    given = output.get("s3OutputDataConfig") if isinstance(output, dict) else None
    config: dict[str, Any] = given if isinstance(given, dict) else {}
    token = asked.pop("clientRequestToken", None)
    _check(asked, config, token)
    model_id = find_model(asked, region)
    if model_id is None:
        raise validation("The provided model identifier is invalid.")
    if model_id not in segmented.MODEL_IDS:
        raise validation(f"The model {model_id} does not support asynchronous invocation.")
    match = _URI.fullmatch(config["s3Uri"])
    assert match is not None  # noqa: S101  # for the type checker: it was checked
    return AsyncRequest(
        model_id=model_id,
        model_input=asked["modelInput"],
        config=config,
        bucket=match[1],
        prefix=(match[2] or "").strip("/"),
        token=token,
        fingerprint=sha256(json.dumps(asked, sort_keys=True).encode()).digest(),
    )


def read_filter(query: Mapping[str, str]) -> Filter:
    """Return what a ListAsyncInvokes asks for. Raises AwsError."""
    for name, allowed in (
        ("statusEquals", STATUSES),
        ("sortBy", ("SubmissionTime",)),
        ("sortOrder", ("Ascending", "Descending")),
    ):
        if query.get(name, allowed[0]) not in allowed:
            raise constraints((name, query[name], enum_rule(allowed)))
    return Filter(
        status=query.get("statusEquals"),
        after=_read_time("submitTimeAfter", query),
        before=_read_time("submitTimeBefore", query),
        newest_first=query.get("sortOrder") != "Ascending",
    )


def _check(asked: Mapping[str, Any], config: Mapping[str, Any], token: object) -> None:
    needed = {"modelId": asked.get("modelId"), "modelInput": asked.get("modelInput"), _URI_NAME: config.get("s3Uri")}
    if missing := [(name, None, "Member must not be null") for name, value in needed.items() if value is None]:
        raise constraints(*missing)
    if not isinstance(asked["modelInput"], dict):
        raise validation("The model input must be a JSON object.")
    for name, value, pattern in (
        ("modelId", asked["modelId"], _MODEL_ID),
        (_URI_NAME, config["s3Uri"], _URI),
        (_OWNER_NAME, config.get("bucketOwner"), _OWNER),
        ("clientRequestToken", token, _TOKEN),
    ):
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            rule = f"Member must satisfy regular expression pattern: {pattern.pattern}"
            raise constraints((name, str(value), rule))


def _read_time(name: str, query: Mapping[str, str]) -> datetime | None:
    if name not in query:
        return None
    try:
        read = datetime.fromisoformat(query[name])
    except ValueError:
        raise constraints((name, query[name], "Member must be a timestamp")) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
