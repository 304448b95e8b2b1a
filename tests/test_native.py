"""Bedrock's own bodies through the gateway: what comes back is what Bedrock said, byte for byte, and what it cost.

The emulator's journal is the witness: it has the body that was sent, the hash of the answer, and the tokens. Prices
are said here once more, apart from the catalogue. It is one long module so that everything this path promises can be
read in one place.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Gateway, StartGateway

PATH = "/v1/aws-bedrock/embeddings"
TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_G1 = "amazon.titan-embed-g1-text-02"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
KEY = "sk-of-a-reader"
#: 11 tokens of Titan v2, as the emulator counts.
ELEVEN_TOKENS = "Ten grey cats sleep under the warm kitchen table."

#: US dollars in us-east-1: a token, and an image.
PER_TOKEN = {
    TITAN_V1: Fraction("1e-7"),
    TITAN_G1: Fraction("1e-7"),
    TITAN: Fraction("2e-8"),
    TITAN_IMAGE: Fraction("8e-7"),
    ENGLISH: Fraction("1e-7"),
    MULTILINGUAL: Fraction("1e-7"),
    V4: Fraction("1.2e-7"),
    NOVA: Fraction("1.35e-7"),
}
PER_IMAGE = {TITAN_IMAGE: Fraction("6e-5"), NOVA: Fraction("6e-5"), MARENGO_2: Fraction("1e-4")}
PER_TEXT = {MARENGO_2: Fraction("7e-5"), MARENGO_3: Fraction("7e-5")}

DOCUMENTS = {"texts": ["The first.", "El segundo", "第三"], "input_type": "search_document"}
#: Bodies as callers send them, `model` apart; PICTURE stands for a picture's data URI, BASE64 for what is in it.
BODIES: list[tuple[str, dict[str, Any]]] = [
    (TITAN_V1, {"inputText": "a red bicycle"}),
    (TITAN_G1, {"inputText": "a red bicycle"}),
    (TITAN, {"inputText": "a red bicycle"}),
    (TITAN, {"inputText": "a", "dimensions": 512, "normalize": True, "embeddingTypes": ["float"]}),
    (TITAN, {"inputText": "a", "dimensions": 256, "normalize": False, "embeddingTypes": ["binary", "float"]}),
    (TITAN_IMAGE, {"inputText": "a red bicycle in the rain"}),
    (TITAN_IMAGE, {"inputImage": "BASE64"}),
    (
        TITAN_IMAGE,
        {"inputText": "red", "inputImage": "BASE64", "embeddingConfig": {"outputEmbeddingLength": 384}},
    ),
    (ENGLISH, {**DOCUMENTS}),
    (ENGLISH, {**DOCUMENTS, "embedding_types": ["float"], "truncate": "END"}),
    (ENGLISH, {"input_type": "image", "images": ["PICTURE"]}),
    (MULTILINGUAL, {**DOCUMENTS, "input_type": "classification"}),
    (MULTILINGUAL, {**DOCUMENTS, "embedding_types": ["float", "int8", "uint8", "binary", "ubinary"]}),
    (V4, {**DOCUMENTS, "input_type": "search_query"}),
    (V4, {**DOCUMENTS, "output_dimension": 256, "embedding_types": ["ubinary"], "max_tokens": 2, "truncate": "LEFT"}),
    (V4, {"input_type": "search_document", "images": ["PICTURE"]}),
    (
        V4,
        {
            "input_type": "search_document",
            "inputs": [{"content": [{"type": "text", "text": "red"}, {"type": "image_url", "image_url": "PICTURE"}]}],
        },
    ),
]


def native(gateway: Gateway, model: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """POST `body` and `model`; lone surrogates go out as escapes."""
    sent = json.dumps({"model": model, **body}).encode()
    return gateway.request("POST", PATH, sent, {"content-type": "application/json", **(headers or {})})


def with_picture(body: Mapping[str, Any], picture: str) -> dict[str, Any]:
    text = json.dumps(body).replace("PICTURE", picture).replace("BASE64", picture.partition(",")[2])
    members: dict[str, Any] = json.loads(text)
    return members


def cut(answer: Answer, *, added: bytes = b"") -> tuple[bytes, dict[str, Any]]:
    """Return Bedrock's part of an answer and the usage, which has to be the last member; `added` stands before it."""
    assert answer.status == 200, answer.body[:500]
    assert answer.headers["content-type"] == "application/json"
    head, joint, tail = answer.body.rpartition(added + b',"usage":')
    assert joint
    assert tail.endswith(b"}")
    assert list(answer.json())[-1] == "usage"
    usage: dict[str, Any] = json.loads(tail[:-1])
    assert list(usage) == ["credits_used", "credits_remaining"]
    return head + b"}", usage


