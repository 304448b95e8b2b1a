"""What is known of inputs before a call: too long, too large, of a kind the model does not read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from embedrock.catalog import MODELS, ModelSpec
from embedrock.errors import BadRequest, ContextTooLong
from embedrock.families import FAMILIES
from embedrock.inputs import Fused, Inputs, Item
from embedrock.media import Media, S3Object
from embedrock.service.checks import Ready, large, prepare

from .stand_ins import (
    ENGLISH,
    MARENGO_2,
    MARENGO_3,
    MP4,
    NOVA,
    PNG,
    S3_PNG,
    TITAN,
    TITAN_IMAGE,
    TITAN_V1,
    V4,
    fused,
    inputs_of,
)


def ready(model: str | ModelSpec, inputs: Inputs, **params: Any) -> Ready:
    spec = MODELS[model] if isinstance(model, str) else model
    family = FAMILIES[spec.family]
    known, unknown = family.table.read(params)
    assert not unknown
    return prepare(spec, family, inputs, family.table.resolve(spec, [known]))


def refusal(model: str | ModelSpec, *items: Item, listed: bool = True, **params: Any) -> BadRequest:
    """Return the error, after checking that it tells the caller's name of the input first."""
    with pytest.raises(BadRequest) as caught:
        ready(model, inputs_of(*items, listed=listed), **params)
    error = caught.value
    assert error.param
    assert error.message.startswith(f"'{error.param}'")
    return error


# ---------------------------------------------------------------- texts: how long

LIMITS = [(TITAN_V1, 50_000), (TITAN, 50_000), (NOVA, 8192), (ENGLISH, 2048)]
UNLIMITED = [TITAN_IMAGE, V4, MARENGO_2, MARENGO_3]


def test_every_model_is_in_one_of_the_lists() -> None:
    others = {"amazon.titan-embed-g1-text-02", "cohere.embed-multilingual-v3"}  # as the ones of their families

    assert {model for model, _ in LIMITS} | set(UNLIMITED) | others == set(MODELS)
    assert all(MODELS[model].max_input_chars is None for model in UNLIMITED)


@pytest.mark.parametrize("model, limit", LIMITS)
@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_text_at_the_limit_is_sent_as_it_is_and_one_beyond_is_refused(model: str, limit: int, letter: str) -> None:
    """In characters, whatever bytes they have."""
    longest = letter * limit

    assert ready(model, inputs_of("a", longest)) == Ready(["a", longest])
    error = refusal(model, "a", longest, longest + letter, longest + letter)

    assert (type(error), error.param, error.code) == (ContextTooLong, "input[2]", "context_length_exceeded")
    assert str(limit + 1) in error.message
    assert str(limit) in error.message
    assert letter * 20 not in error.message
    assert refusal(model, longest + letter, listed=False).param == "input"


@pytest.mark.parametrize("model, hint", [(TITAN_V1, False), (TITAN, False), (NOVA, True), (ENGLISH, True)])
def test_truncation_is_recommended_where_the_model_has_it(model: str, hint: bool) -> None:
    assert ("'truncate'" in refusal(model, "x" * 60_000).message) is hint


@pytest.mark.parametrize("model", UNLIMITED)
def test_text_of_any_length_is_left_to_a_model_whose_limit_in_characters_is_unknown(model: str) -> None:
    text = "x" * 600_000

    assert ready(model, inputs_of(text)) == Ready([text])


NUMBERED = "".join(f"{number:05d}" for number in range(20_000))  # 100,000 characters, each piece tells its place


