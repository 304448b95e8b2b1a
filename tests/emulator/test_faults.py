"""Faults: they strike the calls they should, and are counted."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from bedrock_emulator import expected_vectors
from bedrock_emulator.faults import FAULTS

from .conftest import ENGLISH, TITAN, Running

BODY = json.dumps({"inputText": "hello"})


def statuses(emulator: Running, calls: int) -> list[int]:
    return [emulator.invoke(TITAN, {"inputText": "hello"}).status for _ in range(calls)]


def test_throttle_answers_bedrocks_429(emulator: Running) -> None:
    emulator.fault(fault="throttle", n=1)

    with pytest.raises(ClientError) as caught:
        emulator.client().invoke_model(modelId=TITAN, body=BODY)

    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    assert caught.value.response["Error"]["Message"] == "Too many requests, please wait before trying again."
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize(
    ("settings", "status", "code"),
    [
        ({}, 500, "InternalServerException"),
        ({"status": 500}, 500, "InternalServerException"),
        ({"status": 503}, 503, "ServiceUnavailableException"),
        ({"status": 502}, 502, "502"),
        ({"status": 504}, 504, "504"),
    ],
)
def test_server_error_has_the_status_asked_for(
    emulator: Running, settings: dict[str, int], status: int, code: str
) -> None:
    emulator.fault(fault="server_error", n=1, **settings)

    with pytest.raises(ClientError) as caught:
        emulator.client().invoke_model(modelId=TITAN, body=BODY)

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("status", [502, 504])
def test_a_load_balancers_error_is_html(emulator: Running, status: int) -> None:
    emulator.fault(fault="server_error", status=status)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.headers["content-type"] == "text/html"
    assert answer.body.startswith(b"<html>")
    assert "x-amzn-errortype" not in answer.headers


@pytest.mark.parametrize(
    ("settings", "status", "code", "text"),
    [
        ({"fault": "model_not_ready"}, 429, "ModelNotReadyException", "not ready for inference"),
        ({"fault": "model_timeout"}, 408, "ModelTimeoutException", "timed out in processing"),
        ({"fault": "model_error"}, 424, "ModelErrorException", "while processing"),
        ({"fault": "not_found"}, 404, "ResourceNotFoundException", "marked by provider as Legacy"),
        ({"fault": "not_found", "reason": "end_of_life"}, 404, "ResourceNotFoundException", "the end of its life"),
        ({"fault": "access_denied"}, 403, "AccessDeniedException", "You don't have access to the model with the"),
        (
            {"fault": "access_denied", "reason": "policy"},
            403,
            "AccessDeniedException",
            f"is not authorized to perform: bedrock:InvokeModel on resource: "
            f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN} because no identity-based policy allows",
        ),
        ({"fault": "access_denied", "reason": "account"}, 403, "AccessDeniedException", "Your account is not auth"),
        ({"fault": "expired_token"}, 403, "ExpiredTokenException", "The security token included in the request is ex"),
        ({"fault": "unrecognized_client"}, 403, "UnrecognizedClientException", "included in the request is invalid."),
        ({"fault": "signature_expired"}, 403, "InvalidSignatureException", "Signature expired: 2"),
        ({"fault": "signature_expired", "clock": "ahead"}, 403, "InvalidSignatureException", "not yet current: 2"),
    ],
)
def test_a_refusal_has_the_status_name_and_text_of_bedrock(
    emulator: Running, settings: dict[str, str], status: int, code: str, text: str
) -> None:
    emulator.fault(**settings, n=1)

    with pytest.raises(ClientError) as caught:
        emulator.client().invoke_model(modelId=TITAN, body=BODY)

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    assert text in caught.value.response["Error"]["Message"]
    assert emulator.faults()[0]["fired"] == 1
    assert statuses(emulator, 1) == [200]


def test_an_iam_denial_has_its_text_under_a_capital_m(emulator: Running) -> None:
    emulator.fault(fault="access_denied", reason="policy")

    assert list(emulator.invoke(TITAN, {"inputText": "hello"}).json) == ["Message"]


@pytest.mark.parametrize("original", [400, 500])
def test_model_error_says_what_the_model_answered(emulator: Running, original: int) -> None:
    emulator.fault(fault="model_error", original_status=original)

    with pytest.raises(ClientError) as caught:
        emulator.client().invoke_model(modelId=TITAN, body=BODY)

    assert caught.value.response["originalStatusCode"] == original
    assert caught.value.response["resourceName"] == TITAN
    assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        ("missing", 404, "ResourceNotFoundException"),
        ("missing_400", 400, "ValidationException"),
        ("error", 500, "InternalServerException"),
    ],
)
def test_a_guardrail_can_fail(emulator: Running, outcome: str, status: int, code: str) -> None:
    emulator.guardrail(id="gr1")
    emulator.fault(fault="guardrail", outcome=outcome)

    with pytest.raises(ClientError) as caught:
        apply_guardrail(emulator)

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    assert emulator.faults()[0]["fired"] == 1


def test_a_guardrail_can_intervene_without_a_reason(emulator: Running) -> None:
    emulator.guardrail(id="gr1")
    emulator.fault(fault="guardrail")

    answer = apply_guardrail(emulator)

    assert (answer["action"], answer["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail blocked.")
    assert answer["outputs"] == [{"text": "Sorry, the model cannot answer this question."}]
    assert answer["assessments"][0]["topicPolicy"]["topics"][0]["action"] == "BLOCKED"
    assert emulator.faults()[0]["fired"] == 1
    assert statuses(emulator, 1) == [200]


def apply_guardrail(emulator: Running) -> Any:
    return emulator.client().apply_guardrail(
        guardrailIdentifier="gr1", guardrailVersion="DRAFT", source="INPUT", content=[{"text": {"text": "hello"}}]
    )


def test_a_client_that_retries_gets_its_vector(emulator: Running) -> None:
    entry = emulator.fault(fault="reset", n=1)

    reply = emulator.client(attempts=2).invoke_model(modelId=TITAN, body=BODY)

    assert json.loads(reply["body"].read())["embedding"] == expected_vectors(TITAN, BODY)[0]
    assert emulator.faults() == [{**entry, "fired": 1}]
    assert [row["fault"] for row in emulator.journal()] == ["reset", None]


def test_reset_before_headers_closes_without_an_answer(emulator: Running) -> None:
    emulator.fault(fault="reset", at="before_headers")

    with pytest.raises(ConnectionClosedError):
        emulator.client().invoke_model(modelId=TITAN, body=BODY)

    assert emulator.journal()[0]["status"] is None


def test_reset_is_a_reset_and_not_an_end(emulator: Running) -> None:
    emulator.fault(fault="reset", n=1)

    with pytest.raises(ConnectionResetError):
        emulator.invoke(TITAN, {"inputText": "hello"})


def test_reset_mid_body_breaks_off_after_half_of_the_answer(emulator: Running) -> None:
    emulator.fault(fault="reset", at="mid_body", n=1)
    reply = emulator.client().invoke_model(modelId=TITAN, body=BODY)

    with pytest.raises(ResponseStreamingError):
        reply["body"].read()

    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert (emulator.journal()[0]["status"], emulator.journal()[0]["fault"]) == (200, "reset")


def test_the_server_lives_on_after_resets(emulator: Running) -> None:
    emulator.fault(fault="reset", n=5, at="before_headers")
    for _ in range(5):
        with pytest.raises((http.client.HTTPException, OSError)):
            emulator.invoke(TITAN, {"inputText": "hello"})

    assert statuses(emulator, 1) == [200]


def test_n_strikes_exactly_the_next_n_calls(emulator: Running) -> None:
    emulator.fault(fault="throttle", n=2)

    assert statuses(emulator, 4) == [429, 429, 200, 200]
    assert emulator.faults()[0]["fired"] == 2


def test_after_spares_the_first_calls(emulator: Running) -> None:
    emulator.fault(fault="throttle", after=2, n=1)

    assert statuses(emulator, 4) == [200, 200, 429, 200]


def test_for_s_of_zero_is_over_at_once(emulator: Running) -> None:
    emulator.fault(fault="throttle", for_s=0)

    assert statuses(emulator, 1) == [200]


def test_p_strikes_a_share_that_the_seed_repeats(emulator: Running) -> None:
    runs = []
    for _ in range(2):
        emulator.request("DELETE", "/_emulator/faults")
        emulator.fault(fault="throttle", p=0.5, seed=7)
        runs.append(statuses(emulator, 30))

    assert runs[0] == runs[1]
    assert 5 <= runs[0].count(429) <= 25


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ({"model": TITAN}, 429),
        ({"model": ENGLISH}, 200),
        ({"op": "InvokeModel"}, 429),
        ({"op": "ListFoundationModels"}, 200),
        ({"region": "us-east-1", "model": None}, 429),
        ({"region": "eu-west-1"}, 200),
        ({}, 429),
        (None, 429),
    ],
)
def test_match_narrows_the_calls(emulator: Running, match: dict[str, str | None] | None, status: int) -> None:
    emulator.fault(fault="throttle", match=match)

    assert statuses(emulator, 1) == [status]


def test_a_fault_can_name_the_profile_the_model_was_called_by(emulator: Running) -> None:
    emulator.fault(fault="throttle", match={"model": "us.cohere.embed-v4:0"})

    assert emulator.invoke("us.cohere.embed-v4:0", {}).status == 429
    assert emulator.invoke("cohere.embed-v4:0", {}).status == 400


def test_the_first_fault_that_takes_a_call_strikes_it(emulator: Running) -> None:
    emulator.fault(fault="throttle", n=1)
    emulator.fault(fault="server_error", n=1)

    assert statuses(emulator, 3) == [429, 500, 200]
    assert [entry["fired"] for entry in emulator.faults()] == [1, 1]


def test_faults_are_removed_one_by_one_or_all(emulator: Running) -> None:
    first, _, _ = (emulator.fault(fault="throttle") for _ in range(3))

    assert emulator.request("DELETE", f"/_emulator/faults/{first['id']}").status == 200
    assert len(emulator.faults()) == 2
    assert emulator.request("DELETE", f"/_emulator/faults/{first['id']}").status == 404
    assert emulator.request("DELETE", "/_emulator/faults").status == 200
    assert emulator.faults() == []
    assert statuses(emulator, 1) == [200]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ([], "body"),
        ({}, "fault"),
        ({"fault": "earthquake"}, "fault"),
        ({"fault": "throttle", "p": 1.5}, "p"),
        ({"fault": "throttle", "p": "1"}, "p"),
        ({"fault": "throttle", "n": -1}, "n"),
        ({"fault": "throttle", "n": 1.5}, "n"),
        ({"fault": "throttle", "n": True}, "n"),
        ({"fault": "throttle", "after": "x"}, "after"),
        ({"fault": "throttle", "for_s": -1}, "for_s"),
        ({"fault": "throttle", "seed": "x"}, "seed"),
        ({"fault": "throttle", "match": "x"}, "match"),
        ({"fault": "throttle", "match": {"tenant": "x"}}, "match.tenant"),
        ({"fault": "throttle", "match": {"op": 1}}, "match.op"),
        ({"fault": "throttle", "status": 500}, "status"),
        ({"fault": "server_error", "status": 418}, "status"),
        ({"fault": "reset", "at": "lunch"}, "at"),
        ({"fault": "vector_count", "change": "none"}, "change"),
        ({"fault": "dimensions", "dimensions": 0}, "dimensions"),
        ({"fault": "zeros", "at": -1}, "at"),
        ({"fault": "zeros", "match": {"op": "ListFoundationModels"}}, "match.op"),
        ({"fault": "bad_numbers", "kind": "seven"}, "kind"),
        ({"fault": "norm", "scale": "half"}, "scale"),
        ({"fault": "permuted", "at": 1}, "at"),
        ({"fault": "foreign", "text": 1}, "text"),
        ({"fault": "tokens", "value": "one"}, "value"),
        ({"fault": "tokens", "where": "here"}, "where"),
        ({"fault": "model_error", "original_status": 404}, "original_status"),
        ({"fault": "not_found", "reason": "shy"}, "reason"),
        ({"fault": "access_denied", "reason": "shy"}, "reason"),
        ({"fault": "signature_expired", "clock": "none"}, "clock"),
        ({"fault": "guardrail", "outcome": "none"}, "outcome"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_by_the_members_name(emulator: Running, body: Any, member: str) -> None:
    answer = emulator.request("POST", "/_emulator/faults", json.dumps(body).encode())

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{member}: ")
    assert emulator.faults() == []


def test_a_fault_that_is_not_json_is_refused(emulator: Running) -> None:
    assert emulator.request("POST", "/_emulator/faults", b"{").status == 400


def test_every_fault_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "use-the-emulator.md").read_text(encoding="utf-8")
    listed = {name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}

    assert listed == FAULTS.keys()