def micro_credits(usd: Fraction, per_usd: Fraction = Fraction(10)) -> int:
    return math.ceil(usd * per_usd * 1_000_000)


# ---------------------------------------------------------------- byte for byte


@pytest.mark.parametrize("model, body", BODIES)
def test_answer_is_bedrocks_byte_for_byte_and_usage_its_price(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str, body: dict[str, Any]
) -> None:
    body = with_picture(body, pictures["png"])

    answer = native(gateway, model, body)

    (row,) = emulator.journal()
    bedrocks, usage = cut(answer)
    images = json.dumps(body).count(pictures["png"].partition(",")[2]) * PER_IMAGE.get(model, 0)
    tokens: int | None = row["tokens"]  # None: of an image alone
    assert sha256(bedrocks).hexdigest() == row["response_sha256"]
    assert usage == {
        "credits_used": micro_credits((tokens or 0) * PER_TOKEN[model] + images),
        "credits_remaining": None,
    }
    assert row["model"] == model
    assert answer.headers["openai-model"] == model
    assert answer.headers["x-embedrock-usage"] == ("estimated" if tokens is None else "reported")
    assert answer.headers["x-embedrock-region"] == "us-east-1"
    assert answer.headers["x-embedrock-upstream-calls"] == "1"


@pytest.mark.parametrize("model, body", BODIES)
def test_what_is_sent_is_the_body_without_its_model(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str, body: dict[str, Any]
) -> None:
    """And `truncate`, beside texts of Cohere; never `embedding_types`, which would change the answer's shape."""
    body = with_picture(body, pictures["png"])

    native(gateway, model, body)

    added = {} if "truncate" in body or not body.keys() & {"texts", "inputs"} else {"truncate": "NONE"}
    assert emulator.bodies() == [body | added]


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_cohere_v3_answers_a_list_or_by_type(gateway: Gateway, model: str) -> None:
    plain = native(gateway, model, DOCUMENTS).json()
    typed = native(gateway, model, {**DOCUMENTS, "embedding_types": ["float", "int8"]}).json()

    vectors = expected_vectors(model, DOCUMENTS)
    assert plain.keys() == typed.keys() == {"id", "texts", "embeddings", "response_type", "usage"}
    assert (plain["response_type"], typed["response_type"]) == ("embeddings_floats", "embeddings_by_type")
    assert plain["embeddings"] == vectors
    assert typed["embeddings"].keys() == {"float", "int8"}
    assert typed["embeddings"]["float"] == vectors


def test_titan_answers_floats_twice(gateway: Gateway) -> None:
    answer = native(gateway, TITAN, {"inputText": "a", "dimensions": 256}).json()

    (vector,) = expected_vectors(TITAN, {"inputText": "a", "dimensions": 256})
    assert list(answer) == ["embedding", "embeddingsByType", "inputTextTokenCount", "usage"]
    assert answer["embedding"] == answer["embeddingsByType"]["float"] == vector


def test_titan_without_floats_has_a_null_before_usage(gateway: Gateway, emulator: Emulator) -> None:
    answer = native(gateway, TITAN, {"inputText": "a", "embeddingTypes": ["binary"]})

    (row,) = emulator.journal()
    bedrocks, _ = cut(answer, added=b',"embedding":null')
    members = answer.json()
    assert sha256(bedrocks).hexdigest() == row["response_sha256"]
    assert list(members)[-2:] == ["embedding", "usage"]
    assert members["embedding"] is None
    assert set(members["embeddingsByType"]["binary"]) == {0, 1}


