"""The one path: which calls a request becomes, and how their answers become one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from embedrock import vectors
from embedrock.catalog import Alias, Names
from embedrock.errors import (
    BadRequest,
    ContentBlocked,
    ContextTooLong,
    EmbedrockError,
    ModelNotSupported,
    S3AccessDenied,
    UpstreamTimeout,
)
from embedrock.service.defaults import Defaults
from embedrock.service.embedder import Embedder, Options, Reply
from embedrock.service.objects import Objects
from embedrock.service.s3_rules import S3Rules
from embedrock.service.ways import Ways
from embedrock.telemetry import Metrics
from embedrock.upstream.guardrail import Guardrail
from embedrock.vectors import Array, Label, Segment

from .stand_ins import ENGLISH, MARENGO_3, NOVA, PIXEL, PIXEL_URI, TITAN, TITAN_V1, V4, Sent, StandIn, Stored

ALIASES = {
    "query": Alias(V4, {"input_type": "search_query", "output_dimension": 256}),
    "o200k": Alias(TITAN, token_encoding="o200k_base"),
    "loose": Alias(TITAN, drop_params=True),
}
NAMES = Names(["us-east-1"], aliases=ALIASES)
FILM = "data:video/mp4;base64,AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t"


def vector(first: float, size: int) -> list[float]:
    """Return a vector that tells by its first number what it is of."""
    return [first, *[0.0] * (size - 2), 1.0]


def bedrock(sent: Sent) -> bytes:
    """Answer as Bedrock does; a vector's first number is the length of the text, or 0.5 for an image."""
    body = sent.body
    if sent.path == TITAN:
        size = body.get("dimensions", 1024)
        if body.get("embeddingTypes") == ["binary"]:
            return json.dumps({"embeddingsByType": {"binary": [1] * size}, "inputTextTokenCount": 2}).encode()
        return json.dumps({"embedding": vector(len(body["inputText"]), size), "inputTextTokenCount": 2}).encode()
    if sent.path == TITAN_V1:
        return json.dumps({"embedding": [3.0, *[0.0] * 1534, 4.0], "inputTextTokenCount": 2}).encode()
    if sent.path in (ENGLISH, V4):
        kind = body["embedding_types"][0]
        size = body.get("output_dimension", 1536 if sent.path == V4 else 1024)
        lengths: list[float] = [len(text) for text in body.get("texts", [])]
        lengths = lengths or [0.5] * len(body.get("images") or body["inputs"])
        rows: list[Any] = [vector(length, size) if kind == "float" else [7] * size for length in lengths]
        return json.dumps({"embeddings": {kind: rows}}).encode()
    if sent.path == NOVA:
        params = body["singleEmbeddingParams"]
        kinds = ["VIDEO", "AUDIO"] if "video" in params else ["TEXT"]
        size = params["embeddingDimension"]
        cut = {"truncatedCharLength": 9} if len(params.get("text", {}).get("value", "")) > 8192 else {}
        rows = [{"embedding": vector(place, size), "embeddingType": kind} | cut for place, kind in enumerate(kinds, 1)]
        return json.dumps({"embeddings": rows}).encode()
    assert sent.path == MARENGO_3, sent.path
    return json.dumps({"data": [{"embedding": vector(len(body["inputType"]), 512)}]}).encode()


async def embed(
    model: str, value: object, upstream: StandIn | None = None, *, options: Options | None = None, **asked: Any
) -> tuple[Reply[Array], StandIn]:
    """Return the reply, and the region with the calls it saw."""
    region = upstream or StandIn(bedrock)
    defaults = Defaults(NAMES, {ENGLISH: {"truncate": "END"}})
    objects = Objects({"us-east-1": Stored({"s3://media/a.png": b"png", "s3://bucket/a.png": b"png"})}, 1000)
    embedder = Embedder(NAMES, Ways({"us-east-1": region}), Metrics(), options or Options(), defaults, objects)
    return await embedder.embed(model, value, **{"render": vectors.as_json} | asked), region


def firsts(reply: Reply[Array]) -> list[float]:
    return [json.loads(bytes(array))[0] for array in reply.vectors]


async def refusal(model: str, value: object, upstream: StandIn | None = None, **asked: Any) -> EmbedrockError:
    """Return the error of a request; without an `upstream` of its own, nothing may have been sent before it."""
    region = upstream or StandIn(bedrock)
    with pytest.raises(EmbedrockError) as caught:
        await embed(model, value, region, **asked)
    if upstream is None:
        assert region.sent == []
    return caught.value


# ---------------------------------------------------------------- many inputs


