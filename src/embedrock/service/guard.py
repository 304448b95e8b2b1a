"""A caller's guardrail, enforced before the texts reach the model.

InvokeModel takes a guardrail's name, but nobody promises that it does anything for an embedding model. So the texts
go through ApplyGuardrail first, those of a request together; what it blocks is refused, what it masks is embedded as
masked. It fails closed: without a verdict nothing is embedded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from embedrock.errors import BadRequest, ContentBlocked, InvalidUpstream, ModelAccessDenied, NotFound
from embedrock.inputs import Fused, Inputs, Item
from embedrock.service.attempts import Call, Patience
from embedrock.service.lanes import in_lanes
from embedrock.service.ways import Way
from embedrock.upstream.guardrail import Guardrail, Verdict, build_request, parse_response

LABEL: Final = "guardrail"  # in place of the model, in the metrics
IDENTIFIER: Final = "X-Amzn-Bedrock-GuardrailIdentifier"
_CALL_CHARS: Final = 25_000  # a text unit is 1,000 characters; quotas count units a second
_CALL_TEXTS: Final = 100
_LANES: Final = 4


class Guarded(NamedTuple):
    """Inputs that passed. `outcome` is for people: what happened, and which policies stepped in."""

    inputs: Inputs
    masked: tuple[int, ...]
    outcome: str
    calls: int


async def enforce(inputs: Inputs, guardrail: Guardrail, way: Way, patience: Patience, deadline: float) -> Guarded:
    """Return the inputs as the guardrail lets them through.

    Raises ContentBlocked when it blocks one, BadRequest when there is no such guardrail or an input is no text,
    and what the call raises when there is no verdict.
    """
    items = list(inputs.items)
    places = list(_texts(inputs))
    policies: set[str] = set()
    masked: set[int] = set()
    calls = 0

    async def ask(batch: Sequence[_Place]) -> None:
        nonlocal calls
        texts = [place.text for place in batch]
        verdict, attempts = await _verdict(texts, guardrail, way, patience, deadline)
        calls += attempts
        policies.update(verdict.policies)
        if verdict.blocked:
            where = inputs.param(batch[0].index) if len(batch) == 1 else "input"
            raise ContentBlocked("The guardrail blocked the input.", param=where, outcome=_outcome("blocked", policies))
        if verdict.masked is None:
            if len(batch) == 1:
                raise InvalidUpstream("The guardrail masked a text and did not return it.")
            for place in batch:
                await ask([place])
            return
        for place, text in zip(batch, verdict.masked, strict=True):
            if text != place.text:
                masked.add(place.index)
                items[place.index] = _replaced(items[place.index], place.part, text)

    await in_lanes(list(_batches(places)), _LANES, ask)
    outcome = _outcome("masked" if masked else "passed", policies)
    return Guarded(inputs._replace(items=items), tuple(sorted(masked)), outcome, calls)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a text stands: input, and part of it."""

    index: int
    part: int
    text: str


def _texts(inputs: Inputs) -> Iterator[_Place]:
    for index, item in enumerate(inputs.items):
        for number, part in enumerate(item.parts if isinstance(item, Fused) else (item,)):
            if not isinstance(part, str):
                param = inputs.part_param(index, number)
                raise BadRequest(
                    f"'{param}': a guardrail checks texts only, and this is none.",
                    param=param,
                    code="unsupported_media",
                )
            yield _Place(index, number, part)


def _replaced(item: Item, number: int, text: str) -> Item:
    if not isinstance(item, Fused):
        return text
    return Fused((*item.parts[:number], text, *item.parts[number + 1 :]))


def _batches(places: Sequence[_Place]) -> Iterator[list[_Place]]:
    batch: list[_Place] = []
    chars = 0
    for place in places:
        if batch and (len(batch) == _CALL_TEXTS or chars + len(place.text) > _CALL_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(place)
        chars += len(place.text)
    yield batch


async def _verdict(
    texts: Sequence[str], guardrail: Guardrail, way: Way, patience: Patience, deadline: float
) -> tuple[Verdict, int]:
    """Return what the guardrail says, and the number of attempts it took."""
    body = build_request(texts)
    attempts = 0

    async def send(way: Way, timeout_s: float) -> Verdict:
        nonlocal attempts
        attempts += 1
        return await way.upstream.post(
            guardrail.path, body, lambda response: parse_response(response.body, texts), timeout_s=timeout_s
        )

    try:
        verdict, _ = await patience.call((way,), Call(send, lambda _: None, LABEL, deadline))
        return verdict, attempts
    except ModelAccessDenied as exc:
        raise ModelAccessDenied(
            "The gateway's AWS credentials may not use this guardrail: the IAM action is bedrock:ApplyGuardrail.",
            param=IDENTIFIER,
            code="guardrail_not_allowed",
        ) from exc
    except NotFound as exc:
        message = "The guardrail does not exist in this region."
        raise BadRequest(message, param=IDENTIFIER, code="guardrail_not_found") from exc
    except BadRequest as exc:
        message = "Bedrock refused to apply the guardrail to these texts."
        raise BadRequest(message, param=IDENTIFIER, code="guardrail_refused") from exc


def _outcome(action: str, policies: set[str]) -> str:
    return f"{action}; {', '.join(sorted(policies))}" if policies else action
