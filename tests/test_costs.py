"""What a request cost is the catalogue's price times what AWS counted, for every model.

The engine runs in this process, without a server; the emulator's journal says what was counted. Prices are said here
once more, apart from the catalogue: a price that changes there has to be meant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from embedrock import vectors
from embedrock.service.embedder import Reply
from embedrock.settings import Settings, load
from embedrock.wiring import Gateway, open_gateway

if TYPE_CHECKING:
    from tests.conftest import Emulator

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

#: US dollars in us-east-1: a million tokens, a text, an image.
PRICES: dict[str, tuple[str, str, str]] = {
    "amazon.titan-embed-text-v1": ("0.1", "0", "0"),
    "amazon.titan-embed-g1-text-02": ("0.1", "0", "0"),
    TITAN: ("0.02", "0", "0"),
    TITAN_IMAGE: ("0.8", "0", "0.00006"),
    NOVA: ("0.135", "0", "0.00006"),
    ENGLISH: ("0.1", "0", "0"),  # the price of an image is not known for sure
    MULTILINGUAL: ("0.1", "0", "0"),
    V4: ("0.12", "0", "0"),  # an image is tokens
    MARENGO_2: ("0", "0.00007", "0.0001"),
    MARENGO_3: ("0", "0.00007", "0.0001"),
}
MODELS = list(PRICES)
WITH_IMAGES = [model for model in MODELS if "text-" not in model.removeprefix("cohere.")]
TEXTS = ["a red bicycle", "Quarterly EARNINGS rose by 4 %", "自転車と\N{BICYCLE}"]


def price(model: str, rows: Sequence[dict[str, Any]], *, texts: int = 0, images: int = 0) -> Decimal:
    """Return what the calls in `rows`, the journal's, cost, and their texts and images."""
    tokens = sum(row["tokens"] or 0 for row in rows if row["status"] == 200)
    per_million, each_text, each_image = map(Decimal, PRICES[model])
    return per_million * tokens / 1_000_000 + each_text * texts + each_image * images


def settings_of(emulator: Emulator) -> Settings:
    return load({"EMBEDROCK_EMULATED": "true", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url})


@pytest.fixture(scope="module")
async def engine(emulator: Emulator) -> AsyncIterator[Gateway]:
    async with open_gateway(settings_of(emulator)) as gateway:
        yield gateway


async def embed(engine: Gateway, model: str, value: object, **options: Any) -> Reply[Any]:
    return await engine.embedder.embed(model, value, render=vectors.as_json, **options)


@pytest.mark.parametrize("model", MODELS)
async def test_texts_cost_what_aws_counted(engine: Gateway, emulator: Emulator, model: str) -> None:
    reply = await embed(engine, model, TEXTS)

    assert reply.cost_usd == price(model, emulator.journal(), texts=3) > 0


@pytest.mark.parametrize("model", MODELS)
async def test_many_calls_cost_their_sum(engine: Gateway, emulator: Emulator, model: str) -> None:
    reply = await embed(engine, model, [f"text {number} about {'bicycles ' * (number % 9)}" for number in range(150)])

    rows = emulator.journal()
    assert len(rows) == (2 if "cohere" in model else 150)
    assert reply.cost_usd == price(model, rows, texts=150) > 0


@pytest.mark.parametrize("model", WITH_IMAGES)
async def test_images_cost_their_price(
    engine: Gateway, emulator: Emulator, pictures: dict[str, str], model: str
) -> None:
    reply = await embed(engine, model, [pictures["png"], pictures["jpeg"]])

    assert reply.cost_usd == price(model, emulator.journal(), images=2)
    assert (reply.cost_usd > 0) == (model not in (ENGLISH, MULTILINGUAL))


@pytest.mark.parametrize("model", WITH_IMAGES)
async def test_texts_and_images_cost_both(
    engine: Gateway, emulator: Emulator, pictures: dict[str, str], model: str
) -> None:
    reply = await embed(engine, model, ["a red bicycle", pictures["png"], "a blue one"])

    assert reply.cost_usd == price(model, emulator.journal(), texts=2, images=1) > 0


@pytest.mark.parametrize("model", [TITAN_IMAGE, V4, MARENGO_3])
async def test_parts_of_one_vector_cost_as_much_as_alone(
    engine: Gateway, emulator: Emulator, pictures: dict[str, str], model: str
) -> None:
    parts = [{"type": "text", "text": "red"}, {"type": "image_url", "image_url": {"url": pictures["png"]}}]

    reply = await embed(engine, model, [parts])

    assert len(reply.vectors) == 1
    assert reply.cost_usd == price(model, emulator.journal(), texts=1, images=1) > 0


async def test_pair_of_marengo_is_a_text_and_an_image(
    engine: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    reply = await embed(engine, MARENGO_3, ["red", pictures["png"]])

    assert len(emulator.journal()) == 1
    assert reply.cost_usd == Decimal("0.00017")


async def test_purposes_that_add_tokens_cost_more(engine: Gateway, emulator: Emulator) -> None:
    """Nova's retrieval purposes have a longer hidden prompt."""
    index = await embed(engine, NOVA, "a")
    query = await embed(engine, NOVA, "a", params=[{"embedding_purpose": "TEXT_RETRIEVAL"}])

    rows = emulator.journal()
    assert (index.cost_usd, query.cost_usd) == (price(NOVA, rows[:1]), price(NOVA, rows[1:]))
    assert query.cost_usd > index.cost_usd


@pytest.mark.parametrize("fault", ["throttle", "server_error", "reset"])
async def test_attempts_that_failed_cost_nothing(emulator: Emulator, fault: str) -> None:
    emulator.fault(fault, n=2)

    async with open_gateway(settings_of(emulator)) as engine:  # its own: it remembers faults
        reply = await embed(engine, TITAN, TEXTS)

    assert emulator.fired() == 2
    assert reply.cost_usd == price(TITAN, emulator.journal()) > 0


async def test_tokens_that_are_not_reported_are_priced_as_estimated(engine: Gateway, emulator: Emulator) -> None:
    emulator.fault("tokens", value="absent")

    reply = await embed(engine, ENGLISH, ["a" * 100, "b"])

    assert emulator.fired() == 1
    assert not reply.reported
    assert reply.cost_usd == Decimal("0.1") * 26 / 1_000_000


async def test_operators_price_of_an_entry_holds_for_its_name_alone(emulator: Emulator, tmp_path: Path) -> None:
    file = tmp_path / "litellm.yaml"
    params = f"{{model: bedrock/{TITAN}, aws_region_name: us-east-1, input_cost_per_token: 0.0000015}}"
    file.write_text(f"model_list: [{{model_name: dear, litellm_params: {params}}}]\n")
    settings = load(
        {
            "EMBEDROCK_EMULATED": "true",
            "EMBEDROCK_CONFIG": str(file),
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
        }
    )

    async with open_gateway(settings) as gateway:
        dear = await embed(gateway, "dear", TEXTS)
        usual = await embed(gateway, TITAN, TEXTS)

    assert dear.cost_usd == dear.tokens * Decimal("0.0000015") > usual.cost_usd
    assert usual.cost_usd == usual.tokens * Decimal("0.00000002")
