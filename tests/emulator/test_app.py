"""Paths, headers and credentials."""

from __future__ import annotations

import json
import socket
import struct
from uuid import UUID

import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.app import MAX_BODY_BYTES

from .conftest import SIGNED, TITAN, Running

BODY = b'{"inputText":"hello"}'
AUTH = {"Authorization": SIGNED.format(region="us-east-1")}


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v2%3A0", "amazon.titan-embed-text-v2:0"])
def test_a_colon_may_be_encoded_or_not(emulator: Running, model: str) -> None:
    answer = emulator.request("POST", f"/model/{model}/invoke", BODY, AUTH)

    assert [answer.json["embedding"]] == expected_vectors(TITAN, BODY)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json", "Accept": "*/*"},
        {"Content-Type": "application/octet-stream"},
        {"Accept": "application/json", "X-Amzn-Bedrock-Trace": "ENABLED"},
    ],
)
def test_content_type_and_accept_do_not_matter(emulator: Running, headers: dict[str, str]) -> None:
    answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY, {**AUTH, **headers})

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


def test_an_answer_has_bedrocks_headers(emulator: Running) -> None:
    headers = emulator.invoke(TITAN, {"inputText": "hello"}).headers

    assert UUID(headers["x-amzn-requestid"])
    assert int(headers["x-amzn-bedrock-invocation-latency"]) >= 1
    assert headers["x-amzn-bedrock-input-token-count"] == "2"
    assert headers["x-bedrock-emulator"] == "true"


BEDROCK_HEADERS = {
    "X-Amzn-Bedrock-Trace": "ENABLED_FULL",
    "X-Amzn-Bedrock-GuardrailIdentifier": "gr1",
    "X-Amzn-Bedrock-GuardrailVersion": "DRAFT",
    "X-Amzn-Bedrock-PerformanceConfig-Latency": "optimized",
    "X-Amzn-Bedrock-Service-Tier": "priority",
}


def test_bedrocks_five_headers_are_taken_and_two_repeated(emulator: Running) -> None:
    answer = emulator.client().invoke_model(
        modelId=TITAN,
        body=BODY,
        trace="ENABLED_FULL",
        guardrailIdentifier="gr1",
        guardrailVersion="DRAFT",
        performanceConfigLatency="optimized",
        serviceTier="priority",
    )

    assert (answer["performanceConfigLatency"], answer["serviceTier"]) == ("optimized", "priority")
    (row,) = emulator.journal()
    sent = {name.lower(): value for name, value in BEDROCK_HEADERS.items()}
    assert {name: row["headers"][name] for name in sent} == sent


def test_headers_that_were_not_sent_are_not_in_the_answer(emulator: Running) -> None:
    headers = emulator.invoke(TITAN, {"inputText": "hello"}).headers

    assert "x-amzn-bedrock-service-tier" not in headers
    assert "x-amzn-bedrock-performanceconfig-latency" not in headers


@pytest.mark.parametrize(
    ("name", "value", "member"),
    [
        ("X-Amzn-Bedrock-Trace", "enabled", "trace"),
        ("X-Amzn-Bedrock-Trace", "", "trace"),
        ("X-Amzn-Bedrock-GuardrailIdentifier", "GR-1", "guardrailIdentifier"),
        ("X-Amzn-Bedrock-GuardrailIdentifier", "a" * 2049, "guardrailIdentifier"),
        ("X-Amzn-Bedrock-GuardrailVersion", "draft", "guardrailVersion"),
        ("X-Amzn-Bedrock-GuardrailVersion", "0", "guardrailVersion"),
        ("X-Amzn-Bedrock-PerformanceConfig-Latency", "fast", "performanceConfigLatency"),
        ("X-Amzn-Bedrock-Service-Tier", "gold", "serviceTier"),
    ],
)
def test_a_header_with_an_unknown_value_is_refused(emulator: Running, name: str, value: str, member: str) -> None:
    answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY, {**AUTH, **BEDROCK_HEADERS, name: value})

    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    assert answer.json["message"].startswith(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must "
    )


def test_all_bad_headers_are_named(emulator: Running) -> None:
    bad = {"X-Amzn-Bedrock-Trace": "on", "X-Amzn-Bedrock-Service-Tier": "gold"}

    message = emulator.request("POST", f"/model/{TITAN}/invoke", BODY, {**AUTH, **bad}).json["message"]

    assert message == (
        "2 validation errors detected: Value 'on' at 'trace' failed to satisfy constraint: Member must satisfy enum "
        "value set: [ENABLED, DISABLED, ENABLED_FULL]; Value 'gold' at 'serviceTier' failed to satisfy constraint: "
        "Member must satisfy enum value set: [priority, default, flex, reserved]"
    )


@pytest.mark.parametrize(
    ("identifier", "version", "status"),
    [
        ("gr1", None, 400),
        ("gr1", "", 400),
        ("gr1", "12", 200),
        ("arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1", "1", 200),
        ("", "", 200),
        (None, "1", 200),
    ],
)
def test_a_guardrail_is_not_named_without_its_version(
    emulator: Running, identifier: str | None, version: str | None, status: int
) -> None:
    headers = {"X-Amzn-Bedrock-GuardrailIdentifier": identifier, "X-Amzn-Bedrock-GuardrailVersion": version}
    sent = {name: value for name, value in headers.items() if value is not None}

    assert emulator.request("POST", f"/model/{TITAN}/invoke", BODY, {**AUTH, **sent}).status == status


def test_an_error_has_bedrocks_headers(emulator: Running) -> None:
    answer = emulator.invoke(TITAN, {})

    assert answer.headers["x-amzn-errortype"] == (
        "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    )
    assert UUID(answer.headers["x-amzn-requestid"])
    assert "x-amzn-bedrock-input-token-count" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("GET", f"/model/{TITAN}/invoke"), ("POST", "/model/a/b/invoke"), ("POST", "/model//invoke")],
)
def test_an_unknown_path_or_method_is_an_unknown_operation(emulator: Running, method: str, path: str) -> None:
    answer = emulator.request(method, path, None, AUTH)

    assert answer.status == 404
    assert answer.headers["x-amzn-errortype"].startswith("UnknownOperationException:")


@pytest.mark.parametrize("path", ["/nowhere", "/_emulator/health", "/_emulator/nowhere", "/foundation-models"])
def test_every_answer_says_that_it_is_emulated(emulator: Running, path: str) -> None:
    assert emulator.request("GET", path).headers["x-bedrock-emulator"] == "true"


def test_what_is_no_http_is_answered_by_the_emulator_too(emulator: Running) -> None:
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-bedrock-emulator: true" in answer


def test_callers_who_go_without_an_answer_do_no_harm(emulator: Running) -> None:
    """They reset the connection in the middle of a request, or after it."""
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    lines = [f"POST /model/{TITAN}/invoke HTTP/1.1", "Host: emulator", f"Content-Length: {len(BODY)}"]
    request = "\r\n".join((*lines, f"Authorization: {AUTH['Authorization']}", "", "")).encode() + BODY
    for sent in (request[:20], request[:-1], request):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent)

    answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY, AUTH)

    assert [answer.json["embedding"]] == expected_vectors(TITAN, BODY)


def test_health_is_ok(emulator: Running) -> None:
    assert emulator.request("GET", "/_emulator/health").json == {"status": "ok"}


def test_a_request_without_credentials_is_refused(emulator: Running) -> None:
    answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY)

    assert answer.status == 403
    assert answer.headers["x-amzn-errortype"].startswith("MissingAuthenticationTokenException:")
    assert answer.json == {"message": "Missing Authentication Token"}


def test_a_bearer_key_is_accepted_and_means_us_east_1(emulator: Running) -> None:
    answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY, {"Authorization": "Bearer bedrock-api-key-x"})

    assert answer.status == 200
    assert emulator.journal()[0]["region"] == "us-east-1"


def test_the_region_is_the_one_of_the_signature(emulator: Running) -> None:
    emulator.client(region="ap-southeast-2").invoke_model(modelId=TITAN, body=BODY)

    assert emulator.journal()[0]["region"] == "ap-southeast-2"


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 400), (MAX_BODY_BYTES + 1, 413)])
def test_a_body_over_25_million_bytes_is_refused(emulator: Running, size: int, status: int) -> None:
    assert emulator.invoke(TITAN, b" " * size).status == status


def test_boto3_gets_the_vectors_that_were_expected(emulator: Running) -> None:
    texts = ["hello", "Hello, world!", " ", "naïve café", "東京は日本の首都です", "\u200d", "x" * 3000]
    client = emulator.client()
    for text in texts:
        for dimensions in (256, 512, 1024):
            body = json.dumps({"inputText": text, "dimensions": dimensions})

            answer = json.loads(client.invoke_model(modelId=TITAN, body=body)["body"].read())

            assert [answer["embedding"]] == expected_vectors(TITAN, body)
