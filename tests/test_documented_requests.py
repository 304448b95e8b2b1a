"""Requests as the pages of other gateways document them, sent to this one: each gets the vectors it asks for.

Users come with these requests in their scripts. Jobs in the background have a module of their own. It is one long
module so that page and tests can be read side by side.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import BedrockBody, Emulator, Expected, Gateway, StartGateway

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

SENTENCE = "Semantic search transforms how we find information"
FORMATS = ["png", "jpeg", "gif", "webp"]
PURPOSES = [
    *("GENERIC_INDEX", "GENERIC_RETRIEVAL", "TEXT_RETRIEVAL", "IMAGE_RETRIEVAL", "VIDEO_RETRIEVAL"),
    *("DOCUMENT_RETRIEVAL", "AUDIO_RETRIEVAL", "CLASSIFICATION", "CLUSTERING"),
]
#: A name as somebody writes it, and the model it means.
NAMES = [
    *((name, name) for name in (TITAN_V1, TITAN, TITAN_IMAGE, NOVA, ENGLISH, MULTILINGUAL, V4, MARENGO_2, MARENGO_3)),
    *((f"bedrock/{name}", name) for name in (TITAN_V1, TITAN, TITAN_IMAGE, NOVA, ENGLISH, MULTILINGUAL, V4)),
    ("amazon.titan-embed-g1-text-02", "amazon.titan-embed-g1-text-02"),
    ("cohere.embed-v4", V4),
    ("bedrock/cohere.embed-v4", V4),
    *((f"{profile}.{V4}", V4) for profile in ("us", "global", "bedrock/us", "bedrock/us-east-1/us")),
    *((f"{profile}.{MARENGO_2}", MARENGO_2) for profile in ("us", "bedrock/us")),
    *((f"{profile}.{MARENGO_3}", MARENGO_3) for profile in ("us", "bedrock/us")),
    (f"bedrock/us-east-1/{NOVA}", NOVA),
    (f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}", TITAN),
    (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{V4}", V4),
]


def pair_body(text: str, picture: str) -> dict[str, Any]:
    """Return what Marengo 3.0 is sent for a text and a picture as one."""
    source = {"base64String": picture.partition(",")[2]}
    return {"inputType": "text_image", "text_image": {"inputText": text, "mediaSource": source}}


def mixed_body(items: Sequence[str]) -> dict[str, Any]:
    """Return what Cohere v4 is sent for texts and pictures in one call."""
    parts = [
        {"type": "image_url", "image_url": {"url": item}}
        if item.startswith("data:")
        else {"type": "text", "text": item}
        for item in items
    ]
    return {
        "input_type": "search_document",
        "truncate": "NONE",
        "embedding_types": ["float"],
        "inputs": [{"content": [part]} for part in parts],
    }


# ------------------------------------------------------------------------------------------- an OpenAI-compatible page


def test_one_text(gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected) -> None:
    answer = gateway.embed({"model": NOVA, "input": SENTENCE}, {"authorization": "Bearer sk-any"})

    assert answer.vectors() == expected(NOVA, [SENTENCE])
    assert emulator.bodies() == [bedrock_body(NOVA, SENTENCE)]


def test_three_texts_in_base64(gateway: Gateway, expected: Expected) -> None:
    texts = ["Product description", "User query", "Related content"]

    answer = gateway.embed({"model": NOVA, "input": texts, "encoding_format": "base64"})

    assert answer.packed() == [np.array(vector, "<f4").tobytes() for vector in expected(NOVA, texts)]


def test_tier_and_latency_go_along_with_each_text(gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    texts = ["Batch text 1", "Batch text 2", "Batch text 3"]

    answer = gateway.embed(
        {"model": NOVA, "input": texts},
        {
            "Authorization": "Bearer sk-any",
            "X-Amzn-Bedrock-Service-Tier": "flex",
            "X-Amzn-Bedrock-PerformanceConfig-Latency": "standard",
        },
    )

    rows = emulator.journal()
    assert answer.vectors() == expected(NOVA, texts)
    assert [row["headers"]["x-amzn-bedrock-service-tier"] for row in rows] == ["flex"] * 3
    assert [row["headers"]["x-amzn-bedrock-performanceconfig-latency"] for row in rows] == ["standard"] * 3


@pytest.mark.parametrize("tier", ["priority", "default", "flex"])
@pytest.mark.parametrize("latency", ["standard", "optimized"])
@pytest.mark.parametrize("trace", ["disabled", "enabled", "enabled_full"])
def test_every_value_of_a_header_is_taken(
    gateway: Gateway, emulator: Emulator, tier: str, latency: str, trace: str
) -> None:
    headers = {
        "x-amzn-bedrock-service-tier": tier,
        "x-amzn-bedrock-performanceconfig-latency": latency,
        "x-amzn-bedrock-trace": trace,
    }

    answer = gateway.embed({"model": NOVA, "input": "a"}, headers)

    (row,) = emulator.journal()
    assert answer.status == 200
    assert headers | {"x-amzn-bedrock-trace": trace.upper()} == {name: row["headers"][name] for name in headers}


def test_purpose_of_a_query_at_top_level(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected
) -> None:
    answer = gateway.embed({"model": "cohere.embed-v4", "input": SENTENCE, "input_type": "search_query"})

    body = bedrock_body(V4, SENTENCE) | {"input_type": "search_query"}
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(V4, body) != expected(V4, [SENTENCE])


def test_normalize_on_a_model_without_a_switch(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected
) -> None:
    """Nova's vectors have length 1 already, so they come as they are; Bedrock is not sent the word."""
    text = "Product description for similarity matching"

    answer = gateway.embed({"model": NOVA, "input": text, "normalize": True})

    assert answer.vectors() == expected(NOVA, [text])
    assert emulator.bodies() == [bedrock_body(NOVA, text)]


