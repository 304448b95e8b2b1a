"""What a key may, as it is kept: JSON with these members and no others."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

_Amount = Annotated[int, Meta(ge=1, le=10**9)]
_Micro = Annotated[int, Meta(ge=0, le=2**53)]
_Name = Annotated[str, Meta(min_length=1, max_length=2048)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """None, or nothing: no bound. `models` are ids, or names of the operator's; `params` are by id."""

    models: tuple[_Name, ...] | None = None
    routes: tuple[_Name, ...] | None = None
    requests_per_minute: _Amount | None = None
    tokens_per_minute: _Amount | None = None
    concurrency: _Amount | None = None
    budget_day: _Micro | None = None  # micro-credits
    budget_month: _Micro | None = None
    budget_total: _Micro | None = None
    params: dict[_Name, dict[str, Any]] = {}
    shares_calls: bool = True
    guardrail: tuple[_Name, _Name] | None = None  # identifier and version
    s3_prefixes: tuple[_Name, ...] = ()


def read(text: str) -> Policy:
    """Return the policy that was kept as `text`. Raises ValueError."""
    return msgspec.json.decode(text, type=Policy)


def write(policy: Policy) -> str:
    """Return what `read` reads. Raises ValueError when a value is out of bounds."""
    text = msgspec.json.encode(policy).decode()
    read(text)
    return text
