"""What holds for every family: each parameter reaches the body under each of its names, and no answer is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS
from embedrock.errors import BadRequest, InvalidUpstream, Retry
from embedrock.families import FAMILIES
from embedrock.inputs import Item

from .asking import (
    ENGLISH,
    MARENGO_2,
    MARENGO_3,
    MP4,
    NOVA,
    PNG,
    TITAN,
    TITAN_IMAGE,
    TITAN_V1,
    TOKENS_HEADER,
    V4,
    body,
    parse,
    wanted,
)


class Documented(NamedTuple):
    """A parameter as the provider documents it: its names, a value, and where in the body the value arrives."""

    names: tuple[str, ...]  # ours first
    value: object
    path: str | None  # None: it is not sent
    item: Item = "hello"


_SIZE = ("dimensions",)
_NORMALIZE = Documented(("normalize",), True, None)
_PARAMS = "singleEmbeddingParams"
#: What is of jobs only is in no body of InvokeModel; what becomes of it, `test_nova_jobs` and `test_marengo_jobs` tell.
_JOBS = [
    Documented(("background",), True, None),
    Documented(("output_s3_uri",), "s3://bucket/folder", None),
]
_CLIPS = [
    Documented(("start_sec", "startSec"), 1.5, None),
    Documented(("embedding_option", "embeddingOption"), ["audio"], None),
    *_JOBS,
]

DOCUMENTED: dict[str, list[Documented]] = {
    TITAN_V1: [Documented(_SIZE, 1536, None), _NORMALIZE],
    TITAN: [
        Documented(_SIZE, 256, "dimensions"),
        Documented(("normalize",), False, "normalize"),
        Documented(("embedding_types", "embeddingTypes"), ["binary"], "embeddingTypes"),
    ],
    TITAN_IMAGE: [
        Documented(
            (*_SIZE, "output_embedding_length", "outputEmbeddingLength"), 384, "embeddingConfig.outputEmbeddingLength"
        ),
        _NORMALIZE,
    ],
    NOVA: [
        Documented((*_SIZE, "embedding_dimension", "embeddingDimension"), 384, f"{_PARAMS}.embeddingDimension"),
        Documented(("embedding_purpose", "embeddingPurpose"), "CLUSTERING", f"{_PARAMS}.embeddingPurpose"),
        Documented(("truncate", "truncation_mode", "truncationMode"), "END", f"{_PARAMS}.text.truncationMode"),
        Documented(("detail_level", "detailLevel"), "DOCUMENT_IMAGE", f"{_PARAMS}.image.detailLevel", PNG),
        Documented(("embedding_mode", "embeddingMode"), "AUDIO_VIDEO_SEPARATE", f"{_PARAMS}.video.embeddingMode", MP4),
        Documented(("schema_version", "schemaVersion"), "nova-multimodal-embed-v1", "schemaVersion"),
        Documented(("task_type", "taskType"), "SINGLE_EMBEDDING", "taskType"),
        Documented(("input_type", "inputType"), "text", None),
        Documented(("segmentation",), True, None),
        Documented(("duration_seconds", "durationSeconds"), 30, None),
        Documented(("max_length_chars", "maxLengthChars"), 800, None),
        *_JOBS,
        _NORMALIZE,
    ],
    ENGLISH: [
        Documented(_SIZE, 1024, None),
        Documented(("input_type",), "classification", "input_type"),
        Documented(("truncate",), "END", "truncate"),
        Documented(("embedding_types",), ["int8"], "embedding_types"),
        _NORMALIZE,
    ],
    V4: [
        Documented((*_SIZE, "output_dimension"), 512, "output_dimension"),
        Documented(("input_type",), "clustering", "input_type"),
        Documented(("truncate",), "LEFT", "truncate"),
        Documented(("embedding_types",), ["ubinary"], "embedding_types"),
        Documented(("max_tokens",), 128, "max_tokens"),
        _NORMALIZE,
    ],
    MARENGO_2: [
        Documented(_SIZE, 1024, None),
        Documented(("input_type", "inputType"), "image", "inputType", PNG),
        Documented(("truncate", "text_truncate", "textTruncate"), "end", "textTruncate"),
        Documented(("length_sec", "lengthSec"), 60, None),
        Documented(("duration_seconds", "use_fixed_length_sec", "useFixedLengthSec"), 10, None),
        Documented(("min_duration_sec", "min_clip_sec", "minClipSec"), 5, None),
        *_CLIPS,
        _NORMALIZE,
    ],
    MARENGO_3: [
        Documented(_SIZE, 512, None),
        Documented(("input_type", "inputType"), "text", "inputType"),
        Documented(("inference_id", "inferenceId"), "call-1", "inferenceId"),
        Documented(("end_sec", "endSec"), 60, None),
        Documented(("segmentation",), "fixed", None),
        Documented(("duration_seconds", "duration_sec", "durationSec"), 10, None),
        Documented(("min_duration_sec", "minDurationSec"), 5, None),
        Documented(("embedding_type", "embeddingType"), ["fused_embedding"], None),
        Documented(("embedding_scope", "embeddingScope"), ["asset"], None),
        *_CLIPS,
        _NORMALIZE,
    ],
}
ROWS = [(model, row) for model, rows in DOCUMENTED.items() for row in rows]
EVERY_NAME = {name for _, row in ROWS for name in row.names}

#: Members of the providers' bodies that are not parameters, and what clients send that no model has.
NO_PARAMETERS = [
    "inputText", "input_text", "inputImage", "embeddingConfig", "texts", "images", "inputs", "mediaSource",
    "singleEmbeddingParams", "segmentedEmbeddingParams", "text", "bucketOwner", "stream", "model_id", "Normalize",
    "DIMENSIONS", "", "__class__",
]  # fmt: skip


def _id(value: str | Documented) -> str:
    return value.names[0] if isinstance(value, Documented) else value


def at(sent: Any, path: str) -> Any:
    for name in path.split("."):
        sent = sent[name]
    return sent


def test_every_family_and_every_parameter_of_it_is_in_the_table() -> None:
    assert {MODELS[model].family for model in DOCUMENTED} == set(FAMILIES)
    for model, rows in DOCUMENTED.items():
        table = FAMILIES[MODELS[model].family].table
        assert {p.name: set(p.spellings) for p in table.all} == {row.names[0]: set(row.names) for row in rows}, model


def test_every_model_has_a_family() -> None:
    assert {spec.family for spec in MODELS.values()} == set(FAMILIES)


@pytest.mark.parametrize("model, row", ROWS, ids=_id)
def test_parameter_reaches_the_body_under_each_of_its_names(model: str, row: Documented) -> None:
    sent = [body(model, row.item, **{name: row.value}) for name in row.names]

    assert all(each == sent[0] for each in sent)
    if row.path is None:
        assert sent[0] == body(model, row.item), "it changes nothing in the body"
    else:
        assert at(sent[0], row.path) == row.value


@pytest.mark.parametrize("model, row", ROWS, ids=_id)
def test_parameter_that_is_null_is_absent(model: str, row: Documented) -> None:
    assert wanted(model, **dict.fromkeys(row.names)) == wanted(model)


@pytest.mark.parametrize("model", DOCUMENTED)
def test_every_other_name_comes_back_as_unknown_in_its_order(model: str) -> None:
    """Parameters of other families too: what one model takes says nothing of another."""
    own = {name for row in DOCUMENTED[model] for name in row.names}
    others = [*sorted(EVERY_NAME - own), *NO_PARAMETERS]
    table = FAMILIES[MODELS[model].family].table

    known, unknown = table.read(dict.fromkeys(others, 1) | {"normalize": True})

    assert (known, unknown) == ({"normalize": True}, others)


# ---------------------------------------------------------------- wrong values

_SIZE_WRONG: list[tuple[object, str]] = [
    ("256", "invalid_type"),
    (256.0, "invalid_type"),
    (True, "invalid_type"),
    ([256], "invalid_type"),
    (0, "invalid_value"),
    (-256, "invalid_value"),
]
_WORD_WRONG: list[tuple[object, str]] = [
    ("", "invalid_value"),
    ("sideways", "invalid_value"),
    (1, "invalid_type"),
    (["END"], "invalid_type"),
    ({}, "invalid_type"),
    (False, "invalid_type"),
]
_TYPES_WRONG: list[tuple[object, str]] = [
    ("float", "invalid_type"),
    ({"float": 1}, "invalid_type"),
    ([1], "invalid_type"),
    ([None], "invalid_type"),
    ([], "invalid_value"),
    (["float", "float"], "invalid_value"),
    (["float", "binary"], "invalid_value"),
    (["base64"], "invalid_value"),
    (["FLOAT"], "invalid_value"),
]
_FLAG_WRONG: list[tuple[object, str]] = [("true", "invalid_type"), (1, "invalid_type"), ([], "invalid_type")]
_SECONDS_WRONG: list[tuple[object, str]] = [("1", "invalid_type"), (True, "invalid_type"), (-1, "invalid_value")]
_LIST_WRONG: list[tuple[object, str]] = [(1, "invalid_type"), ([], "invalid_value"), (["smell"], "invalid_value")]
WRONG: dict[str, Sequence[tuple[object, str]]] = {
    "background": _FLAG_WRONG,
    "output_s3_uri": [(1, "invalid_type"), ("", "invalid_value"), ("https://bucket/folder", "invalid_value")],
    "segmentation": [(1, "invalid_type"), ([], "invalid_type")],
    "duration_seconds": [("5", "invalid_type"), (5.5, "invalid_type"), (0, "invalid_value"), (31, "invalid_value")],
    "min_duration_sec": [("5", "invalid_type"), (0, "invalid_value"), (6, "invalid_value")],
    "max_length_chars": [("800", "invalid_type"), (799, "invalid_value"), (50_001, "invalid_value")],
    "start_sec": _SECONDS_WRONG,
    "end_sec": _SECONDS_WRONG,
    "length_sec": _SECONDS_WRONG,
    "embedding_option": _LIST_WRONG,
    "embedding_type": _LIST_WRONG,
    "embedding_scope": _LIST_WRONG,
    "dimensions": _SIZE_WRONG,
    "normalize": _FLAG_WRONG,
    "embedding_types": _TYPES_WRONG,
    "max_tokens": [
        ("9", "invalid_type"),
        (9.0, "invalid_type"),
        (True, "invalid_type"),
        (0, "invalid_value"),
        (128_001, "invalid_value"),
    ],
    "inference_id": [
        (1, "invalid_type"),
        ("", "invalid_value"),
        ("x" * 257, "invalid_value"),
        ("a\nb", "invalid_value"),
    ],
}
WRONG_ROWS = [
    (model, name, value, code)
    for model, row in ROWS
    for value, code in WRONG.get(row.names[0], _WORD_WRONG)
    for name in row.names
]


def refusal(model: str, **params: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        wanted(model, **params)
    return caught.value


@pytest.mark.parametrize("model, name, value, code", WRONG_ROWS)
def test_wrong_value_is_refused_by_the_name_the_caller_used(model: str, name: str, value: object, code: str) -> None:
    error = refusal(model, **{name: value})

    assert (error.status, error.param, error.code) == (400, name, code)
    assert f"'{name}' must be " in error.message


@pytest.mark.parametrize(
    "model, name, value",
    [
        (TITAN, "embedding_types", ["int8"]),
        (ENGLISH, "truncate", "LEFT"),
        (ENGLISH, "truncate", "end"),
        (V4, "truncate", "left"),
        (NOVA, "truncate", "LEFT"),
        (MARENGO_2, "truncate", "END"),
        (MARENGO_2, "truncate", "start"),
        (MARENGO_2, "input_type", "text_image"),
        (ENGLISH, "input_type", "SEARCH_QUERY"),
        (ENGLISH, "input_type", "text"),
        (MARENGO_3, "input_type", "search_query"),
        (NOVA, "embedding_purpose", "search_query"),
        (NOVA, "task_type", "TEXT_EMBEDDING"),
    ],
)
def test_value_of_another_model_is_refused(model: str, name: str, value: object) -> None:
    """A word is never translated: what it means to another model is not known to be the same."""
    error = refusal(model, **{name: value})

    assert (error.param, error.code) == (name, "invalid_value")


@pytest.mark.parametrize("model, row", [(m, r) for m, r in ROWS if len(r.names) > 1], ids=_id)
def test_two_spellings_of_a_parameter_may_agree_and_not_contradict(model: str, row: Documented) -> None:
    table = FAMILIES[MODELS[model].family].table
    parameter = next(p for p in table.all if p.name == row.names[0])
    others = [
        "TEXT_RETRIEVAL",
        "NONE",
        "none",
        "video",
        "STANDARD_IMAGE",
        "AUDIO_VIDEO_COMBINED",
        ["float"],
        1024,
        "x",
        4,
        ["visual"],
        ["visual-text"],
        ["clip"],
        ["separate_embedding"],
        ["audio", "visual"],
    ]
    differs = [value for value in others if value != row.value and _takes(parameter.check, value)]
    first, second, *_ = row.names

    assert wanted(model, **{first: row.value, second: row.value}) == wanted(model, **{first: row.value})
    for value in differs:
        error = refusal(model, **{first: row.value, second: value})
        assert (error.param, error.code) == (second, "invalid_value")
    assert differs or row.names[0] in ("schema_version", "task_type"), "one word only"


def _takes(check: Any, value: object) -> bool:
    try:
        check(value)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- answers

VECTOR = b"[0.25,-0.5, 1E-4]"
USUAL: dict[str, bytes] = {
    TITAN_V1: b'{"embedding":%b,"inputTextTokenCount":5}' % VECTOR,
    TITAN: b'{"embedding":%b,"embeddingsByType":{"float":%b},"inputTextTokenCount":5}' % (VECTOR, VECTOR),
    TITAN_IMAGE: b'{"embedding":%b,"inputTextTokenCount":5,"message":null}' % VECTOR,
    NOVA: b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT"}]}' % VECTOR,
    ENGLISH: b'{"embeddings":{"float":[%b]},"id":"x","response_type":"embeddings_by_type","texts":["a"]}' % VECTOR,
    V4: b'{"embeddings":{"float":[%b]},"id":"x","response_type":"embeddings_by_type","texts":["a"]}' % VECTOR,
    MARENGO_2: b'{"data":[{"embedding":%b}]}' % VECTOR,
    MARENGO_3: b'{"data":[{"embedding":%b}]}' % VECTOR,
}
#: Answers of which a fast path takes all but the last bytes on trust; others are refused wherever they end.
LOOKS_AT_THE_END_ONLY = {ENGLISH, V4}


@pytest.mark.parametrize("model", USUAL)
def test_usual_answer_gives_the_number_text_and_the_tokens(model: str) -> None:
    answer = parse(model, USUAL[model], headers={TOKENS_HEADER: b"5"}, numbers=3)

    assert [bytes(array) for array in answer.vectors] == [VECTOR]
    assert (answer.tokens, answer.segments, answer.cut) == (5, None, False)


@pytest.mark.parametrize("model", sorted(USUAL.keys() - LOOKS_AT_THE_END_ONLY))
def test_answer_that_ends_too_soon_is_refused(model: str) -> None:
    for end in range(len(USUAL[model])):
        with pytest.raises(InvalidUpstream):
            parse(model, USUAL[model][:end], numbers=3)


@pytest.mark.parametrize("model", USUAL)
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b'"text"',
        b'{"message":"Something failed."}',
        b"<html><body>503</body></html>",
        b"\xff\xfe",
        b'{"note":%b%b}' % (b"[" * 100_000, b"]" * 100_000),
    ],
    ids=range(10),
)
def test_what_is_no_answer_is_refused_and_may_be_asked_for_again(model: str, answer: bytes) -> None:
    with pytest.raises(InvalidUpstream) as caught:
        parse(model, answer)

    assert (caught.value.status, caught.value.retry) == (502, Retry.TRANSIENT)


@pytest.mark.parametrize("model", USUAL)
def test_answer_of_another_family_is_refused(model: str) -> None:
    mine = MODELS[model].family.partition("_")[0]
    foreign = [other for other in USUAL if MODELS[other].family.partition("_")[0] != mine]
    # A bare `embedding` is a form Marengo's answers were seen in.
    readable = {TITAN, TITAN_V1, TITAN_IMAGE} if mine == "marengo" else set()

    for other in set(foreign) - readable:
        with pytest.raises(InvalidUpstream):
            parse(model, USUAL[other], numbers=3)


@pytest.mark.parametrize("model", USUAL)
@given(noise=st.binary(max_size=20), start=st.integers(0, 90), cut=st.integers(0, 20))
def test_answer_with_any_bytes_in_it_gives_a_vector_or_is_refused(
    model: str, noise: bytes, start: int, cut: int
) -> None:
    """Never another exception, and never a vector that was not looked at."""
    usual = USUAL[model]
    try:
        answer = parse(model, usual[:start] + noise + usual[start + cut :], numbers=3)
    except InvalidUpstream:
        return
    assert len(answer.vectors) == 1
