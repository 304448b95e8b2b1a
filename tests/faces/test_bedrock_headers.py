"""Bedrock's own headers: five may pass, each by its values; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import BadRequest
from embedrock.faces.http import bedrock_headers
from embedrock.faces.http.bedrock_headers import NONE, BedrockHeaders
from embedrock.upstream.guardrail import Guardrail

IDENTIFIER = "X-Amzn-Bedrock-GuardrailIdentifier"
VERSION = "X-Amzn-Bedrock-GuardrailVersion"
LATENCY = "X-Amzn-Bedrock-PerformanceConfig-Latency"
TIER = "X-Amzn-Bedrock-Service-Tier"
TRACE = "X-Amzn-Bedrock-Trace"
FIVE = [IDENTIFIER, VERSION, LATENCY, TIER, TRACE]
ARN = "arn:aws:bedrock:us-east-1:123456789012:guardrail/abc123"

#: What a request has besides, and what looks like Bedrock's: none of it goes on.
OTHERS = [
    ("host", "localhost"),
    ("authorization", "Bearer key"),
    ("x-amzn-bedrock-request-metadata", "{}"),
    ("x-amzn-bedrock-guardrail", "abc"),
    ("x-amzn-bedrock-accept", "*/*"),
    ("x-amz-date", "20260101T000000Z"),
    ("x-amz-security-token", "token"),
    ("x-amzn-bedrock-trace-id", "ENABLED"),
    ("x-amzn-bedrock-trace ", "ENABLED"),
]


def read(*sent: tuple[str, str]) -> BedrockHeaders:
    """Read headers as the server hands them over, names in lower case."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent]
    return bedrock_headers.read(dict(raw), raw)


def refusal(*sent: tuple[str, str]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(*sent)
    assert caught.value.code == "invalid_header_value"
    return caught.value


def test_five_headers_pass_and_no_other() -> None:
    sent = [(IDENTIFIER, "abc123"), (VERSION, "DRAFT"), (LATENCY, "optimized"), (TIER, "flex"), (TRACE, "ENABLED")]

    found = read(*OTHERS[:4], *sent, *OTHERS[4:])

    assert found == BedrockHeaders(
        forwarded=(
            ("x-amzn-bedrock-guardrailidentifier", "abc123"),
            ("x-amzn-bedrock-guardrailversion", "DRAFT"),
            ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
            ("x-amzn-bedrock-service-tier", "flex"),
            ("x-amzn-bedrock-trace", "ENABLED"),
        ),
        guardrail=Guardrail("abc123", "DRAFT"),
        trace=True,
    )
    assert read(*reversed(sent)) == found, "whatever their order"


@pytest.mark.parametrize("sent", [[], OTHERS], ids=["none", "others"])
def test_request_without_them_has_none(sent: list[tuple[str, str]]) -> None:
    assert read(*sent) is NONE


@pytest.mark.parametrize(
    "name, values",
    [
        (LATENCY, ["standard", "optimized"]),
        (TIER, ["priority", "default", "flex", "reserved"]),
        (TRACE, ["ENABLED", "DISABLED", "ENABLED_FULL"]),
    ],
)
def test_every_value_that_bedrock_knows_passes(name: str, values: list[str]) -> None:
    for value in values:
        assert read((name, value)).forwarded == ((name.lower(), value),)


@pytest.mark.parametrize(
    "value, sent, wanted",
    [
        ("ENABLED", "ENABLED", True),
        ("enabled", "ENABLED", True),
        ("Enabled_Full", "ENABLED_FULL", True),
        ("enabled_full", "ENABLED_FULL", True),
        ("disabled", "DISABLED", False),
    ],
)
def test_trace_may_be_in_any_case_and_goes_on_in_upper_case(value: str, sent: str, wanted: bool) -> None:
    """Bedrock's other API spells it in lower case, and so do callers."""
    assert read((TRACE, value)) == BedrockHeaders((("x-amzn-bedrock-trace", sent),), None, wanted)


@pytest.mark.parametrize(
    "identifier",
    [
        "a",
        "0123456789",
        "a" * 2048,
        ARN,
        ARN.replace("arn:aws:", "arn:aws-us-gov:"),
        "arn:aws:bedrock:us-east-1:123456789012:guardrail-profile/us.guardrail.v1:0",
    ],
    ids=lambda text: text[:60],
)
@pytest.mark.parametrize("version", ["1", "99999999", "DRAFT"])
def test_guardrail_has_an_identifier_and_a_version(identifier: str, version: str) -> None:
    found = read((IDENTIFIER, identifier), (VERSION, version))

    assert found.guardrail == Guardrail(identifier, version)
    assert not found.trace


@pytest.mark.parametrize(
    "name, values",
    [
        (IDENTIFIER, ["", "ABC", "a b", "a-b", "a/b", "ä", "a" * 2049, "abc\t", "arn:aws:bedrock:x:1:guardrail/a"]),
        (IDENTIFIER, [ARN + "?x", ARN + "/b", ARN.replace("guardrail/", "model/"), ARN.replace(":bedrock", ":s3")]),
        (VERSION, ["", "0", "01", "-1", "1.0", "draft", "Draft", "100000000", " 1", "１", "²"]),
        (LATENCY, ["", "Standard", "OPTIMIZED", "fast", "standard,optimized"]),
        (TIER, ["", "Flex", "free", "flex "]),
        (TRACE, ["", "true", "ENABLED_", "enabled full", "ENABLED\u00a0"]),
    ],
)
def test_value_that_bedrock_does_not_know_is_refused_by_the_headers_name(name: str, values: list[str]) -> None:
    whole = {IDENTIFIER: "abc", VERSION: "1"} if name in (IDENTIFIER, VERSION) else {}
    for value in values:
        raw = [(key.lower().encode(), text.encode()) for key, text in (whole | {name: value}).items()]
        with pytest.raises(BadRequest) as caught:
            bedrock_headers.read(dict(raw), raw)
        assert (caught.value.param, caught.value.code) == (name, "invalid_header_value"), value
        assert name in caught.value.message
        assert len(value) < 3 or value not in caught.value.message, "what a caller sent is not repeated"


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("again", ["1", "x"], ids=["the same", "another"])
def test_header_that_is_there_twice_is_refused(name: str, again: str) -> None:
    """Two programs could read two different ones."""
    values = {IDENTIFIER: "1", VERSION: "1", LATENCY: "standard", TIER: "flex", TRACE: "ENABLED"}
    second = values[name] if again == "1" else again

    error = refusal(*values.items(), (name, second))

    assert error.param == name
    assert "twice" in error.message


@pytest.mark.parametrize(
    "sent, missing",
    [
        ([(IDENTIFIER, "abc")], VERSION),
        ([(VERSION, "1")], IDENTIFIER),
        ([(VERSION, "1"), (TRACE, "ENABLED")], IDENTIFIER),
    ],
    ids=["no version", "no identifier", "nor with a trace"],
)
def test_half_a_guardrail_is_refused_by_the_missing_half(sent: list[tuple[str, str]], missing: str) -> None:
    """It must never be taken for no guardrail."""
    assert refusal(*sent).param == missing


@given(st.sampled_from(FIVE), st.binary(max_size=30))
def test_no_value_of_any_bytes_breaks_the_head_of_a_call(name: str, value: bytes) -> None:
    raw = [(name.lower().encode(), value)]
    try:
        found = bedrock_headers.read(dict(raw), raw)
    except BadRequest:
        return
    assert all(text.isascii() and text.isprintable() for _, text in found.forwarded)
