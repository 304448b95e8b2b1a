"""Several things as one vector, and one thing as several vectors.

A list of content parts is one input, on the models that make one vector of several parts; the others refuse it. A text
and a picture alone are one vector to Marengo 3.0, to no other model. A film whose sound is asked for apart is two.

It is one long module because the three models that fuse differ in what they take, not in what is asked of them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import BedrockBody, Emulator, Expected, Gateway, StartGateway

TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
#: Models that make no vector of several parts.
OTHERS = [
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-g1-text-02",
    "amazon.titan-embed-text-v2:0",
    NOVA,
    ENGLISH,
    "cohere.embed-multilingual-v3",
    MARENGO_2,
]
READING_PICTURES = [TITAN_IMAGE, NOVA, ENGLISH, "cohere.embed-multilingual-v3", V4, MARENGO_2]


def part(item: str) -> dict[str, Any]:
    """Return a text or a data URI as a content part."""
    if item.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": item}}
    return {"type": "text", "text": item}


def parts(*items: str) -> list[dict[str, Any]]:
    return [part(item) for item in items]


def bare(picture: str) -> str:
    return picture.partition(",")[2]


def v4_body(*inputs: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return what Cohere v4 is sent for inputs of several parts."""
    common = {"input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]}
    return common | {"inputs": [{"content": content} for content in inputs]} | changes


def titan_body(text: str, picture: str, dimensions: int | None = None) -> dict[str, Any]:
    size = {"embeddingConfig": {"outputEmbeddingLength": dimensions}} if dimensions else {}
    return {"inputText": text, "inputImage": bare(picture), **size}


def marengo_body(*items: str, **changes: Any) -> dict[str, Any]:
    """Return what Marengo 3.0 is sent for parts in this order: pictures have a place in the text, by name."""
    texts = [item for item in items if not item.startswith("data:")]
    pictures = [item for item in items if item.startswith("data:")]
    if (len(texts), len(pictures)) == (1, 1):
        source = {"base64String": bare(pictures[0])}
        return {"inputType": "text_image", "text_image": {"inputText": texts[0], "mediaSource": source}} | changes
    names = [f"image{number}" for number in range(1, len(pictures) + 1)]
    sources = [
        {"name": name, "mediaType": "image", "base64String": bare(picture)}
        for name, picture in zip(names, pictures, strict=True)
    ]
    places = iter(names)
    words = " ".join(f"<@{next(places)}>" if item.startswith("data:") else item for item in items)
    content = {"mediaSources": sources} | ({"inputText": words} if texts else {})
    return {"inputType": "multi_input", "multi_input": content} | changes


# ----------------------------------------------------------------------------------------------------------- Cohere v4


def test_parts_are_one_vector_of_cohere_v4(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    page = parts("file_name: fruit.pdf, page: 1", pictures["png"])

    answer = gateway.embed({"model": V4, "input": [page], "dimensions": 512})

    body = v4_body(page, output_dimension=512)
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(V4, body)
    answer.check_usage(emulator.journal())


def test_parts_stand_beside_other_inputs_in_their_places(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    page, only_texts, only_pictures = (
        parts("page 1", pictures["png"], "a caption"),
        parts("one", "two"),
        parts(pictures["gif"], pictures["webp"], pictures["jpeg"]),
    )
    items = ["a text", page, pictures["jpeg"], only_texts, only_pictures, "the end"]

    answer = gateway.embed({"model": V4, "input": items})

    body = v4_body(parts("a text"), page, parts(pictures["jpeg"]), only_texts, only_pictures, parts("the end"))
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(V4, body)
    assert len(answer.vectors()) == 6
    answer.check_usage(emulator.journal())


def test_order_of_parts_is_the_callers(gateway: Gateway, pictures: dict[str, str]) -> None:
    orders = [parts(*items) for items in permutations(["a text", pictures["png"], "another"])]

    vectors = gateway.embed({"model": V4, "input": orders}).vectors()

    assert vectors == expected_vectors(V4, v4_body(*orders))
    assert len({tuple(vector) for vector in vectors}) == 6


def test_parts_to_the_official_client(openai_client: openai.OpenAI, pictures: dict[str, str]) -> None:
    page = parts("page 1", pictures["png"])

    reply = openai_client.post("/embeddings", body={"model": V4, "input": [page, "beside"]}, cast_to=object)

    assert isinstance(reply, dict)
    assert [item["embedding"] for item in reply["data"]] == expected_vectors(V4, v4_body(page, parts("beside")))


def test_more_inputs_of_parts_than_a_call_takes(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    items = [parts(f"page {number}", pictures["png"]) for number in range(100)]

    answer = gateway.embed({"model": V4, "input": items})

    first, second = v4_body(*items[:96]), v4_body(*items[96:])
    assert sorted(row["items"] for row in emulator.journal()) == [4, 96]
    assert answer.vectors() == expected_vectors(V4, first) + expected_vectors(V4, second)
    answer.check_usage(emulator.journal())


@pytest.mark.parametrize("model", [TITAN_IMAGE, NOVA, ENGLISH, V4, MARENGO_2, MARENGO_3])
@pytest.mark.parametrize("item", ["a text", "png"])
def test_a_list_of_one_part_is_that_part(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, pictures: dict[str, str], model: str, item: str
) -> None:
    thing = pictures.get(item, item)

    answer = gateway.embed({"model": model, "input": [parts(thing)]})

    assert emulator.bodies() == [bedrock_body(model, thing)]
    assert answer.vectors() == expected_vectors(model, bedrock_body(model, thing))


def test_a_part_may_name_its_picture_without_an_object(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    short = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": pictures["png"]}]

    gateway.embed({"model": V4, "input": [short]})

    assert emulator.bodies() == [v4_body(parts("a", pictures["png"]))]


def test_pictures_for_the_purpose_of_images_stay_apart(gateway: Gateway, pictures: dict[str, str]) -> None:
    """Several in one `images` with that purpose would come back as one vector of them all."""
    items = [pictures["png"], pictures["jpeg"], pictures["gif"]]

    vectors = gateway.embed({"model": V4, "input": items, "input_type": "image"}).vectors()

    assert vectors == expected_vectors(V4, v4_body(*(parts(item) for item in items), input_type="image"))
    assert len({tuple(vector) for vector in vectors}) == 3


# --------------------------------------------------------------------------------------------------------- Titan image


@pytest.mark.parametrize("dimensions", [None, 384])
@pytest.mark.parametrize("text_first", [True, False])
def test_a_text_and_a_picture_are_one_vector_of_titan(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], text_first: bool, dimensions: int | None
) -> None:
    pair = parts("a red apple", pictures["png"])

    answer = gateway.embed(
        {"model": TITAN_IMAGE, "input": [pair if text_first else pair[::-1]], "dimensions": dimensions}
    )

    body = titan_body("a red apple", pictures["png"], dimensions)
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(TITAN_IMAGE, body)
    answer.check_usage(emulator.journal())


def test_the_vector_of_both_is_their_mean(gateway: Gateway, pictures: dict[str, str]) -> None:
    """So it is shorter than 1, unless somebody asks for that."""
    pair = parts("a red apple", pictures["png"])
    ask = {"model": TITAN_IMAGE, "input": [pair, "a red apple", pictures["png"]]}

    both, text, picture = gateway.embed(ask).vectors()
    scaled, *_ = gateway.embed(ask | {"normalize": True}).vectors()

    assert both == pytest.approx((np.array(text) + np.array(picture)) / 2, abs=1e-7)
    assert np.linalg.norm(both) < 0.99
    assert np.linalg.norm(scaled) == pytest.approx(1.0, abs=1e-6)
    assert scaled == pytest.approx(np.array(both) / np.linalg.norm(both), rel=1e-9)


# ---------------------------------------------------------------------------------------------------------- Marengo 3.0


@pytest.mark.parametrize(
    "order",
    [
        ("a shoe", "png"),
        ("png", "a shoe"),
        ("png", "jpeg"),
        ("png", "jpeg", "gif", "webp"),
        ("the first", "png", "and the second", "jpeg"),
        ("png", "worn with", "jpeg"),
        ("one text", "another", "png"),
        ("png", "png", "twice the same"),
    ],
)
def test_parts_are_one_vector_of_marengo(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], order: tuple[str, ...]
) -> None:
    items = [pictures.get(item, item) for item in order]

    answer = gateway.embed({"model": MARENGO_3, "input": [parts(*items)]})

    body = marengo_body(*items)
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(MARENGO_3, body)
    answer.check_usage(emulator.journal(), [item for item in items if not item.startswith("data:")])


def test_several_inputs_of_parts_keep_their_order(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], expected: Expected
) -> None:
    first, second = ["a shoe", pictures["png"]], [pictures["gif"], "beside", pictures["jpeg"]]

    answer = gateway.embed({"model": MARENGO_3, "input": ["alone", parts(*first), parts(*second), pictures["webp"]]})

    (text,), (picture,) = expected(MARENGO_3, ["alone"]), expected(MARENGO_3, [pictures["webp"]])
    (fused,), (several,) = (expected_vectors(MARENGO_3, marengo_body(*items)) for items in (first, second))
    assert answer.vectors() == [text, fused, several, picture]
    assert len(emulator.journal()) == 4


def test_name_of_a_call_goes_along_with_parts(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    gateway.embed({"model": MARENGO_3, "input": [parts("a", pictures["png"])], "inference_id": "mine"})

    assert emulator.bodies() == [marengo_body("a", pictures["png"], inferenceId="mine")]


def test_callers_words_do_not_move_a_picture(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    """Words that look like a place for a picture are refused, or mean none of these."""
    item = parts("<@image2> comes first", pictures["png"], pictures["gif"])

    answer = gateway.embed({"model": MARENGO_3, "input": [item]})

    if answer.status == 400:
        assert answer.refusal()[0] == "input[0]"
        return
    content = emulator.bodies()[0]["multi_input"]
    places = dict.fromkeys(re.findall("<@([^<>]+)>", content["inputText"]))
    by_name = {source["name"]: source["base64String"] for source in content["mediaSources"]}
    seen = [by_name[name] for name in places if name in by_name]
    assert seen == [bare(pictures["png"]), bare(pictures["gif"])]


def test_words_that_name_a_picture_which_is_not_there(gateway: Gateway, pictures: dict[str, str]) -> None:
    answer = gateway.embed({"model": MARENGO_3, "input": ["a", parts("write to <@jo>", *2 * [pictures["png"]])]})

    assert answer.status == 200 or answer.refusal()[0] == "input[1]"


def test_several_media_of_one_kind_in_s3(
    gateway: Gateway, emulator: Emulator, media_bucket: Any, pictures: dict[str, str]
) -> None:
    shoe = b64decode(bare(pictures["jpeg"]))
    media_bucket.put_object(Bucket="media", Key="shoe.png", Body=shoe)
    item = [part("a shoe"), {"type": "image_url", "image_url": {"url": "s3://media/shoe.png"}}, part(pictures["png"])]

    answer = gateway.embed({"model": MARENGO_3, "input": [item]})

    sources = [
        {"name": "image1", "mediaType": "image", "s3Location": {"uri": "s3://media/shoe.png"}},
        {"name": "image2", "mediaType": "image", "base64String": bare(pictures["png"])},
    ]
    content = {"mediaSources": sources, "inputText": "a shoe <@image1> <@image2>"}
    body = {"inputType": "multi_input", "multi_input": content}
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(MARENGO_3, body, {"s3://media/shoe.png": shoe})


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("order", [("a", "png"), ("a", "b"), ("png", "jpeg")])
@pytest.mark.parametrize("model", OTHERS)
def test_parts_are_refused_by_models_that_do_not_fuse(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str, order: tuple[str, ...]
) -> None:
    item = parts(*(pictures.get(word, word) for word in order))

    assert gateway.embed({"model": model, "input": [item]}).refusal() == ("input[0]", "unsupported_input_combination")
    assert gateway.embed({"model": model, "input": ["a", item]}).refusal() == (
        "input[1]",
        "unsupported_input_combination",
    )
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (TITAN_IMAGE, ("a", "b")),
        (TITAN_IMAGE, ("png", "jpeg")),
        (TITAN_IMAGE, ("a", "png", "b")),
        (TITAN_IMAGE, ("a", "png", "jpeg")),
        (MARENGO_3, ("a", "b")),
        (MARENGO_3, ("a", "b", "c")),
    ],
)
def test_parts_the_model_cannot_fuse_are_refused(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], model: str, order: tuple[str, ...]
) -> None:
    item = parts(*(pictures.get(word, word) for word in order))

    answer = gateway.embed({"model": model, "input": [item]})

    assert answer.refusal() == ("input[0]", "unsupported_input_combination")
    assert emulator.journal() == []


@pytest.mark.parametrize("kind", ["mp4", "ogg"])
@pytest.mark.parametrize("model", [TITAN_IMAGE, V4, MARENGO_3])
def test_a_film_or_a_sound_is_no_part(
    gateway: Gateway, emulator: Emulator, clips: dict[str, str], model: str, kind: str
) -> None:
    answer = gateway.embed({"model": model, "input": [parts("a", clips[kind])]})

    param, code = answer.refusal()
    assert ((param or "").startswith("input[0]"), code) == (True, "unsupported_media")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ([], "input[1]", "empty_input"),
        ([{"type": "text", "text": ""}], "input[1][0].text", "empty_input"),
        ([{"type": "text"}], "input[1][0].text", "invalid_type"),
        ([{"type": "input_audio", "input_audio": {}}], "input[1][0].type", "invalid_value"),
        ([{"type": "text", "text": "a", "image_url": "b"}], "input[1][0]", "unsupported_parameter"),
        ([{"type": "text", "text": "a"}, "b"], "input[1][1]", "invalid_type"),
        (
            [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
            "input[1][0].image_url.url",
            "url_input_unsupported",
        ),
        ([{"type": "image_url", "image_url": "a red apple"}], "input[1][0].image_url", "url_input_unsupported"),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
            "input[1][0].image_url.url",
            "media_type_mismatch",
        ),
        ({"type": "text", "text": "a"}, "input[1]", "invalid_type"),
    ],
)
def test_a_broken_part_is_named(gateway: Gateway, emulator: Emulator, item: object, param: str, code: str) -> None:
    answer = gateway.embed({"model": V4, "input": ["fine", item]})

    assert answer.refusal() == (param, code)
    assert emulator.journal() == []