def test_lone_surrogates_reach_bedrock_as_replacement_characters(gateway: Gateway, emulator: Emulator) -> None:
    one = native(gateway, TITAN, {"inputText": "\ud800 and \udc00"})
    many = native(gateway, ENGLISH, {"texts": ["a\udfff", "é😀"], "input_type": "clustering", "truncate": "END"})

    assert (one.status, many.status) == (200, 200)
    assert emulator.bodies() == [
        {"inputText": "\ufffd and \ufffd"},
        {"texts": ["a\ufffd", "é😀"], "input_type": "clustering", "truncate": "END"},
    ]


def test_defaults_of_the_operator_do_not_reach_this_path(gateway_with: StartGateway, emulator: Emulator) -> None:
    defaults = {
        TITAN: {"dimensions": 256, "normalize": True},
        ENGLISH: {"input_type": "clustering", "truncate": "END", "embedding_types": ["int8"]},
    }
    gateway = gateway_with(DEFAULT_MODEL_PARAMS=json.dumps(defaults))

    titan = native(gateway, TITAN, {"inputText": "a"})
    cohere = native(gateway, ENGLISH, DOCUMENTS)
    openais = gateway.embed({"model": TITAN, "input": "a"})

    assert len(titan.json()["embedding"]) == 1024
    assert cohere.json()["response_type"] == "embeddings_floats"
    assert emulator.bodies() == [
        {"inputText": "a"},
        {**DOCUMENTS, "truncate": "NONE"},
        {"inputText": "a", "dimensions": 256, "normalize": True},
    ], "the last call shows that the defaults are there"
    assert len(openais.vectors()[0]) == 256


def test_each_of_many_callers_gets_the_answer_to_its_own_body(gateway: Gateway) -> None:
    bodies = [{"inputText": f"text {number}", "dimensions": (256, 512, 1024)[number % 3]} for number in range(60)]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda body: native(gateway, TITAN, body).json(), bodies))

    assert [[answer["embedding"]] for answer in answers] == [expected_vectors(TITAN, body) for body in bodies]


# ---------------------------------------------------------------- as other gateways' users call it


@pytest.fixture
def keyed(gateway_with: StartGateway) -> Gateway:
    """A gateway that asks for KEY."""
    return gateway_with(EMBEDROCK_API_KEY=KEY)


def curl(gateway: Gateway, body: Mapping[str, Any]) -> dict[str, Any]:
    ended = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--fail-with-body", "-X", "POST", gateway.url + PATH),
            *("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"),
            *("-d", json.dumps(body)),
        ],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def test_titan_by_curl(keyed: Gateway) -> None:
    body = {"inputText": ELEVEN_TOKENS, "dimensions": 512, "normalize": True, "embeddingTypes": ["float"]}

    answer = curl(keyed, {"model": TITAN, **body})

    assert [answer["embedding"]] == expected_vectors(TITAN, body)
    assert answer["inputTextTokenCount"] == 11
    assert answer["usage"] == {"credits_used": 3, "credits_remaining": None}


def test_a_batch_of_cohere_by_curl(keyed: Gateway) -> None:
    body = {"texts": ["one doc", "a second doc", "doc 3"], "input_type": "classification"}

    answer = curl(keyed, {"model": ENGLISH, **body, "embedding_types": ["float"]})

    assert answer["embeddings"] == {"float": expected_vectors(ENGLISH, body)}
    assert answer["texts"] == body["texts"]


def test_titan_by_httpx(keyed: Gateway) -> None:
    answer = httpx2.post(
        keyed.url + PATH,
        headers={"Authorization": f"Bearer {KEY}"},
        json={"model": TITAN, "inputText": "Hello", "dimensions": 256},
    )

    assert answer.status_code == 200
    assert len(answer.json()["embedding"]) == 256