def test_parameter_the_model_does_not_have_is_an_error(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": NOVA, "input": "a", "max_tokens": 12})

    assert answer.refusal() == ("max_tokens", "unsupported_parameter")
    assert emulator.journal() == []


def test_defaults_of_the_server_hold_unless_the_request_says_otherwise(
    gateway_with: StartGateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    gateway = gateway_with(
        DEFAULT_MODEL_PARAMS='{\n  "cohere.embed-v4": {\n    "input_type": "search_document",\n'
        '    "truncate": "END"\n  }\n}'
    )

    silent = gateway.embed({"model": V4, "input": SENTENCE})
    loud = gateway.embed({"model": "us.cohere.embed-v4:0", "input": SENTENCE, "input_type": "search_query"})
    other = gateway.embed({"model": ENGLISH, "input": SENTENCE})

    bodies = [
        bedrock_body(V4, SENTENCE) | {"truncate": "END"},
        bedrock_body(V4, SENTENCE) | {"truncate": "END", "input_type": "search_query"},
        bedrock_body(ENGLISH, SENTENCE),
    ]
    assert emulator.bodies() == bodies
    assert [answer.vectors() for answer in (silent, loud, other)] == [
        expected_vectors(model, body) for model, body in zip((V4, V4, ENGLISH), bodies, strict=True)
    ]


def test_picture_as_a_data_uri(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, pictures: dict[str, str]
) -> None:
    answer = gateway.embed({"model": NOVA, "input": pictures["jpeg"]})

    assert answer.vectors() == expected(NOVA, [pictures["jpeg"]])
    assert emulator.bodies() == [bedrock_body(NOVA, pictures["jpeg"])]


def test_film_as_a_data_uri(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, clips: dict[str, str]
) -> None:
    answer = gateway.embed({"model": NOVA, "input": clips["mp4"]})

    assert answer.vectors() == expected(NOVA, [clips["mp4"]])
    assert emulator.bodies() == [bedrock_body(NOVA, clips["mp4"])]


def test_sound_as_a_data_uri(gateway: Gateway, expected: Expected, clips: dict[str, str]) -> None:
    answer = gateway.embed({"model": NOVA, "input": [clips["ogg"]], "dimensions": 1024})

    assert answer.vectors() == expected(NOVA, [clips["ogg"]], 1024)


def test_film_in_s3(gateway: Gateway, emulator: Emulator, media_bucket: Any, clips: dict[str, str]) -> None:
    film = b64decode(clips["mp4"].partition(",")[2])
    media_bucket.create_bucket(Bucket="my-bucket")
    media_bucket.put_object(Bucket="my-bucket", Key="path/to/video.mp4", Body=film)

    answer = gateway.embed({"model": NOVA, "input": "s3://my-bucket/path/to/video.mp4"})

    body = {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 3072,
            "video": {
                "format": "mp4",
                "source": {"s3Location": {"uri": "s3://my-bucket/path/to/video.mp4"}},
                "embeddingMode": "AUDIO_VIDEO_COMBINED",
            },
        },
    }
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(NOVA, body, {"s3://my-bucket/path/to/video.mp4": film})


def test_pages_of_a_document_beside_their_names(
    gateway: Gateway, emulator: Emulator, expected: Expected, pictures: dict[str, str]
) -> None:
    """Four inputs are four vectors, in order, from one call."""
    items = ["file_name: report.pdf, page: 1", pictures["jpeg"], "file_name: report.pdf, page: 2", pictures["png"]]

    answer = gateway.embed({"model": "cohere.embed-v4", "input": items})

    assert answer.vectors() == expected(V4, items)
    assert emulator.bodies() == [mixed_body(items)]
    answer.check_usage(emulator.journal())


def test_a_text_and_a_picture_to_marengo_3_are_one_vector(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    text = "A diagram showing the quarterly sales report"

    answer = gateway.embed({"model": MARENGO_3, "input": [text, pictures["jpeg"]]})

    body = pair_body(text, pictures["jpeg"])
    (vector,) = expected_vectors(MARENGO_3, body)
    assert answer.items() == [{"object": "embedding", "index": 0, "input_indices": [0, 1], "embedding": vector}]
    assert emulator.bodies() == [body]
    answer.check_usage(emulator.journal(), [text])


def test_a_text_and_a_picture_are_two_vectors_where_the_operator_wants_it(
    gateway_with: StartGateway, emulator: Emulator, expected: Expected, pictures: dict[str, str]
) -> None:
    gateway = gateway_with(EMBEDROCK_MARENGO_PAIR="false")
    items = ["A diagram showing the quarterly sales report", pictures["jpeg"]]

    answer = gateway.embed({"model": MARENGO_3, "input": items})

    assert answer.vectors() == expected(MARENGO_3, items)
    assert len(emulator.journal()) == 2


def test_texts_and_pictures_in_one_list(
    gateway: Gateway, emulator: Emulator, expected: Expected, pictures: dict[str, str]
) -> None:
    items = ["A beautiful sunset over mountains", pictures["jpeg"], "Nature photography collection"]

    answer = gateway.embed({"model": "cohere.embed-v4", "input": items})

    assert answer.vectors() == expected(V4, items)
    assert emulator.bodies() == [mixed_body(items)]


@pytest.mark.parametrize("model", [TITAN_IMAGE, NOVA, ENGLISH, MULTILINGUAL, MARENGO_2, MARENGO_3])
def test_texts_and_pictures_in_one_list_of_a_model_that_takes_one_at_a_time(
    gateway: Gateway, expected: Expected, pictures: dict[str, str], model: str
) -> None:
    items = ["A beautiful sunset", pictures["jpeg"], "Nature photography", pictures["png"], pictures["jpeg"]]

    answer = gateway.embed({"model": model, "input": items})

    assert answer.vectors() == expected(model, items)


@pytest.mark.parametrize("form", ["PDF", "web address"])
def test_what_is_no_picture_is_refused(gateway: Gateway, emulator: Emulator, form: str) -> None:
    parts = {"PDF": "data:application/pdf;base64,JVBERi0xLjQK", "web address": "https://example.com/a.png"}
    item = [{"type": "image_url", "image_url": {"url": parts[form]}}]

    answer = gateway.embed({"model": V4, "input": ["a", item]})

    param, code = answer.refusal()
    assert (param or "").startswith("input[1]")
    assert code == {"PDF": "unsupported_media", "web address": "url_input_unsupported"}[form]
    assert emulator.journal() == []


# ----------------------------------------------------------------------------------------------------- LiteLLM's page


def test_nova_in_a_size_of_its_own(openai_client: openai.OpenAI, expected: Expected) -> None:
    reply = openai_client.embeddings.create(
        model=f"bedrock/{NOVA}", input=["Hello, world!"], dimensions=1024, encoding_format="float"
    )

    assert [item.embedding for item in reply.data] == expected(NOVA, ["Hello, world!"], 1024)
    assert reply.model == f"bedrock/{NOVA}"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_a_picture_to_nova(
    openai_client: openai.OpenAI,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    expected: Expected,
    pictures: dict[str, str],
    form: str,
) -> None:
    reply = openai_client.embeddings.create(
        model=f"bedrock/{NOVA}", input=[pictures[form]], dimensions=1024, encoding_format="float"
    )

    assert [item.embedding for item in reply.data] == expected(NOVA, [pictures[form]], 1024)
    assert emulator.bodies() == [bedrock_body(NOVA, pictures[form], 1024)]


@pytest.mark.parametrize("dimensions", [256, 384, 1024, 3072])
@pytest.mark.parametrize("form", FORMATS)
def test_pictures_in_every_size(
    gateway: Gateway, expected: Expected, pictures: dict[str, str], form: str, dimensions: int
) -> None:
    answer = gateway.embed({"model": f"bedrock/{NOVA}", "input": [pictures[form]], "dimensions": dimensions})

    assert answer.vectors() == expected(NOVA, [pictures[form]], dimensions)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("spelling", ["embedding_purpose", "embeddingPurpose"])
def test_every_purpose_of_nova(
    openai_client: openai.OpenAI, emulator: Emulator, bedrock_body: BedrockBody, purpose: str, spelling: str
) -> None:
    reply = openai_client.embeddings.create(
        model=f"bedrock/{NOVA}", input=["Hello, world!"], encoding_format="float", extra_body={spelling: purpose}
    )

    (row,) = emulator.journal()
    body = bedrock_body(NOVA, "Hello, world!")
    body["singleEmbeddingParams"]["embeddingPurpose"] = purpose
    assert json.loads(row["request_body"]) == body
    assert [item.embedding for item in reply.data] == expected_vectors(NOVA, body)
    assert reply.usage.prompt_tokens == row["tokens"]


@pytest.mark.parametrize(("name", "model"), NAMES)
def test_every_form_of_name(
    openai_client: openai.OpenAI, emulator: Emulator, expected: Expected, name: str, model: str
) -> None:
    text = "good morning from litellm"

    reply = openai_client.embeddings.create(model=name, input=[text], encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(model, [text])
    assert reply.model == name
    assert [row["model"] for row in emulator.journal()] == [model]


@pytest.fixture(scope="module")
def aliased(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """The client of the page's proxy example: its two names, no path in the base URL, any key."""
    config: Path = tmp_path_factory.mktemp("aliased") / "embedrock.yaml"
    config.write_text(f"aliases:\n  titan-embed-v1: bedrock/{TITAN_V1}\n  titan-embed-v2: bedrock/{TITAN}\n")
    gateway = gateway_with(EMBEDROCK_CONFIG=str(config))
    with openai.OpenAI(api_key="anything", base_url=gateway.url) as client:
        yield client


@pytest.mark.parametrize(("alias", "model"), [("titan-embed-v1", TITAN_V1), ("titan-embed-v2", TITAN)])
def test_names_of_the_operators_own(
    aliased: openai.OpenAI, emulator: Emulator, expected: Expected, alias: str, model: str
) -> None:
    reply = aliased.embeddings.create(input=["good morning from litellm"], model=alias)

    (vector,) = expected(model, ["good morning from litellm"])
    assert np.array(reply.data[0].embedding, "<f4").tobytes() == np.array(vector, "<f4").tobytes()
    assert reply.model == alias
    assert [row["model"] for row in emulator.journal()] == [model]


def test_unknown_parameters_are_dropped_where_the_operator_wants_it(
    gateway_with: StartGateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected
) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")

    with openai.OpenAI(base_url=gateway.url, api_key="any") as client:
        raw = client.embeddings.with_raw_response.create(
            model=f"bedrock/{TITAN_V1}",
            input=["good morning from litellm"],
            encoding_format="float",
            extra_body={"truncate": "END", "aws_region_name": "eu-west-1"},
        )

    assert raw.headers["x-embedrock-dropped-params"] == "truncate,aws_region_name"
    assert raw.headers["x-embedrock-region"] == "us-east-1"
    assert [item.embedding for item in raw.parse().data] == expected(TITAN_V1, ["good morning from litellm"])
    assert emulator.bodies() == [bedrock_body(TITAN_V1, "good morning from litellm")]


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_film_and_sound_to_marengo_need_a_job_and_that_a_bucket(
    gateway: Gateway, emulator: Emulator, clips: dict[str, str], kind: str
) -> None:
    item = clips[{"video": "mp4", "audio": "ogg"}[kind]]

    answer = gateway.embed({"model": f"bedrock/us.{MARENGO_2}", "input": [item], "input_type": kind})

    assert answer.refusal() == ("input[0]", "s3_bucket_missing")
    assert "AWS_S3_REGIONAL_BUCKETS" in answer.error()["message"]
    assert emulator.journal() == []


# --------------------------------------------------------------------------------------------------- OpenAI's own names


@pytest.fixture(scope="module")
def openai_named(gateway_with: StartGateway) -> Gateway:
    return gateway_with(EMBEDROCK_OPENAI_ALIASES="true")


@pytest.mark.parametrize(
    ("name", "model", "size"),
    [
        ("text-embedding-3-small", V4, 1536),
        ("text-embedding-3-large", NOVA, 3072),
        ("text-embedding-ada-002", TITAN_V1, 1536),
    ],
)
def test_openais_names_give_their_sizes_at_length_1(
    openai_named: Gateway, emulator: Emulator, expected: Expected, name: str, model: str, size: int
) -> None:
    texts = ["The food was delicious and the waiter...", "a red bicycle", " "]

    answer = openai_named.embed({"model": name, "input": texts})
    packed = openai_named.embed({"model": name, "input": texts, "encoding_format": "base64"}).packed()

    vectors = answer.vectors()
    assert [len(vector) for vector in vectors] == [size] * 3
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0] * 3, abs=1e-6)
    scaled = [np.array(vector) / np.linalg.norm(vector) for vector in expected(model, texts)]
    np.testing.assert_allclose(vectors, scaled, rtol=1e-6, atol=0)
    assert packed == [np.array(vector, "<f4").tobytes() for vector in vectors]
    assert {row["model"] for row in emulator.journal()} == {model}


@pytest.mark.parametrize(
    ("name", "dimensions"), [("text-embedding-3-small", 512), ("text-embedding-3-large", 1024), (V4, 256)]
)
def test_openais_names_in_a_smaller_size_have_length_1_too(openai_named: Gateway, name: str, dimensions: int) -> None:
    """Bedrock's names are none of these aliases: what they give is as long as the model makes it."""
    body = {"model": name, "input": "a red bicycle", "dimensions": dimensions}
    with openai.OpenAI(base_url=openai_named.url, api_key="any") as client:
        reply = client.embeddings.create(model=name, input="a red bicycle", dimensions=dimensions)

    (vector,) = openai_named.embed(body).vectors()
    assert len(vector) == dimensions
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6 if name != V4 else 0.005)
    assert np.array(reply.data[0].embedding, "<f4").tobytes() == np.array(vector, "<f4").tobytes()


def test_openais_names_do_not_lead_anywhere_by_default(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": "text-embedding-3-small", "input": "a"})

    assert (answer.status, answer.error()["code"]) == (404, "model_not_found")
    assert emulator.journal() == []


def test_data_of_pictures_is_sent_as_it_came(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    """Nothing is decoded and encoded again on the way, whatever the type is called."""
    base64 = pictures["jpeg"].partition(",")[2]

    gateway.embed({"model": NOVA, "input": f"data:image/jpg;name=a.jpg;base64,{base64}"})

    (body,) = emulator.bodies()
    image = body["singleEmbeddingParams"]["image"]
    assert image == {"format": "jpeg", "source": {"bytes": base64}}
    assert b64decode(base64, validate=True).startswith(b"\xff\xd8\xff")
