"""The gateway as raw HTTP sees it: routes, keys, envelopes, ids, limits, connections, and what it never repeats."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
JSON = {"content-type": "application/json"}
GOOD = json.dumps({"model": TITAN, "input": "a red bicycle"}).encode()
ID_CHARS = len("req_") + 32


@pytest.fixture
def keyed(gateway_with: StartGateway) -> Gateway:
    """A gateway with two keys."""
    return gateway_with(EMBEDROCK_API_KEY="right-key,other-key")


@pytest.fixture
def small(gateway_with: StartGateway) -> Gateway:
    """A gateway that takes bodies of 2,000 bytes."""
    return gateway_with(EMBEDROCK_MAX_BODY_BYTES="2000")


def send_raw(gateway: Gateway, sent: bytes) -> bytes:
    """Send bytes, and return all that comes back until the gateway closes."""
    with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def parse_raw(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return status, headers and body of each answer in `received`."""
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", "0"))
        answers.append((int(status.split()[1]), headers, rest[:size]))
        received = rest[size:]
    return answers


def check_error(answer: Answer, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Check an error that the caller can cure, and only by sending something else."""
    error = answer.error()
    assert (answer.status, error["type"], error["code"], error["param"]) == (
        status,
        "invalid_request_error",
        code,
        param,
    )
    assert answer.headers["x-should-retry"] == "false"
    assert len(answer.headers["x-request-id"]) == ID_CHARS
    return error


# Routes


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/embeddings", "/v1/embeddings?api-version=1&q=%00", "/embeddings?"]
)
def test_embeddings_live_at_both_paths_whatever_the_query(gateway: Gateway, path: str, expected: Expected) -> None:
    answer = gateway.request("POST", path, GOOD, JSON)

    assert answer.status == 200
    assert answer.json()["data"][0]["embedding"] == expected(TITAN, ["a red bicycle"])[0]
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == ID_CHARS
    assert answer.headers["openai-processing-ms"].isdecimal()


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models?limit=1"])
def test_models_live_at_both_paths(gateway: Gateway, path: str) -> None:
    answer = gateway.request("GET", path)

    members = answer.json()
    assert (answer.status, members["object"]) == (200, "list")
    assert TITAN in [model["id"] for model in members["data"]]
    assert len(answer.headers["x-request-id"]) == ID_CHARS


def test_model_object_has_every_documented_member(gateway: Gateway) -> None:
    model = gateway.request("GET", f"/v1/models/{TITAN}").json()

    assert model.keys() == {
        *("id", "object", "created", "owned_by", "supported_features", "input_modalities", "dimensions"),
        *("default_dimensions", "max_inputs", "max_input_tokens", "prices"),
    }
    assert (model["object"], model["default_dimensions"]) == ("model", 1024)
    assert sorted(model["dimensions"]) == [256, 512, 1024]
    assert "bedrock_embeddings" in model["supported_features"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("amazon.titan-embed-text-v2:0", TITAN),
        ("amazon.titan-embed-text-v2%3A0", TITAN),
        ("amazon.titan-embed-text-v2%3a0", TITAN),
        ("bedrock/amazon.titan-embed-text-v2:0", f"bedrock/{TITAN}"),
        ("bedrock%2Famazon.titan-embed-text-v2%3A0", f"bedrock/{TITAN}"),
        ("bedrock%2Fus-east-1%2Fcohere.embed-english-v3", "bedrock/us-east-1/cohere.embed-english-v3"),
        (
            "arn:aws:bedrock:us-east-1::foundation-model%2Famazon.titan-embed-text-v2:0",
            f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["/v1/models/", "/models/"])
def test_model_is_found_by_every_name_raw_or_encoded(gateway: Gateway, prefix: str, path: str, name: str) -> None:
    answer = gateway.request("GET", prefix + path)

    assert answer.status == 200, answer.body
    assert answer.json()["id"] == name


@pytest.mark.parametrize("name", ["gpt-4o", "amazon.titan-embed-text-v2", "..", "%2e%2e", "%2e%2e%2fmetrics", "%20"])
def test_unknown_model_is_404(gateway: Gateway, name: str) -> None:
    answer = gateway.request("GET", f"/v1/models/{name}")

    check_error(answer, 404, "model_not_found", "model")


@pytest.mark.parametrize("name", [f"{TITAN}%00", "a%0d%0ab", "%7f"])
def test_model_name_with_control_characters_is_400(gateway: Gateway, name: str) -> None:
    answer = gateway.request("GET", f"/v1/models/{name}")

    error = answer.error()
    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", "model")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/", "/v2/embeddings", "/v1/embeddings/", "/v1/chat/completions", "/V1/embeddings"),
        *("//v1/embeddings", "/v1//embeddings", "/v1%2fembeddings", "/v1%2Fembeddings", "/v1/embedding%73"),
        *("/v1/../metrics", "/v1/%2e%2e/metrics", "/./metrics", "/metrics/", "/metrics%00", "/%6detrics"),
        *("/v1/embeddings%00", "/v1/embeddings/..;/", "/v1/embeddings;x=1", "/v1/models/../../metrics/x/../y"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_other_path_leads_anywhere(gateway: Gateway, method: str, path: str) -> None:
    """Routes are matched on the path as it was sent: what is encoded in it never means another route."""
    answer = gateway.request(method, path, GOOD if method == "POST" else None, JSON)

    if path.startswith("/v1/models/"):
        assert answer.status in (404, 405)
        answer.error()
    else:
        check_error(answer, 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/embeddings", {"POST"}),
        ("/embeddings", {"POST"}),
        ("/v1/models", {"GET", "HEAD"}),
        (f"/v1/models/{TITAN}", {"GET", "HEAD"}),
        ("/health/live", {"GET", "HEAD"}),
        ("/health/ready", {"GET", "HEAD"}),
        ("/metrics", {"GET", "HEAD"}),
    ],
)
def test_other_methods_are_405_and_named_in_allow(gateway: Gateway, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = gateway.request(method, path)

        check_error(answer, 405)
        assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v1/models"])
def test_head_answers_like_get_without_a_body(gateway: Gateway, path: str) -> None:
    got, head = gateway.request("GET", path), gateway.request("HEAD", path)

    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["content-length"] == str(len(got.body))
    assert len(head.headers["x-request-id"]) == ID_CHARS


def test_ready_says_no_without_credentials(start_gateway: StartGateway) -> None:
    gateway = start_gateway(aws=False, AWS_REGION="us-east-1")

    live, ready = gateway.request("GET", "/health/live"), gateway.request("GET", "/health/ready")

    assert live.status == 200
    assert ready.status == 503
    assert ready.error()["code"] == "upstream_auth_failed"
    assert 1 <= int(ready.headers["retry-after"]) <= 60


# Keys


@pytest.mark.parametrize("key", ["right-key", "other-key"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_each_key_opens(keyed: Gateway, scheme: str, key: str) -> None:
    assert keyed.embed(GOOD, {"authorization": f"{scheme} {key}"}).status == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings", "/v1/models", f"/v1/models/{TITAN}"])
def test_missing_key_is_401(keyed: Gateway, path: str) -> None:
    answer = keyed.request("POST" if path.endswith("embeddings") else "GET", path, GOOD, JSON)

    check_error(answer, 401)


@pytest.mark.parametrize(
    "value",
    [
        *("Bearer wrong", "Bearer", "Bearer ", "Basic right-key", "right-key", "Bearer right-key,other-key", ""),
        *("Bearer RIGHT-KEY", "Bearer right-kez", "Bearer right-key x", "Bearer  right-key", "Bearer right-key\xa0"),
        *("Bearer ' OR 1=1--", "Bearer ${jndi:ldap://x}", "Bearer " + "k" * 8000),
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_wrong_key_is_401_and_not_repeated(keyed: Gateway, value: str) -> None:
    answer = keyed.embed(GOOD, {"authorization": value})

    error = check_error(answer, 401, "invalid_api_key")
    assert value.partition(" ")[2] not in error["message"] or not value.partition(" ")[2]


@pytest.mark.parametrize("second", ["right-key", "wrong-key"])
def test_two_keys_at_once_are_401(keyed: Gateway, second: str) -> None:
    with contextlib.closing(keyed.connect()) as connection:
        connection.putrequest("GET", "/v1/models")
        connection.putheader("authorization", "Bearer right-key")
        connection.putheader("authorization", f"Bearer {second}")
        connection.endheaders()
        response = connection.getresponse()
        body = json.loads(response.read())

    assert (response.status, body["error"]["code"]) == (401, "invalid_api_key")


def test_key_is_read_from_one_place_only(keyed: Gateway) -> None:
    headers = {
        "api-key": "right-key",
        "cookie": "key=right-key",
        "x-api-key": "right-key",
        "authorization": "Bearer no",
    }

    answer = keyed.request("GET", "/v1/models?key=right-key&api_key=right-key", None, headers)

    check_error(answer, 401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_operations_need_no_key(keyed: Gateway, path: str) -> None:
    assert keyed.request("GET", path).status == 200


def test_key_is_checked_before_the_body_is_read(keyed: Gateway) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
    with socket.create_connection((keyed.host, keyed.port), timeout=10) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_any_key_or_none_is_taken_where_no_key_is_set(gateway: Gateway) -> None:
    assert gateway.embed(GOOD, {"authorization": "Bearer fake"}).status == 200
    assert gateway.embed(GOOD).status == 200


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b'{"model":', b"[]", b"null", b'"x"', b"1", b"{'model':1}", GOOD + b"x", GOOD + GOOD),
        *(GOOD[:-1] + b",}", b"\xef\xbb\xbf" + GOOD, GOOD.decode().encode("utf-16"), b'{"model":"\xff"}'),
        *(b'{"input":NaN}', b'{"input":-Infinity}', b'{"input":1e400}', b"[" * 100_000, b'{"a":' * 100_000),
        *(b'{"input":' + b"9" * 5000 + b"}", GOOD[:-1] + b',/**/"user":"x"}'),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_what_is_not_a_json_object_is_400(gateway: Gateway, emulator: Emulator, body: bytes) -> None:
    answer = gateway.embed(body)

    check_error(answer, 400, "invalid_json")
    assert emulator.journal() == []


def test_repeated_member_is_400(gateway: Gateway) -> None:
    answer = gateway.embed(b'{"model":"%b","input":"a","model":"gpt-4o"}' % TITAN.encode())

    check_error(answer, 400, "duplicate_key")


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": 3}, "model", "invalid_type"),
        ({"input": None}, "input", "empty_input"),
        ({"input": 3}, "input", "invalid_type"),
        ({"input": {}}, "input", "invalid_type"),
        ({"input": ["a", None]}, "input[1]", "invalid_type"),
        ({"input": ["a", 1.5]}, "input[1]", "invalid_type"),
        ({"input": ["a", ["b"]]}, "input[1][0]", "invalid_type"),
        ({"input": ["", "a"]}, "input[0]", "empty_input"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"dimensions": -1}, "dimensions", "invalid_value"),
        ({"dimensions": 257}, "dimensions", "invalid_value"),
        ({"dimensions": 10**9}, "dimensions", "invalid_value"),
        ({"dimensions": "256"}, "dimensions", "invalid_type"),
        ({"dimensions": 256.0}, "dimensions", "invalid_type"),
        ({"dimensions": True}, "dimensions", "invalid_type"),
        ({"dimensions": []}, "dimensions", "invalid_type"),
        ({"encoding_format": ""}, "encoding_format", "invalid_value"),
        ({"encoding_format": "FLOAT"}, "encoding_format", "invalid_value"),
        ({"encoding_format": 1}, "encoding_format", "invalid_type"),
        ({"user": 1}, "user", "invalid_type"),
        ({"user": "u" * 10_000}, "user", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
        ({"metadata": {"a": {"b": "c"}}}, "metadata", "invalid_type"),
        ({"stream": True}, "stream", "unsupported_parameter"),
        ({"aws_access_key_id": "x"}, "aws_access_key_id", "unsupported_parameter"),
        ({"__proto__": {}}, "__proto__", "unsupported_parameter"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_wrong_member_is_400_and_named(
    gateway: Gateway, emulator: Emulator, changes: dict[str, Any], param: str, code: str
) -> None:
    answer = gateway.embed({"model": TITAN, "input": "a"} | changes)

    check_error(answer, 400, code, param)
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ],
)
def test_other_content_type_is_415(gateway: Gateway, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    answer = gateway.request("POST", "/v1/embeddings", GOOD, headers)

    check_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=UTF-8"])
def test_json_in_utf8_is_taken_however_it_is_spelt(gateway: Gateway, content_type: str) -> None:
    assert gateway.request("POST", "/v1/embeddings", GOOD, {"content-type": content_type}).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, gzip"])
def test_compressed_body_is_415(gateway: Gateway, encoding: str) -> None:
    answer = gateway.embed(GOOD, {"content-encoding": encoding})

    check_error(answer, 415, "unsupported_content_encoding")


def test_body_over_the_limit_is_413_unread(small: Gateway) -> None:
    """The length in the header is enough: nothing of the body is sent, and the connection is closed."""
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2001\r\n\r\n"

    ((status, headers, body),) = parse_raw(send_raw(small, head))

    assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
    assert headers["connection"] == "close"
    assert headers["x-should-retry"] == "false"
    assert len(headers["x-request-id"]) == ID_CHARS


def test_chunked_body_over_the_limit_is_413(small: Gateway) -> None:
    answer = small.request("POST", "/v1/embeddings", iter([b" " * 1000] * 3), JSON)

    check_error(answer, 413, "request_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_body_at_the_limit_is_taken(small: Gateway, chunked: bool) -> None:
    body = GOOD + b" " * (2000 - len(GOOD))

    answer = small.request("POST", "/v1/embeddings", iter([body[:700], body[700:]]) if chunked else body, JSON)

    assert answer.status == 200


def test_chunked_body_that_comes_in_bits_is_taken(gateway: Gateway, expected: Expected) -> None:
    answer = gateway.request("POST", "/v1/embeddings", (GOOD[at : at + 1] for at in range(len(GOOD))), JSON)

    assert answer.json()["data"][0]["embedding"] == expected(TITAN, ["a red bicycle"])[0]


@pytest.mark.parametrize(
    "value", ["0", "-5", "abc", "1.5", "", "+5", "1e3", "9" * 13, "5, 5", "\u0663".encode().decode("latin-1")]
)
def test_bad_timeout_header_is_400(gateway: Gateway, emulator: Emulator, value: str) -> None:
    answer = gateway.embed(GOOD, {"x-request-timeout-ms": value})

    check_error(answer, 400, "invalid_value", "x-request-timeout-ms")
    assert emulator.journal() == []


@pytest.mark.parametrize("value", ["5000", "999999999999"])
def test_good_timeout_header_is_taken(gateway: Gateway, value: str) -> None:
    assert gateway.embed(GOOD, {"x-request-timeout-ms": value}).status == 200


# What is not HTTP


@pytest.mark.parametrize(
    "sent",
    [
        *(
            b"GARBAGE\r\n\r\n",
            b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /metrics HTTP/1.1\r\nhost : x\r\n\r\n"),
        *(
            b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n%b" % framing
            for framing in (
                (b"content-length: 3\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
                (b"content-length: 3\r\ncontent-length: 4", b"abcd"),
                (b"content-length: -1", b""),
                (b"content-length: 0x3", b"abc"),
                (b"transfer-encoding: chunked", b"ZZ\r\n\r\n"),
                (b"x: a\r\n folded", b""),
                (b"x: nul \x00", b""),
            )
        ),
    ],
    ids=lambda sent: ascii(sent[:80]),
)
def test_malformed_http_gets_one_envelope_and_a_closed_connection(gateway: Gateway, sent: bytes) -> None:
    follow_up = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"

    answers = parse_raw(send_raw(gateway, sent + follow_up))

    ((status, headers, body),) = answers
    error = json.loads(body)["error"]
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert len(headers["x-request-id"]) == ID_CHARS
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_http")


def test_wish_for_another_protocol_is_ignored(gateway: Gateway) -> None:
    """Some clients offer HTTP/2 with every request; the body that follows is a body all the same."""
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABk"}
    body = json.dumps({"model": TITAN, "input": "a"}).encode()

    assert gateway.request("GET", "/health/live", None, wish).status == 200
    assert gateway.request("POST", "/v1/embeddings", body, JSON | wish).status == 200


# Connections


def test_one_connection_carries_100_requests(gateway: Gateway, expected: Expected) -> None:
    texts = [f"text {number}" for number in range(100)]
    received = []
    with contextlib.closing(gateway.connect()) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        for text in texts:
            connection.request("POST", "/v1/embeddings", json.dumps({"model": TITAN, "input": text}), JSON)
            received.append(json.loads(connection.getresponse().read())["data"][0]["embedding"])
        kept = connection.sock.getsockname()

    assert kept == local
    assert received == expected(TITAN, texts)


def test_connection_is_kept_after_an_error(gateway: Gateway) -> None:
    with contextlib.closing(gateway.connect()) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        statuses = []
        for body in (b"{", GOOD, b'{"model":"gpt-4o","input":"a"}', GOOD):
            connection.request("POST", "/v1/embeddings", body, JSON)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        kept = connection.sock.getsockname()

    assert statuses == [400, 200, 404, 200]
    assert kept == local


def test_pipelined_requests_are_answered_in_order(gateway: Gateway, expected: Expected) -> None:
    texts = [f"text {number}" for number in range(5)]
    bodies = [json.dumps({"model": TITAN, "input": text}).encode() for text in texts]
    head = (
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
    )
    sent = [head % (len(body), b"connection: close\r\n" if body is bodies[-1] else b"", body) for body in bodies]

    answers = parse_raw(send_raw(gateway, b"".join(sent)))

    assert [status for status, _, _ in answers] == [200] * 5
    assert [json.loads(body)["data"][0]["embedding"] for _, _, body in answers] == expected(TITAN, texts)
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 5


def test_pipelined_request_is_answered_after_a_bad_one(gateway: Gateway) -> None:
    bad = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{"
    good = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    answers = parse_raw(send_raw(gateway, bad + good))

    assert [status for status, _, _ in answers] == [400, 200]


def test_concurrent_requests_get_their_own_vectors(gateway: Gateway, expected: Expected) -> None:
    outcomes: dict[int, list[list[float]]] = {}

    def ask(caller: int) -> None:
        texts = [f"caller {caller} text {number}" for number in range(20)]
        answer = gateway.embed({"model": TITAN, "input": texts})
        outcomes[caller] = [item["embedding"] for item in answer.json()["data"]]

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for caller in range(16):
        assert outcomes[caller] == expected(TITAN, [f"caller {caller} text {number}" for number in range(20)])


@pytest.mark.parametrize("sent_share", [0.3, 0.9, 1.0])
def test_client_that_hangs_up_leaves_the_gateway_healthy(
    gateway: Gateway, expected: Expected, sent_share: float
) -> None:
    """Before its request is whole, or while it is worked on; by FIN or by RST."""
    body = json.dumps({"model": TITAN, "input": [f"text {number}" for number in range(200)]}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = head % len(body) + body
    errors_before = gateway.errors()

    for number in range(20):
        with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.sendall(request[: int(len(request) * sent_share)])
    answer = gateway.embed(GOOD)

    assert answer.json()["data"][0]["embedding"] == expected(TITAN, ["a red bicycle"])[0]
    assert gateway.errors() == errors_before


def test_caller_that_hangs_up_stops_the_work(start_emulator: StartEmulator, start_gateway: StartGateway) -> None:
    """Calls in flight may end; of the others none begins."""
    slow = start_emulator("--latency-ms", "50")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_LANES="2")
    body = json.dumps({"model": TITAN, "input": [f"text {number}" for number in range(40)]}).encode()
    connection = gateway.connect()
    connection.request("POST", "/v1/embeddings", body, JSON)
    wait_until(lambda: len(slow.journal()) >= 2)

    connection.close()

    assert settled_length(slow) <= 8


def test_caller_of_one_text_that_hangs_up_stops_the_retries(
    start_emulator: StartEmulator, start_gateway: StartGateway
) -> None:
    throttled = start_emulator()
    throttled.fault("throttle")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=throttled.url)
    connection = gateway.connect()
    connection.request("POST", "/v1/embeddings", json.dumps({"model": TITAN, "input": "a"}), JSON)
    wait_until(lambda: len(throttled.journal()) >= 1)

    connection.close()

    assert settled_length(throttled) <= 3


def wait_until(true: Any, deadline_s: float = 10.0) -> None:
    """Poll until `true()`; fail at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def settled_length(emulator: Emulator) -> int:
    """Return the length of the journal once it has not grown for several calls' time."""
    length, since, deadline = -1, time.monotonic(), time.monotonic() + 10
    while time.monotonic() < since + 0.4 and time.monotonic() < deadline:
        if (now := len(emulator.journal())) != length:
            length, since = now, time.monotonic()
        time.sleep(0.02)
    return length


# What operators see


def test_metrics_count_requests_by_route_and_status(gateway: Gateway) -> None:
    def counts() -> list[float]:
        name = "embedrock_requests_total"
        return [gateway.metric(name, route=route, status=status) for route, status in wanted]

    wanted = [
        ("embeddings", "200"),
        ("embeddings", "400"),
        ("embeddings", "405"),
        ("unknown", "404"),
        ("models", "200"),
    ]
    before = counts()
    gateway.embed(GOOD)
    gateway.embed(b"{")
    gateway.embed(b"{")
    gateway.request("GET", "/v1/embeddings")
    gateway.request("GET", "/nowhere")
    gateway.request("GET", "/models")

    after = counts()
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2, 1, 1, 1]