# ---------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("name", [MARENGO_3, f"us.{MARENGO_3}", f"bedrock/us.{MARENGO_3}"])
@pytest.mark.parametrize("text_first", [True, False])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_text_and_a_picture_alone_are_one_item(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], name: str, text_first: bool, encoding: str
) -> None:
    pair = ["a shoe", pictures["png"]]

    answer = gateway.embed({"model": name, "input": pair if text_first else pair[::-1], "encoding_format": encoding})

    (item,) = answer.items()
    (vector,) = expected_vectors(MARENGO_3, marengo_body(*pair))
    assert emulator.bodies() == [marengo_body(*pair)]
    assert (item["index"], item["input_indices"]) == (0, [0, 1])
    if encoding == "float":
        assert item["embedding"] == vector
    else:
        assert b64decode(item["embedding"], validate=True) == np.array(vector, "<f4").tobytes()


def test_a_pair_to_the_official_client(openai_client: openai.OpenAI, pictures: dict[str, str]) -> None:
    reply = openai_client.embeddings.create(model=MARENGO_3, input=["a shoe", pictures["png"]])

    (item,) = reply.data
    (vector,) = expected_vectors(MARENGO_3, marengo_body("a shoe", pictures["png"]))
    assert np.array(item.embedding, "<f4").tobytes() == np.array(vector, "<f4").tobytes()
    assert item.model_extra == {"input_indices": [0, 1]}


