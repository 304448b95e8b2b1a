"""N inputs give N true vectors, in order: every number of every vector is the one the model made for that text.

Both formats are compared by hash with what the emulator's vectors must be: float as float64, base64 as float32, bit
for bit. The same texts are sent in both, so what is expected is computed once.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Gateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
MODELS = (TITAN, ENGLISH, MULTILINGUAL)

#: Around one call, two calls and the most of a request.
EDGES = (1, 2, 95, 96, 97, 192, 193, 2047, 2048)

#: Texts that break careless code, and parts to make more of.
ODD = (
    " ",
    "\n",
    "\t \r\n",
    "\u3000",
    "\x00",
    "nul \x00 inside",
    "\ud800",
    "half \udfff of a pair",
    "\ud83d alone, \ud83d\ude00 together",
    "\N{GRINNING FACE}",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "日本語のテキスト",
    "红色的自行车",
    "مرحبا بالعالم",
    "\u202eright to left\u202c",
    "שלום עולם",
    "Zażółć gęślą jaźń",
    "e\u0301 and \u00e9",
    'quotes " and \\ backslashes \\\\" \\u0041',
    '{"inputText": "no"}',
    "[0.1,0.2]",
    '],"model":"x"}',
    '"embedding":[1,2,3]',
    "null",
    "0",
    "NaN",
    "https://example.com/?a=1&b=2",
    "data: is a word, and s3 too",
    "S3://upper/case",
    "\ufeffmark",
    "\ufffd",
    "\x7f\x80\x9f",
    "a" * 400,
    "<script>alert(1)</script>",
)
_ALPHABET = 'abcdefghij  XYZ09"\\/{}[]:,\n\x00éßжहи語\N{BICYCLE}\ud801\udc01'

drawn_texts = st.lists(
    st.text(st.characters(), min_size=1, max_size=24).filter(lambda text: not text.startswith(("data:", "s3://"))),
    max_size=12,
)


def texts_for(count: int, seed: int, drawn: Sequence[str] = ()) -> list[str]:
    """Return `count` texts: the `drawn` ones, odd ones, random ones, some of them twice, shuffled."""
    rng = Random(seed)
    texts = [*drawn[:count]]
    while len(texts) < count:
        match rng.randrange(5):
            case 0:
                texts.append(rng.choice(ODD))
            case 1 if texts:
                texts.append(rng.choice(texts))
            case 2:
                texts.append("".join(rng.choices(_ALPHABET, k=rng.randint(1, 30))))
            case _:
                texts.append(f"text {rng.randrange(10**6)} about {rng.choice(('bicycles', 'taxes', '自転車'))}")
    rng.shuffle(texts)
    return texts


def expected_hash(model: str, texts: Sequence[str], dimensions: int | None) -> tuple[list[str], list[str]]:
    """Return for each text the hash of its vector as float64 and as float32."""
    if model == TITAN:
        size = {} if dimensions is None else {"dimensions": dimensions}
        rows = [vector for text in texts for vector in expected_vectors(model, {"inputText": text, **size})]
    else:
        purpose = {"input_type": "search_document", "embedding_types": ["float"]}
        runs = [texts[start : start + 96] for start in range(0, len(texts), 96)]
        rows = [vector for run in runs for vector in expected_vectors(model, {"texts": list(run), **purpose})]
    arrays = [np.array(row, "<f8") for row in rows]
    return digests(a.tobytes() for a in arrays), digests(a.astype("<f4").tobytes() for a in arrays)


def digests(values: Iterable[bytes]) -> list[str]:
    return [sha256(value).hexdigest() for value in values]


class Item(msgspec.Struct):
    """One item of `data`, its vector as it was written."""

    object: str
    index: int
    embedding: msgspec.Raw


class Body(msgspec.Struct):
    data: list[Item]


def items(answer: Answer, count: int) -> list[bytes]:
    """Return the text of each vector, after checking that there are `count`, in order."""
    assert answer.status == 200, answer.body[:500]
    data = msgspec.json.decode(answer.body, type=Body).data
    assert [item.index for item in data] == list(range(count))
    assert {item.object for item in data} == {"embedding"}
    return [bytes(item.embedding) for item in data]


def check(gateway: Gateway, model: str, texts: list[str], dimensions: int | None = None) -> None:
    """Check the vectors of `texts` in both formats."""
    body: dict[str, Any] = {"model": model, "input": texts}
    if dimensions is not None:
        body["dimensions"] = dimensions
    as_float64, as_float32 = expected_hash(model, texts, dimensions)

    numbers = items(gateway.embed(body), len(texts))
    strings = items(gateway.embed(body | {"encoding_format": "base64"}), len(texts))

    decoded = (np.array(msgspec.json.decode(array, type=list[float]), "<f8") for array in numbers)
    assert digests(row.tobytes() for row in decoded) == as_float64
    assert digests(b64decode(string[1:-1], validate=True) for string in strings) == as_float32


@pytest.mark.parametrize("count", EDGES)
@pytest.mark.parametrize("model", MODELS)
def test_vectors_are_true_and_in_order_at_the_edges_of_calls(gateway: Gateway, model: str, count: int) -> None:
    check(gateway, model, texts_for(count, seed=count))


@pytest.mark.parametrize("model", MODELS)
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking over real sockets would take minutes
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
)
@given(count=st.integers(1, 2048), seed=st.integers(0, 2**32), drawn=drawn_texts)
def test_vectors_are_true_and_in_order_for_any_number_of_any_texts(
    gateway: Gateway, model: str, count: int, seed: int, drawn: list[str]
) -> None:
    check(gateway, model, texts_for(count, seed, drawn))


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(dimensions=st.sampled_from([256, 512, 1024]), count=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_vectors_are_true_in_every_size(gateway: Gateway, dimensions: int, count: int, seed: int) -> None:
    check(gateway, TITAN, texts_for(count, seed), dimensions)


@pytest.mark.parametrize("model", MODELS)
def test_every_odd_text_has_its_true_vector(gateway: Gateway, model: str) -> None:
    check(gateway, model, list(ODD))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_an_odd_text_alone_has_its_true_vector(gateway: Gateway, model: str, text: str) -> None:
    answer = gateway.embed({"model": model, "input": text})

    (array,) = items(answer, 1)
    row = np.array(msgspec.json.decode(array, type=list[float]), "<f8")
    assert sha256(row.tobytes()).hexdigest() == expected_hash(model, [text], None)[0][0]


def test_raw_utf8_and_escapes_mean_the_same_text(gateway: Gateway) -> None:
    body = {"model": TITAN, "input": ["日本語 \N{GRINNING FACE} é", "\x00"]}

    raw = gateway.embed(json.dumps(body, ensure_ascii=False).replace("\x00", "\\u0000").encode())
    escaped = gateway.embed(json.dumps(body).encode())

    assert items(raw, 2) == items(escaped, 2)


@pytest.mark.parametrize("model", MODELS)
def test_a_lone_surrogate_is_embedded_as_the_replacement_character(gateway: Gateway, model: str) -> None:
    surrogates = gateway.embed(b'{"model":"%b","input":["a \\ud800 b","\\udfff","\\ud83d\\ude00"]}' % model.encode())
    replaced = gateway.embed({"model": model, "input": ["a \ufffd b", "\ufffd", "\N{GRINNING FACE}"]})

    assert items(surrogates, 3) == items(replaced, 3)


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_number_text_is_titans_own_byte_for_byte(gateway: Gateway, emulator: Emulator, dimensions: int) -> None:
    """The journal holds the hash of what Bedrock answered; only its very digits lead back to it."""
    answer = gateway.embed({"model": TITAN, "input": ["a red bicycle"], "dimensions": dimensions})

    (array,) = items(answer, 1)
    (row,) = emulator.journal()
    head, tail = b'{"embedding":', b'},"inputTextTokenCount":%d}' % row["tokens"]
    answered = head + array + b',"embeddingsByType":{"float":' + array + tail
    assert sha256(answered).hexdigest() == row["response_sha256"]


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_number_text_is_coheres_own_byte_for_byte(gateway: Gateway, emulator: Emulator, model: str) -> None:
    """Each call is sent again, straight to the emulator; its answer holds the digits that the gateway's had."""
    texts = list(dict.fromkeys(texts_for(150, seed=7)))[:100]  # equal ones are sent once
    arrays = items(gateway.embed({"model": model, "input": texts}), 100)
    calls = {row["items"]: row["request_body"].encode() for row in emulator.journal()}

    class Answered(msgspec.Struct):
        embeddings: dict[str, list[msgspec.Raw]]

    again = []
    for count in (96, 4):
        path, headers = f"/model/{model}/invoke", {"authorization": "Bearer any", "content-type": "application/json"}
        body = emulator.request("POST", path, calls[count], headers).body
        again += [bytes(array) for array in msgspec.json.decode(body, type=Answered).embeddings["float"]]

    assert arrays == again


def test_english_model_sees_the_case_that_was_sent(gateway: Gateway, emulator: Emulator) -> None:
    """It echoes texts in lower case; ours stay as they are, and belong to vectors by position."""
    texts = ["Upper", "UPPER", "upper", "Other"]

    arrays = items(gateway.embed({"model": ENGLISH, "input": texts}), 4)

    (row,) = emulator.journal()
    assert json.loads(row["request_body"])["texts"] == texts
    assert arrays[0] == arrays[1] == arrays[2] != arrays[3]


@pytest.mark.parametrize("model", MODELS)
def test_equal_texts_get_equal_vectors_in_their_own_places(gateway: Gateway, model: str) -> None:
    texts = ["same", "other", "same", "same", "other"]

    first, second, *rest = items(gateway.embed({"model": model, "input": texts}), 5)

    assert rest == [first, first, second]
    assert first != second