@pytest.mark.parametrize(
    "model, truncate, sent",
    [
        (ENGLISH, "END", NUMBERED[:2048]),
        (ENGLISH, "START", NUMBERED[-2048:]),
        (NOVA, "END", NUMBERED[:50_000]),
        (NOVA, "START", NUMBERED[-50_000:]),
        (V4, "END", NUMBERED),
        (V4, "START", NUMBERED),
        (V4, "LEFT", NUMBERED),
        (V4, "RIGHT", NUMBERED),
        (MARENGO_2, "end", NUMBERED),
    ],
)
def test_text_is_cut_where_asked_for_to_what_bedrock_lets_through(model: str, truncate: str, sent: str) -> None:
    """The rest of the cutting is the model's."""
    found = ready(model, inputs_of("a", NUMBERED, "b", NUMBERED), truncate=truncate)

    assert found.items == ["a", sent, "b", sent]
    assert found.truncated == ((1, 3) if sent != NUMBERED else ())


@pytest.mark.parametrize("truncate, sent", [("LEFT", NUMBERED[-10:]), ("RIGHT", NUMBERED[:10])])
def test_left_and_right_are_start_and_end(truncate: str, sent: str) -> None:
    """For a model of an operator: Bedrock's own with these words has no limit that is known."""
    short = replace(MODELS[V4], max_input_chars=10)

    assert ready(short, inputs_of(NUMBERED, "a" * 10), truncate=truncate) == Ready([sent, "a" * 10], (0,))


@pytest.mark.parametrize(
    "model, truncate, length",
    [(ENGLISH, "END", 2048), (NOVA, "START", 8192), (NOVA, "END", 8193), (NOVA, "END", 50_000)],
)
def test_text_that_bedrock_lets_through_is_not_cut_here(model: str, truncate: str, length: int) -> None:
    assert ready(model, inputs_of("x" * length), truncate=truncate) == Ready(["x" * length])


@pytest.mark.parametrize("truncate", [None, "NONE"])
def test_text_is_never_cut_unless_asked_for(truncate: str | None) -> None:
    assert refusal(ENGLISH, "x" * 2049, truncate=truncate).code == "context_length_exceeded"


def test_texts_in_several_parts_are_cut_and_refused_alike() -> None:
    short = replace(MODELS[V4], max_input_chars=10)

    found = ready(short, inputs_of(fused(NUMBERED, PNG, "a" * 10)), truncate="END")
    assert found.items == [fused(NUMBERED[:10], PNG, "a" * 10)]
    assert refusal(short, "a", fused("a", "b" * 11)).param == "input[1]"


@pytest.mark.parametrize(
    "item, fits",
    [
        ("x" * 24_800_000, True),
        ("x" * 24_900_001, False),
        ("é" * 12_500_000, False),
        ("\x00" * 4_200_000, False),
    ],
    ids=["24.8 MB", "24.9 MB", "two bytes a letter", "six bytes a letter"],
)
def test_text_that_fits_no_call_is_refused_by_its_bytes_as_json(item: str, fits: bool) -> None:
    if fits:
        assert ready(V4, inputs_of(item)).items == [item]
        return
    error = refusal(V4, "a", item)

    assert (type(error), error.param, error.code) == (ContextTooLong, "input[1]", "context_length_exceeded")


# ---------------------------------------------------------------- media: what a model reads


def image(format_: str = "png", size: int = 100, width: int = 10, height: int = 10) -> Media:
    return Media("image", format_, "AAAA", size, width, height)


def in_s3(extension: str, kind: Any, format_: str | None, size: int | None = None) -> S3Object:
    return S3Object(f"s3://bucket/a.{extension}", kind, format_, size)


MP3 = Media("audio", "mp3", "bXAz", 3, None, None)
S3_MP4 = in_s3("mp4", "video", "mp4")
S3_TEXT = in_s3("txt", "text", "text")


@pytest.mark.parametrize(
    "model, items",
    [
        (TITAN_IMAGE, ["a", image("png"), image("jpeg"), fused("a", image())]),
        (TITAN_IMAGE, [image(size=25_000_000), image(width=2048, height=2048)]),
        (NOVA, ["a", image("gif"), image("webp"), MP3, MP4, S3_PNG, S3_MP4, S3_TEXT]),
        (NOVA, [image(width=90_000, height=9)]),
        (ENGLISH, ["a", image("png"), image("jpeg", size=5_000_000)]),
        (V4, ["a", image("gif"), fused("a", image("webp"), image("jpeg")), fused("a", "b")]),
        (MARENGO_2, ["a", image("png"), image("webp"), S3_PNG]),
        (MARENGO_3, ["a", image("png"), S3_PNG, fused("a", S3_PNG), fused(image(), S3_PNG, "b")]),
    ],
    ids=range(8),
)
def test_what_a_model_reads_is_sent_as_it_is(model: str, items: list[Item]) -> None:
    assert ready(model, inputs_of(*items)) == Ready(items)