def test_a_pair_may_say_that_it_is_one(gateway: Gateway, emulator: Emulator, pictures: dict[str, str]) -> None:
    ask = {"model": MARENGO_3, "input": ["a shoe", pictures["png"]]}

    assert gateway.embed(ask | {"input_type": "text_image"}).status == 200
    assert gateway.embed(ask | {"input_type": "text"}).refusal() == ("input_type", "invalid_value")
    assert gateway.embed(ask | {"input_type": "multi_input"}).refusal() == ("input_type", "invalid_value")
    assert len(emulator.journal()) == 1


@pytest.mark.parametrize(
    ("uri", "members"),
    [
        ("s3://media/shoe.png", {}),
        ("s3://media/shoe.png", {"input_type": "text_image"}),
        ("s3://media/shoe", {"input_type": "text_image"}),
    ],
)
def test_the_picture_of_a_pair_may_lie_in_s3(
    gateway: Gateway,
    emulator: Emulator,
    media_bucket: Any,
    pictures: dict[str, str],
    uri: str,
    members: dict[str, str],
) -> None:
    """What an object is tells its extension, or `input_type`."""
    shoe = b64decode(bare(pictures["png"]))
    media_bucket.put_object(Bucket="media", Key=uri.rpartition("/")[2], Body=shoe)
    answer = gateway.embed({"model": MARENGO_3, "input": ["a shoe", uri], **members})

    source = {"s3Location": {"uri": uri}}
    body = {"inputType": "text_image", "text_image": {"inputText": "a shoe", "mediaSource": source}}
    (item,) = answer.items()
    assert emulator.bodies() == [body]
    assert (item["index"], item["input_indices"]) == (0, [0, 1])
    assert [item["embedding"]] == expected_vectors(MARENGO_3, body, {uri: shoe})