def canary_places(canary: str) -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """Yield requests that hold the canary, in every place a caller can write to."""
    body = {"model": TITAN, "input": canary, "user": canary, "metadata": {canary: canary}}
    key = {"authorization": f"Bearer {canary}"}
    yield "POST", "/v1/embeddings", json.dumps(body).encode(), JSON | key
    for changes in (
        {"model": canary},
        {"model": f"bedrock/{canary}/{TITAN}"},
        {"input": f"s3://{canary}/x"},
        {"input": ["", canary]},
        {"input": canary * 5000},
        {"encoding_format": canary},
        {"dimensions": canary},
        {canary: 1},
    ):
        yield "POST", "/v1/embeddings", json.dumps(body | changes).encode(), JSON | key
    yield "POST", "/v1/embeddings", canary.encode(), JSON | key
    yield "POST", "/v1/embeddings", json.dumps(body).encode(), key | {"content-type": canary}
    yield "POST", "/v1/embeddings", json.dumps(body).encode(), JSON | key | {"x-request-timeout-ms": canary}
    yield "POST", "/v1/embeddings", json.dumps(body).encode(), JSON | key | {"x-request-timeout-ms": "1"}
    yield "GET", f"/v1/models/{canary}", b"", key
    yield "GET", f"/{canary}?q={canary}", b"", key


