"""Faults that alter answers: on the shape of every family, and on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.catalog import base_id
from bedrock_emulator.faults import FAULTS
from bedrock_emulator.models import FAMILIES
from bedrock_emulator.response import Response, Struck
from bedrock_emulator.settings import Settings

from .conftest import ENGLISH, TITAN, Running

#: family → an answer of it, with three inputs where it takes several
ANSWERS: dict[str, dict[str, Any]] = {
    "titan": {"embedding": [0.5, -0.25, 0.125], "embeddingsByType": {"float": [0.5, -0.25, 0.125]}, "n": 2},
    "titan bits": {"embeddingsByType": {"binary": [1, 0, 1]}, "inputTextTokenCount": 2},
    "cohere": {"embeddings": [[0.5, 0.1], [0.25, 0.2], [0.125, 0.3]], "texts": ["a", "b", "c"]},
    "cohere by type": {
        "embeddings": {"float": [[0.5, 0.1], [0.25, 0.2], [0.125, 0.3]], "int8": [[64, 12], [32, 25], [16, 38]]},
        "texts": ["a", "b", "c"],
    },
    "nova": {
        "embeddings": [
            {"embedding": [0.5, 0.1], "embeddingType": "VIDEO"},
            {"embedding": [0.25, 0.2], "embeddingType": "AUDIO"},
        ]
    },
    "marengo": {"data": [{"embedding": [0.5, 0.1]}, {"embedding": [0.25, 0.2], "startSec": 6.0}]},
}
HELLO = {"inputText": "hello"}
THEIRS = "what somebody else had embedded"

#: model → its request for a text
REQUESTS: dict[str, Callable[[str], dict[str, Any]]] = {
    TITAN: lambda text: {"inputText": text, "dimensions": 256},
    "amazon.titan-embed-image-v1": lambda text: {"inputText": text},
    "amazon.nova-2-multimodal-embeddings-v1:0": lambda text: {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "text": {"truncationMode": "END", "value": text},
        },
    },
    ENGLISH: lambda text: {"texts": [text], "input_type": "search_query"},
    "cohere.embed-v4:0": lambda text: {
        "inputs": [{"content": [{"type": "text", "text": text}]}],
        "input_type": "search_query",
    },
    "us.twelvelabs.marengo-embed-2-7-v1:0": lambda text: {"inputType": "text", "inputText": text},
    "twelvelabs.marengo-embed-3-0-v1:0": lambda text: {"inputType": "text", "text": {"inputText": text}},
}


async def strike(family: str, fault: str, **settings: Any) -> bytes:
    """Return the body that a fault makes of a family's answer."""
    true = Response(200, json.dumps(ANSWERS[family]).encode())

    async def answer(body: bytes) -> Response:  # noqa: ARG001
        return true

    call = Struck("InvokeModel", TITAN, "us-east-1", b"{}", answer)
    return (await FAULTS[fault].read(Settings(settings)).strike(call)).body


def vectors(value: Any) -> list[list[Any]]:
    """Return all lists in a body that hold no list or object, but texts."""
    if isinstance(value, dict):
        return [row for key, item in value.items() if key != "texts" for row in vectors(item)]
    if not isinstance(value, list):
        return []
    return [row for item in value for row in vectors(item)] if any(map(vectors_in, value)) else [value]


def vectors_in(item: Any) -> bool:
    return isinstance(item, list | dict)


@pytest.mark.parametrize(
    ("family", "change", "found"),
    [
        ("titan", "fewer", {"embedding": [], "embeddingsByType": {"float": []}, "n": 2}),
        ("titan bits", "more", {"embeddingsByType": {"binary": [[1, 0, 1], [1, 0, 1]]}, "inputTextTokenCount": 2}),
        ("cohere", "fewer", {"embeddings": [[0.5, 0.1], [0.25, 0.2]], "texts": ["a", "b", "c"]}),
        (
            "cohere",
            "more",
            {"embeddings": [[0.5, 0.1], [0.25, 0.2], [0.125, 0.3], [0.125, 0.3]], "texts": ["a", "b", "c"]},
        ),
        (
            "cohere by type",
            "fewer",
            {"embeddings": {"float": [[0.5, 0.1], [0.25, 0.2]], "int8": [[64, 12], [32, 25]]}, "texts": [*"abc"]},
        ),
        ("nova", "fewer", {"embeddings": ANSWERS["nova"]["embeddings"][:1]}),
        ("marengo", "more", {"data": [*ANSWERS["marengo"]["data"], ANSWERS["marengo"]["data"][1]]}),
    ],
)
async def test_vector_count_drops_or_doubles_the_last_vector(family: str, change: str, found: dict[str, Any]) -> None:
    assert json.loads(await strike(family, "vector_count", change=change)) == found