@pytest.mark.parametrize("position", [0, 1])
def test_the_picture_of_a_pair_is_named_by_its_own_index(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str], position: int
) -> None:
    """As it is in any other list."""
    large = f"data:image/png;base64,{b64encode(b64decode(bare(pictures['png'])) + bytes(5_000_000)).decode()}"
    items = ["a shoe", "another"]
    items[position] = large
    headers = {"X-Amzn-Bedrock-GuardrailIdentifier": "mine", "X-Amzn-Bedrock-GuardrailVersion": "1"}

    of_three = gateway.embed({"model": MARENGO_3, "input": [*items, "a third"]})
    of_two = gateway.embed({"model": MARENGO_3, "input": items})
    items[position] = pictures["png"]
    guarded = gateway.embed({"model": MARENGO_3, "input": items}, headers)

    assert emulator.journal() == []
    assert of_three.refusal() == (f"input[{position}]", "media_too_large")
    assert of_two.refusal() == (f"input[{position}]", "media_too_large")
    assert guarded.refusal() == (f"input[{position}]", "unsupported_media")


@pytest.mark.parametrize(
    "order", [("a", "b"), ("png", "jpeg"), ("a", "png", "b"), ("a", "png", "b", "jpeg"), ("png",), ("a",)]
)
def test_any_other_list_is_one_vector_an_input(
    gateway: Gateway, emulator: Emulator, expected: Expected, pictures: dict[str, str], order: tuple[str, ...]
) -> None:
    items = [pictures.get(word, word) for word in order]

    answer = gateway.embed({"model": MARENGO_3, "input": items})

    assert answer.vectors() == expected(MARENGO_3, items)
    assert len(emulator.journal()) == len(items)
    answer.check_usage(emulator.journal(), [item for item in items if not item.startswith("data:")])


