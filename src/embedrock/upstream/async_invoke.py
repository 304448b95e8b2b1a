"""StartAsyncInvoke and GetAsyncInvoke: bodies, and what the answers say. Pure.

A job is started once however often it is sent, by its token. There is no way to stop one.

Source: botocore's service model; the folder of results has the job's id appended to what was asked for.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from embedrock.errors import InvalidUpstream
from embedrock.vectors import BROKEN_JSON

PATH: Final = "/async-invoke"
ARN: Final = re.compile(
    r"arn:aws[a-z-]{0,16}:bedrock:(?P<region>[a-z0-9-]{1,40}):(?P<account>[0-9]{12}):async-invoke/(?P<id>[a-z0-9]{12})"
)
_TOLD_CHARS: Final = 300
_PRIVATE: Final = re.compile(r"\b(?:arn:|s3://|https?://)\S*|\b\d{12}\b")

State = Literal["running", "completed", "failed"]
_STATES: Final[dict[str, State]] = {"Completed": "completed", "Failed": "failed"}


class Invocation(NamedTuple):
    """One job as Bedrock tells of it."""

    state: State
    folder: str  # of its results
    model: str  # the last part of its ARN
    message: str | None = None  # of a failed one, without ARNs, URIs and accounts
    submitted: float = 0.0  # seconds since the epoch; 0: not told
    ended: float = 0.0


class _Started(msgspec.Struct):
    invocationArn: str  # noqa: N815  # AWS's name


class _Output(msgspec.Struct):
    s3Uri: str  # noqa: N815  # AWS's name


class _OutputConfig(msgspec.Struct):
    s3OutputDataConfig: _Output  # noqa: N815  # AWS's name


class _Invocation(msgspec.Struct):
    status: str
    modelArn: str  # noqa: N815  # AWS's names
    outputDataConfig: _OutputConfig  # noqa: N815
    failureMessage: str | None = None  # noqa: N815
    submitTime: str | float | None = None  # noqa: N815
    endTime: str | float | None = None  # noqa: N815


def start_body(model_id: str, model_input: bytes, folder: str, token: str, owner: str | None = None) -> bytes:
    """Return the body that starts a job; its results go into a folder of its own below `folder`."""
    output: dict[str, Any] = {"s3Uri": folder}
    if owner:
        output["bucketOwner"] = owner
    return msgspec.json.encode(
        {
            "modelId": model_id,
            "modelInput": msgspec.Raw(model_input),
            "outputDataConfig": {"s3OutputDataConfig": output},
            "clientRequestToken": token,
        }
    )


def read_started(body: bytes | bytearray) -> str:
    """Return the ARN of the job. Raises InvalidUpstream."""
    try:
        arn = msgspec.json.decode(body, type=_Started).invocationArn
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of StartAsyncInvoke.") from exc
    if not ARN.fullmatch(arn):
        raise InvalidUpstream("Bedrock started a job and did not say which.")
    return arn


def path_of(arn: str) -> str:
    """Return the path that tells of a job."""
    return f"{PATH}/{quote(arn, safe='-_.~')}"


def read_invocation(body: bytes | bytearray) -> Invocation:
    """Return what Bedrock tells of a job. A state nobody knows counts as running. Raises InvalidUpstream."""
    try:
        told = msgspec.json.decode(body, type=_Invocation)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of GetAsyncInvoke.") from exc
    return Invocation(
        _STATES.get(told.status, "running"),
        told.outputDataConfig.s3OutputDataConfig.s3Uri.rstrip("/"),
        told.modelArn.rpartition("/")[2],
        _told(told.failureMessage),
        _seconds(told.submitTime),
        _seconds(told.endTime),
    )


def _told(message: str | None) -> str | None:
    """Return AWS's words without what is nobody's business."""
    if not message:
        return None
    shown = "".join(letter for letter in _PRIVATE.sub("…", message) if letter.isprintable())
    return shown[:_TOLD_CHARS].strip() or None


def _seconds(time: str | float | None) -> float:
    if isinstance(time, str):
        try:
            return datetime.fromisoformat(time).timestamp()
        except ValueError:
            return 0.0
    return time or 0.0