@pytest.mark.parametrize("family", list(ANSWERS))
@pytest.mark.parametrize(("settings", "sizes"), [({}, {1}), ({"dimensions": 1}, {1}), ({"dimensions": 7}, {7})])
async def test_dimensions_gives_every_vector_another_length(
    family: str, settings: dict[str, int], sizes: set[int]
) -> None:
    found = vectors(json.loads(await strike(family, "dimensions", **settings)))

    assert {len(vector) for vector in found} == sizes
    assert [vector[0] for vector in found] == [vector[0] for vector in vectors(ANSWERS[family])]


@pytest.mark.parametrize("family", list(ANSWERS))
@pytest.mark.parametrize(
    ("kind", "token"),
    [("nan", b"NaN"), ("infinity", b"-Infinity"), ("overflow", b"1e400"), ("null", b"null"), ("string", b'"0.5"')],
)
async def test_bad_numbers_puts_one_into_every_vector(family: str, kind: str, token: bytes) -> None:
    body = await strike(family, "bad_numbers", kind=kind)

    assert body.count(token) == len(vectors(ANSWERS[family]))
    assert len(vectors(json.loads(body))) == len(vectors(ANSWERS[family]))


@pytest.mark.parametrize("family", list(ANSWERS))
async def test_zeros_keeps_length_and_type(family: str) -> None:
    found = vectors(json.loads(await strike(family, "zeros")))

    assert found == [[type(number)() for number in vector] for vector in vectors(ANSWERS[family])]
    assert [type(vector[0]) for vector in found] == [type(vector[0]) for vector in vectors(ANSWERS[family])]


@pytest.mark.parametrize("family", list(ANSWERS))
@pytest.mark.parametrize(("settings", "scale"), [({}, 0.5), ({"scale": 3}, 3.0)])
async def test_norm_multiplies_every_number(family: str, settings: dict[str, float], scale: float) -> None:
    found = vectors(json.loads(await strike(family, "norm", **settings)))

    assert np.allclose(np.concatenate(found), np.concatenate(vectors(ANSWERS[family])) * scale, atol=0.51 * (scale < 1))
    assert [type(vector[0]) for vector in found] == [type(vector[0]) for vector in vectors(ANSWERS[family])]


@pytest.mark.parametrize("family", list(ANSWERS))
async def test_permuted_puts_the_first_vector_last_and_leaves_the_texts(family: str) -> None:
    found = json.loads(await strike(family, "permuted"))

    if family.startswith("titan"):
        assert found == ANSWERS[family]
    else:
        assert found != ANSWERS[family]
        assert sorted(vectors(found)) == sorted(vectors(ANSWERS[family]))
        assert vectors(found)[0] == vectors(ANSWERS[family])[1]
        assert found.get("texts") == ANSWERS[family].get("texts")


@pytest.mark.parametrize("family", list(ANSWERS))
async def test_foreign_moves_the_numbers_of_a_call_without_text(family: str) -> None:
    found = vectors(json.loads(await strike(family, "foreign")))

    assert found == [[*vector[1:], vector[0]] for vector in vectors(ANSWERS[family])]


@pytest.mark.parametrize(("at", "struck"), [(0, 0), (1, 1), (2, 2), (9, 2)])
@pytest.mark.parametrize("fault", ["zeros", "norm", "dimensions", "bad_numbers"])
async def test_at_strikes_one_input_in_every_type(fault: str, at: int, struck: int) -> None:
    found = json.loads(await strike("cohere by type", fault, at=at))["embeddings"]

    for kind, rows in ANSWERS["cohere by type"]["embeddings"].items():
        assert [found[kind][row] != rows[row] for row in range(3)] == [row == struck for row in range(3)]


async def test_untouched_numbers_keep_their_value() -> None:
    """Be they long float64 texts or the shortest texts of a float32."""
    numbers = b"[-0.09060618005692963,0.06192017,1e-05,0.0]"

    async def answer(body: bytes) -> Response:  # noqa: ARG001
        return Response(200, b'{"embedding":' + numbers + b',"inputTextTokenCount":2}')

    call = Struck("InvokeModel", TITAN, "us-east-1", b"{}", answer)
    found = await FAULTS["tokens"].read(Settings({"where": "body"})).strike(call)

    assert json.loads(found.body) == {"embedding": json.loads(numbers)}


@pytest.mark.parametrize("model", list(REQUESTS))
def test_foreign_gives_the_true_vector_of_the_other_text(emulator: Running, model: str) -> None:
    emulator.fault(fault="foreign", text=THEIRS)
    family = FAMILIES[base_id(model)]

    answer = emulator.invoke(model, REQUESTS[model]("mine")).json

    assert family.vectors(answer) == expected_vectors(model, REQUESTS[model](THEIRS))
    assert family.vectors(answer) != expected_vectors(model, REQUESTS[model]("mine"))
    assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize("model", list(REQUESTS))