@pytest.mark.parametrize("model", READING_PICTURES)
def test_a_text_and_a_picture_alone_are_two_vectors_of_any_other_model(
    gateway: Gateway, emulator: Emulator, expected: Expected, pictures: dict[str, str], model: str
) -> None:
    items = ["a shoe", pictures["png"]]

    answer = gateway.embed({"model": model, "input": items})

    assert answer.vectors() == expected(model, items)
    answer.check_usage(emulator.journal(), ["a shoe"] if model == MARENGO_2 else ())


def test_pairs_are_inputs_of_their_own_where_the_operator_wants_it(
    gateway_with: StartGateway, expected: Expected, pictures: dict[str, str]
) -> None:
    """Parts are one vector all the same."""
    gateway = gateway_with(EMBEDROCK_MARENGO_PAIR="false")
    pair = ["a shoe", pictures["png"]]

    apart = gateway.embed({"model": MARENGO_3, "input": pair})
    fused = gateway.embed({"model": MARENGO_3, "input": [parts(*pair)]})

    assert apart.vectors() == expected(MARENGO_3, pair)
    assert fused.vectors() == expected_vectors(MARENGO_3, marengo_body(*pair))


# ------------------------------------------------------------------------------------------------------- film and sound


def film_body(film: str, mode: str, dimensions: int = 3072) -> dict[str, Any]:
    medium = {"format": "mp4", "source": {"bytes": bare(film)}, "embeddingMode": mode}
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": dimensions, "video": medium}
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


