"""Which inputs share a call: all of them, in their order, and never more than a call holds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS, ModelSpec
from embedrock.families import FAMILIES
from embedrock.inputs import Fused, Item
from embedrock.media import Media
from embedrock.service.checks import MAX_CALL_BYTES, json_bytes
from embedrock.service.planner import plan

from .stand_ins import ENGLISH, MARENGO_3, NOVA, PNG, S3_PNG, TITAN, TITAN_IMAGE, V4, fused

BODY_BYTES = 25_000_000  # what Bedrock takes

#: Pictures of which a call holds two, one, or several.
HALF = Media("image", "png", "A" * 12_000_000, 9_000_000, 1, 1)
WHOLE = Media("image", "png", "A" * 24_000_000, 18_000_000, 1, 1)
TENTH = Media("image", "png", "A" * 2_400_000, 1_800_000, 1, 1)
LONG = "x" * 12_000_000


def positions(model: str, items: list[Item], *, texts_only: bool = False) -> list[list[int]]:
    return [list(call) for call in plan(MODELS[model], items, texts_only=texts_only)]


def sizes(model: str, items: list[Item], *, texts_only: bool = False) -> list[int]:
    return [len(call) for call in positions(model, items, texts_only=texts_only)]


@pytest.mark.parametrize("texts_only", [True, False])
@pytest.mark.parametrize(
    "model, count, expected",
    [
        (TITAN, 1, [1]),
        (TITAN, 3, [1, 1, 1]),
        (NOVA, 2, [1, 1]),
        (ENGLISH, 1, [1]),
        (ENGLISH, 96, [96]),
        (ENGLISH, 97, [96, 1]),
        (ENGLISH, 300, [96, 96, 96, 12]),
        (V4, 96, [96]),
        (V4, 193, [96, 96, 1]),
        (MARENGO_3, 3, [1, 1, 1]),
    ],
)
def test_texts_fill_calls(model: str, count: int, expected: list[int], texts_only: bool) -> None:
    assert sizes(model, ["x"] * count, texts_only=texts_only) == expected


@pytest.mark.parametrize(
    "model, items, expected",
    [
        (ENGLISH, ["a", "b", PNG, "c", "d"], [[0, 1], [2], [3, 4]]),
        (ENGLISH, [PNG, PNG, "a"], [[0], [1], [2]]),
        (V4, ["a", PNG, fused("b", PNG), S3_PNG, "c"], [[0, 1, 2, 3, 4]]),
        (V4, [PNG] * 97, [list(range(96)), [96]]),
        (V4, [fused("a", PNG)] * 97, [list(range(96)), [96]]),
        (TITAN_IMAGE, ["a", PNG, fused("a", PNG)], [[0], [1], [2]]),
        (MARENGO_3, [PNG, PNG, fused("a", PNG), "b", "c"], [[0], [1], [2], [3], [4]]),
        (NOVA, [PNG, "a", S3_PNG], [[0], [1], [2]]),
    ],
    ids=range(8),
)
def test_kinds_share_a_call_only_where_the_model_mixes_them(
    model: str, items: list[Item], expected: list[list[int]]
) -> None:
    assert positions(model, items) == expected


@pytest.mark.parametrize(
    "items, expected",
    [
        ([HALF, HALF, HALF], [[0, 1], [2]]),
        ([WHOLE, WHOLE], [[0], [1]]),
        ([HALF, WHOLE, HALF], [[0], [1], [2]]),
        (["a", WHOLE, "b"], [[0, 1, 2]]),
        (["a", HALF, "b", WHOLE, "c"], [[0, 1, 2], [3, 4]]),
        ([TENTH] * 21, [list(range(10)), list(range(10, 20)), [20]]),
        ([LONG, LONG, LONG], [[0, 1], [2]]),
        ([fused(LONG, HALF), "a", fused(HALF)], [[0, 1], [2]]),
    ],
    ids=range(8),
)
def test_call_holds_no_more_bytes_than_bedrock_takes(items: list[Item], expected: list[list[int]]) -> None:
    assert positions(V4, items) == expected


# ---------------------------------------------------------------- whatever the inputs

ITEMS = st.lists(
    st.sampled_from(["x", "x" * 600, "x" * 20_000, PNG, S3_PNG, HALF, TENTH, fused("a", PNG), fused(HALF, "b")]),
    min_size=1,
    max_size=220,
)


def kind(spec: ModelSpec, item: Item) -> str:
    if spec.mixed_calls:
        return "any"
    return "text" if isinstance(item, str) else "fused" if isinstance(item, Fused) else "media"


def most(spec: ModelSpec, item: Item) -> int:
    """Return how many items of this kind the catalogue lets into a call."""
    if isinstance(item, str):
        return spec.max_inputs_per_call
    return (spec.max_fused_per_call if isinstance(item, Fused) else spec.max_images_per_call) or 1


@pytest.mark.parametrize("model", [TITAN, TITAN_IMAGE, ENGLISH, V4, MARENGO_3])
@given(items=ITEMS)
def test_calls_are_all_of_the_inputs_in_order_within_every_limit(model: str, items: list[Item]) -> None:
    spec = MODELS[model]
    calls = plan(spec, items, texts_only=False)

    assert [position for call in calls for position in call] == list(range(len(items)))
    for call in calls:
        held = items[call.start : call.stop]
        assert 1 <= len(held) <= min(most(spec, item) for item in held)
        assert len({kind(spec, item) for item in held}) == 1
        assert len(held) == 1 or sum(map(json_bytes, held)) <= MAX_CALL_BYTES
    for call, after in pairwise(calls):
        held = items[call.start : after.start + 1]  # one more
        too_many = len(held) > min(most(spec, item) for item in held)
        too_large = sum(map(json_bytes, held)) > MAX_CALL_BYTES
        assert too_many or too_large or len({kind(spec, item) for item in held}) > 1, "a call is as full as it can be"


@pytest.mark.parametrize("model", MODELS)
@given(count=st.integers(1, 400))
def test_short_way_for_texts_plans_as_the_long_one(model: str, count: int) -> None:
    items: list[Item] = ["x" * 100] * count

    assert positions(model, items, texts_only=True) == positions(model, items)


# ---------------------------------------------------------------- the bodies in the end

TEXTS = st.one_of(
    st.text(),
    st.text('\x00\x1f"\\é😀a', max_size=50),
    st.sampled_from(["\x00" * 9_999, "\x00" * 10_000, "a" * 10_000, '"' * 20_000]),
)
PARTS = st.one_of(TEXTS, st.sampled_from([PNG, TENTH]))


def body_bytes(items: list[Item]) -> int:
    spec = MODELS[V4]
    family = FAMILIES[spec.family]
    return len(family.build_request(spec, items, family.table.resolve(spec, [])))


@given(st.lists(st.one_of(PARTS, st.lists(PARTS, min_size=2, max_size=9).map(lambda held: Fused(tuple(held))))))
def test_items_take_no_more_of_a_body_than_was_reckoned(items: list[Item]) -> None:
    mixture: list[Item] = [PNG, "a"]

    around = body_bytes(mixture)

    assert around < BODY_BYTES - MAX_CALL_BYTES
    assert body_bytes([*mixture, *items]) - around <= sum(map(json_bytes, items))


def test_thousands_of_tiny_parts_are_reckoned_with_what_is_around_them() -> None:
    """Each letter of such a part costs thirty bytes of members, quotes and commas."""
    items: list[Item] = [*[Fused(("a",) * 1000)] * 95, "x" * 24_300_000]

    calls = plan(MODELS[V4], items, texts_only=False)

    assert max(body_bytes(items[call.start : call.stop]) for call in calls) <= BODY_BYTES
