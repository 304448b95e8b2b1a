"""A guardrail holds whatever the model: what it blocks is not embedded, what it masks is embedded as masked.

And without a verdict nothing is embedded at all. It is one long module because all of it shares one guardrail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import Answer, BedrockBody, Emulator, Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
MODELS = ["amazon.titan-embed-text-v1", TITAN, "amazon.titan-embed-image-v1", NOVA, ENGLISH, V4, MARENGO_3]

HEADERS = {"X-Amzn-Bedrock-GuardrailIdentifier": "mine", "X-Amzn-Bedrock-GuardrailVersion": "3"}
TRACED = HEADERS | {"X-Amzn-Bedrock-Trace": "enabled"}
IDENTIFIER = "X-Amzn-Bedrock-GuardrailIdentifier"
GUARDRAIL: dict[str, Any] = {
    "id": "mine",
    "version": 3,
    "blocked_words": ["top secret"],
    "masked_pii": ["EMAIL"],
    "masked_patterns": {"TICKET": "T-[0-9]+"},
    "blocked_message": "Not with us.",
}


@pytest.fixture(autouse=True)
def guardrail(emulator: Emulator, _no_faults_no_journal: None) -> None:
    """The guardrail that HEADERS name."""
    emulator.guardrail(**GUARDRAIL)


def operations(emulator: Emulator) -> list[str]:
    return [row["op"] for row in emulator.journal()]


def asked_texts(emulator: Emulator) -> list[list[str]]:
    """Return the texts of each call of ApplyGuardrail."""
    bodies = emulator.bodies("ApplyGuardrail")
    assert all(body.keys() == {"source", "content"} and body["source"] == "INPUT" for body in bodies)
    return [[block["text"]["text"] for block in body["content"]] for body in bodies]


def check_nothing_embedded(emulator: Emulator) -> None:
    assert "InvokeModel" not in operations(emulator)


# --------------------------------------------------------------------------------------------------------------- passes


@pytest.mark.parametrize("model", MODELS)
def test_what_passes_is_embedded_as_it_is(gateway: Gateway, emulator: Emulator, expected: Expected, model: str) -> None:
    texts = ["a red bicycle", "a blue one", "secret, but not at the top"]

    answer = gateway.embed({"model": model, "input": texts}, HEADERS)

    calls = 2 if model.startswith("cohere.") else 4
    assert answer.vectors() == expected(model, texts)
    assert operations(emulator) == ["ApplyGuardrail"] + ["InvokeModel"] * (calls - 1)
    assert asked_texts(emulator) == [texts]
    assert answer.headers["x-embedrock-upstream-calls"] == str(calls)
    assert "x-embedrock-masked" not in answer.headers
    assert "x-embedrock-guardrail" not in answer.headers


def test_guardrail_by_its_arn(gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:guardrail/mine"

    passed = gateway.embed({"model": TITAN, "input": "a red bicycle"}, HEADERS | {IDENTIFIER: arn})
    blocked = gateway.embed({"model": TITAN, "input": "this is TOP SECRET"}, HEADERS | {IDENTIFIER: arn})

    assert passed.vectors() == expected(TITAN, ["a red bicycle"])
    assert blocked.refusal() == ("input", "content_filter")
    assert operations(emulator) == ["ApplyGuardrail", "InvokeModel", "ApplyGuardrail"]


def test_version_draft_is_one_of_its_own(gateway: Gateway, emulator: Emulator) -> None:
    emulator.guardrail(id="mine", version="DRAFT", blocked_words=["bicycle"])
    ask = {"model": TITAN, "input": "a red bicycle"}

    assert gateway.embed(ask, HEADERS).status == 200
    assert gateway.embed(ask, HEADERS | {"X-Amzn-Bedrock-GuardrailVersion": "DRAFT"}).refusal()[1] == "content_filter"


def test_without_the_headers_nobody_is_asked(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": TITAN, "input": "this is top secret"}, {"X-Amzn-Bedrock-Trace": "enabled"})

    assert answer.status == 200
    assert "x-embedrock-guardrail" not in answer.headers
    assert operations(emulator) == ["InvokeModel"]


def test_token_ids_are_checked_as_the_text_they_are(gateway: Gateway, emulator: Emulator) -> None:
    """They spell `top secret`."""
    answer = gateway.embed({"model": TITAN, "input": [[15339], [3565, 6367]]}, HEADERS)

    assert asked_texts(emulator) == [["hello", "top secret"]]
    assert answer.refusal()[1] == "content_filter"
    check_nothing_embedded(emulator)


# --------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("model", MODELS)
def test_what_is_blocked_is_not_embedded_nor_is_anything_beside_it(
    gateway: Gateway, emulator: Emulator, model: str
) -> None:
    answer = gateway.embed({"model": model, "input": ["fine", "this is Top Secret", "fine too"]}, HEADERS)

    assert answer.refusal() == ("input", "content_filter")
    assert "x-embedrock-guardrail" not in answer.headers
    assert operations(emulator) == ["ApplyGuardrail"]


def test_a_blocked_text_alone_is_named(gateway: Gateway) -> None:
    listed = gateway.embed({"model": TITAN, "input": ["top secret"]}, HEADERS)
    alone = gateway.embed({"model": TITAN, "input": "top secret"}, HEADERS)

    assert listed.refusal() == ("input[0]", "content_filter")
    assert alone.refusal() == ("input", "content_filter")


def test_one_blocked_text_of_250_stops_all(gateway: Gateway, emulator: Emulator) -> None:
    texts = [f"text {number}" for number in range(250)]
    texts[249] = "top secret"

    answer = gateway.embed({"model": TITAN, "input": texts}, HEADERS)

    assert answer.refusal() == ("input", "content_filter")
    check_nothing_embedded(emulator)


def test_official_client_sees_a_bad_request_and_does_not_try_again(
    openai_client: openai.OpenAI, emulator: Emulator
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.embeddings.create(model=TITAN, input="top secret", extra_headers=HEADERS)

    assert caught.value.code == "content_filter"
    assert operations(emulator) == ["ApplyGuardrail"]


def test_a_policy_of_its_own_blocks_too(gateway: Gateway, emulator: Emulator) -> None:
    """A topic that is denied, as only a real guardrail would find it."""
    emulator.fault("guardrail", outcome="intervened")

    answer = gateway.embed({"model": TITAN, "input": ["a", "b"]}, TRACED)

    assert answer.refusal() == ("input", "content_filter")
    assert answer.headers["x-embedrock-guardrail"] == "blocked; topicPolicy"
    assert operations(emulator) == ["ApplyGuardrail"]
    assert emulator.fired() == 1


def test_a_blocked_text_among_masked_ones_blocks(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": TITAN, "input": ["jo@example.com", "top secret"]}, TRACED)

    assert answer.refusal() == ("input", "content_filter")
    assert answer.headers["x-embedrock-guardrail"] == "blocked; sensitiveInformationPolicy, wordPolicy"
    check_nothing_embedded(emulator)


# ---------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("model", MODELS)
def test_what_is_masked_is_embedded_as_masked(
    gateway: Gateway, emulator: Emulator, expected: Expected, model: str, encoding: str
) -> None:
    texts = ["a red bicycle", "Write to jo@example.com", "a blue one", "about T-12 and T-13, to a@b.org"]
    masked = ["a red bicycle", "Write to {EMAIL}", "a blue one", "about {TICKET} and {TICKET}, to {EMAIL}"]

    answer = gateway.embed({"model": model, "input": texts, "encoding_format": encoding}, HEADERS)
    unguarded = gateway.embed({"model": model, "input": masked, "encoding_format": encoding})

    assert answer.headers["x-embedrock-masked"] == "1,3"
    assert answer.body == unguarded.body
    if encoding == "float":
        assert answer.vectors() == expected(model, masked) != expected(model, texts)
    assert not any("@" in json.dumps(body) for body in emulator.bodies())


def test_usage_is_that_of_the_masked_text(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": V4, "input": ["a long.address.of.jo@mail.example.com", "b"]}, HEADERS)

    answer.check_usage(emulator.journal())


def test_masked_texts_of_250_are_those_and_no_others(gateway: Gateway, expected: Expected) -> None:
    texts = [f"text {number}" + (" to jo@example.com" if number % 70 == 3 else "") for number in range(250)]
    masked = [text.replace("jo@example.com", "{EMAIL}") for text in texts]

    answer = gateway.embed({"model": ENGLISH, "input": texts}, HEADERS)

    assert answer.headers["x-embedrock-masked"] == "3,73,143,213"
    assert answer.vectors() == expected(ENGLISH, masked)


def test_a_text_that_is_too_long_once_masked_is_refused(gateway: Gateway, emulator: Emulator) -> None:
    longest = "x" * 2040 + " a@b.org"
    assert len(longest) == 2048
    emulator.guardrail(id="longer", version=1, masked_patterns={"SOMETHING-LONG": "a@b.org"})
    headers = HEADERS | {IDENTIFIER: "longer", "X-Amzn-Bedrock-GuardrailVersion": "1"}

    answer = gateway.embed({"model": ENGLISH, "input": ["fine", longest]}, headers)

    assert answer.refusal() == ("input[1]", "context_length_exceeded")
    check_nothing_embedded(emulator)


def test_a_text_that_is_too_long_once_masked_is_cut_where_the_caller_wants_it(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    longest = "x" * 2040 + " a@b.org"
    emulator.guardrail(id="longer", version=1, masked_patterns={"SOMETHING-LONG": "a@b.org"})
    headers = HEADERS | {IDENTIFIER: "longer", "X-Amzn-Bedrock-GuardrailVersion": "1"}

    answer = gateway.embed({"model": ENGLISH, "input": longest, "truncate": "END"}, headers)

    (body,) = emulator.bodies()
    assert body == bedrock_body(ENGLISH, "x" * 2040 + " {SOMETH") | {"truncate": "END"}
    assert (answer.headers["x-embedrock-masked"], answer.headers["x-embedrock-truncated"]) == ("0", "0")


def test_what_is_cut_off_is_checked_too(gateway: Gateway, emulator: Emulator) -> None:
    """The guardrail sees what the caller sent, not what would be left of it."""
    answer = gateway.embed({"model": ENGLISH, "input": "x" * 3000 + " top secret", "truncate": "END"}, HEADERS)

    assert answer.refusal() == ("input", "content_filter")
    check_nothing_embedded(emulator)


# ------------------------------------------------------------------------------------------------------------ the trace


@pytest.mark.parametrize("trace", ["enabled", "ENABLED", "enabled_full"])
@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("a red bicycle", "passed"),
        ("to jo@example.com", "masked; sensitiveInformationPolicy"),
        ("top secret", "blocked; wordPolicy"),
    ],
)
def test_trace_says_what_happened(gateway: Gateway, trace: str, text: str, outcome: str) -> None:
    answer = gateway.embed({"model": TITAN, "input": text}, HEADERS | {"X-Amzn-Bedrock-Trace": trace})

    assert answer.headers["x-embedrock-guardrail"] == outcome
    assert answer.status == (400 if outcome.startswith("blocked") else 200)


@pytest.mark.parametrize("text", ["a red bicycle", "to jo@example.com", "top secret"])
def test_disabled_trace_says_nothing(gateway: Gateway, text: str) -> None:
    answer = gateway.embed({"model": TITAN, "input": text}, HEADERS | {"X-Amzn-Bedrock-Trace": "disabled"})

    assert "x-embedrock-guardrail" not in answer.headers


# ------------------------------------------------------------------------------------------------------ how it is asked


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (30, 1), (100, 1), (101, 2), (250, 3)])
@pytest.mark.parametrize("model", [TITAN, V4])
def test_texts_of_a_request_are_asked_together(
    gateway: Gateway, emulator: Emulator, expected: Expected, model: str, count: int, calls: int
) -> None:
    texts = [f"text {number} of {count}" for number in range(count)]

    answer = gateway.embed({"model": model, "input": texts}, HEADERS)

    asked = asked_texts(emulator)
    rows = emulator.journal()
    assert answer.vectors() == expected(model, texts)
    assert len(asked) == calls
    assert sorted(text for batch in asked for text in batch) == sorted(texts)
    assert answer.headers["x-embedrock-upstream-calls"] == str(len(rows))
    assert [row["op"] for row in rows[:calls]] == ["ApplyGuardrail"] * calls


def test_long_texts_are_asked_in_calls_of_25_000_characters(gateway: Gateway, emulator: Emulator) -> None:
    texts = ["word " * 2000, "word " * 2000, "word " * 2000, "word " * 8000, "a"]

    answer = gateway.embed({"model": TITAN, "input": texts}, HEADERS)

    assert answer.status == 200
    lengths = sorted([len(text) for text in batch] for batch in asked_texts(emulator))
    assert lengths == [[1], [10_000], [10_000, 10_000], [40_000]]


def test_masked_texts_of_one_answer_keep_their_places(gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    """Real guardrails are only known to return one output for one text; here they return one a text, in order."""
    answer = gateway.embed({"model": TITAN, "input": ["a@b.org one", "two", "c@d.org three"]}, HEADERS)

    assert answer.vectors() == expected(TITAN, ["{EMAIL} one", "two", "{EMAIL} three"])
    assert len(asked_texts(emulator)) == 1


def test_parts_of_an_input_are_checked_each(gateway: Gateway, emulator: Emulator) -> None:
    parts = [{"type": "text", "text": "to jo@example.com"}, {"type": "text", "text": "about T-5"}]

    answer = gateway.embed({"model": V4, "input": ["plain", parts]}, HEADERS)

    body = {
        "input_type": "search_document",
        "truncate": "NONE",
        "embedding_types": ["float"],
        "inputs": [
            {"content": [{"type": "text", "text": "plain"}]},
            {"content": [{"type": "text", "text": "to {EMAIL}"}, {"type": "text", "text": "about {TICKET}"}]},
        ],
    }
    assert asked_texts(emulator) == [["plain", "to jo@example.com", "about T-5"]]
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(V4, body)
    assert answer.headers["x-embedrock-masked"] == "1"


def test_a_blocked_part_blocks(gateway: Gateway, emulator: Emulator) -> None:
    parts = [{"type": "text", "text": "fine"}, {"type": "text", "text": "top secret"}]

    answer = gateway.embed({"model": V4, "input": [parts]}, HEADERS)

    param, code = answer.refusal()
    assert ((param or "").startswith("input"), code) == (True, "content_filter")
    check_nothing_embedded(emulator)


@pytest.mark.parametrize("model", ["amazon.titan-embed-image-v1", NOVA, ENGLISH, V4, MARENGO_3])
def test_media_cannot_be_checked_and_is_refused(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str
) -> None:
    listed = gateway.embed({"model": model, "input": ["a text", "another", pictures["png"]]}, HEADERS)
    alone = gateway.embed({"model": model, "input": pictures["png"]}, HEADERS)

    assert listed.refusal() == ("input[2]", "unsupported_media")
    assert alone.refusal() == ("input", "unsupported_media")
    assert emulator.journal() == []


def test_media_among_parts_objects_in_s3_and_pairs_are_refused(
    gateway: Gateway, emulator: Emulator, media_bucket: Any, pictures: dict[str, str]
) -> None:
    media_bucket.put_object(Bucket="media", Key="a.txt", Body=b"a text")
    picture = {"type": "image_url", "image_url": {"url": pictures["png"]}}

    fused = gateway.embed({"model": V4, "input": [[{"type": "text", "text": "a"}, picture]]}, HEADERS)
    stored = gateway.embed({"model": NOVA, "input": ["a", "s3://media/a.txt"]}, HEADERS)
    pair = gateway.embed({"model": MARENGO_3, "input": ["a", pictures["png"]]}, HEADERS)

    assert fused.refusal() == ("input[0]", "unsupported_media")
    assert stored.refusal() == ("input[1]", "unsupported_media")
    assert pair.refusal()[1] == "unsupported_media"
    assert emulator.bodies() == emulator.bodies("ApplyGuardrail") == []


def test_what_is_wrong_anyway_is_refused_before_anybody_is_asked(gateway: Gateway, emulator: Emulator) -> None:
    long = gateway.embed({"model": ENGLISH, "input": ["a", "x" * 2049]}, HEADERS)
    empty = gateway.embed({"model": ENGLISH, "input": ["a", ""]}, HEADERS)
    size = gateway.embed({"model": ENGLISH, "input": "a", "dimensions": 5}, HEADERS)

    assert long.refusal() == ("input[1]", "context_length_exceeded")
    assert empty.refusal() == ("input[1]", "empty_input")
    assert size.refusal() == ("dimensions", "invalid_value")
    assert emulator.journal() == []


def test_a_lone_empty_text_is_checked_as_the_space_it_is(
    gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    answer = gateway.embed({"model": TITAN, "input": ""}, HEADERS)

    assert asked_texts(emulator) == [[" "]]
    assert answer.vectors() == expected(TITAN, [" "])
    assert answer.headers["x-embedrock-empty"] == "0"


def test_the_region_of_the_name_is_the_one_that_is_asked(gateway_with: StartGateway, emulator: Emulator) -> None:
    gateway = gateway_with(AWS_BEDROCK_REGIONS="eu-west-1,us-east-1")

    gateway.embed({"model": f"bedrock/us-east-1/{TITAN}", "input": "a"}, HEADERS)
    gateway.embed({"model": TITAN, "input": "a"}, HEADERS)

    assert [row["region"] for row in emulator.journal()] == ["us-east-1"] * 2 + ["eu-west-1"] * 2


# ----------------------------------------------------------------------------------------------------------- no verdict


def check_missing(answer: Answer) -> None:
    assert answer.refusal() == (IDENTIFIER, "guardrail_not_found")


@pytest.mark.parametrize("changes", [{IDENTIFIER: "other"}, {"X-Amzn-Bedrock-GuardrailVersion": "4"}], ids=str)
def test_missing_guardrail_is_the_callers_mistake(
    gateway: Gateway, emulator: Emulator, changes: dict[str, str]
) -> None:
    check_missing(gateway.embed({"model": TITAN, "input": "a"}, HEADERS | changes))

    assert operations(emulator) == ["ApplyGuardrail"]


@pytest.mark.parametrize("outcome", ["missing", "missing_400"])
def test_guardrail_that_aws_says_is_missing_embeds_nothing(gateway: Gateway, emulator: Emulator, outcome: str) -> None:
    emulator.fault("guardrail", outcome=outcome)

    answer = gateway.embed({"model": TITAN, "input": ["a"] * 150}, HEADERS)

    param, code = answer.refusal()
    assert param == IDENTIFIER
    assert code in ("guardrail_not_found", "guardrail_refused")
    assert emulator.fired() >= 1
    check_nothing_embedded(emulator)


def test_failing_guardrail_is_a_503_and_embeds_nothing(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("guardrail", outcome="error")

    answer = own_gateway.embed({"model": TITAN, "input": ["a", "b"]}, HEADERS)

    assert answer.status == 503
    assert answer.error()["code"] == "upstream_unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert [(row["op"], row["status"], row["fault"]) for row in emulator.journal()] == [
        ("ApplyGuardrail", 500, "guardrail")
    ] * 3
    assert emulator.fired() == 3


def test_guardrail_that_fails_for_a_moment_is_asked_again(
    own_gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    emulator.fault("guardrail", outcome="error", n=2)

    answer = own_gateway.embed({"model": TITAN, "input": "to jo@example.com"}, HEADERS)

    assert answer.vectors() == expected(TITAN, ["to {EMAIL}"])
    assert emulator.fired() == 2
    assert [row["status"] for row in emulator.journal()] == [500, 500, 200, 200]
    assert answer.headers["x-embedrock-upstream-calls"] == "4"


@pytest.mark.parametrize("fault", ["throttle", "reset"])
def test_guardrail_that_is_busy_for_a_moment_is_asked_again(
    own_gateway: Gateway, emulator: Emulator, expected: Expected, fault: str
) -> None:
    emulator.fault(fault, n=1, match={"op": "ApplyGuardrail"})

    answer = own_gateway.embed({"model": TITAN, "input": "to jo@example.com"}, HEADERS)

    assert answer.vectors() == expected(TITAN, ["to {EMAIL}"])
    assert emulator.fired() == 1


def test_guardrail_that_may_not_be_used_embeds_nothing(gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("access_denied", reason="policy", match={"op": "ApplyGuardrail"})

    answer = gateway.embed({"model": TITAN, "input": "a"}, HEADERS)

    assert answer.status == 403
    assert (answer.error()["param"], answer.error()["code"]) == (IDENTIFIER, "guardrail_not_allowed")
    assert emulator.fired() == 1
    check_nothing_embedded(emulator)


def test_one_failing_call_of_three_embeds_nothing(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("guardrail", outcome="error", after=2)

    answer = own_gateway.embed({"model": ENGLISH, "input": [f"text {number}" for number in range(250)]}, HEADERS)

    assert answer.status == 503
    assert emulator.fired() >= 1
    check_nothing_embedded(emulator)
