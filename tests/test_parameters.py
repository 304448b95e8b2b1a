"""Parameters of the models: each one documented reaches Bedrock in each of its spellings, any other is refused.

What Bedrock has to be sent is written down here parameter by parameter; a parameter that a table gains has to be
added. Then who says a parameter: the request, its `extra_body`, an alias, the operator's defaults, the family, in this
order; and that nothing of one request is left for another. Half of this long module are the tables it is about.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import openai
import pytest
from tests.families.asking import S3_MP4, S3_TEXT, wanted

from bedrock_emulator import expected_vectors
from embedrock.catalog import MODELS
from embedrock.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import BedrockBody, Emulator, Gateway, StartGateway

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
TEXT = "a red bicycle"


class Case(NamedTuple):
    """A parameter in use. `sent`: what changes in Bedrock's body, members of objects one by one."""

    family: str
    name: str
    value: Any
    sent: Mapping[str, Any] = {}
    item: str = TEXT  # or what to look up: png, mp4

    @property
    def model(self) -> str:
        return next(spec.id for spec in MODELS.values() if spec.family == self.family)


def nova(**members: Any) -> dict[str, Any]:
    return {"singleEmbeddingParams": members}


CASES = [
    Case("titan_text_v1", "dimensions", 1536),
    Case("titan_text_v1", "normalize", True),
    Case("titan_text_v2", "dimensions", 256, {"dimensions": 256}),
    Case("titan_text_v2", "dimensions", 1024, {"dimensions": 1024}),
    Case("titan_text_v2", "normalize", True, {"normalize": True}),
    Case("titan_text_v2", "normalize", False, {"normalize": False}),
    Case("titan_text_v2", "embedding_types", ["float"], {"embeddingTypes": ["float"]}),
    Case("titan_text_v2", "embedding_types", ["binary"], {"embeddingTypes": ["binary"]}),
    Case("titan_image", "dimensions", 384, {"embeddingConfig": {"outputEmbeddingLength": 384}}),
    Case("titan_image", "dimensions", 256, {"embeddingConfig": {"outputEmbeddingLength": 256}}, "png"),
    Case("titan_image", "normalize", True),
    Case("nova", "dimensions", 384, nova(embeddingDimension=384)),
    Case("nova", "normalize", True),
    Case("nova", "embedding_purpose", "VIDEO_RETRIEVAL", nova(embeddingPurpose="VIDEO_RETRIEVAL")),
    Case("nova", "embedding_purpose", "CLASSIFICATION", nova(embeddingPurpose="CLASSIFICATION"), "mp4"),
    Case("nova", "truncate", "START", nova(text={"truncationMode": "START"})),
    Case("nova", "truncate", "END", nova(text={"truncationMode": "END"})),
    Case("nova", "detail_level", "DOCUMENT_IMAGE", nova(image={"detailLevel": "DOCUMENT_IMAGE"}), "png"),
    Case("nova", "detail_level", "STANDARD_IMAGE", nova(image={"detailLevel": "STANDARD_IMAGE"}), "png"),
    Case(
        "nova", "embedding_mode", "AUDIO_VIDEO_SEPARATE", nova(video={"embeddingMode": "AUDIO_VIDEO_SEPARATE"}), "mp4"
    ),
    Case("nova", "embedding_mode", "AUDIO_VIDEO_COMBINED", item="mp4"),
    Case("nova", "input_type", "text"),
    Case("nova", "input_type", "image", item="png"),
    Case("nova", "schema_version", "nova-multimodal-embed-v1", {"schemaVersion": "nova-multimodal-embed-v1"}),
    Case("nova", "task_type", "SINGLE_EMBEDDING"),
    Case("cohere_v3", "dimensions", 1024),
    Case("cohere_v3", "normalize", True),
    Case("cohere_v3", "input_type", "search_query", {"input_type": "search_query"}),
    Case("cohere_v3", "input_type", "classification", {"input_type": "classification"}),
    Case("cohere_v3", "input_type", "clustering", {"input_type": "clustering"}),
    Case("cohere_v3", "input_type", "image", item="png"),
    Case("cohere_v3", "truncate", "END", {"truncate": "END"}),
    Case("cohere_v3", "truncate", "START", {"truncate": "START"}),
    *(
        Case("cohere_v3", "embedding_types", [kind], {"embedding_types": [kind]})
        for kind in ("float", "int8", "uint8", "binary", "ubinary")
    ),
    Case("cohere_v3", "embedding_types", ["int8"], {"embedding_types": ["int8"]}, "png"),
    Case("cohere_v4", "dimensions", 512, {"output_dimension": 512}),
    Case("cohere_v4", "dimensions", 256, {"output_dimension": 256}, "png"),
    Case("cohere_v4", "normalize", True),
    Case("cohere_v4", "input_type", "search_query", {"input_type": "search_query"}),
    Case("cohere_v4", "input_type", "clustering", {"input_type": "clustering"}, "png"),
    Case("cohere_v4", "input_type", "image", {"input_type": "image"}, "png"),
    *(Case("cohere_v4", "truncate", side, {"truncate": side}) for side in ("NONE", "START", "END", "LEFT", "RIGHT")),
    Case("cohere_v4", "max_tokens", 1000, {"max_tokens": 1000}),
    *(
        Case("cohere_v4", "embedding_types", [kind], {"embedding_types": [kind]})
        for kind in ("float", "int8", "uint8", "binary", "ubinary")
    ),
    Case("marengo_2_7", "dimensions", 1024),
    Case("marengo_2_7", "normalize", True),
    Case("marengo_2_7", "input_type", "text"),
    Case("marengo_2_7", "input_type", "image", item="png"),
    Case("marengo_2_7", "truncate", "end", {"textTruncate": "end"}),
    Case("marengo_2_7", "truncate", "none"),
    Case("marengo_3_0", "dimensions", 512),
    Case("marengo_3_0", "normalize", True),
    Case("marengo_3_0", "input_type", "text"),
    Case("marengo_3_0", "input_type", "image", item="png"),
    Case("marengo_3_0", "inference_id", "job 7", {"inferenceId": "job 7"}),
    Case("marengo_3_0", "inference_id", "job 7", {"inferenceId": "job 7"}, "png"),
]
#: What only jobs know, and where their results go: by family, each with a value.
OF_JOBS: dict[str, dict[str, Any]] = {
    "nova": {"segmentation": True, "duration_seconds": 7, "max_length_chars": 900},
    "marengo_2_7": {
        "start_sec": 1,
        "length_sec": 20,
        "duration_seconds": 7,
        "min_duration_sec": 3,
        "embedding_option": ["audio"],
    },
    "marengo_3_0": {
        "start_sec": 1,
        "end_sec": 20,
        "segmentation": "dynamic",
        "duration_seconds": 7,
        "min_duration_sec": 3,
        "embedding_option": ["audio"],
        "embedding_type": ["fused_embedding"],
        "embedding_scope": ["asset"],
    },
}
for _of_family in OF_JOBS.values():
    _of_family |= {"background": True, "output_s3_uri": "s3://embedrock-emulator/results"}