@pytest.mark.parametrize("types", [None, ["float"]])
def test_a_batch_of_cohere_by_httpx(keyed: Gateway, types: list[str] | None) -> None:
    """By type only when types are asked for: a script that reads `["float"]` has to ask."""
    body = {"texts": ["Good day", "Buenos días", "Bonjour"], "input_type": "search_document"}

    answer = httpx2.post(
        keyed.url + PATH,
        headers={"Authorization": f"Bearer {KEY}"},
        json={"model": MULTILINGUAL, **body} | ({"embedding_types": types} if types else {}),
    )

    embeddings = answer.json()["embeddings"]
    assert len(embeddings["float"] if types else embeddings) == 3


def test_models_are_found_by_their_feature(gateway: Gateway) -> None:
    models = gateway.request("GET", "/v1/models").json()["data"]

    found = [model["id"] for model in models if "bedrock_embeddings" in model.get("supported_features", [])]
    assert {TITAN, ENGLISH, MULTILINGUAL, TITAN_V1, TITAN_IMAGE, V4} <= set(found)


# ---------------------------------------------------------------- errors

TITAN_BODY = {"inputText": "a"}
#: What breaks the schema of its vendor: by reason, model, body and the member to blame.
UNPROCESSABLE: dict[str, tuple[str, dict[str, Any], str]] = {
    "prefix of another vendor": ("openai.text-embedding-3-small", TITAN_BODY, "model"),
    "prefix of a profile": (f"us.{V4}", DOCUMENTS, "model"),
    "prefix of LiteLLM": (f"bedrock/{TITAN}", TITAN_BODY, "model"),
    "Nova": (NOVA, TITAN_BODY, "model"),
    "no inputText": (TITAN, {"dimensions": 256}, "inputText"),
    "inputText is a list": (TITAN, {"inputText": ["a"]}, "inputText"),
    "a body of Cohere for Titan": (TITAN, DOCUMENTS, "texts"),
    "dimensions is a text": (TITAN, {"inputText": "a", "dimensions": "256"}, "dimensions"),
    "normalize is a number": (TITAN, {"inputText": "a", "normalize": 1}, "normalize"),
    "a type Titan lacks": (TITAN, {"inputText": "a", "embeddingTypes": ["int8"]}, "embeddingTypes"),
    "dimensions for Titan v1": (TITAN_V1, {"inputText": "a", "dimensions": 1536}, "dimensions"),
    "neither text nor image": (TITAN_IMAGE, {}, "inputText"),
    "user for Titan": (TITAN, {"inputText": "a", "user": "u"}, "user"),
    "encoding_format for Titan": (TITAN, {"inputText": "a", "encoding_format": "float"}, "encoding_format"),
    "no texts": (ENGLISH, {"input_type": "search_document"}, "texts"),
    "no input_type": (ENGLISH, {"texts": ["a"]}, "input_type"),
    "texts is a text": (ENGLISH, DOCUMENTS | {"texts": "a"}, "texts"),
    "no text in texts": (ENGLISH, DOCUMENTS | {"texts": []}, "texts"),
    "an input_type nobody has": (ENGLISH, DOCUMENTS | {"input_type": "passage"}, "input_type"),
    "a type Cohere lacks": (ENGLISH, DOCUMENTS | {"embedding_types": ["base64"]}, "embedding_types"),
    "a truncate nobody has": (ENGLISH, DOCUMENTS | {"truncate": "MIDDLE"}, "truncate"),
    "user for Cohere": (ENGLISH, DOCUMENTS | {"user": "u"}, "user"),
    "encoding_format for Cohere": (MULTILINGUAL, DOCUMENTS | {"encoding_format": "float"}, "encoding_format"),
    "dimensions for Cohere v3": (ENGLISH, DOCUMENTS | {"dimensions": 512}, "dimensions"),
    "output_dimension for Cohere v3": (ENGLISH, DOCUMENTS | {"output_dimension": 512}, "output_dimension"),
    "dimensions for Cohere v4": (V4, DOCUMENTS | {"dimensions": 512}, "dimensions"),
}
#: What only Bedrock finds wrong.
REFUSED_BY_BEDROCK: dict[str, tuple[str, dict[str, Any]]] = {
    "dimensions it lacks": (TITAN, {"inputText": "a", "dimensions": 300}),
    "huge dimensions": (TITAN, {"inputText": "a", "dimensions": 10**30}),
    "an empty text": (TITAN, {"inputText": ""}),
    "97 texts": (ENGLISH, DOCUMENTS | {"texts": ["a"] * 97}),
    "output_dimension it lacks": (V4, DOCUMENTS | {"output_dimension": 300}),
    "no image in inputImage": (TITAN_IMAGE, {"inputImage": "bm8="}),
}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-wrong"}, {"authorization": KEY}])
def test_401_without_a_key_of_the_gateway(keyed: Gateway, emulator: Emulator, headers: dict[str, str]) -> None:
    answer = native(keyed, TITAN, TITAN_BODY, headers)

    assert answer.status == 401
    assert answer.error()["code"] == ("invalid_api_key" if headers else None)
    assert emulator.journal() == []


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v9:0", "cohere.embed-multimodal-v4", "cohere."])
def test_404_for_a_model_of_the_right_prefix_that_is_none(gateway: Gateway, emulator: Emulator, model: str) -> None:
    answer = native(gateway, model, TITAN_BODY if model.startswith("amazon") else DOCUMENTS)

    error = answer.error()
    assert answer.status == 404
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "model_not_found", "model")
    assert emulator.journal() == []