def test_nothing_a_caller_writes_reaches_metrics_or_logs(start_gateway: StartGateway, emulator: Emulator) -> None:
    """Texts, names, keys: also when the upstream fails, and when the request is not HTTP."""
    canary = "CANARYbird42"
    open_gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)
    keyed = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_API_KEY=canary)

    for faults in ({}, {"fault": "server_error"}, {"fault": "reset"}):
        emulator.clear()
        for fault in faults.values():
            emulator.fault(fault)
        for gateway in (open_gateway, keyed):
            for request in canary_places(canary):
                gateway.request(*request)
            send_raw(gateway, f"{canary} {canary}\r\n{canary}\r\n\r\n".encode())

    for gateway in (open_gateway, keyed):
        assert canary not in gateway.request("GET", "/metrics").body.decode()
        assert canary not in gateway.errors()
        assert gateway.metric("embedrock_requests_total") > 30


def test_key_of_the_caller_never_goes_upstream(keyed: Gateway, emulator: Emulator) -> None:
    keyed.embed(GOOD, {"authorization": "Bearer right-key", "cookie": "right-key", "x-api-key": "right-key"})

    (row,) = emulator.journal()
    assert "right-key" not in json.dumps(row)
    assert row["headers"]["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_web_page_of_elsewhere_may_not_use_a_gateway_without_keys(gateway: Gateway, origin: str) -> None:
    body = json.dumps({"model": TITAN, "input": "a"}).encode()

    answer = gateway.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json", "Origin": origin})

    check_error(answer, 403, "origin_not_allowed", "Origin")


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]"])
def test_web_page_of_this_machine_may(gateway: Gateway, origin: str) -> None:
    body = json.dumps({"model": TITAN, "input": "a"}).encode()
    headers = {"Content-Type": "application/json", "Origin": origin}

    assert gateway.request("POST", "/v1/embeddings", body, headers).status == 200
