"""Guardrails: made over `/_emulator`, applied through boto3 as AWS's ApplyGuardrail."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import SIGNED, Answer, Running

RULES = {
    "id": "gr1",
    "version": "1",
    "blocked_words": ["forbidden", "top secret"],
    "masked_pii": ["EMAIL", "PHONE"],
    "masked_patterns": {"TICKET": "T-[0-9]+"},
    "blocked_message": "Not with us.",
}


def apply(emulator: Running, *texts: str, identifier: str = "gr1", version: str = "1", **members: Any) -> Any:
    content = [{"text": {"text": text}} for text in texts]
    return emulator.client().apply_guardrail(
        guardrailIdentifier=identifier, guardrailVersion=version, source="INPUT", content=content, **members
    )


def refused(emulator: Running, body: Any, *, identifier: str = "gr1", version: str = "1") -> Answer:
    return emulator.request(
        "POST",
        f"/guardrail/{identifier}/version/{version}/apply",
        json.dumps(body).encode(),
        {"Authorization": SIGNED.format(region="us-east-1")},
    )


def test_a_harmless_text_passes(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    answer = apply(emulator, "a red bicycle", "")

    assert (answer["action"], answer["actionReason"], answer["outputs"]) == ("NONE", "No action.", [])
    (assessment,) = answer["assessments"]
    assert assessment.keys() == {"invocationMetrics", "appliedGuardrailDetails"}
    assert answer["guardrailCoverage"] == {"textCharacters": {"guarded": 13, "total": 13}}
    assert answer["usage"] == {
        "topicPolicyUnits": 0,
        "contentPolicyUnits": 0,
        "wordPolicyUnits": 1,
        "sensitiveInformationPolicyUnits": 1,
        "sensitiveInformationPolicyFreeUnits": 1,
        "contextualGroundingPolicyUnits": 0,
        "contentPolicyImageUnits": 0,
    }


def test_a_blocked_word_in_any_block_gives_the_message_alone(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    answer = apply(emulator, "mail a@example.com", "This is TOP SECRET.", "harmless")

    assert (answer["action"], answer["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail blocked.")
    assert answer["outputs"] == [{"text": "Not with us."}]
    (assessment,) = answer["assessments"]
    assert assessment["wordPolicy"] == {
        "customWords": [{"match": "TOP SECRET", "action": "BLOCKED", "detected": True}],
        "managedWordLists": [],
    }
    assert assessment["sensitiveInformationPolicy"]["piiEntities"][0]["match"] == "a@example.com"


def test_a_blocked_word_is_a_whole_word(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    assert apply(emulator, "forbiddenness, unforbidden")["action"] == "NONE"


def test_masking_gives_one_output_a_block_in_order(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    answer = apply(emulator, "Write to a.b@example.com or +49 (30) 123 456!", "harmless", "T-12 and T-13")

    assert (answer["action"], answer["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail masked.")
    assert [output["text"] for output in answer["outputs"]] == [
        "Write to {EMAIL} or {PHONE}!",
        "harmless",
        "{TICKET} and {TICKET}",
    ]
    found = answer["assessments"][0]["sensitiveInformationPolicy"]
    assert [(item["type"], item["match"], item["action"]) for item in found["piiEntities"]] == [
        ("EMAIL", "a.b@example.com", "ANONYMIZED"),
        ("PHONE", "+49 (30) 123 456", "ANONYMIZED"),
    ]
    assert found["regexes"][1] == {
        "name": "TICKET",
        "match": "T-13",
        "regex": "T-[0-9]+",
        "action": "ANONYMIZED",
        "detected": True,
    }
    assert "wordPolicy" not in answer["assessments"][0]


@pytest.mark.parametrize(
    ("kind", "text", "masked"),
    [
        ("EMAIL", "Jo <jo+x@mail.example.co.uk>, a@b", "Jo <{EMAIL}>, a@b"),
        ("PHONE", "call 030 1234567 or 12345", "call {PHONE} or 12345"),
        ("URL", "see https://example.com/a?b=c .", "see {URL} ."),
        ("IP_ADDRESS", "from 10.0.0.12, version 1.2.3", "from {IP_ADDRESS}, version 1.2.3"),
        ("CREDIT_DEBIT_CARD_NUMBER", "pay 4111 1111 1111 1111 now", "pay {CREDIT_DEBIT_CARD_NUMBER} now"),
        ("US_SOCIAL_SECURITY_NUMBER", "is 123-45-6789.", "is {US_SOCIAL_SECURITY_NUMBER}."),
        ("AWS_ACCESS_KEY", "key AKIAIOSFODNN7EXAMPLE!", "key {AWS_ACCESS_KEY}!"),
    ],
)
def test_each_kind_of_pii_is_found(emulator: Running, kind: str, text: str, masked: str) -> None:
    emulator.guardrail(id="gr1", version=1, masked_pii=[kind])

    answer = apply(emulator, text)

    assert answer["outputs"] == [{"text": masked}]
    assert answer["usage"]["sensitiveInformationPolicyFreeUnits"] == 0


def test_of_overlapping_finds_the_first_and_longest_counts(emulator: Running) -> None:
    emulator.guardrail(id="gr1", version=1, masked_pii=["EMAIL"], masked_patterns={"NAME": "jo", "EMPTY": "x*"})

    assert apply(emulator, "jo and jo@example.com")["outputs"] == [{"text": "{NAME} and {EMAIL}"}]


def test_full_scope_names_what_was_not_found(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    answer = apply(emulator, "a@example.com", outputScope="FULL")

    entities = answer["assessments"][0]["sensitiveInformationPolicy"]["piiEntities"]
    assert [(item["type"], item["action"], item["detected"]) for item in entities] == [
        ("EMAIL", "ANONYMIZED", True),
        ("PHONE", "NONE", False),
    ]


def test_text_units_are_begun_thousands_of_characters(emulator: Running) -> None:
    emulator.guardrail(**RULES)

    assert apply(emulator, "x" * 1000, "y")["usage"]["wordPolicyUnits"] == 2


def test_a_long_text_is_searched_in_little_time(emulator: Running) -> None:
    emulator.guardrail(id="gr1", version=1, masked_pii=["EMAIL", "PHONE", "URL", "IP_ADDRESS"])
    started = time.monotonic()

    apply(emulator, "x" * 1_000_000, "1" * 1_000_000, "1." * 500_000)

    assert time.monotonic() - started < 10


@pytest.mark.parametrize("identifier", ["gr1", "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1"])
@pytest.mark.parametrize("version", ["DRAFT", "2"])
def test_a_guardrail_is_found_by_id_and_arn_and_version(emulator: Running, identifier: str, version: str) -> None:
    emulator.guardrail(id="gr1", version=version, blocked_words=["bad"])

    answer = apply(emulator, "bad", identifier=identifier, version=version)

    assert answer["outputs"] == [{"text": "Sorry, the model cannot answer this question."}]
    assert answer["assessments"][0]["appliedGuardrailDetails"]["guardrailVersion"] == version


@pytest.mark.parametrize(
    ("identifier", "version"),
    [("gr2", "1"), ("gr1", "2"), ("gr1", "DRAFT"), ("arn:aws:bedrock:eu-west-1:123456789012:guardrail/gr1", "1")],
)
def test_an_unknown_guardrail_is_not_found(emulator: Running, identifier: str, version: str) -> None:
    emulator.guardrail(**RULES)

    with pytest.raises(ClientError, match="guardrail identifier or version provided") as caught:
        apply(emulator, "x", identifier=identifier, version=version)

    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "2 validation errors detected: Value null at 'source' failed to satisfy constraint: Member must not be"),
        ({"source": "SIDE", "content": []}, "1 validation error detected: Value 'SIDE' at 'source' failed"),
        ({"source": "INPUT", "content": [], "outputScope": "ALL"}, "Value 'ALL' at 'outputScope' failed"),
        ({"source": "INPUT", "content": []}, "The content of the request is empty."),
        ({"source": "INPUT", "content": ["x"]}, "Each block of the content must have a text."),
        ({"source": "INPUT", "content": [{"image": {}}]}, "The guardrails of this emulator read texts only."),
        ([], "Malformed input request"),
    ],
)
def test_a_bad_request_is_a_validation_error(emulator: Running, body: Any, told: str) -> None:
    emulator.guardrail(**RULES)

    answer = refused(emulator, body)

    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    assert told in answer.json["message"]


@pytest.mark.parametrize(("identifier", "version"), [("GR", "1"), ("gr1", "0"), ("gr1", "draft"), ("a" * 2049, "1")])
def test_a_malformed_id_or_version_is_a_validation_error(emulator: Running, identifier: str, version: str) -> None:
    answer = refused(emulator, {}, identifier=identifier, version=version)

    assert answer.status == 400
    assert "failed to satisfy constraint: Member must" in answer.json["message"]


def test_the_journal_has_the_call_without_a_model(emulator: Running) -> None:
    emulator.guardrail(**RULES)
    apply(emulator, "one", "two")

    (row,) = emulator.journal()
    assert (row["op"], row["model"], row["status"]) == ("ApplyGuardrail", None, 200)
    assert (row["items"], row["tokens"]) == (2, None)


def test_guardrails_are_listed_replaced_and_removed(emulator: Running) -> None:
    first = emulator.guardrail(**RULES)
    emulator.guardrail(id="gr1", version=2)
    other = emulator.guardrail(id="other")
    emulator.guardrail(**RULES | {"blocked_words": []})

    listed = emulator.request("GET", "/_emulator/guardrails").json["guardrails"]
    assert listed[0] == first | {"blocked_words": []}
    assert [(item["id"], item["version"]) for item in listed] == [("gr1", "1"), ("gr1", "2"), ("other", "DRAFT")]

    assert emulator.request("DELETE", "/_emulator/guardrails/gr1").status == 200
    assert emulator.request("DELETE", "/_emulator/guardrails/gr1").status == 404
    assert emulator.request("GET", "/_emulator/guardrails").json["guardrails"] == [other]
    assert emulator.request("DELETE", "/_emulator/guardrails").status == 200
    assert emulator.request("GET", "/_emulator/guardrails").json["guardrails"] == []


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({}, "id"),
        ({"id": "Upper"}, "id"),
        ({"id": "a", "version": 0}, "version"),
        ({"id": "a", "version": True}, "version"),
        ({"id": "a", "version": "one"}, "version"),
        ({"id": "a", "blocked_words": "x"}, "blocked_words"),
        ({"id": "a", "blocked_words": [""]}, "blocked_words"),
        ({"id": "a", "masked_pii": ["SHOE_SIZE"]}, "masked_pii"),
        ({"id": "a", "masked_patterns": {"X": "("}}, "masked_patterns.X"),
        ({"id": "a", "masked_patterns": []}, "masked_patterns"),
        ({"id": "a", "masked_patterns": {"X": 1}}, "masked_patterns.X"),
        ({"id": "a", "blocked_message": ""}, "blocked_message"),
        ({"id": "a", "colour": "red"}, "colour"),
    ],
)
def test_a_guardrail_that_makes_no_sense_is_refused_by_the_members_name(
    emulator: Running, members: Any, member: str
) -> None:
    answer = emulator.post("guardrails", members)

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{member}: ")
