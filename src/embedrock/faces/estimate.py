"""What embedding a file would take: calls, tokens, dollars and time, by model. Calls nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from embedrock.catalog import MODELS, ModelSpec, Names
from embedrock.catalog.prices import Billed, cost_usd
from embedrock.service.calls import estimate_tokens
from embedrock.service.planner import plan

Limits = tuple[float | None, float | None]  # requests and tokens a minute


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one model would take."""

    model: str
    calls: int
    tokens: int  # about
    usd: Decimal
    minutes: float | None  # at the quota; None: no quota is known
    quota: str  # where it comes from
    too_long: int  # texts over the model's limit of characters, which are not counted


def estimates(
    texts: Sequence[str], names: Names, quotas: Mapping[str, Limits], models: Sequence[str] | None = None
) -> list[Estimate]:
    """Return an estimate for each of `models`, or of the catalogue. Equal texts count once, as they are sent once.

    `quotas`: the operator's, by any name of a model; where it has none, what a new account was seen to have.
    """
    given = {names.find(name).spec.id: limits for name, limits in quotas.items()}
    once = list(dict.fromkeys(texts))
    specs = MODELS.values() if models is None else [names.find(name).spec for name in models]
    return [_estimate(spec, once, given.get(spec.id)) for spec in specs]


def _estimate(spec: ModelSpec, texts: Sequence[str], given: Limits | None) -> Estimate:
    fitting = [text for text in texts if spec.max_input_chars is None or len(text) <= spec.max_input_chars]
    calls = len(plan(spec, fitting, texts_only=True)) if fitting else 0
    tokens = sum(map(estimate_tokens, fitting))
    limits = given or (spec.quota.requests_per_minute, spec.quota.tokens_per_minute)
    needs = [amount / limit for amount, limit in zip((calls, tokens), limits, strict=True) if limit]
    return Estimate(
        spec.id,
        calls,
        tokens,
        cost_usd(spec, Billed(tokens, texts=len(fitting))),
        max(needs, default=None),
        "yours" if given else "a new account's" if needs else "",
        len(texts) - len(fitting),
    )