@pytest.mark.parametrize("reason", UNPROCESSABLE)
def test_422_for_another_shape(gateway: Gateway, emulator: Emulator, reason: str) -> None:
    model, body, param = UNPROCESSABLE[reason]

    answer = native(gateway, model, body)

    error = answer.error()
    assert answer.status == 422
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "validation_error", param)
    assert answer.headers["x-should-retry"] == "false"
    assert emulator.journal() == []


def test_422_for_a_foreign_prefix_before_anybody_looks_for_the_model(gateway: Gateway) -> None:
    """Whether there is such a model, and what else is in the body, does not matter."""
    answers = [native(gateway, model, {"a": 1}) for model in ("gpt-4o", NOVA, MARENGO_3, f" {TITAN}", TITAN.upper())]

    assert [(answer.status, answer.error()["param"]) for answer in answers] == [(422, "model")] * 5


@pytest.mark.parametrize("reason", REFUSED_BY_BEDROCK)
def test_400_for_what_bedrock_refuses(gateway: Gateway, emulator: Emulator, reason: str) -> None:
    model, body = REFUSED_BY_BEDROCK[reason]

    answer = native(gateway, model, body)

    error = answer.error()
    assert answer.status == 400
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert answer.headers["x-should-retry"] == "false"
    assert [row["status"] for row in emulator.journal()] == [400]