@pytest.mark.parametrize(
    "model, item, code, words",
    [
        (TITAN_V1, PNG, "unsupported_media", f"{TITAN_V1} reads text, not image."),
        (TITAN, PNG, "unsupported_media", f"{TITAN} reads text, not image."),
        (TITAN, MP4, "unsupported_media", "reads text, not video."),
        (TITAN, S3_PNG, "unsupported_media", "reads text, not image."),
        (TITAN, fused("a", "b"), "unsupported_input_combination", "no vector of several parts"),
        (ENGLISH, fused("a", PNG), "unsupported_input_combination", "no vector of several parts"),
        (NOVA, fused("a", PNG), "unsupported_input_combination", "no vector of several parts"),
        (MARENGO_2, fused("a", PNG), "unsupported_input_combination", "no vector of several parts"),
        (TITAN_IMAGE, fused("a", "b"), "unsupported_input_combination", "one text and one image"),
        (TITAN_IMAGE, fused(PNG, PNG), "unsupported_input_combination", "one text and one image"),
        (MARENGO_3, fused("a", "b"), "unsupported_input_combination", "not of texts alone"),
        (TITAN_IMAGE, MP4, "unsupported_media", "reads text and image, not video."),
        (V4, MP3, "unsupported_media", "reads text and image, not audio."),
        (MARENGO_3, fused("a", MP4), "unsupported_media", "fuses text and image, not video"),
        (TITAN_IMAGE, image("webp"), "unsupported_media", "reads image as png, jpeg, not as webp."),
        (ENGLISH, image("gif"), "unsupported_media", "reads image as jpeg, png, not as gif."),
        (TITAN_IMAGE, in_s3("gif", "image", "gif"), "unsupported_media", "reads image as png, jpeg, not as gif."),
        (NOVA, in_s3("unknown", None, None, 1), "unsupported_media", "nor its content type tells what it is"),
        (MARENGO_3, in_s3("unknown", None, None, 1), "unsupported_media", "nor its content type tells what it is"),
        (ENGLISH, image(size=5_000_001), "media_too_large", "The image has 5000001 bytes"),
        (V4, fused("a", image(size=5_000_001)), "media_too_large", "takes at most 5000000"),
        (MARENGO_3, image(size=5_000_001), "media_too_large", "takes at most 5000000"),
        (TITAN_IMAGE, image(width=2049), "media_too_large", "The image is 2049 by 10 pixels"),
        (TITAN_IMAGE, fused("a", image(height=2049)), "media_too_large", "takes at most 2048 a side"),
        (
            V4,
            Fused((Media("image", "png", "A" * 6_000_000, 4_500_000, 1, 1),) * 5),
            "media_too_large",
            "25,000,000 bytes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:60],
)
def test_what_a_model_does_not_read_is_refused_by_its_index(model: str, item: Item, code: str, words: str) -> None:
    error = refusal(model, "a", item)

    assert (error.status, error.param, error.code) == (400, "input[1]", code)
    assert words in error.message
    assert refusal(model, item, listed=False).param == "input"


@pytest.mark.parametrize(
    "model, item",
    [
        (NOVA, Media("image", "png", "A" * 40_000_000, 30_000_000, 1, 1)),
        (NOVA, Media("video", "mp4", "A" * 24_900_000, 18_675_000, None, None)),
        (MARENGO_3, Fused((Media("image", "png", "A" * 6_000_000, 4_500_000, 1, 1),) * 5)),
    ],
    ids=range(3),
)
def test_media_too_large_for_a_call_are_let_through_where_the_model_reads_them_from_s3(model: str, item: Item) -> None:
    found = ready(model, inputs_of("a", PNG, item))

    assert found.items == ["a", PNG, item]
    assert large(found.items, slow=()) == [2]
    assert large(found.items, slow=(2,)) == []


@pytest.mark.parametrize(
    "model, said, kind", [(NOVA, "text", "text"), (MARENGO_2, "image", "image"), (MARENGO_3, "image", "image")]
)
def test_object_without_an_extension_is_what_the_caller_says(model: str, said: str, kind: str) -> None:
    unknown = S3Object("s3://bucket/unknown", None, None)

    found = ready(model, inputs_of(unknown), input_type=said)

    assert found.items == [S3Object("s3://bucket/unknown", kind, None)]  # type: ignore[arg-type]


def test_object_whose_format_nova_has_to_be_told_is_refused_although_its_kind_is_said() -> None:
    error = refusal(NOVA, "a", in_s3("unknown", None, None, 1), listed=True)

    assert (error.param, error.code) == ("input[1]", "unsupported_media")
    assert refusal(NOVA, in_s3("unknown", None, None, 1), input_type="image").code == "unsupported_media"


@pytest.mark.parametrize("model", [TITAN, TITAN_IMAGE, ENGLISH, V4, NOVA, MARENGO_2, MARENGO_3])
def test_object_that_nobody_has_looked_at_passes_if_it_may_be_something_the_model_reads(model: str) -> None:
    unknown = in_s3("unknown", None, None)

    assert ready(model, inputs_of(unknown, S3_TEXT)).items == [unknown, S3_TEXT]


@pytest.mark.parametrize(
    ("model", "item", "most"),
    [
        (NOVA, in_s3("png", "image", "png", 50_000_001), 50_000_000),
        (NOVA, in_s3("mp4", "video", "mp4", 2_000_000_001), 2_000_000_000),
        (NOVA, in_s3("txt", "text", "text", 634_000_001), 634_000_000),
        (MARENGO_2, in_s3("mp3", "audio", "mp3", 2_000_000_001), 2_000_000_000),
        (MARENGO_3, in_s3("png", "image", "png", 5_000_001), 5_000_000),
    ],
)
def test_object_larger_than_the_model_reads_from_s3_is_refused(model: str, item: S3Object, most: int) -> None:
    error = refusal(model, "a", item)

    assert (error.status, error.param, error.code) == (413, "input[1]", "media_too_large")
    assert ready(model, inputs_of(item._replace(size=most))).items


@pytest.mark.parametrize(
    ("model", "item"),
    [
        (MARENGO_2, MP4),
        (MARENGO_3, MP3),
        (MARENGO_3, S3_MP4),
        (NOVA, in_s3("mp4", "video", "mp4", 100_000_001)),
        (NOVA, in_s3("txt", "text", "text", 1_000_001)),
    ],
)
def test_what_a_call_does_not_take_goes_as_a_job(model: str, item: Item) -> None:
    found = ready(model, inputs_of("a", item))

    assert (found.slow, found.items) == ((1,), ["a", item])


@pytest.mark.parametrize("model", [ENGLISH, V4])
def test_wrong_word_for_the_inputs_is_refused_by_its_own_name(model: str) -> None:
    """Also where all are short texts, of which only one is looked at."""
    for items in (["a"], ["a", "b"], ["a" * 3000], [PNG, "a"]):
        with pytest.raises(BadRequest) as caught:
            ready(model, inputs_of(*items), input_type="image", truncate="END")
        assert caught.value.param == "input_type"


def test_inputs_are_not_changed() -> None:
    inputs = inputs_of("a" * 3000, "b", PNG)

    found = ready(ENGLISH, inputs, truncate="END")

    assert found.items[0] == "a" * 2048
    assert inputs == inputs_of("a" * 3000, "b", PNG)