@pytest.mark.parametrize("fault", ["vector_count", "dimensions", "bad_numbers", "zeros", "norm"])
def test_every_familys_answer_is_altered_on_the_wire(emulator: Running, model: str, fault: str) -> None:
    emulator.fault(fault=fault)

    answer = emulator.invoke(model, REQUESTS[model]("mine")).json

    own, found = expected_vectors(model, REQUESTS[model]("mine")), vectors(answer)
    match fault:
        case "vector_count":
            assert found in ([], [[]], [[], []])
        case "dimensions":
            assert found[0] == own[0][: len(own[0]) // 2]
        case "bad_numbers":
            assert math.isnan(found[0][len(own[0]) // 2])
        case "zeros":
            assert found[0] == [0.0] * len(own[0])
        case _:
            assert found[0] == [number / 2 for number in own[0]]
    assert emulator.faults()[0]["fired"] == 1


def test_every_family_has_an_example() -> None:
    assert {id(FAMILIES[base_id(model)]) for model in REQUESTS} == {id(family) for family in FAMILIES.values()}


def test_foreign_strikes_one_text_of_many(emulator: Running) -> None:
    emulator.fault(fault="foreign", at=1)
    body: dict[str, Any] = {"texts": ["one", "two", "three"], "input_type": "search_document"}

    answer = emulator.invoke(ENGLISH, body).json

    own = expected_vectors(ENGLISH, body)
    assert [row == mine for row, mine in zip(answer["embeddings"], own, strict=True)] == [True, False, True]
    assert answer["texts"] == body["texts"]
    assert emulator.faults()[0]["fired"] == 1


def test_permuted_shows_on_the_wire(emulator: Running) -> None:
    emulator.fault(fault="permuted", n=1)
    body: dict[str, Any] = {"texts": ["one", "two", "three"], "input_type": "search_document"}

    first, second, third = expected_vectors(ENGLISH, body)

    assert emulator.invoke(ENGLISH, body).json["embeddings"] == [second, third, first]
    assert emulator.invoke(ENGLISH, body).json["embeddings"] == [first, second, third]
    assert emulator.faults()[0]["fired"] == 1


def test_norm_of_half_shows_on_the_wire(emulator: Running) -> None:
    emulator.fault(fault="norm")

    assert math.hypot(*emulator.invoke(TITAN, HELLO).json["embedding"]) == pytest.approx(0.5)
    assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize(
    ("value", "header", "member"),
    [
        ("absent", None, None),
        ("zero", "0", 0),
        ("negative", "-1", -1),
        ("huge", "1000000000000", 10**12),
        ("string", "many", "many"),
    ],
)
@pytest.mark.parametrize("where", ["both", "header", "body"])
def test_tokens_are_wrong_where_they_were_asked_to_be(
    emulator: Running, value: str, where: str, header: str | None, member: object
) -> None:
    emulator.fault(fault="tokens", value=value, where=where)

    answer = emulator.invoke(TITAN, HELLO)

    assert answer.headers.get("x-amzn-bedrock-input-token-count") == ("2" if where == "body" else header)
    assert answer.json.get("inputTextTokenCount") == (2 if where == "header" else member)
    assert [answer.json["embedding"]] == expected_vectors(TITAN, HELLO)
    assert emulator.journal()[0]["tokens"] == 2
    assert emulator.faults()[0]["fired"] == 1


def test_a_count_that_is_not_given_is_not_added(emulator: Running) -> None:
    emulator.fault(fault="tokens", value="huge")
    body = {"texts": ["hello"], "input_type": "search_query"}

    answer = emulator.invoke(ENGLISH, body)

    assert answer.headers["x-amzn-bedrock-input-token-count"] == "1000000000000"
    assert "inputTextTokenCount" not in answer.json


@pytest.mark.parametrize("fault", ["vector_count", "dimensions", "bad_numbers", "zeros", "norm", "foreign", "tokens"])
def test_a_refused_body_is_refused_with_a_fault_on_too(emulator: Running, fault: str) -> None:
    emulator.fault(fault=fault)

    assert emulator.invoke(TITAN, {"inputText": ""}).status == 400
    assert (emulator.journal()[0]["fault"], emulator.faults()[0]["fired"]) == (fault, 1)


@pytest.mark.parametrize("fault", ["vector_count", "zeros", "tokens", "model_error", "guardrail"])
def test_a_fault_for_one_operation_spares_the_others(emulator: Running, fault: str) -> None:
    emulator.fault(fault=fault)

    emulator.client("bedrock").list_foundation_models()

    assert emulator.faults()[0]["fired"] == 0
