"""What a call costs, by the catalogue's prices: exact decimals, no binary fraction.

AWS bills tokens, texts, images and seconds by the model. What a model is not billed by has no price and adds nothing;
so does what nobody knows the price of, and then the sum is a lower bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from embedrock.catalog.specs import ModelSpec

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Billed:
    """What AWS bills: tokens as it counts them, inputs by what they are, seconds of media."""

    tokens: int = 0
    texts: int = 0
    images: int = 0
    audio_s: float = 0.0
    video_s: float = 0.0

    def __add__(self, other: Billed) -> Billed:
        return Billed(
            self.tokens + other.tokens,
            self.texts + other.texts,
            self.images + other.images,
            self.audio_s + other.audio_s,
            self.video_s + other.video_s,
        )


def cost_usd(spec: ModelSpec, billed: Billed, usd_per_million_tokens: Decimal | None = None) -> Decimal:
    """Return US dollars on demand, by the prices of us-east-1; or by the operator's own price of tokens."""
    prices = spec.prices
    tokens = prices.text_per_million_tokens if usd_per_million_tokens is None else usd_per_million_tokens
    parts = (
        (tokens, Decimal(billed.tokens) / _MILLION),
        (prices.text_per_request, Decimal(billed.texts)),
        (prices.image_each, Decimal(billed.images)),
        (prices.audio_per_second, Decimal(str(billed.audio_s))),
        (prices.video_per_second, Decimal(str(billed.video_s))),
    )
    return sum((price * amount for price, amount in parts if price is not None), Decimal())


class Rate:
    """What calls of a model cost in micro-credits, worked out once: a product of whole numbers a call."""

    def __init__(
        self, spec: ModelSpec, credits_per_usd: Decimal, usd_per_million_tokens: Decimal | None = None
    ) -> None:
        ones = (Billed(tokens=1), Billed(texts=1), Billed(images=1), Billed(audio_s=1), Billed(video_s=1))
        prices = [
            Fraction(cost_usd(spec, one, usd_per_million_tokens)) * Fraction(credits_per_usd) * _MILLION for one in ones
        ]
        self._scale = math.lcm(*(price.denominator for price in prices))
        self._tokens, self._texts, self._images, self._audio, self._video = (
            int(price * self._scale) for price in prices
        )

    @property
    def is_free(self) -> bool:
        """Whether nothing of the model has a price that is known."""
        return not (self._tokens or self._texts or self._images or self._audio or self._video)

    def micro_credits(self, billed: Billed) -> int:
        """Return what `billed` costs, as `micro_credits` of its `cost_usd`."""
        total: int | Fraction = self._tokens * billed.tokens + self._texts * billed.texts + self._images * billed.images
        if billed.audio_s or billed.video_s:
            total += self._audio * Fraction(str(billed.audio_s)) + self._video * Fraction(str(billed.video_s))
        return math.ceil(-(-total // self._scale))


def micro_credits(usd: Decimal, credits_per_usd: Decimal) -> int:
    """Return a cost in millionths of a credit, rounded up: no call is free that AWS bills."""
    # Fractions: a product of decimals keeps 28 digits, and one rounded down could end below the cost.
    return math.ceil(Fraction(usd) * Fraction(credits_per_usd) * _MILLION)