def test_503_when_bedrock_goes_on_throttling(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("throttle")

    answer = native(own_gateway, TITAN, TITAN_BODY, {"x-request-timeout-ms": "500"})

    error = answer.error()
    assert answer.status == 503
    assert (error["type"], error["code"]) == ("server_error", "upstream_throttled")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "x-should-retry" not in answer.headers
    assert emulator.fired() == len(emulator.journal()) >= 1


@pytest.mark.parametrize("fault", ["server_error", "reset"])
def test_503_when_bedrock_is_not_available(own_gateway: Gateway, emulator: Emulator, fault: str) -> None:
    emulator.fault(fault)

    answer = native(own_gateway, ENGLISH, DOCUMENTS)

    assert (answer.status, answer.error()["code"]) == (503, "upstream_unavailable")
    assert answer.headers["retry-after"]
    assert emulator.fired() >= 3


def test_503_when_aws_refuses_the_gateways_own_credentials(gateway: Gateway, emulator: Emulator) -> None:
    """It is not the caller's key that is wrong."""
    emulator.credentials(access_key="AKIASOMEBODY", secret_key="else")

    answer = native(gateway, TITAN, TITAN_BODY)

    error = answer.error()
    assert answer.status == 503
    assert (error["type"], error["code"]) == ("server_error", "upstream_auth_failed")
    assert "AKIA" not in answer.body.decode()
    assert {row["status"] for row in emulator.journal()} == {403}


@pytest.mark.parametrize("fault", ["throttle", "server_error", "reset"])
def test_passing_fault_is_not_seen_and_not_charged(own_gateway: Gateway, emulator: Emulator, fault: str) -> None:
    emulator.fault(fault, n=2)

    answer = native(own_gateway, TITAN, {"inputText": ELEVEN_TOKENS})

    assert emulator.fired() == 2
    assert cut(answer)[1]["credits_used"] == 3
    # One that finds its kept connection closed is sent again, and counts once.
    assert answer.headers["x-embedrock-upstream-calls"] in ({"2", "3"} if fault == "reset" else {"3"})


@pytest.mark.parametrize(
    "body, status, code",
    [
        (b'{"model":', 400, "invalid_json"),
        (b'{"model":"a","model":"a"}', 400, "duplicate_key"),
        (b'["amazon.titan-embed-text-v2:0"]', 400, "invalid_json"),
        (b'{"inputText":"a"}', 422, "validation_error"),
    ],
)
def test_body_that_is_no_request_is_refused(gateway: Gateway, body: bytes, status: int, code: str) -> None:
    answer = gateway.request("POST", PATH, body, {"content-type": "application/json"})

    assert (answer.status, answer.error()["code"]) == (status, code)


def test_other_methods_and_types_are_refused(gateway: Gateway) -> None:
    assert gateway.request("GET", PATH).status == 405
    assert gateway.request("POST", PATH, b"{}", {"content-type": "text/plain"}).status == 415


def test_guardrail_is_refused_rather_than_forgotten(gateway: Gateway, emulator: Emulator) -> None:
    headers = {"x-amzn-bedrock-guardrailidentifier": "abc", "x-amzn-bedrock-guardrailversion": "1"}

    answer = native(gateway, TITAN, TITAN_BODY, headers)

    assert answer.refusal()[1] == "invalid_header_value"
    assert emulator.journal() == []


def test_bedrocks_other_headers_go_along(gateway: Gateway, emulator: Emulator) -> None:
    native(gateway, TITAN, TITAN_BODY, {"x-amzn-bedrock-service-tier": "flex", "x-amzn-bedrock-trace": "enabled"})

    (row,) = emulator.journal()
    assert row["headers"]["x-amzn-bedrock-service-tier"] == "flex"
    assert row["headers"]["x-amzn-bedrock-trace"] == "ENABLED"


# ---------------------------------------------------------------- credits


def test_eleven_tokens_of_titan_are_three_micro_credits(gateway: Gateway, emulator: Emulator) -> None:
    answer = native(gateway, TITAN, {"inputText": ELEVEN_TOKENS})

    assert [row["tokens"] for row in emulator.journal()] == [11]
    assert cut(answer)[1] == {"credits_used": 3, "credits_remaining": None}


@pytest.mark.parametrize("per_usd", ["1", "1000", "12.5", "0.000001"])
def test_a_dollar_is_as_many_credits_as_the_operator_says(
    gateway_with: StartGateway, emulator: Emulator, per_usd: str
) -> None:
    answer = native(gateway_with(EMBEDROCK_CREDITS_PER_USD=per_usd), V4, DOCUMENTS)

    (row,) = emulator.journal()
    assert cut(answer)[1]["credits_used"] == micro_credits(row["tokens"] * PER_TOKEN[V4], Fraction(per_usd)) >= 1


@pytest.mark.parametrize("value", ["absent", "negative", "string"])
def test_tokens_are_estimated_when_bedrock_reports_none(gateway: Gateway, emulator: Emulator, value: str) -> None:
    """A quarter of the characters of each text, rounded up."""
    emulator.fault("tokens", value=value)
    texts = ["a" * 100, "b", "c" * 5]

    answer = native(gateway, ENGLISH, DOCUMENTS | {"texts": texts})

    assert emulator.fired() == 1
    assert cut(answer)[1]["credits_used"] == micro_credits(28 * PER_TOKEN[ENGLISH])
    assert answer.headers["x-embedrock-usage"] == "estimated"


def test_tokens_of_titan_are_in_the_body_too(gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("tokens", value="absent", where="header")

    answer = native(gateway, TITAN, {"inputText": ELEVEN_TOKENS})

    assert emulator.fired() == 1
    assert cut(answer)[1]["credits_used"] == 3
    assert answer.headers["x-embedrock-usage"] == "reported"


def test_tokens_are_counted_in_the_metrics(gateway: Gateway) -> None:
    before = gateway.metric("embedrock_tokens_total", model=TITAN_G1, source="reported")

    counted = native(gateway, TITAN_G1, {"inputText": ELEVEN_TOKENS}).json()["inputTextTokenCount"]

    assert gateway.metric("embedrock_tokens_total", model=TITAN_G1, source="reported") - before == counted


# ---------------------------------------------------------------- more prefixes

#: Bodies of families that only an operator lets in, and what each costs beside tokens.
OTHERS: list[tuple[str, str, dict[str, Any], Fraction]] = [
    (
        NOVA,
        NOVA,
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "TEXT_RETRIEVAL",
                "text": {"truncationMode": "END", "value": "a red bicycle"},
            },
        },
        Fraction(0),
    ),
    (
        NOVA,
        NOVA,
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_INDEX",
                "image": {"format": "png", "source": {"bytes": "BASE64"}},
            },
        },
        PER_IMAGE[NOVA],
    ),
    (f"us.{MARENGO_2}", MARENGO_2, {"inputType": "text", "inputText": "a red bicycle"}, PER_TEXT[MARENGO_2]),
    (
        f"us.{MARENGO_2}",
        MARENGO_2,
        {"inputType": "image", "mediaSource": {"base64String": "BASE64"}},
        PER_IMAGE[MARENGO_2],
    ),
    (MARENGO_3, MARENGO_3, {"inputType": "text", "text": {"inputText": "a red bicycle"}}, PER_TEXT[MARENGO_3]),
]


