"""What a call costs: exact decimals, and micro-credits that are never below them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS, ModelSpec
from embedrock.catalog.prices import Billed, Rate, cost_usd, micro_credits

TITAN = MODELS["amazon.titan-embed-text-v2:0"]
TITAN_IMAGE = MODELS["amazon.titan-embed-image-v1"]
NOVA = MODELS["amazon.nova-2-multimodal-embeddings-v1:0"]
ENGLISH = MODELS["cohere.embed-english-v3"]
MARENGO_3 = MODELS["twelvelabs.marengo-embed-3-0-v1:0"]

DOLLARS = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False)
PER_USD = st.decimals("0.000001", 10**6, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    "spec, billed, usd",
    [
        (TITAN, Billed(), "0"),
        (TITAN, Billed(tokens=11, texts=1), "0.00000022"),
        (TITAN, Billed(tokens=1_000_000, texts=40_000), "0.02"),
        (TITAN_IMAGE, Billed(tokens=7, texts=1), "0.0000056"),
        (TITAN_IMAGE, Billed(images=1), "0.00006"),
        (TITAN_IMAGE, Billed(tokens=7, texts=1, images=1), "0.0000656"),
        (NOVA, Billed(tokens=3, texts=1), "0.000000405"),
        (NOVA, Billed(audio_s=2.5, video_s=0.1), "0.00042"),
        (ENGLISH, Billed(tokens=672, texts=96), "0.0000672"),
        (MARENGO_3, Billed(tokens=1000, texts=3, images=2), "0.00041"),
    ],
)
def test_each_kind_of_bill_has_its_price(spec: ModelSpec, billed: Billed, usd: str) -> None:
    assert cost_usd(spec, billed) == Decimal(usd)


def test_what_nobody_knows_the_price_of_adds_nothing() -> None:
    assert ENGLISH.prices.image_each is None
    assert cost_usd(ENGLISH, Billed(images=5, audio_s=9, video_s=9)) == 0


@pytest.mark.parametrize("price, usd", [("0.05", "0.00000055"), ("0", "0"), (None, "0.00000022")])
def test_operators_own_price_of_tokens_is_taken_instead(price: str | None, usd: str) -> None:
    assert cost_usd(TITAN, Billed(tokens=11), None if price is None else Decimal(price)) == Decimal(usd)


def test_operators_price_of_tokens_leaves_the_others() -> None:
    assert cost_usd(TITAN_IMAGE, Billed(tokens=10, images=1), Decimal(1)) == Decimal("0.00007")


@given(st.sampled_from(list(MODELS.values())), st.integers(0, 10**15), st.integers(0, 10**9))
def test_cost_is_exact(spec: ModelSpec, tokens: int, images: int) -> None:
    prices = spec.prices
    exact = Fraction(prices.text_per_million_tokens or 0) * tokens / 10**6 + Fraction(prices.image_each or 0) * images

    assert Fraction(cost_usd(spec, Billed(tokens=tokens, images=images))) == exact


@pytest.mark.parametrize(
    "usd, per_usd, micro",
    [
        ("0", "10", 0),
        ("0.00000022", "10", 3),
        ("0.0000002", "10", 2),
        ("0.0000000000001", "10", 1),
        ("0.1", "10", 1_000_000),
        ("0.00000022", "1", 1),
        ("3", "1.0000000000000000000000000001", 3_000_001),
    ],
)
def test_micro_credits_are_rounded_up(usd: str, per_usd: str, micro: int) -> None:
    """The last: one part in 10^28 above a whole number, which 28 digits cannot tell."""
    assert micro_credits(Decimal(usd), Decimal(per_usd)) == micro


@given(DOLLARS, PER_USD)
def test_micro_credits_are_never_below_the_cost_and_less_than_one_above(usd: Decimal, per_usd: Decimal) -> None:
    exact = Fraction(usd) * Fraction(per_usd) * 10**6

    assert exact <= micro_credits(usd, per_usd) < exact + 1


@given(st.sampled_from(list(MODELS.values())), st.integers(1, 10**7), PER_USD)
def test_no_tokens_with_a_price_are_free(spec: ModelSpec, tokens: int, per_usd: Decimal) -> None:
    usd = cost_usd(spec, Billed(tokens=tokens, texts=1))

    assert usd > 0
    assert micro_credits(usd, per_usd) >= 1


@given(
    spec=st.sampled_from(list(MODELS.values())),
    billed=st.builds(
        Billed,
        tokens=st.integers(0, 10**9),
        texts=st.integers(0, 10**4),
        images=st.integers(0, 10**4),
        audio_s=st.floats(0, 10**5),
        video_s=st.floats(0, 10**5),
    ),
    per_usd=PER_USD,
    price=st.none() | st.decimals("0.000001", 1000, allow_nan=False, allow_infinity=False, places=6),
)
def test_rate_is_the_price_worked_out_before(
    spec: ModelSpec, billed: Billed, per_usd: Decimal, price: Decimal | None
) -> None:
    parts = [Billed(tokens=billed.tokens), Billed(texts=billed.texts), Billed(images=billed.images)]
    parts += [Billed(audio_s=billed.audio_s), Billed(video_s=billed.video_s)]
    usd = sum((Fraction(cost_usd(spec, part, price)) for part in parts), Fraction())
    exact = usd * Fraction(per_usd) * 1_000_000

    assert 0 <= Rate(spec, per_usd, price).micro_credits(billed) - exact < 1 + Fraction(1, 1000)
