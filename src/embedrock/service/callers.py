"""Who asks, and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from embedrock.catalog import Target
from embedrock.errors import PermissionDenied
from embedrock.service.limits import UNLIMITED, Limits
from embedrock.upstream.guardrail import Guardrail


class Budgets(NamedTuple):
    """What a key may spend, in micro-credits, besides what its account has; None: no limit."""

    day: int | None = None
    month: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """One key, or everybody where there are no keys. `name` stands for the key and tells nothing about it.

    A key that was rotated and the one in its place have one name: they share limits and budgets.
    """

    name: str = ""
    limits: Limits = UNLIMITED
    account: str | None = None  # None: the operator's own, whose use nobody charges
    key: str | None = None  # the id of the key
    models: frozenset[str] | None = None  # ids, and names of the operator's; None: all
    routes: frozenset[str] | None = None  # rights to routes; None: all
    budgets: Budgets = Budgets()  # noqa: RUF009  # a constant
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # id of a model → parameters, unless asked
    shares_calls: bool = True  # its texts may go to Bedrock in one call with those of others
    guardrail: Guardrail | None = None  # that every request has to pass
    s3_prefixes: tuple[str, ...] | None = None  # what it may name in S3, within the gateway's own; None: all of those

    def sees(self, name: str, model: str) -> bool:
        """Whether it may use `model`, an id, under `name`."""
        return self.models is None or model in self.models or name in self.models

    def check_model(self, target: Target) -> None:
        """Raise PermissionDenied when it may not use the model."""
        if self.models is not None and not self.sees(target.name, target.spec.id):
            raise PermissionDenied("This key may not use this model.", param="model")

    def check_route(self, route: str) -> None:
        """Raise PermissionDenied when it may not use routes of this kind."""
        if self.routes is not None and route not in self.routes:
            raise PermissionDenied("This key may not use this path.")

    def guarded_by(self, asked: Guardrail | None) -> Guardrail | None:
        """Return the guardrail that the texts have to pass. Raises PermissionDenied when the key has another."""
        if self.guardrail is None or asked == self.guardrail:
            return asked
        if asked is not None:
            raise PermissionDenied(
                "This key has a guardrail of its own, and no request can choose another.",
                param="X-Amzn-Bedrock-GuardrailIdentifier",
            )
        return self.guardrail


ANYBODY: Final = Caller()
