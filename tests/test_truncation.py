"""Texts that are too long: refused by name before anything is sent, or cut where the caller asks for it, and said so.

Bedrock itself checks the characters of a body for some models, before the model sees it; tokens only the model counts.
And what a model does not read at all is refused in words that say what to do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
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

#: The most characters of a text, where Bedrock has such a limit.
CHARS = {
    TITAN_V1: 50_000,
    "amazon.titan-embed-g1-text-02": 50_000,
    TITAN: 50_000,
    NOVA: 8192,
    ENGLISH: 2048,
    MULTILINGUAL: 2048,
}
#: The most tokens of a text, in characters that are a token each. Nova's prompt takes two.
TOKENS = {
    TITAN_V1: 8192,
    TITAN: 8191,
    TITAN_IMAGE: 255,
    NOVA: 8190,
    ENGLISH: 512,
    MULTILINGUAL: 512,
    V4: 128_000,
    MARENGO_2: 77,
    MARENGO_3: 500,
}
TRUNCATING = [ENGLISH, MULTILINGUAL, V4, NOVA, MARENGO_2]


def words(count: int) -> str:
    """Return a text of exactly so many characters in which no two places are alike."""
    return "".join(f"{number:x} " for number in range(count // 2 + 1))[:count]


def cut_body(body: dict[str, Any], model: str, side: str) -> dict[str, Any]:
    """Return `body` with the wish to cut in it."""
    match model:
        case "amazon.nova-2-multimodal-embeddings-v1:0":
            params = body["singleEmbeddingParams"]
            text = params["text"] | {"truncationMode": side}
            return body | {"singleEmbeddingParams": params | {"text": text}}
        case "twelvelabs.marengo-embed-2-7-v1:0":
            return body | {"textTruncate": side}
    return body | {"truncate": side}


# ---------------------------------------------------------------------------------------- too long, and nothing is said


@pytest.mark.parametrize("model", CHARS)
def test_a_text_of_the_most_characters_is_embedded(gateway: Gateway, expected: Expected, model: str) -> None:
    texts = ["short", "x" * CHARS[model]]

    answer = gateway.embed({"model": model, "input": texts})

    assert answer.vectors() == expected(model, texts)
    assert "x-embedrock-truncated" not in answer.headers


@pytest.mark.parametrize("position", [0, 1, 150])
@pytest.mark.parametrize("model", CHARS)
def test_a_text_of_one_character_more_is_refused_by_its_index(
    gateway: Gateway, emulator: Emulator, model: str, position: int
) -> None:
    texts = [f"text {number}" for number in range(151)]
    texts[position] = "x" * (CHARS[model] + 1)

    answer = gateway.embed({"model": model, "input": texts})

    assert answer.refusal() == (f"input[{position}]", "context_length_exceeded")
    assert str(CHARS[model]) in answer.error()["message"]
    assert ("truncate" in answer.error()["message"]) == (model in TRUNCATING)
    assert emulator.journal() == []


@pytest.mark.parametrize("model", CHARS)
def test_a_text_that_is_too_long_alone_is_input(gateway: Gateway, emulator: Emulator, model: str) -> None:
    answer = gateway.embed({"model": model, "input": "x" * (CHARS[model] + 1), "encoding_format": "base64"})

    assert answer.refusal() == ("input", "context_length_exceeded")
    assert emulator.journal() == []


def test_token_ids_that_stand_for_too_long_a_text_are_refused(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": ENGLISH, "input": [[15339], [15339] * 500]})

    assert answer.refusal() == ("input[1]", "context_length_exceeded")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", TOKENS)
def test_a_text_of_the_most_tokens_is_embedded(
    gateway: Gateway, emulator: Emulator, expected: Expected, model: str
) -> None:
    text = "!" * TOKENS[model]

    answer = gateway.embed({"model": model, "input": text})

    assert answer.vectors() == expected(model, [text])
    assert "x-embedrock-truncated" not in answer.headers
    answer.check_usage(emulator.journal(), [text] if "marengo" in model else ())


@pytest.mark.parametrize("model", TOKENS)
def test_a_text_of_one_token_more_is_refused_by_the_model_and_named(
    gateway: Gateway, emulator: Emulator, model: str
) -> None:
    """Nothing less than the model can count them; of a call of several texts it does not say which."""
    answer = gateway.embed({"model": model, "input": ["short", "!" * (TOKENS[model] + 1)]})

    param, code = answer.refusal()
    assert code == "context_length_exceeded"
    assert param == ("input" if "cohere" in model else "input[1]")
    assert [row["status"] for row in emulator.journal()].count(400) == 1


@pytest.mark.parametrize("model", TOKENS)
def test_official_client_does_not_send_what_is_too_long_again(
    openai_client: openai.OpenAI, emulator: Emulator, model: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.embeddings.create(model=model, input="!" * (TOKENS[model] + 1))

    assert (caught.value.param, caught.value.code) == ("input", "context_length_exceeded")
    assert len(emulator.journal()) == 1


# --------------------------------------------------------------------------------------------------------- Cohere Embed


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
@pytest.mark.parametrize("side", ["END", "START"])
def test_cohere_v3_is_sent_as_many_characters_as_bedrock_lets_through(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, model: str, side: str
) -> None:
    """Which are the first 2,048 of a text, or its last; the model cuts further by itself."""
    text = words(5000)
    kept = text[:2048] if side == "END" else text[-2048:]

    answer = gateway.embed({"model": model, "input": text, "truncate": side})

    (row,) = emulator.journal()
    body = cut_body(bedrock_body(model, kept), model, side)
    assert json.loads(row["request_body"]) == body
    assert answer.vectors() == expected_vectors(model, body)
    assert answer.headers["x-embedrock-truncated"] == "0"
    answer.check_usage([row])


@pytest.mark.parametrize("side", ["END", "START"])
def test_only_what_was_cut_is_listed(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, side: str
) -> None:
    texts = [f"text {number}" for number in range(200)]
    for position in (0, 95, 96, 199):
        texts[position] = f"{position} " * 1500
    texts[7] = "x" * 2048

    answer = gateway.embed({"model": ENGLISH, "input": texts, "truncate": side})

    kept = [text[:2048] if side == "END" else text[-2048:] for text in texts]
    runs = [cut_body(bedrock_body(ENGLISH, ""), ENGLISH, side) | {"texts": kept[at : at + 96]} for at in (0, 96, 192)]
    sent = sorted(emulator.bodies(), key=lambda body: kept.index(body["texts"][-1]))
    assert answer.headers["x-embedrock-truncated"] == "0,95,96,199"
    assert sent == runs
    assert answer.vectors() == [vector for body in runs for vector in expected_vectors(ENGLISH, body)]


def test_a_character_of_two_code_units_is_one(gateway: Gateway, emulator: Emulator) -> None:
    """And is not cut in half."""
    text = "\N{BICYCLE}\N{GRINNING FACE}" * 1500

    answer = gateway.embed({"model": MULTILINGUAL, "input": [text, text[1:2049]], "truncate": "END"})

    (body,) = emulator.bodies()
    assert body["texts"] == [text[:2048], text[1:2049]]
    assert answer.headers["x-embedrock-truncated"] == "0"


@pytest.mark.parametrize("side", ["NONE", None])
def test_cohere_v3_is_not_cut_without_a_word(gateway: Gateway, emulator: Emulator, side: str | None) -> None:
    answer = gateway.embed({"model": ENGLISH, "input": ["a", "x" * 2049], "truncate": side})

    assert answer.refusal() == ("input[1]", "context_length_exceeded")
    assert emulator.journal() == []


def test_word_of_the_operator_is_as_good_as_the_callers(
    gateway_with: StartGateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    gateway = gateway_with(DEFAULT_MODEL_PARAMS='{"cohere.embed-english-v3": {"truncate": "END"}}')

    cut = gateway.embed({"model": ENGLISH, "input": "x" * 3000})
    refused = gateway.embed({"model": ENGLISH, "input": "x" * 3000, "truncate": "NONE"})

    assert cut.headers["x-embedrock-truncated"] == "0"
    assert emulator.bodies() == [cut_body(bedrock_body(ENGLISH, "x" * 2048), ENGLISH, "END")]
    assert refused.refusal() == ("input", "context_length_exceeded")


@pytest.mark.parametrize("side", ["START", "END", "LEFT", "RIGHT"])
def test_cohere_v4_cuts_by_itself(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, side: str
) -> None:
    """It says nothing of it, so the answer does not either."""
    text = "one two three four five six"
    kept = "four five six" if side in ("START", "LEFT") else "one two three"

    answer = gateway.embed({"model": V4, "input": [text, "short"], "truncate": side, "max_tokens": 3})

    (row,) = emulator.journal()
    body = bedrock_body(V4, text) | {"texts": [text, "short"], "truncate": side, "max_tokens": 3}
    assert json.loads(row["request_body"]) == body
    assert answer.vectors() == expected(V4, [kept, "short"])
    assert "x-embedrock-truncated" not in answer.headers
    answer.check_usage([row])


# ---------------------------------------------------------------------------------------------------------------- Nova


@pytest.mark.parametrize("side", ["END", "START"])
def test_nova_says_that_it_cut(gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, side: str) -> None:
    """It reads 8,192 tokens, of which two are its own; `truncatedCharLength` tells."""
    long = "first " + "!" * 8190 + " last"
    kept = "first " + "!" * 8189 if side == "END" else "!" * 8189 + " last"

    answer = gateway.embed({"model": NOVA, "input": ["short", long, kept], "truncate": side})

    short, of_kept = (cut_body(bedrock_body(NOVA, text), NOVA, side) for text in ("short", kept))
    assert answer.vectors() == [*expected_vectors(NOVA, short), *2 * expected_vectors(NOVA, of_kept)]
    assert answer.headers["x-embedrock-truncated"] == "1"
    assert cut_body(bedrock_body(NOVA, long), NOVA, side) in emulator.bodies()
    answer.check_usage(emulator.journal())


@pytest.mark.parametrize("spelling", ["truncate", "truncation_mode", "truncationMode"])
def test_nova_reads_more_characters_when_it_may_cut(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, spelling: str
) -> None:
    """Up to 50,000: a text of few tokens is embedded whole, and nothing is said."""
    text = "abcdefghi " * 5000

    whole = gateway.embed({"model": NOVA, "input": text, spelling: "END"})
    refused = gateway.embed({"model": NOVA, "input": text, spelling: "NONE"})

    body = cut_body(bedrock_body(NOVA, text), NOVA, "END")
    assert emulator.bodies() == [body]
    assert whole.vectors() == expected_vectors(NOVA, body)
    assert "x-embedrock-truncated" not in whole.headers
    assert refused.refusal() == ("input", "context_length_exceeded")


@pytest.mark.parametrize("side", ["END", "START"])
def test_nova_is_sent_no_more_than_50_000_characters(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, side: str
) -> None:
    text = "beginning " + "abcdefghi " * 5500 + "the end"
    kept = text[:50_000] if side == "END" else text[-50_000:]

    answer = gateway.embed({"model": NOVA, "input": ["short", text], "truncate": side})

    bodies = [cut_body(bedrock_body(NOVA, each), NOVA, side) for each in ("short", kept)]
    assert sorted(emulator.bodies(), key=lambda body: len(str(body))) == bodies
    assert answer.vectors() == [vector for body in bodies for vector in expected_vectors(NOVA, body)]
    assert answer.headers["x-embedrock-truncated"] == "1"


# ------------------------------------------------------------------------------------------------------------- Marengo


@pytest.mark.parametrize("spelling", ["truncate", "text_truncate", "textTruncate"])
def test_marengo_2_7_cuts_the_end_when_asked(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, spelling: str
) -> None:
    """It says nothing of it, so the answer does not either."""
    text = " ".join(f"word{number}" for number in range(100))
    kept = " ".join(f"word{number}" for number in range(77))

    answer = gateway.embed({"model": MARENGO_2, "input": [text], spelling: "end"})

    assert emulator.bodies() == [cut_body(bedrock_body(MARENGO_2, text), MARENGO_2, "end")]
    assert answer.vectors() == expected(MARENGO_2, [kept])
    assert "x-embedrock-truncated" not in answer.headers


@pytest.mark.parametrize("side", [None, "none"])
def test_marengo_2_7_is_told_not_to_cut_without_a_word(gateway: Gateway, emulator: Emulator, side: str | None) -> None:
    """Left alone it would."""
    answer = gateway.embed({"model": MARENGO_2, "input": ["short", "word " * 78], "truncate": side})

    assert answer.refusal()[0] == "input[1]"
    assert {body["textTruncate"] for body in emulator.bodies()} == {"none"}


# ------------------------------------------------------------------------------------------- models that do not cut


@pytest.mark.parametrize("side", ["START", "END", "NONE", "end"])
@pytest.mark.parametrize("model", [TITAN_V1, "amazon.titan-embed-g1-text-02", TITAN, TITAN_IMAGE, MARENGO_3])
def test_models_that_do_not_cut_refuse_the_word(gateway: Gateway, emulator: Emulator, model: str, side: str) -> None:
    answer = gateway.embed({"model": model, "input": "short", "truncate": side})

    assert answer.refusal() == ("truncate", "unsupported_parameter")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", [TITAN_V1, TITAN])
def test_a_dropped_word_cuts_nothing(gateway_with: StartGateway, emulator: Emulator, model: str) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")

    answer = gateway.embed({"model": model, "input": "x" * 50_001, "truncate": "END"})

    assert answer.refusal() == ("input", "context_length_exceeded")
    assert emulator.journal() == []


def test_a_text_that_is_too_long_beside_a_picture_is_named(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    page = [{"type": "text", "text": "!" * 256}, {"type": "image_url", "image_url": {"url": pictures["png"]}}]

    answer = gateway.embed({"model": TITAN_IMAGE, "input": ["short", page]})

    assert answer.refusal() == ("input[1]", "context_length_exceeded")
    assert [row["status"] for row in emulator.journal()].count(400) == 1


# ------------------------------------------------------------------------------------------------------- film and sound


@pytest.mark.parametrize("kind", ["mp4", "ogg"])
@pytest.mark.parametrize("model", [MARENGO_2, MARENGO_3])
def test_marengo_hears_and_sees_in_jobs_only_which_need_a_bucket(
    gateway: Gateway, emulator: Emulator, clips: dict[str, str], model: str, kind: str
) -> None:
    item = clips[kind]
    name = {"mp4": "video", "ogg": "audio"}[kind]

    alone = gateway.embed({"model": model, "input": item})
    listed = gateway.embed({"model": model, "input": ["a text", item]})
    said = gateway.embed({"model": model, "input": ["a text", "another", item], "input_type": name})

    assert alone.refusal() == ("input", "s3_bucket_missing")
    assert listed.refusal() == ("input[1]", "s3_bucket_missing")
    assert said.refusal() == ("input_type", "invalid_value")
    assert emulator.journal() == []


@pytest.mark.parametrize(("kind", "name"), [("mp4", "video"), ("ogg", "audio")])
@pytest.mark.parametrize("model", [TITAN_V1, TITAN, TITAN_IMAGE, ENGLISH, MULTILINGUAL, V4])
def test_models_that_neither_hear_nor_see_films_say_what_they_read(
    gateway: Gateway, emulator: Emulator, clips: dict[str, str], model: str, kind: str, name: str
) -> None:
    answer = gateway.embed({"model": model, "input": ["a text", clips[kind]]})

    reads = "text" if model in (TITAN_V1, TITAN) else "text and image"
    assert answer.refusal() == ("input[1]", "unsupported_media")
    assert f"{model} reads {reads}, not {name}" in answer.error()["message"]
    assert emulator.journal() == []


@pytest.mark.parametrize("form", ["gif", "webp"])
@pytest.mark.parametrize("model", [TITAN_IMAGE, ENGLISH, MULTILINGUAL])
def test_pictures_in_a_format_the_model_lacks_are_refused(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str, form: str
) -> None:
    answer = gateway.embed({"model": model, "input": [pictures["png"], pictures[form]]})

    assert answer.refusal() == ("input[1]", "unsupported_media")
    assert form in answer.error()["message"]
    assert emulator.journal() == []
