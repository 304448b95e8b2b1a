"""The answer's objects: each member as attribute and as key, at every level."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from embedrock.faces.sdk.objects import Batch, Embedding, EmbeddingResponse, HiddenParams, Segment, Usage


def response(*, segment: Segment | None = None) -> EmbeddingResponse:
    return EmbeddingResponse(
        model="a-model",
        data=[Embedding([0.25, -0.5], 0, segment=segment), Embedding("AACAPg==", 1)],
        usage=Usage(7, 7),
        _hidden_params=HiddenParams(1.4e-07, "bedrock", "us-east-1", "a-model", True, 2),
    )


PLAIN = {
    "model": "a-model",
    "data": [
        {"embedding": [0.25, -0.5], "index": 0, "object": "embedding"},
        {"embedding": "AACAPg==", "index": 1, "object": "embedding"},
    ],
    "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0},
    "object": "list",
}


def test_every_member_is_attribute_and_key() -> None:
    found = response()

    assert found.model == found["model"] == "a-model"
    assert found.object == found["object"] == "list"
    assert found.data[0].embedding == found["data"][0]["embedding"] == [0.25, -0.5]
    assert found.data[1].index == found["data"][1]["index"] == 1
    assert found.usage.prompt_tokens == found["usage"]["prompt_tokens"] == 7
    assert found.usage.total_tokens == found["usage"].get("total_tokens") == 7
    assert found.usage.completion_tokens == 0
    assert found._hidden_params.response_cost == found._hidden_params["response_cost"] == 1.4e-07
    assert found._hidden_params.get("custom_llm_provider") == "bedrock"


def test_they_are_mappings() -> None:
    found = response()

    assert "data" in found
    assert "embedding" in found.data[0]
    assert "segment" not in found.data[0]
    assert "_hidden_params" not in found
    assert found.get("nothing") is None
    assert found.get("nothing", 3) == 3
    assert list(found) == ["model", "data", "usage", "object"]
    assert {**found.usage} == PLAIN["usage"]
    with pytest.raises(KeyError):
        found["nothing"]
    with pytest.raises(AttributeError):
        found.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_they_become_plain_dicts_and_json() -> None:
    found = response()

    assert found.model_dump() == found.dict() == PLAIN
    assert type(found.model_dump()["data"][0]) is dict
    assert json.loads(found.json()) == json.loads(found.model_dump_json()) == PLAIN
    assert found == PLAIN


def test_segment_is_there_when_there_is_one() -> None:
    found = response(segment=Segment(start_sec=0.0, end_sec=2.5))

    assert found.data[0]["segment"] == {"start_sec": 0.0, "end_sec": 2.5}
    assert found.model_dump()["data"][0]["segment"] == {"start_sec": 0.0, "end_sec": 2.5}


def test_repr_shortens_vectors() -> None:
    found = response()
    found.data[0].embedding = [float(number) for number in range(1024)]
    found.data[1].embedding = "A" * 5464

    assert len(repr(found)) < 400
    assert "[0.0, 1.0, 2.0, …], 1024 numbers" in repr(found)
    assert "'AAAAAAAAAAAA…', 5464 characters" in repr(found)


def test_repr_of_what_a_job_makes_is_the_job() -> None:
    job = Batch("batch_1", "in_progress", 0, {})

    assert repr(Embedding([], 3, batch=job)) == "Embedding(index=3, batch='batch_1')"


def test_copies_are_equal() -> None:
    found = response()

    copies = [copy.deepcopy(found), pickle.loads(pickle.dumps(found))]  # noqa: S301  # our own

    assert copies == [found, found]
    assert copies[1]._hidden_params == found._hidden_params
