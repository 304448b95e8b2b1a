"""`Client` and `AsyncClient`: numpy out, in this process and through a gateway, with the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from embedrock import Account, AsyncClient, Client, Embeddings, EmbedrockError
from embedrock.errors import BadRequest, ModelNotFound

from .stand_ins import whose

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
KEYS = Account(access_key="AKIATEST", secret_key="test-secret")

Make: TypeAlias = Callable[..., Client]


@pytest.fixture(params=["here", "gateway"])
def make(request: pytest.FixtureRequest, emulator: Emulator, gateway: Gateway) -> Iterator[Make]:
    """Make clients that call Bedrock themselves, or a gateway."""
    if request.param == "here":
        yield lambda model=None, **rest: Client(model, region="us-east-1", account=KEYS, endpoint=emulator.url, **rest)
    else:
        yield lambda model=None, **rest: Client(model, base_url=f"{gateway.url}/v1", **rest)


def float32(vectors: list[list[float]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(vectors, np.float32)


# embed


@pytest.mark.parametrize("model", [TITAN, ENGLISH, V4, MARENGO_3])
def test_vectors_are_rows_of_float32(make: Make, emulator: Emulator, expected: Expected, model: str) -> None:
    texts = ["a red bicycle", "tax law", "自転車"]

    found = make(model).embed(texts)

    counts = [row["tokens"] for row in emulator.journal()]
    assert found.vectors.dtype == np.float32
    assert np.array_equal(found.vectors, float32(expected(model, texts)))
    assert found.indexes == (0, 1, 2)
    assert found.model == model
    assert len(found) == 3
    assert found.reported == (None not in counts)
    if found.reported:
        assert found.tokens == sum(counts)


def test_one_text_is_one_row(make: Make, expected: Expected) -> None:
    found = make(TITAN).embed("a text", dimensions=256)

    assert np.array_equal(found.vectors, float32(expected(TITAN, ["a text"], 256)))


def test_model_and_parameters_of_a_call(make: Make, emulator: Emulator) -> None:
    client = make(TITAN)

    client.embed(["a"], model=ENGLISH, input_type="search_query", truncate="END")

    (body,) = emulator.bodies()
    assert (body["texts"], body["input_type"], body["truncate"]) == (["a"], "search_query", "END")


@pytest.mark.parametrize(
    ("model", "price"),
    [
        (TITAN_IMAGE, Decimal("0.8") / 1_000_000),
        (V4, Decimal("0.12") / 1_000_000),
        (TITAN, Decimal("0.02") / 1_000_000),
    ],
)
def test_cost_of_texts_is_exact(make: Make, emulator: Emulator, model: str, price: Decimal) -> None:
    found = make(model).embed(["one text", "another text"])

    assert found.cost_usd == price * sum(row["tokens"] for row in emulator.journal())


def test_cost_of_pictures_is_exact(make: Make, pictures: dict[str, str]) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": pictures["png"]}}]

    found = make(MARENGO_3).embed(["a", pictures["png"], parts])

    assert found.cost_usd == 2 * Decimal("0.00007") + 2 * Decimal("0.0001")
    assert not found.reported


def test_many_inputs_are_one_call_of_the_callers(make: Make, expected: Expected) -> None:
    """More than a gateway takes in one request."""
    texts = [f"text {number}" for number in range(4500)]

    found = make(ENGLISH).embed(tuple(texts))

    assert np.array_equal(found.vectors, float32(expected(ENGLISH, texts)))
    assert found.indexes == tuple(range(4500))


def test_pair_is_one_row(make: Make, pictures: dict[str, str]) -> None:
    found = make(MARENGO_3).embed(["a", pictures["png"]])

    assert found.vectors.shape == (1, 512)
    assert found.indexes == (0,)


def test_what_was_cut_and_dropped_is_told(make: Make) -> None:
    found = make(TITAN_IMAGE, drop_params=True).embed(["a", "b"], colour="red", shape=3)
    cut = make(ENGLISH).embed(["a", "word " * 2000, "b"], truncate="END")

    assert found.dropped == ("colour", "shape")
    assert cut.truncated == (1,)


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"inputs": ["a", ""]}, "input[1]", "empty_input"),
        ({"inputs": []}, "input", "empty_input"),
        ({"inputs": ["a"], "dimensions": 3}, "dimensions", "invalid_value"),
        ({"inputs": ["a"], "colour": "red"}, "colour", "unsupported_parameter"),
        ({"inputs": [["a"]]}, "input[0][0]", "invalid_type"),
    ],
)
def test_refusal_is_the_same_here_and_there(make: Make, members: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        make(TITAN).embed(**members)

    assert (caught.value.param, caught.value.code, caught.value.status) == (param, code, 400)


def test_unknown_model_is_the_same_here_and_there(make: Make) -> None:
    with pytest.raises(ModelNotFound) as caught:
        make("amazon.titan-embed-text-v3:0").embed("a")

    assert (caught.value.code, caught.value.status) == ("model_not_found", 404)


def test_no_model_is_refused(make: Make) -> None:
    with pytest.raises(BadRequest, match="model"):
        make().embed("a")


def test_encoding_has_no_place(make: Make) -> None:
    with pytest.raises(ValueError, match="encoding_format"):
        make(TITAN).embed("a", encoding_format="base64")


def test_bedrocks_headers_go_with_each_call(make: Make, emulator: Emulator) -> None:
    make(TITAN, extra_headers={"X-Amzn-Bedrock-Service-Tier": "flex"}).embed("a")

    (row,) = emulator.journal()
    assert row["headers"]["x-amzn-bedrock-service-tier"] == "flex"


def test_closed_client_takes_no_calls(make: Make) -> None:
    with make(TITAN) as client:
        client.embed("a")

    with pytest.raises(EmbedrockError, match="closed"):
        client.embed("a")


def test_gateway_and_credentials_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="base_url"):
        Client(base_url="http://127.0.0.1:4000", region="us-east-1")
    with pytest.raises(ValueError, match="base_url"):
        Client(base_url="http://127.0.0.1:4000", account=KEYS)


def test_whole_is_shown_in_a_line(make: Make) -> None:
    found = make(TITAN).embed(["a", "b"])

    assert repr(found).startswith(f"Embeddings(2 x 1024, model='{TITAN}', tokens={found.tokens}, cost_usd=")


async def test_asynchronous_client_gives_the_same(
    emulator: Emulator, gateway: Gateway, expected: Expected, pictures: dict[str, str]
) -> None:
    texts = ["a", "b"]
    async with (
        AsyncClient(TITAN, region="eu-west-1", account=KEYS, endpoint=emulator.url) as here,
        AsyncClient(TITAN, base_url=gateway.url) as there,
    ):
        rows = [(await client.embed(texts, dimensions=256)).vectors for client in (here, there)]
        pair = await here.similarity("a", pictures["png"], model=TITAN_IMAGE)

    assert all(np.array_equal(found, float32(expected(TITAN, texts, 256))) for found in rows)
    assert isinstance(pair, float)
    assert [whose(row)[1] for row in emulator.journal()][:2] == ["eu-west-1"] * 2
    with pytest.raises(EmbedrockError, match="closed"):
        await here.embed("a")


# similarity


def cosine(a: list[float], b: list[float]) -> float:
    x, y = np.array(a), np.array(b)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def test_similarity_of_texts(make: Make, expected: Expected) -> None:
    a, b, c = texts = ["a red bicycle", "a blue bicycle", "tax law"]
    u, v, w = expected(TITAN, texts)
    client = make(TITAN)

    one = client.similarity(a, b)
    row = client.similarity(a, [b, c])
    column = client.similarity([a, b], c)
    table = client.similarity([a, b, c], [a, c])

    assert isinstance(one, float)
    assert one == pytest.approx(cosine(u, v), abs=1e-6)
    assert row == pytest.approx([cosine(u, v), cosine(u, w)], abs=1e-6)
    assert column == pytest.approx([cosine(u, w), cosine(v, w)], abs=1e-6)
    assert isinstance(table, np.ndarray)
    assert table.shape == (3, 2)
    assert table.dtype == np.float32
    assert table[0, 0] == table[2, 1] == pytest.approx(1.0, abs=1e-6)
    assert table[1] == pytest.approx([cosine(v, u), cosine(v, w)], abs=1e-6)


def test_similarity_of_vectors_calls_nobody(make: Make, emulator: Emulator) -> None:
    client = make()

    assert client.similarity([1.0, 0.0], [1, 1]) == pytest.approx(2**-0.5)
    assert client.similarity([[1, 0], [0, 2]], np.array([0.0, 3.0])) == pytest.approx([0, 1])
    assert client.similarity(np.eye(2), [[1, 0]]) == pytest.approx(np.array([1, 0]).reshape(2, 1))
    assert client.similarity(np.array([1.0, 0.0]), np.array([-1.0, 0.0])) == -1.0
    assert emulator.journal() == []


def test_similarity_of_what_was_embedded(make: Make) -> None:
    client = make(TITAN)
    corpus = client.embed(["a red bicycle", "tax law"])

    found = client.similarity("a bicycle that is red", corpus)

    assert isinstance(found, np.ndarray)
    assert found[0] > found[1]


def test_text_and_picture_of_a_list_are_compared_apart(
    make: Make, pictures: dict[str, str], expected: Expected
) -> None:
    """Though alone in a request they would be one vector."""
    found = make(MARENGO_3).similarity(["a red bicycle", pictures["png"]], pictures["png"])

    text, picture = expected(MARENGO_3, ["a red bicycle", pictures["png"]])
    assert found == pytest.approx([cosine(text, picture), 1.0], abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 0.0], [1.0, 0.0, 0.0]),
        ([0.0, 0.0], [1.0, 0.0]),
        ([float("nan"), 1.0], [1.0, 0.0]),
        ([], [1.0]),
        ([[[1.0]]], [1.0]),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Any, b: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)compare|direction"):
        Client().similarity(a, b)


def test_embeddings_are_not_compared_by_accident(make: Make) -> None:
    found = make(TITAN).embed("a")

    assert isinstance(found, Embeddings)
    assert found != make(TITAN).embed("a")
