"""ApplyGuardrail: what is asked, as botocore asks it, and what each answer says of the texts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import InvalidUpstream
from embedrock.upstream.guardrail import Guardrail, Verdict, build_request, parse_response

ARN = "arn:aws:bedrock:us-east-1:123456789012:guardrail/abc123"
TEXTS = ["my name is Ann", "hello"]


class _Sent(Exception):
    """What botocore would have sent."""

    def __init__(self, request: AWSRequest) -> None:
        super().__init__()
        self.request = request


def sent_by_botocore(identifier: str, version: str, texts: list[str]) -> AWSRequest:
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="AKIATEST", aws_secret_access_key="x"
    )

    def stop(request: AWSRequest, **_: object) -> AWSResponse:
        raise _Sent(request)

    client.meta.events.register("before-send.bedrock-runtime.ApplyGuardrail", stop)
    content = [{"text": {"text": text}} for text in texts]
    with pytest.raises(_Sent) as caught:
        client.apply_guardrail(
            guardrailIdentifier=identifier, guardrailVersion=version, source="INPUT", content=content
        )
    return caught.value.request


@pytest.mark.parametrize("identifier, version", [("abc123", "1"), ("abc123", "DRAFT"), (ARN, "12")])
def test_path_and_body_are_botocores(identifier: str, version: str) -> None:
    request = sent_by_botocore(identifier, version, TEXTS)

    assert Guardrail(identifier, version).path == urlsplit(request.url).path
    assert json.loads(build_request(TEXTS)) == json.loads(request.body)


@given(st.lists(st.text(), min_size=1, max_size=100))
def test_texts_are_asked_about_as_they_are_in_order(texts: list[str]) -> None:
    body = json.loads(build_request(texts))

    assert body == {"source": "INPUT", "content": [{"text": {"text": text}} for text in texts]}


# ---------------------------------------------------------------- what comes back


def answer(action: str, outputs: list[str], *assessments: dict[str, Any], **more: Any) -> bytes:
    members = {"action": action, "outputs": [{"text": text} for text in outputs], "assessments": assessments}
    return json.dumps(members | more).encode()


def topic(action: str) -> dict[str, Any]:
    return {"topicPolicy": {"topics": [{"name": "money", "type": "DENY", "action": action}]}}


def entity(*actions: str) -> dict[str, Any]:
    found = [{"match": "Ann", "type": "NAME", "action": action} for action in actions]
    return {"sensitiveInformationPolicy": {"piiEntities": found, "regexes": []}}


def regex(action: str) -> dict[str, Any]:
    return {"sensitiveInformationPolicy": {"regexes": [{"name": "id", "match": "7", "action": action}]}}


USAGE = {"invocationMetrics": {"guardrailProcessingLatency": 9, "usage": {"topicPolicyUnits": 1}}}
SENSITIVE = frozenset({"sensitiveInformationPolicy"})
MASKED = ["my name is {NAME}", "hello"]


@pytest.mark.parametrize(
    "body",
    [
        answer("NONE", []),
        answer("NONE", [], USAGE),
        answer("NONE", [], topic("NONE")),
        answer("NONE", [], usage={"topicPolicyUnits": 1}, actionReason="No action."),
        b'{"action":"NONE"}',
    ],
    ids=range(5),
)
def test_texts_that_pass_are_used_as_they_are(body: bytes) -> None:
    assert parse_response(body, TEXTS) == Verdict(False, TEXTS, frozenset())
    assert parse_response(bytearray(body), TEXTS).masked is TEXTS


@pytest.mark.parametrize(
    "assessments, policies",
    [
        ([topic("BLOCKED")], {"topicPolicy"}),
        ([USAGE | topic("BLOCKED")], {"topicPolicy"}),
        ([entity("BLOCKED")], SENSITIVE),
        ([entity("ANONYMIZED", "BLOCKED")], SENSITIVE),
        ([entity("ANONYMIZED") | topic("BLOCKED")], SENSITIVE | {"topicPolicy"}),
        ([entity("ANONYMIZED"), topic("BLOCKED")], SENSITIVE | {"topicPolicy"}),
        ([entity("ANONYMIZED") | {"wordPolicy": {"customWords": [{"action": "BLOCKED"}]}}], SENSITIVE | {"wordPolicy"}),
        ([{"contentPolicy": {"filters": [{"type": "HATE", "action": "BLOCKED"}]}}], {"contentPolicy"}),
        # what AWS may add one day, and what cannot be read, is not let through
        ([entity("HIDDEN")], SENSITIVE),
        ([entity("ANONYMIZED") | {"newPolicy": {"things": [{"action": "STOPPED"}]}}], SENSITIVE | {"newPolicy"}),
        ([], set()),
        ([{}], set()),
        ([topic("NONE")], set()),
        ([{"topicPolicy": []}], set()),
        ([{"topicPolicy": {"topics": "BLOCKED"}}], set()),
        ([{"topicPolicy": {"topics": [{"action": 1}]}}], set()),
    ],
    ids=range(16),
)
def test_everything_but_masking_blocks(assessments: list[dict[str, Any]], policies: set[str]) -> None:
    body = answer("GUARDRAIL_INTERVENED", ["Sorry, we cannot."], *assessments)

    assert parse_response(body, TEXTS) == Verdict(True, None, frozenset(policies))


@pytest.mark.parametrize(
    "assessments",
    [
        [entity("ANONYMIZED")],
        [entity("ANONYMIZED", "NONE", "ANONYMIZED")],
        [regex("ANONYMIZED")],
        [USAGE | entity("ANONYMIZED"), {}],
        [entity("ANONYMIZED") | topic("NONE")],
    ],
    ids=range(5),
)
def test_masked_texts_are_those_of_the_outputs(assessments: list[dict[str, Any]]) -> None:
    body = answer("GUARDRAIL_INTERVENED", MASKED, *assessments)

    assert parse_response(body, TEXTS) == Verdict(False, MASKED, SENSITIVE)


@pytest.mark.parametrize("outputs", [[], ["my name is {NAME}"], ["a", "b", "c"]])
def test_outputs_that_do_not_match_the_texts_are_not_guessed_at(outputs: list[str]) -> None:
    """AWS documents one text a call: which output is whose is not known then."""
    body = answer("GUARDRAIL_INTERVENED", outputs, entity("ANONYMIZED"))

    assert parse_response(body, TEXTS) == Verdict(False, None, SENSITIVE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"action":null}',
        b'{"action":"none"}',
        b'{"action":"ALLOWED"}',
        b'{"action":"NONE","outputs":null}',
        b'{"action":"GUARDRAIL_INTERVENED","outputs":["a"]}',
        b'{"action":"GUARDRAIL_INTERVENED","outputs":[{}]}',
        b'{"action":"GUARDRAIL_INTERVENED","assessments":{}}',
        b'{"action":"GUARDRAIL_INTERVENED","assessments":[1]}',
        b"<html>503</html>",
        b"\xff",
        b'{"action":"NONE","x":%b%b}' % (b"[" * 100_000, b"]" * 100_000),
    ],
    ids=range(15),
)
def test_any_other_answer_is_no_verdict(body: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        parse_response(body, TEXTS)