SPELLED = [
    (case, spelling)
    for case in CASES
    for parameter in FAMILIES[case.family].table.all
    if parameter.name == case.name
    for spelling in parameter.spellings
]
#: Every spelling of every family, for the families that do not have it.
FOREIGN = {spelling for family in FAMILIES.values() for p in family.table.all for spelling in p.spellings}
EXAMPLES = {spelling: case.value for case, spelling in SPELLED}
EXAMPLES |= {
    spelling: values[parameter.name]
    for family, values in OF_JOBS.items()
    for parameter in FAMILIES[family].table.all
    if parameter.name in values
    for spelling in parameter.spellings
}


def changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` with `changes` in it, at every depth."""
    nested = {
        key: changed(body.get(key, {}), value) if isinstance(value, dict) else value for key, value in changes.items()
    }
    return {**body, **nested}


def unknown_to(family: str) -> list[str]:
    """Return the spellings of other families that this one does not have."""
    own = {spelling for parameter in FAMILIES[family].table.all for spelling in parameter.spellings}
    return sorted(FOREIGN - own)


# ---------------------------------------------------------------------------------------------- each of a family's own


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_parameter_has_a_case(family: str) -> None:
    cases = {case.name for case in CASES if case.family == family}

    assert cases | set(OF_JOBS.get(family, ())) == {p.name for p in FAMILIES[family].table.all}
    assert cases.isdisjoint(OF_JOBS.get(family, ()))


@pytest.mark.parametrize("family", OF_JOBS)
def test_parameter_of_jobs_reaches_the_job_in_each_of_its_spellings(family: str) -> None:
    """How it reads there is for the tests of the family."""
    model = next(spec for spec in MODELS.values() if spec.family == family)
    jobs = FAMILIES[family].jobs
    assert jobs is not None

    def built(name: str, value: object) -> bytes:
        item = S3_TEXT if name in ("max_length_chars", "maxLengthChars") else S3_MP4
        return jobs.build_input(model, item, wanted(model.id, **{name: value}))

    for parameter in FAMILIES[family].table.all:
        if parameter.name in OF_JOBS[family]:
            bodies = {built(spelling, OF_JOBS[family][parameter.name]) for spelling in parameter.spellings}
            assert len(bodies) == 1, parameter.name
            same = bodies == {built("normalize", True)}
            assert same is (parameter.name in ("background", "output_s3_uri") or (family, parameter.name) == SAME), (
                parameter.name
            )


SAME = ("nova", "segmentation")  # is which task it is; a film without it is sent as a job all the same


@pytest.mark.parametrize(("case", "spelling"), SPELLED, ids=lambda value: value if isinstance(value, str) else None)
def test_parameter_reaches_bedrock(
    gateway: Gateway,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    pictures: dict[str, str],
    clips: dict[str, str],
    case: Case,
    spelling: str,
) -> None:
    item = (pictures | clips).get(case.item, case.item)
    body = changed(bedrock_body(case.model, item), case.sent)

    answer = gateway.embed({"model": case.model, "input": item, spelling: case.value})

    assert emulator.bodies() == [body]
    vectors = [found["embedding"] for found in answer.items()]
    wanted = expected_vectors(case.model, body)
    if case.name == "normalize" and "normalize" not in case.sent:
        wanted = [(np.array(vector) / np.linalg.norm(vector)).tolist() for vector in wanted]
        assert vectors == [pytest.approx(vector, rel=1e-6) for vector in wanted]
        assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0], abs=1e-6)
    else:
        assert vectors == wanted


@pytest.mark.parametrize("family", list(FAMILIES))
def test_parameter_of_another_family_is_refused(gateway: Gateway, emulator: Emulator, family: str) -> None:
    model = next(spec.id for spec in MODELS.values() if spec.family == family)
    others = [*unknown_to(family), "embeddingsTypes", "Normalize", "texts", "inputText", "region", "api_key", "s3_uri"]

    for name in others:
        answer = gateway.embed({"model": model, "input": TEXT, name: EXAMPLES.get(name, "x")})

        assert answer.refusal() == (name, "unsupported_parameter")
    assert len(others) > 10
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("case", "spelling"),
    [pair for pair in SPELLED if pair[0].item == TEXT],
    ids=lambda v: v if isinstance(v, str) else None,
)
@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], 3.5], ids=repr)
def test_parameter_of_another_type_is_refused(
    gateway: Gateway, emulator: Emulator, case: Case, spelling: str, value: object
) -> None:
    answer = gateway.embed({"model": case.model, "input": TEXT, spelling: value})

    assert answer.refusal() == (spelling, "invalid_type")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (TITAN_V1, "normalize", False),
        (NOVA, "normalize", False),
        (ENGLISH, "normalize", False),
        (NOVA, "embeddingPurpose", "GENERIC"),
        (NOVA, "truncate", "LEFT"),
        (NOVA, "task_type", "BATCH_EMBEDDING"),
        (ENGLISH, "truncate", "LEFT"),
        (ENGLISH, "truncate", "end"),
        (ENGLISH, "input_type", "document"),
        (ENGLISH, "input_type", "image"),
        (V4, "input_type", "image"),
        (V4, "max_tokens", 0),
        (V4, "max_tokens", 128_001),
        (V4, "output_dimension", 384),
        (V4, "embedding_types", ["float", "int8"]),
        (V4, "embedding_types", []),
        (TITAN, "embeddingTypes", ["int8"]),
        (TITAN, "embedding_types", ["base64"]),
        (TITAN_IMAGE, "outputEmbeddingLength", 512),
        (MARENGO_2, "textTruncate", "END"),
        (MARENGO_3, "inference_id", ""),
        (MARENGO_3, "inference_id", "a" * 257),
        (MARENGO_3, "input_type", "image"),
    ],
)
def test_value_the_model_does_not_take_is_refused(
    gateway: Gateway, emulator: Emulator, model: str, name: str, value: object
) -> None:
    answer = gateway.embed({"model": model, "input": TEXT, name: value})

    param, code = answer.refusal()
    assert code == "invalid_value"
    assert param in (name, "dimensions") if "imension" in name or "Length" in name else param == name
    assert emulator.journal() == []


@pytest.mark.parametrize("family", list(FAMILIES))
def test_null_is_as_good_as_absent(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, family: str
) -> None:
    model = next(spec.id for spec in MODELS.values() if spec.family == family)
    nothing = dict.fromkeys(sorted(FOREIGN))

    answer = gateway.embed({"model": model, "input": TEXT, **nothing})

    body = bedrock_body(model, TEXT)
    assert answer.vectors() == expected_vectors(model, body)
    assert emulator.bodies() == [body]


def test_two_spellings_that_say_the_same_are_fine_and_others_are_not(gateway: Gateway, emulator: Emulator) -> None:
    both = {"model": NOVA, "input": TEXT, "dimensions": 384, "embeddingDimension": 384, "embedding_dimension": 384}

    assert len(gateway.embed(both).vectors()[0]) == 384
    param, code = gateway.embed(both | {"embeddingDimension": 256}).refusal()

    assert (param in ("dimensions", "embedding_dimension", "embeddingDimension"), code) == (True, "invalid_value")
    assert len(emulator.journal()) == 1


def test_base64_is_of_floats_only(gateway: Gateway, emulator: Emulator) -> None:
    body = {"model": V4, "input": TEXT, "embedding_types": ["int8"]}

    assert gateway.embed(body | {"encoding_format": "base64"}).refusal() == ("encoding_format", "invalid_value")
    assert gateway.embed(body | {"normalize": True}).refusal() == ("normalize", "invalid_value")
    assert emulator.journal() == []


# --------------------------------------------------------------------------------------------------- dropped parameters


@pytest.mark.parametrize("family", list(FAMILIES))
def test_unknown_parameters_are_dropped_and_listed(
    gateway_with: StartGateway, emulator: Emulator, bedrock_body: BedrockBody, family: str
) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")
    model = next(spec.id for spec in MODELS.values() if spec.family == family)
    extra = {name: EXAMPLES[name] for name in unknown_to(family)}

    answer = gateway.embed({"model": model, "input": TEXT, **extra, "extra_body": {"also": 1}})

    body = bedrock_body(model, TEXT)
    assert answer.vectors() == expected_vectors(model, body)
    assert emulator.bodies() == [body]
    assert sorted(answer.headers["x-embedrock-dropped-params"].split(",")) == sorted([*extra, "also"])


def test_what_is_wrong_is_not_dropped(gateway_with: StartGateway, emulator: Emulator) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")

    assert gateway.embed({"model": NOVA, "input": TEXT, "truncate": "LEFT"}).refusal() == ("truncate", "invalid_value")
    assert gateway.embed({"model": NOVA, "input": TEXT, "dimensions": 5}).refusal() == ("dimensions", "invalid_value")
    assert gateway.embed({"model": TITAN, "input": TEXT, "user": 5}).refusal() == ("user", "invalid_type")
    assert emulator.journal() == []


def test_nothing_dropped_is_nothing_listed(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")

    answer = gateway.embed({"model": NOVA, "input": TEXT, "truncate": "END", "max_tokens": None})

    assert "x-embedrock-dropped-params" not in answer.headers


def test_dropped_names_cannot_break_the_header(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_DROP_PARAMS="true")

    answer = gateway.embed({"model": TITAN, "input": TEXT, "a\r\nx-evil: 1": 1, "é,b": 2, "good_one": 3})

    assert answer.status == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["x-embedrock-dropped-params"] == "?,?,good_one"


# ------------------------------------------------------------------------------------------------------ who says a word


#: Aliases and defaults of one gateway, for all tests below.
CONFIG: dict[str, Any] = {
    "aliases": {
        "queries": {"model": "bedrock/cohere.embed-v4:0", "params": {"input_type": "search_query", "dimensions": 512}},
        "plain": V4,
        "inner": {"model": NOVA, "params": {"embeddingPurpose": "TEXT_RETRIEVAL", "dimensions": 1024}},
        "outer": {"model": "inner", "params": {"embeddingPurpose": "CLUSTERING"}},
        "forgiving": {"model": TITAN, "drop_params": True, "params": {"dimensions": 256}},
        "strict": {"model": TITAN, "drop_params": False},
        "other-tokens": {"model": TITAN, "token_encoding": "o200k_base"},
        "unit": {"model": TITAN_V1, "params": {"normalize": True}},
    },
    "default_model_params": {
        "cohere.embed-v4": {"input_type": "classification", "truncate": "RIGHT", "dimensions": 1024},
        NOVA: {"truncate": "END", "dimensions": 384},
        f"bedrock/us-east-1/{ENGLISH}": {"truncate": "START"},
    },
}


@pytest.fixture(scope="module")
def configured(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway with CONFIG."""
    config = tmp_path_factory.mktemp("configured") / "embedrock.yaml"
    config.write_text(json.dumps(CONFIG))
    return gateway_with(EMBEDROCK_CONFIG=str(config))


#: Members of a request to that gateway, and what changes in the body that the model would be sent without any words.
LAYERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (V4, V4, {}, {"input_type": "classification", "truncate": "RIGHT", "output_dimension": 1024}),
    ("us.cohere.embed-v4:0", V4, {}, {"input_type": "classification", "truncate": "RIGHT", "output_dimension": 1024}),
    ("plain", V4, {}, {"input_type": "classification", "truncate": "RIGHT", "output_dimension": 1024}),
    ("queries", V4, {}, {"input_type": "search_query", "truncate": "RIGHT", "output_dimension": 512}),
    (
        "queries",
        V4,
        {"input_type": "clustering", "dimensions": 256},
        {"input_type": "clustering", "truncate": "RIGHT", "output_dimension": 256},
    ),
    (
        "queries",
        V4,
        {"output_dimension": 1536, "truncate": "NONE"},
        {"input_type": "search_query", "output_dimension": 1536},
    ),
    (
        "queries",
        V4,
        {"input_type": None, "dimensions": None, "extra_body": {"truncate": "LEFT"}},
        {"input_type": "search_query", "truncate": "LEFT", "output_dimension": 512},
    ),
    (
        V4,
        V4,
        {"truncate": "NONE", "extra_body": {"truncate": "LEFT", "max_tokens": 9}},
        {"input_type": "classification", "max_tokens": 9, "output_dimension": 1024},
    ),
    (
        V4,
        V4,
        {"dimensions": 512, "extra_body": {"output_dimension": 256, "input_type": "search_query"}},
        {"input_type": "search_query", "truncate": "RIGHT", "output_dimension": 512},
    ),
    (
        V4,
        V4,
        {"truncate": None, "extra_body": {"truncate": "START"}},
        {"input_type": "classification", "truncate": "START", "output_dimension": 1024},
    ),
    (NOVA, NOVA, {}, nova(embeddingDimension=384, text={"truncationMode": "END"})),
    (
        "inner",
        NOVA,
        {},
        nova(embeddingPurpose="TEXT_RETRIEVAL", embeddingDimension=1024, text={"truncationMode": "END"}),
    ),
    ("outer", NOVA, {}, nova(embeddingPurpose="CLUSTERING", embeddingDimension=1024, text={"truncationMode": "END"})),
    (
        "outer",
        NOVA,
        {"embeddingPurpose": "GENERIC_INDEX", "truncationMode": "START", "dimensions": 3072},
        nova(text={"truncationMode": "START"}),
    ),
    (ENGLISH, ENGLISH, {}, {"truncate": "START"}),
    (ENGLISH, ENGLISH, {"input_type": "search_query"}, {"truncate": "START", "input_type": "search_query"}),
    (TITAN, TITAN, {}, {}),
    (TITAN, TITAN, {"dimensions": 512, "normalize": False}, {"dimensions": 512, "normalize": False}),
    ("forgiving", TITAN, {"max_tokens": 7}, {"dimensions": 256}),
    ("forgiving", TITAN, {"dimensions": 1024, "truncate": "END"}, {"dimensions": 1024}),
    ("strict", TITAN, {"embeddingTypes": ["binary"]}, {"embeddingTypes": ["binary"]}),
]


@pytest.mark.parametrize(("name", "model", "members", "changes"), LAYERS)
def test_the_strongest_word_holds(
    configured: Gateway,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    name: str,
    model: str,
    members: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    answer = configured.embed({"model": name, "input": TEXT, **members})

    body = changed(bedrock_body(model, TEXT), changes)
    assert emulator.bodies() == [body]
    assert answer.vectors() == expected_vectors(model, body)
    assert answer.json()["model"] == name


def test_the_strongest_word_holds_also_in_another_spelling(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path, bedrock_body: BedrockBody
) -> None:
    config = tmp_path / "embedrock.yaml"
    aliases = {
        "inner": {"model": NOVA, "params": {"embeddingPurpose": "TEXT_RETRIEVAL", "dimensions": 1024}},
        "outer": {"model": "inner", "params": {"embedding_purpose": "CLUSTERING", "embeddingDimension": 256}},
    }
    config.write_text(json.dumps({"aliases": aliases, "default_model_params": {NOVA: {"truncation_mode": "END"}}}))
    gateway = start_gateway("--config", str(config), AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    gateway.embed({"model": "outer", "input": TEXT})
    gateway.embed({"model": "outer", "input": TEXT, "embeddingPurpose": "GENERIC_INDEX", "truncate": "START"})

    assert emulator.bodies() == [
        changed(bedrock_body(NOVA, TEXT, 256), nova(embeddingPurpose="CLUSTERING", text={"truncationMode": "END"})),
        changed(bedrock_body(NOVA, TEXT, 256), nova(text={"truncationMode": "START"})),
    ]


def test_extra_body_of_the_official_client_is_the_top_level(
    configured: Gateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    with openai.OpenAI(base_url=f"{configured.url}/v1", api_key="any") as client:
        reply = client.embeddings.create(
            model="plain", input=TEXT, encoding_format="float", extra_body={"input_type": "search_query"}
        )

    body = bedrock_body(V4, TEXT, 1024) | {"input_type": "search_query", "truncate": "RIGHT"}
    assert emulator.bodies() == [body]
    assert [item.embedding for item in reply.data] == expected_vectors(V4, body)


def test_what_extra_body_says_is_checked_too(gateway: Gateway, emulator: Emulator) -> None:
    ask = {"model": V4, "input": TEXT}

    assert gateway.embed(ask | {"extra_body": {"nobody": 1}}).refusal() == ("nobody", "unsupported_parameter")
    assert gateway.embed(ask | {"extra_body": {"truncate": "X"}}).refusal() == ("truncate", "invalid_value")
    assert gateway.embed(ask | {"extra_body": {"dimensions": 3}}).refusal() == ("dimensions", "invalid_value")
    assert gateway.embed(ask | {"extra_body": "truncate"}).refusal() == ("extra_body", "invalid_type")
    assert emulator.journal() == []


def test_an_alias_decides_whether_to_drop(configured: Gateway, emulator: Emulator) -> None:
    ask = {"model": "forgiving", "input": TEXT, "max_tokens": 7, "seed": 1}

    forgiven = configured.embed(ask)
    refused = configured.embed(ask | {"model": "strict"})

    assert forgiven.headers["x-embedrock-dropped-params"] == "max_tokens,seed"
    assert refused.refusal() == ("max_tokens", "unsupported_parameter")
    assert len(emulator.journal()) == 1


def test_an_alias_tells_the_encoding_of_token_ids(
    configured: Gateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    """`hello world`, in the vocabulary of each."""
    configured.embed({"model": "other-tokens", "input": [24912, 2375]})
    configured.embed({"model": TITAN, "input": [15339, 1917]})

    assert emulator.bodies() == [bedrock_body(TITAN, "hello world")] * 2


def test_an_alias_can_ask_for_length_1(configured: Gateway) -> None:
    (vector,) = configured.embed({"model": "unit", "input": TEXT}).vectors()
    (longer,) = configured.embed({"model": TITAN_V1, "input": TEXT}).vectors()

    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert np.linalg.norm(longer) > 17


# --------------------------------------------------------------------------------------------------------- what is left


def test_nothing_of_a_request_is_left_for_another(
    configured: Gateway, emulator: Emulator, bedrock_body: BedrockBody
) -> None:
    """A thousand requests over eight connections, with and without words of their own, in an order of chance.

    Some share a call: only with those who said the same.
    """
    refused: list[dict[str, Any]] = [
        {"model": "queries", "input_type": "nothing"},
        {"model": "inner", "dimensions": 7},
        {"model": "strict", "truncate": "END"},
        {"model": "plain", "extra_body": {"max_tokens": -1}},
    ]

    def ask_in_turn(seed: int) -> tuple[list[str], Counter[str]]:
        """Return what went wrong, and what had to be sent how often to be embedded."""
        rng = Random(seed)
        text = f"{TEXT} {seed}"
        chances: list[tuple[dict[str, Any], str | None, str]] = [(ask, None, "") for ask in refused]
        for name, model, members, changes in LAYERS:
            body = changed(bedrock_body(model, text), changes)
            (vector,) = expected_vectors(model, body)
            chances.append(({"model": name, **members}, digest(vector), json.dumps(body, sort_keys=True)))
        wrong, meant = [], Counter[str]()
        with contextlib.closing(configured.connect()) as connection:
            for _ in range(125):
                ask, want, sent = rng.choice(chances)
                asked = json.dumps({"input": text, **ask}).encode()
                connection.request("POST", "/v1/embeddings", asked, {"content-type": "application/json"})
                response = connection.getresponse()
                reply = json.loads(response.read())
                got = digest(reply["data"][0]["embedding"]) if response.status == 200 else None
                if (response.status, got) != (200 if want else 400, want):
                    wrong.append(f"{ask}: {response.status}")
                meant[sent] += want is not None
        assert len({want for _, want, _ in chances if want}) > 10
        return wrong, +meant

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask_in_turn, range(8)))

    meant = sum((counts for _, counts in found), Counter[str]())
    sent = Counter(json.dumps(body, sort_keys=True) for body in one_by_one(emulator.bodies()))
    assert [line for wrong, _ in found for line in wrong] == []
    assert meant.total() > 700
    assert sent == meant


def one_by_one(bodies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the bodies, those that several requests share as one of each."""
    for body in bodies:
        if "texts" in body:
            yield from (body | {"texts": [text]} for text in body["texts"])
        else:
            yield body


def digest(vector: list[float]) -> str:
    return sha256(np.array(vector, "<f8").tobytes()).hexdigest()


# -------------------------------------------------------------------------------------------------------------- headers

FIVE = {
    "X-Amzn-Bedrock-GuardrailIdentifier": "mine",
    "X-Amzn-Bedrock-GuardrailVersion": "1",
    "X-Amzn-Bedrock-Trace": "enabled_full",
    "X-Amzn-Bedrock-Service-Tier": "flex",
    "X-Amzn-Bedrock-PerformanceConfig-Latency": "optimized",
}
OTHERS = {
    "X-Amzn-Bedrock-Save": "always",
    "X-Amzn-Bedrock-Accept": "text/plain",
    "X-Amzn-Bedrock-Content-Type": "text/plain",
    "X-Amzn-Bedrock-Model-Id": "amazon.titan-embed-text-v1",
    "X-Amzn-Bedrock-Service-Tier-2": "flex",
    "X-Amz-Target": "Elsewhere",
    "X-Amz-Security-Token": "canary",
    "X-Amz-Date": "20200101T000000Z",
    "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
    "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793",
    "Amz-Sdk-Invocation-Id": "canary",
}


@pytest.mark.parametrize("model", [TITAN, NOVA, V4, MARENGO_3])
def test_five_headers_of_bedrock_go_along_and_no_other(gateway: Gateway, emulator: Emulator, model: str) -> None:
    emulator.guardrail(id="mine", version=1)

    answer = gateway.embed({"model": model, "input": TEXT}, FIVE | OTHERS)

    asked, invoked = emulator.journal()
    assert answer.status == 200
    assert (asked["op"], invoked["op"]) == ("ApplyGuardrail", "InvokeModel")
    ours = {"x-amz-date"}  # what a signature needs
    went = {name: value for name, value in invoked["headers"].items() if "amz" in name and name not in ours}
    assert went == {name.lower(): value for name, value in FIVE.items()} | {"x-amzn-bedrock-trace": "ENABLED_FULL"}
    assert {name for name in asked["headers"] if "amz" in name} == ours
    assert all(not row["headers"]["x-amz-date"].startswith("2020") for row in (asked, invoked))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Amzn-Bedrock-Trace", "sometimes"),
        ("X-Amzn-Bedrock-Service-Tier", "cheap"),
        ("X-Amzn-Bedrock-Service-Tier", "FLEX"),
        ("X-Amzn-Bedrock-PerformanceConfig-Latency", "fast"),
        ("X-Amzn-Bedrock-GuardrailVersion", "0"),
        ("X-Amzn-Bedrock-GuardrailIdentifier", "../invoke"),
        ("X-Amzn-Bedrock-GuardrailIdentifier", ""),
    ],
)
def test_header_with_another_value_is_refused(gateway: Gateway, emulator: Emulator, name: str, value: str) -> None:
    answer = gateway.embed({"model": TITAN, "input": TEXT}, FIVE | {name: value})

    assert answer.refusal() == (name, "invalid_header_value")
    assert emulator.journal() == []


@pytest.mark.parametrize("alone", ["X-Amzn-Bedrock-GuardrailIdentifier", "X-Amzn-Bedrock-GuardrailVersion"])
def test_half_a_guardrail_is_refused(gateway: Gateway, emulator: Emulator, alone: str) -> None:
    answer = gateway.embed({"model": TITAN, "input": TEXT}, {alone: FIVE[alone]})

    (other,) = {"X-Amzn-Bedrock-GuardrailIdentifier", "X-Amzn-Bedrock-GuardrailVersion"} - {alone}
    assert answer.refusal() == (other, "invalid_header_value")
    assert emulator.journal() == []