@pytest.mark.parametrize("spelling", ["embedding_mode", "embeddingMode"])
def test_film_and_its_sound_apart_are_two_items_of_one_index(
    gateway: Gateway, emulator: Emulator, clips: dict[str, str], spelling: str
) -> None:
    answer = gateway.embed({"model": NOVA, "input": clips["mp4"], spelling: "AUDIO_VIDEO_SEPARATE"})

    body = film_body(clips["mp4"], "AUDIO_VIDEO_SEPARATE")
    seen, heard = expected_vectors(NOVA, body)
    assert emulator.bodies() == [body]
    assert answer.items() == [
        {"object": "embedding", "index": 0, "segment": {"option": "video"}, "embedding": seen},
        {"object": "embedding", "index": 0, "segment": {"option": "audio"}, "embedding": heard},
    ]
    answer.check_usage(emulator.journal())


def test_several_films_and_texts_keep_their_indexes(
    gateway: Gateway, expected: Expected, clips: dict[str, str], pictures: dict[str, str]
) -> None:
    items = ["a text", clips["mp4"], clips["ogg"], clips["mp4"], pictures["png"]]

    answer = gateway.embed({"model": NOVA, "input": items, "embedding_mode": "AUDIO_VIDEO_SEPARATE", "dimensions": 256})

    found = answer.items()
    apart = expected_vectors(NOVA, film_body(clips["mp4"], "AUDIO_VIDEO_SEPARATE", 256))
    (text, sound, picture) = expected(NOVA, ["a text", clips["ogg"], pictures["png"]], 256)
    assert [item["index"] for item in found] == [0, 1, 1, 2, 3, 3, 4]
    assert [item.get("segment", {}).get("option") for item in found] == [
        *(None, "video", "audio", None),
        *("video", "audio", None),
    ]
    assert [item["embedding"] for item in found] == [text, *apart, sound, *apart, picture]


def test_film_and_its_sound_apart_in_base64(gateway: Gateway, clips: dict[str, str]) -> None:
    ask = {"model": NOVA, "input": [clips["mp4"]], "embedding_mode": "AUDIO_VIDEO_SEPARATE"}
    with openai.OpenAI(base_url=gateway.url, api_key="any") as client:
        reply = client.embeddings.create(
            model=NOVA, input=[clips["mp4"]], extra_body={"embedding_mode": "AUDIO_VIDEO_SEPARATE"}
        )

    wanted = [item["embedding"] for item in gateway.embed(ask).items()]
    assert [np.array(item.embedding, "<f4").tobytes() for item in reply.data] == [
        np.array(vector, "<f4").tobytes() for vector in wanted
    ]
    assert [item.index for item in reply.data] == [0, 0]


def test_film_with_its_sound_is_one_item(gateway: Gateway, emulator: Emulator, clips: dict[str, str]) -> None:
    silent = gateway.embed({"model": NOVA, "input": [clips["mp4"]]})
    loud = gateway.embed({"model": NOVA, "input": [clips["mp4"]], "embedding_mode": "AUDIO_VIDEO_COMBINED"})

    body = film_body(clips["mp4"], "AUDIO_VIDEO_COMBINED")
    assert silent.vectors() == loud.vectors() == expected_vectors(NOVA, body)
    assert emulator.bodies() == [body, body]