@pytest.mark.parametrize("model, calls", [(TITAN, 200), (ENGLISH, 3), (V4, 3), (MARENGO_3, 200)])
@pytest.mark.parametrize("lanes", [1, 7, 64])
async def test_every_input_has_its_vector_in_order_from_calls_that_share_the_lanes(
    model: str, calls: int, lanes: int
) -> None:
    texts = ["x" * (index * 7 % 200 + 1) for index in range(200)]

    reply, upstream = await embed(model, texts, options=Options(lanes=lanes, shares_calls=False))

    assert firsts(reply) == ([len("text")] * 200 if model == MARENGO_3 else [len(text) for text in texts])
    assert (reply.calls, len(upstream.sent), reply.labels) == (calls, calls, None)
    assert upstream.at_once == min(lanes, calls)


async def test_kinds_that_may_not_share_a_call_come_back_in_the_callers_order() -> None:
    reply, upstream = await embed(ENGLISH, ["a", PIXEL_URI, "bb", "ccc", PIXEL_URI])

    assert firsts(reply) == [1, 0.5, 2, 3, 0.5]
    assert sorted(len(sent.body.get("texts", [])) for sent in upstream.sent) == [0, 0, 1, 2]


async def test_first_failure_ends_the_request() -> None:
    def fails(sent: Sent) -> bytes | EmbedrockError:
        return BadRequest("no") if sent.body["inputText"] == "x" * 3 else bedrock(sent)

    upstream = StandIn(fails)
    error = await refusal(TITAN, ["x" * length for length in range(1, 200)], upstream, options=Options(lanes=4))

    assert (type(error), error.param) == (BadRequest, "input[2]")
    assert len(upstream.sent) <= 12


# ---------------------------------------------------------------- pairs, parts, segments


@pytest.mark.parametrize("pair", [["red", PIXEL_URI], [PIXEL_URI, "red"], ["red", "s3://bucket/a.png"]], ids=range(3))
async def test_text_and_image_alone_are_one_vector_of_marengo_3(pair: list[str]) -> None:
    reply, upstream = await embed(MARENGO_3, pair)

    assert firsts(reply) == [len("text_image")]
    assert reply.labels == [Label(0, input_indices=(0, 1))]
    (sent,) = upstream.sent
    assert sent.body["text_image"]["inputText"] == "red"


@pytest.mark.parametrize(
    "model, value, pairs",
    [
        (MARENGO_3, ["red", PIXEL_URI], False),
        (MARENGO_3, ["red", "blue"], True),
        (MARENGO_3, [PIXEL_URI, PIXEL_URI], True),
        (MARENGO_3, ["red", PIXEL_URI, "blue"], True),
        (MARENGO_3, [PIXEL_URI], True),
        (V4, ["red", PIXEL_URI], True),
    ],
    ids=range(6),
)
async def test_any_other_list_is_one_vector_an_input(model: str, value: list[Any], pairs: bool) -> None:
    reply, _ = await embed(model, value, options=Options(pairs=pairs))

    assert len(reply.vectors) == len(value)
    assert reply.labels is None


async def test_parts_in_a_list_are_one_input_of_it() -> None:
    parts = [{"type": "image_url", "image_url": PIXEL_URI}, {"type": "text", "text": "red"}]

    reply, upstream = await embed(MARENGO_3, ["a", parts])

    assert firsts(reply) == [len("text"), len("text_image")]
    assert reply.labels is None
    assert upstream.sent[1].body["text_image"]["mediaSource"] == {"base64String": PIXEL}


async def test_input_with_several_vectors_has_several_items_with_its_index() -> None:
    reply, _ = await embed(NOVA, ["a", FILM, "b"], params=[{"embedding_mode": "AUDIO_VIDEO_SEPARATE"}])

    assert firsts(reply) == [1, 1, 2, 1]
    assert reply.labels == [
        Label(0),
        Label(1, Segment(option="video")),
        Label(1, Segment(option="audio")),
        Label(2),
    ]


# ---------------------------------------------------------------- what is asked of the model


async def test_parameters_reach_the_model_and_the_unknown_are_told_when_dropped() -> None:
    _, upstream = await embed(TITAN, "a", dimensions=256, params=[{"normalize": False}])
    assert upstream.sent[0].body == {"inputText": "a", "dimensions": 256, "normalize": False}

    reply, upstream = await embed("loose", "a", params=[{"top_p": 1, "dimensions": 512}, {"n": 2}])
    assert (reply.dropped, upstream.sent[0].body) == (("top_p", "n"), {"inputText": "a", "dimensions": 512})

    error = await refusal(TITAN, "a", params=[{"top_p": 1}])
    assert (error.param, error.code) == ("top_p", "unsupported_parameter")


async def test_defaults_of_alias_and_operator_reach_the_model() -> None:
    _, upstream = await embed("query", "a")
    assert upstream.sent[0].body["input_type"] == "search_query"
    assert upstream.sent[0].body["output_dimension"] == 256

    _, upstream = await embed(ENGLISH, "a")
    assert upstream.sent[0].body["truncate"] == "END"


