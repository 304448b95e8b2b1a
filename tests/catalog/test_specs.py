"""The facts of the models, and the reader that refuses a broken file."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from typing import get_args

import pytest

from embedrock.catalog import MODELS, Range, read_models
from embedrock.catalog.specs import Family

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_G1_02 = "amazon.titan-embed-g1-text-02"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
COHERE_V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

MINIMAL = """
[[models]]
id = "acme.embed-v1"
name = "Embed"
provider = "Acme"
family = "cohere_v3"
lifecycle = "ACTIVE"
input_modalities = ["text"]
dimensions = [8, 16]
default_dimensions = 16
max_inputs_per_call = 1
output_types = ["float"]
sources = ["made up"]
"""


def test_models_stand_in_the_files_order() -> None:
    assert list(MODELS) == [
        TITAN_V1, TITAN_G1_02, TITAN, TITAN_IMAGE, NOVA, ENGLISH, MULTILINGUAL, COHERE_V4, MARENGO_2, MARENGO_3
    ]  # fmt: skip
    assert all(spec.id == model_id for model_id, spec in MODELS.items())


def test_every_family_has_a_model() -> None:
    assert {spec.family for spec in MODELS.values()} == set(get_args(Family))


@pytest.mark.parametrize(
    "model, dimensions, default, texts, tokens, chars, normalized",
    [
        (TITAN_V1, (1536,), 1536, 1, 8192, 50_000, False),
        (TITAN_G1_02, (1536,), 1536, 1, 8192, 50_000, False),
        (TITAN, (256, 512, 1024), 1024, 1, 8192, 50_000, True),
        (TITAN_IMAGE, (256, 384, 1024), 1024, 1, 256, None, None),
        (NOVA, (256, 384, 1024, 3072), 3072, 1, 8192, 8192, True),
        (ENGLISH, (1024,), 1024, 96, 512, 2048, True),
        (MULTILINGUAL, (1024,), 1024, 96, 512, 2048, True),
        (COHERE_V4, (256, 512, 1024, 1536), 1536, 96, 128_000, None, True),
        (MARENGO_2, (1024,), 1024, 1, 77, None, None),
        (MARENGO_3, (512,), 512, 1, 500, None, None),
    ],
)
def test_dimensions_and_limits(
    model: str,
    dimensions: tuple[int, ...],
    default: int,
    texts: int,
    tokens: int,
    chars: int | None,
    normalized: bool | None,
) -> None:
    spec = MODELS[model]

    assert (spec.dimensions, spec.default_dimensions) == (dimensions, default)
    assert (spec.max_inputs_per_call, spec.max_input_tokens, spec.max_input_chars) == (texts, tokens, chars)
    assert spec.normalized is normalized


@pytest.mark.parametrize(
    "model, price, amount",
    [
        (TITAN_V1, "text_per_million_tokens", "0.1"),
        (TITAN_G1_02, "text_per_million_tokens", "0.1"),
        (TITAN, "text_per_million_tokens", "0.02"),
        (TITAN, "batch_multiplier", "0.5"),
        (TITAN_IMAGE, "text_per_million_tokens", "0.8"),
        (TITAN_IMAGE, "image_each", "0.00006"),
        (NOVA, "text_per_million_tokens", "0.135"),
        (NOVA, "document_image_each", None),
        (NOVA, "video_per_second", "0.0007"),
        (NOVA, "audio_per_second", "0.00014"),
        (ENGLISH, "text_per_million_tokens", "0.1"),
        (MULTILINGUAL, "image_each", None),
        (COHERE_V4, "text_per_million_tokens", "0.12"),
        (MARENGO_2, "text_per_request", "0.00007"),
        (MARENGO_3, "text_per_million_tokens", None),
        (MARENGO_3, "text_per_request", "0.00007"),
        (MARENGO_3, "image_each", "0.0001"),
    ],
)
def test_prices_are_exact(model: str, price: str, amount: str | None) -> None:
    assert getattr(MODELS[model].prices, price) == (None if amount is None else Decimal(amount))


def test_eleven_tokens_of_titan_v2_cost_a_quarter_of_a_millionth() -> None:
    per_million = MODELS[TITAN].prices.text_per_million_tokens

    assert per_million is not None
    assert 11 * per_million / 1_000_000 == Decimal("0.00000022")


def test_only_these_models_have_profiles() -> None:
    profiles = {spec.id: spec.profile_prefixes for spec in MODELS.values() if spec.profile_prefixes}

    assert profiles == {COHERE_V4: ("us", "eu", "global"), MARENGO_2: ("us", "eu", "apac"), MARENGO_3: ("us", "eu")}


@pytest.mark.parametrize(
    "model, images, fused, fuses, mixed, types, packed",
    [
        (TITAN, None, None, False, False, 2, 0),
        (TITAN_IMAGE, 1, 1, True, False, 1, 0),
        (NOVA, 1, None, False, False, 1, 0),
        (ENGLISH, 1, None, False, False, 5, 2),
        (MULTILINGUAL, 1, None, False, False, 5, 2),
        (COHERE_V4, 96, 96, True, True, 5, 2),
        (MARENGO_2, 1, None, False, False, 1, 0),
        (MARENGO_3, 1, 1, True, False, 1, 0),
    ],
)
def test_what_may_share_a_call_and_a_vector(
    model: str, images: int | None, fused: int | None, fuses: bool, mixed: bool, types: int, packed: int
) -> None:
    spec = MODELS[model]

    assert (spec.max_images_per_call, spec.max_fused_per_call) == (images, fused)
    assert (spec.fuses, spec.mixed_calls) == (fuses, mixed)
    assert (len(spec.output_types), len(spec.packed_types)) == (types, packed)
    assert set(spec.packed_types) <= {"binary", "ubinary"} & set(spec.output_types)


def test_only_one_model_has_a_switch_for_the_length() -> None:
    assert [spec.id for spec in MODELS.values() if spec.normalize_switch] == [TITAN]


@pytest.mark.parametrize(
    "model, formats, inline, from_s3, side",
    [
        (TITAN_IMAGE, {"png", "jpeg"}, 25_000_000, None, 2048),
        (NOVA, {"png", "jpeg", "gif", "webp"}, 25_000_000, 50_000_000, None),
        (ENGLISH, {"png", "jpeg"}, 5_000_000, None, None),
        (COHERE_V4, {"png", "jpeg", "gif", "webp"}, 5_000_000, None, None),
        (MARENGO_2, set(), 5_000_000, 5_000_000, None),
        (MARENGO_3, set(), 5_000_000, 5_000_000, None),
    ],
)
def test_limits_of_images(model: str, formats: set[str], inline: int, from_s3: int | None, side: int | None) -> None:
    """No formats: unknown."""
    image = MODELS[model].image

    assert image is not None
    assert set(image.formats) == formats
    assert (image.inline_bytes, image.sync_s3_bytes, image.max_side_pixels) == (inline, from_s3, side)


def test_media_facts() -> None:
    nova, image = MODELS[NOVA], MODELS[TITAN_IMAGE].image

    assert nova.video is not None
    assert (nova.video.sync_seconds, nova.video.async_seconds) == (30, 7200)
    assert nova.segmentation is not None
    assert nova.segmentation.seconds == Range(1, 30, 5)
    assert image is not None
    assert (image.encoding, image.max_side_pixels) == ("base64", 2048)
    assert MODELS[MARENGO_2].end_of_life == datetime.date(2026, 11, 30)


def test_minimal_model_leaves_the_rest_unknown() -> None:
    spec = read_models(MINIMAL)["acme.embed-v1"]

    assert (spec.max_input_tokens, spec.normalized, spec.image) == (None, None, None)
    assert spec.prices.text_per_million_tokens is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("[[models]]\n", "model 1: id: missing"),
        ("", "models: expected a list of tables"),
        ("other = 1\n" + MINIMAL, "models: expected a list of tables"),
        (MINIMAL + "dimension = 3\n", "acme.embed-v1: dimension: unknown field"),
        (MINIMAL + "max_input_tokens = 1.5\n", "acme.embed-v1: max_input_tokens: expected int"),
        (MINIMAL + "max_input_tokens = true\n", "acme.embed-v1: max_input_tokens: expected int"),
        (MINIMAL + "max_input_tokens = 0\n", "acme.embed-v1: max_input_tokens: empty or not positive"),
        (MINIMAL + "normalized = 1\n", "acme.embed-v1: normalized: expected bool"),
        (MINIMAL + "end_of_life = 2026-11-30T00:00:00\n", "acme.embed-v1: end_of_life: expected date"),
        (MINIMAL + "aliases = 'acme'\n", "acme.embed-v1: aliases: expected a list"),
        (MINIMAL + "aliases = ['a', 'a']\n", "acme.embed-v1: aliases: an item stands twice"),
        (MINIMAL + "aliases = ['']\n", "acme.embed-v1: aliases: empty"),
        (MINIMAL + "aliases = ['acme.embed-v1']\n", "acme.embed-v1: id, aliases or listed_variants: .* is taken"),
        (MINIMAL + MINIMAL, "acme.embed-v1: id, aliases or listed_variants: acme.embed-v1 is taken"),
        (MINIMAL + "profile_required = true\n", "acme.embed-v1: profile_required: without"),
        (MINIMAL + "prices = 1\n", "acme.embed-v1: prices: expected a table"),
        (MINIMAL + "[models.prices]\nimage_each = 0.1\n", "acme.embed-v1: prices.image_each: expected a decimal"),
        (MINIMAL + "[models.prices]\nimage_each = '-1'\n", "acme.embed-v1: prices.image_each: expected a decimal"),
        (MINIMAL + "[models.prices]\nimage_each = 'NaN'\n", "acme.embed-v1: prices.image_each: expected a decimal"),
        (MINIMAL + "[models.prices]\nimages = '1'\n", "acme.embed-v1: prices.images: unknown field"),
        (MINIMAL + "[models.segmentation]\nchars = {min = 1}\n", "acme.embed-v1: segmentation.chars.max: missing"),
        (MINIMAL.replace("cohere_v3", "cohere"), "acme.embed-v1: family: expected one of titan_text_v1"),
        (MINIMAL.replace('["text"]', '["smell"]'), "acme.embed-v1: input_modalities: expected one of text"),
        (MINIMAL.replace("[8, 16]", "[16, 8]"), "acme.embed-v1: dimensions: not ascending"),
        (MINIMAL.replace("[8, 16]", "[8]"), "acme.embed-v1: default_dimensions: not one of dimensions"),
        (MINIMAL.replace("[8, 16]", "[]"), "acme.embed-v1: dimensions: empty"),
        (MINIMAL.replace("acme.embed", "acme embed"), "acme embed-v1: id: not"),
    ],
)
def test_broken_file_is_refused_by_model_and_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        read_models(text)


def test_catalogue_imports_quickly() -> None:
    """Reading the file takes a few milliseconds; the bound leaves room for a busy machine."""
    code = "import time; t = time.perf_counter(); import embedrock.catalog; print(time.perf_counter() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert float(run.stdout) < 1.0
