"""The operator's own names: what each stands for, and what holds when a caller uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from embedrock.tokens import EncodingName

_QUOTED_CHARS = 100


@dataclass(frozen=True, slots=True)
class Alias:
    """An operator's name for a model, and what holds when a caller uses it and does not say otherwise."""

    model: str  # any other name
    params: Mapping[str, object] = field(default_factory=dict)  # of the model, as a caller would write them
    drop_params: bool | None = None  # drop parameters the model does not know; None: as the gateway does
    token_encoding: EncodingName | None = None  # of token ids in the input
    region: str | None = None  # to call; the operator's word, so it need not be one of the gateway's own
    account: str = ""  # whose credentials, by a name of the gateway's; "": its own
    usd_per_million_tokens: Decimal | None = None  # where the price is not the catalogue's
    inherited: tuple[Mapping[str, object], ...] = ()  # params of the aliases this one leads to, the nearer first


def places_of(given: str | Alias | Sequence[Alias]) -> Sequence[Alias]:
    """Return what an operator's name stands for: one alias, or several places of one model."""
    if isinstance(given, str):
        return (Alias(given),)
    return (given,) if isinstance(given, Alias) else given


def pool_of(name: str, aliases: Mapping[str, Alias]) -> str:
    """Return the last alias of a chain: the one whose places serve the names before it too."""
    while (model := aliases[name].model) in aliases and aliases[model].model != model and model != name:
        name = model
    return name


def end_of_chain(name: str, aliases: Mapping[str, Alias]) -> Alias:
    """Return a chain of aliases as one: the model it ends at, and what the first alias to say something says.

    At an alias that says its own name the chain ends.
    """
    chain = [aliases[name]]
    seen = {name}
    while (last := chain[-1].model) in aliases:
        if last in seen and aliases[last].model == last:
            break
        if last in seen:
            raise ValueError(f"alias {quote(name)}: it leads in a circle")
        seen.add(last)
        chain.append(aliases[last])
    return Alias(
        chain[-1].model,
        chain[0].params,
        next((alias.drop_params for alias in chain if alias.drop_params is not None), None),
        next((alias.token_encoding for alias in chain if alias.token_encoding is not None), None),
        next((alias.region for alias in chain if alias.region is not None), None),
        next((alias.account for alias in chain if alias.account), ""),
        next((alias.usd_per_million_tokens for alias in chain if alias.usd_per_million_tokens is not None), None),
        tuple(alias.params for alias in chain[1:]),
    )


def quote(name: str) -> str:
    """Return `name` in quotes for a message: printable, short, and without any ARN."""
    if "arn:" in name.lower():
        return "(an ARN)"
    shown = "".join(char if char.isprintable() and char not in "'\"\\" else "?" for char in name[:_QUOTED_CHARS])
    return f"'{shown[: _QUOTED_CHARS - 3]}…'" if len(name) > _QUOTED_CHARS - 2 else f"'{shown}'"