async def test_token_ids_are_read_by_the_aliass_vocabulary() -> None:
    _, upstream = await embed("o200k", [[24912, 2375], [24912]])

    assert [sent.body["inputText"] for sent in upstream.sent] == ["hello world", "hello"]


async def test_vectors_are_of_length_1_where_that_was_asked_for() -> None:
    plain, _ = await embed(TITAN_V1, "a")
    scaled, _ = await embed(TITAN_V1, "a", params=[{"normalize": True}], render=vectors.as_float32)

    assert json.loads(bytes(plain.vectors[0]))[::1535] == [3.0, 4.0]
    (numbers,) = scaled.vectors
    assert list(numbers[::1535]) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("model, kind, size", [(TITAN, "binary", 1024), (V4, "int8", 1536)])
async def test_whole_numbers_come_back_as_such_and_not_as_base64(model: str, kind: str, size: int) -> None:
    params: Sequence[dict[str, Any]] = [{"embedding_types": [kind]}]

    reply, _ = await embed(model, "a", params=params)
    error = await refusal(model, "a", params=params, render=vectors.as_base64)

    assert json.loads(bytes(reply.vectors[0])) == [7 if kind == "int8" else 1] * size
    assert (error.param, error.code) == ("encoding_format", "invalid_value")


async def test_callers_headers_go_with_each_call() -> None:
    headers = (("x-amzn-bedrock-service-tier", "flex"),)

    _, upstream = await embed(TITAN, ["a", "b"], headers=headers)

    assert [sent.headers for sent in upstream.sent] == [headers] * 2


# ---------------------------------------------------------------- what is told of the inputs


async def test_cut_texts_are_told_whoever_cut_them() -> None:
    """The gateway tells of those it cut, and a model of those it says it cut."""
    cut_here, upstream = await embed(ENGLISH, ["a", "x" * 3000, "b" * 2048])
    cut_there, _ = await embed(NOVA, ["a", "x" * 9000, "x" * 60_000], params=[{"truncate": "END"}])

    assert (cut_here.truncated, upstream.sent[0].body["texts"][1]) == ((1,), "x" * 2048)
    assert cut_there.truncated == (1, 2)


async def test_empty_texts_that_became_spaces_are_told() -> None:
    alone, upstream = await embed(TITAN, "")
    listed, _ = await embed(TITAN, ["a", "", ""], options=Options(empty_as_space=True))

    assert (alone.emptied, upstream.sent[0].body["inputText"]) == ((0,), " ")
    assert listed.emptied == (1, 2)


@pytest.mark.parametrize(
    "model, value, tokens, reported",
    [
        (TITAN, ["a", "b", "c"], 6, True),
        (MARENGO_3, ["a", "abcd", "abcde", " "], 1 + 1 + 2 + 1, False),
        (MARENGO_3, ["x" * 4001, PIXEL_URI], 1001, False),
        (MARENGO_3, [PIXEL_URI], 0, False),
        (V4, [[{"type": "text", "text": "abcde"}, {"type": "text", "text": "a"}], "abc"], 2 + 1 + 1, False),
    ],
)
async def test_tokens_are_those_reported_or_a_quarter_of_the_characters(
    model: str, value: object, tokens: int, reported: bool
) -> None:
    reply, _ = await embed(model, value)

    assert (reply.tokens, reply.reported) == (tokens, reported)


# ---------------------------------------------------------------- refused before anything is sent


@pytest.mark.parametrize(
    "model, value, asked, param, code",
    [
        (TITAN, ["a"] * 99 + ["x" * 50_001], {}, "input[99]", "context_length_exceeded"),
        (TITAN, ["a", PIXEL_URI], {}, "input[1]", "unsupported_media"),
        (TITAN, ["a"], {"dimensions": 300}, "dimensions", "invalid_value"),
        (ENGLISH, ["a"], {"params": [{"normalize": False}]}, "normalize", "invalid_value"),
        (MARENGO_3, ["a", FILM], {}, None, "s3_bucket_missing"),
        (MARENGO_3, ["a", PIXEL_URI], {"params": [{"input_type": "text"}]}, "input_type", "invalid_value"),
        ("nonsense", "a", {}, "model", "model_not_found"),
        (TITAN, ["a"] * 2049, {}, "input", "too_many_inputs"),
    ],
)
async def test_request_that_cannot_succeed_costs_nothing(
    model: str, value: object, asked: dict[str, Any], param: str, code: str
) -> None:
    error = await refusal(model, value, **asked)

    assert (error.param, error.code) == (param, code)