@pytest.mark.parametrize("name, model, body, price", OTHERS)
def test_operator_lets_other_models_in(
    gateway_with: StartGateway,
    gateway: Gateway,
    emulator: Emulator,
    pictures: dict[str, str],
    name: str,
    model: str,
    body: dict[str, Any],
    price: Fraction,
) -> None:
    body = with_picture(body, pictures["png"])
    opened = gateway_with(EMBEDROCK_NATIVE_PREFIXES="amazon.nova-,twelvelabs.,us.")

    answer = native(opened, name, body)

    (row,) = emulator.journal()
    bedrocks, usage = cut(answer)
    assert sha256(bedrocks).hexdigest() == row["response_sha256"]
    assert json.loads(row["request_body"]) == body
    assert row["model"] == model
    assert usage["credits_used"] == micro_credits((row["tokens"] or 0) * PER_TOKEN.get(model, 0) + price) >= 1
    assert native(gateway, name, body).status == 422


def test_prefix_of_a_profile_opens_the_schema_of_its_model(gateway_with: StartGateway, emulator: Emulator) -> None:
    opened = gateway_with(EMBEDROCK_NATIVE_PREFIXES="amazon.nova-,twelvelabs.,us.")

    good = native(opened, f"us.{V4}", DOCUMENTS)
    bad = native(opened, f"us.{V4}", DOCUMENTS | {"user": "u"})

    assert cut(good)[1]["credits_used"] >= 1
    assert (bad.status, bad.error()["param"]) == (422, "user")
    assert [row["status"] for row in emulator.journal()] == [200]
