"""A caller's guardrail: what it lets through, blocks and masks, and that nothing passes without its word."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from embedrock.errors import (
    BadRequest,
    ContentBlocked,
    EmbedrockError,
    InvalidUpstream,
    ModelAccessDenied,
    ModelNotFound,
    Retry,
    Unavailable,
    UpstreamAuthFailed,
    UpstreamThrottled,
)
from embedrock.inputs import Fused, Inputs, Item
from embedrock.service import guard
from embedrock.service.guard import Guarded
from embedrock.service.retry import POLICIES
from embedrock.upstream.guardrail import Guardrail

from .stand_ins import PNG, S3_PNG, Sent, StandIn, fused, in_turn, inputs_of, patience, way_to

GUARDRAIL = Guardrail("abc123", "DRAFT")
PATH = "/guardrail/abc123/version/DRAFT/apply"


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedrock.service.attempts.random", lambda: 0.0)
    monkeypatch.setitem(POLICIES, Retry.THROTTLE, replace(POLICIES[Retry.THROTTLE], least=0.0))


async def enforce(inputs: Inputs, upstream: StandIn) -> Guarded:
    return await guard.enforce(inputs, GUARDRAIL, way_to(upstream), patience(), time.monotonic() + 60)


def asked(sent: Sent) -> list[str]:
    """Return the texts of a call."""
    assert sent.path == PATH
    assert sent.body["source"] == "INPUT"
    return [part["text"]["text"] for part in sent.body["content"]]


def answer(action: str, outputs: list[str], **policies: str) -> bytes:
    assessment: dict[str, Any] = {name: {"found": [{"action": what}]} for name, what in policies.items()}
    return json.dumps(
        {"action": action, "outputs": [{"text": text} for text in outputs], "assessments": [assessment]}
    ).encode()


def judge(sent: Sent) -> bytes:
    """Answer as a guardrail that blocks money, and masks Ann."""
    texts = asked(sent)
    if any("money" in text for text in texts):
        return answer("GUARDRAIL_INTERVENED", ["Sorry."], topicPolicy="BLOCKED")
    if any("Ann" in text for text in texts):
        masked = [text.replace("Ann", "{NAME}") for text in texts]
        return answer("GUARDRAIL_INTERVENED", masked, sensitiveInformationPolicy="ANONYMIZED")
    return answer("NONE", [])


def judge_documented(sent: Sent) -> bytes:
    """The same, with one output whatever the number of texts, which is all that AWS documents."""
    found = json.loads(judge(sent))
    return json.dumps(found | {"outputs": found["outputs"][:1]}).encode()


# ---------------------------------------------------------------- what passes


async def test_texts_that_pass_go_on_as_they_are() -> None:
    upstream = StandIn(judge)
    inputs = Inputs(["a", " ", fused("b", "c")], listed=True, emptied=(1,), texts_only=False)

    assert await enforce(inputs, upstream) == Guarded(inputs, (), "passed", 1)
    assert [asked(sent) for sent in upstream.sent] == [["a", " ", "b", "c"]]


@pytest.mark.parametrize(
    "items, expected, masked",
    [
        (["Ann"], ["{NAME}"], (0,)),
        (["a", "I am Ann", "b"], ["a", "I am {NAME}", "b"], (1,)),
        (["Ann", "a", "Ann and Ann"], ["{NAME}", "a", "{NAME} and {NAME}"], (0, 2)),
        (
            [fused("a", "Ann"), "b", fused("Ann", "c", "Ann")],
            [fused("a", "{NAME}"), "b", fused("{NAME}", "c", "{NAME}")],
            (0, 2),
        ),
    ],
    ids=range(4),
)
@pytest.mark.parametrize("how", [judge, judge_documented], ids=["output a text", "one output"])
async def test_masked_texts_take_the_place_of_what_was_sent(
    items: list[Item], expected: list[Item], masked: tuple[int, ...], how: Any
) -> None:
    """Where AWS does not tell which output is whose, the texts are asked about one by one."""
    upstream = StandIn(how)
    inputs = inputs_of(*items)
    texts = [part for item in items for part in (item.parts if isinstance(item, Fused) else (item,))]
    by_one = how is judge_documented and len(texts) > 1

    found = await enforce(inputs, upstream)

    assert (found.inputs.items, found.masked) == (expected, masked)
    assert found.outcome == "masked; sensitiveInformationPolicy"
    assert found.calls == len(upstream.sent) == (1 + len(texts) if by_one else 1)
    assert found.inputs._replace(items=items) == inputs
    assert inputs == inputs_of(*items), "the caller's inputs are not changed"
    if by_one:
        assert sorted(text for sent in upstream.sent[1:] for text in asked(sent)) == sorted(map(str, texts))


# ---------------------------------------------------------------- what does not


@pytest.mark.parametrize(
    "items, listed, param",
    [
        (["money"], False, "input"),
        (["money"], True, "input[0]"),
        (["a", "money"], True, "input"),
        ([fused("a", "money")], True, "input"),
        (["x" * 25_000, "money"], True, "input[1]"),
    ],
    ids=range(5),
)
async def test_blocked_text_blocks_the_request(items: list[Item], listed: bool, param: str) -> None:
    """The verdict is on a call: it names an input only when that was alone."""
    with pytest.raises(ContentBlocked) as caught:
        await enforce(inputs_of(*items, listed=listed), StandIn(judge))

    error = caught.value
    assert (error.status, error.param, error.code) == (400, param, "content_filter")
    assert error.outcome == "blocked; topicPolicy"
    assert "money" not in error.message


async def test_blocked_text_is_named_when_texts_are_asked_about_one_by_one() -> None:
    """Masking comes to light first here, in a call whose outputs do not match."""
    answers = [
        answer("GUARDRAIL_INTERVENED", ["one"], sensitiveInformationPolicy="ANONYMIZED"),
        answer("NONE", []),
        answer("GUARDRAIL_INTERVENED", ["Sorry."], wordPolicy="BLOCKED"),
    ]

    with pytest.raises(ContentBlocked) as caught:
        await enforce(inputs_of("a", "b"), in_turn(answers))

    assert caught.value.param == "input[1]"
    assert caught.value.outcome == "blocked; sensitiveInformationPolicy, wordPolicy"


async def test_mask_without_the_masked_text_is_no_verdict() -> None:
    upstream = in_turn([answer("GUARDRAIL_INTERVENED", [], sensitiveInformationPolicy="ANONYMIZED")])

    with pytest.raises(InvalidUpstream):
        await enforce(inputs_of("a"), upstream)


@pytest.mark.parametrize(
    "items, param",
    [
        (["a", PNG], "input[1]"),
        ([S3_PNG, "a"], "input[0]"),
        (["a", "b", fused("c", PNG)], "input[2]"),
    ],
    ids=range(3),
)
async def test_what_is_no_text_is_refused_before_anything_is_asked(items: list[Item], param: str) -> None:
    """A guardrail that could be passed by a picture of the words would be none."""
    upstream = StandIn(judge)

    with pytest.raises(BadRequest) as caught:
        await enforce(inputs_of(*items), upstream)

    assert (caught.value.param, caught.value.code) == (param, "unsupported_media")
    assert upstream.sent == []


@pytest.mark.parametrize(
    "error, status, code",
    [
        (ModelNotFound("no"), 400, "guardrail_not_found"),
        (ModelAccessDenied("no"), 403, "guardrail_not_allowed"),
        (BadRequest("no"), 400, "guardrail_refused"),
    ],
)
async def test_trouble_with_the_guardrail_is_told_as_such(error: EmbedrockError, status: int, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await enforce(inputs_of("a"), in_turn([error]))

    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.param == "X-Amzn-Bedrock-GuardrailIdentifier"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "failure, attempts",
    [
        (Unavailable("down"), 1),
        (UpstreamAuthFailed("keys"), 1),
        (Unavailable("blip", retry=Retry.TRANSIENT), 3),
        (UpstreamThrottled("slow"), 8),
        (b"{}", 3),
        (b"<html>", 3),
    ],
)
async def test_without_a_verdict_nothing_passes(failure: bytes | EmbedrockError, attempts: int) -> None:
    upstream = StandIn(lambda _: failure)

    with pytest.raises(EmbedrockError) as caught:
        await enforce(inputs_of("a", "b"), upstream)

    assert not isinstance(caught.value, BadRequest)
    assert len(upstream.sent) == attempts


async def test_attempts_that_failed_are_counted_among_the_calls() -> None:
    blip = Unavailable("blip", retry=Retry.TRANSIENT)

    found = await enforce(inputs_of("a"), in_turn([blip, UpstreamThrottled("slow"), answer("NONE", [])]))

    assert (found.calls, found.outcome) == (3, "passed")


# ---------------------------------------------------------------- many texts


@pytest.mark.parametrize(
    "lengths, batches",
    [
        ([1] * 100, [100]),
        ([1] * 101, [100, 1]),
        ([1] * 450, [100, 100, 100, 100, 50]),
        ([12_500, 12_500, 1], [2, 1]),
        ([24_999, 1, 1], [2, 1]),
        ([60_000, 1, 60_000], [1, 1, 1]),
        ([1, 25_000, 25_000, 1], [1, 1, 1, 1]),
    ],
    ids=range(7),
)
async def test_texts_are_asked_about_together_up_to_a_calls_size(lengths: list[int], batches: list[int]) -> None:
    """Quotas count units of 1,000 characters a second."""
    upstream = StandIn(judge)
    texts = ["x" * length for length in lengths]

    found = await enforce(inputs_of(*texts), upstream)

    asked_for = [asked(sent) for sent in upstream.sent]
    assert sorted(map(len, asked_for)) == sorted(batches)
    assert sorted(text for batch in asked_for for text in batch) == sorted(texts)
    assert found.calls == len(batches)
    assert upstream.at_once == min(4, len(batches))


async def test_every_masked_text_finds_its_place_among_many() -> None:
    items: list[Item] = [f"Ann {number}" if number % 7 == 0 else f"text {number}" for number in range(450)]

    found = await enforce(inputs_of(*items), StandIn(judge))

    assert found.inputs.items == [str(item).replace("Ann", "{NAME}") for item in items]
    assert found.masked == tuple(range(0, 450, 7))


async def test_first_block_ends_the_asking() -> None:
    upstream = StandIn(judge)

    with pytest.raises(ContentBlocked):
        await enforce(inputs_of("money", *["x" * 25_000] * 50), upstream)

    assert len(upstream.sent) <= 8, "four at once, and those that had begun"