async def test_objects_that_callers_may_not_name_are_refused_also_in_a_pair() -> None:
    options = Options(s3=S3Rules(("s3://media",)))

    error = await refusal(MARENGO_3, ["red", "s3://other/a.png"], options=options)
    await embed(MARENGO_3, ["red", "s3://media/a.png"], options=options)

    assert (type(error), error.param) == (S3AccessDenied, "input[1]")


@pytest.mark.parametrize(
    ("model", "asked", "param"),
    [
        (f"bedrock/async_invoke/{NOVA}", {}, "model"),
        (f"bedrock/async_invoke/{TITAN}", {}, "model"),
        (NOVA, {"params": [{"background": True}]}, "background"),
    ],
)
async def test_jobs_in_the_background_are_refused_where_nobody_takes_them(
    model: str, asked: dict[str, Any], param: str
) -> None:
    error = await refusal(model, "a", **asked)

    assert (type(error), error.param) == (ModelNotSupported, param)


# ---------------------------------------------------------------- errors of Bedrock


@pytest.mark.parametrize(
    "model, value, param, words",
    [
        (TITAN, "a", "input", "'input' is longer than the 8192 tokens"),
        (TITAN, ["a"], "input[0]", "'input[0]' is longer than the 8192 tokens"),
        (V4, ["a", "b", "c"], "input", "One of 'input[0]' to 'input[2]' is longer than the 128000 tokens"),
    ],
)
async def test_text_that_bedrock_finds_too_long_is_named_as_well_as_can_be(
    model: str, value: object, param: str, words: str
) -> None:
    error = await refusal(model, value, StandIn(lambda _: ContextTooLong("too long")))

    assert (type(error), error.param) == (ContextTooLong, param)
    assert error.message.startswith(words)
    assert ("'truncate'" in error.message) is (model == V4)


@pytest.mark.parametrize("value, param", [("a", "input"), (["a"], "input[0]"), (["a", "b"], "input")])
async def test_refusal_of_bedrock_names_the_input_when_it_was_alone(value: object, param: str) -> None:
    error = await refusal(V4, value, StandIn(lambda _: BadRequest("no")))

    assert error.param == param


async def test_no_time_is_no_answer() -> None:
    error = await refusal(TITAN, "a", StandIn(lambda _: UpstreamTimeout("late")), timeout_s=60)

    assert type(error) is UpstreamTimeout


# ---------------------------------------------------------------- guardrail


APPLY = "/guardrail/abc/version/1/apply"


def guarded(sent: Sent) -> bytes:
    """Answer as Bedrock, and as a guardrail that blocks money and masks Ann."""
    if sent.path != APPLY:
        return bedrock(sent)
    texts = [part["text"]["text"] for part in sent.body["content"]]
    if "money" in texts:
        found = {"topicPolicy": {"topics": [{"action": "BLOCKED"}]}}
        return json.dumps({"action": "GUARDRAIL_INTERVENED", "outputs": [], "assessments": [found]}).encode()
    found = {"sensitiveInformationPolicy": {"piiEntities": [{"action": "ANONYMIZED"}]}}
    outputs = [{"text": text.replace("Ann", "{NAME}")} for text in texts]
    return json.dumps({"action": "GUARDRAIL_INTERVENED", "outputs": outputs, "assessments": [found]}).encode()


async def test_masked_text_is_what_is_embedded() -> None:
    reply, upstream = await embed(TITAN, ["a", "Ann"], StandIn(guarded), guardrail=Guardrail("abc", "1"))

    assert [sent.path for sent in upstream.sent] == [APPLY, TITAN, TITAN]
    assert [sent.body["inputText"] for sent in upstream.sent[1:]] == ["a", "{NAME}"]
    assert (reply.masked, reply.guardrail, reply.calls) == ((1,), "masked; sensitiveInformationPolicy", 3)


async def test_mask_that_makes_a_text_too_long_is_refused_like_any_other() -> None:
    long = "Ann" * 16_000

    upstream = StandIn(guarded)
    error = await refusal(TITAN, ["a", long], upstream, guardrail=Guardrail("abc", "1"))

    assert (type(error), error.param) == (ContextTooLong, "input[1]")
    assert {sent.path for sent in upstream.sent} == {APPLY}


async def test_blocked_text_is_never_sent_to_the_model() -> None:
    upstream = StandIn(guarded)
    error = await refusal(TITAN, ["a", "money"], upstream, guardrail=Guardrail("abc", "1"))

    assert type(error) is ContentBlocked
    assert [sent.path for sent in upstream.sent] == [APPLY]


async def test_request_that_is_refused_anyway_does_not_ask_the_guardrail() -> None:
    error = await refusal(TITAN, ["a", "x" * 50_001], guardrail=Guardrail("abc", "1"))

    assert error.param == "input[1]"
