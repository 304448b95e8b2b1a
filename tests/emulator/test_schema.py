"""The validator's wording: order and pointers."""

from __future__ import annotations

import pytest

from bedrock_emulator.schema import Failure, Leaf, describe, exactly_one, group, matching, members, type_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (True, "Boolean"),
        (1, "Integer"),
        (2**40, "Long"),
        (2**70, "BigInteger"),
        (1.0, "BigDecimal"),
        ("x", "String"),
        ([], "JSONArray"),
        ({}, "JSONObject"),
    ],
)
def test_type_names_are_javas(value: object, name: str) -> None:
    assert type_name(value) == name


def test_group_hands_a_single_failure_up_as_it_is() -> None:
    leaf = Leaf("#", "x")

    assert group([None, leaf]) is leaf
    assert not group([None, None])


def test_single_failures_come_before_groups() -> None:
    failure: Failure = [[Leaf("#", "a"), Leaf("#/t", "b")], Leaf("#", "c")]

    assert describe(failure, pointers=True) == "#: c#: a#/t: b"


@pytest.mark.parametrize(("pointers", "text"), [(True, "#/k: wrong"), (False, "wrong")])
def test_a_lone_failure_has_its_pointer_only_when_asked(pointers: bool, text: str) -> None:
    assert describe(Leaf("#/k", "wrong"), pointers=pointers) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"a": 1}, None),
        ({"c": 1}, "#/x: required key [a] not found#/x: required key [b] not found"),
        ({"a": 1, "b": 2}, "#/x: 2 subschemas matched instead of one"),
    ],
)
def test_exactly_one_of_several_keys_has_to_be_there(body: dict[str, int], text: str | None) -> None:
    failure = exactly_one("#/x", body, ("a", "b"))

    assert (describe(failure, pointers=True) if failure else None) == text


def test_missing_keys_come_before_unknown_ones_and_name_their_object() -> None:
    failure = group(members({"z": 1}, required=("a",), known=("a",), pointer="#/x"))

    assert failure
    assert describe(failure, pointers=True) == (
        "#/x: required key [a] not found#/x: extraneous key [z] is not permitted"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12", None),
        ("1", "string [1] does not match pattern [0-9]{2}"),
        ("123", "string [123] does not match pattern [0-9]{2}"),
        ("12\n", "string [12\n] does not match pattern [0-9]{2}"),
        (12, "expected type: String, found: Integer"),
    ],
)
def test_a_pattern_is_held_against_the_whole_string(value: object, text: str | None) -> None:
    failure = matching("#", value, "[0-9]{2}")

    assert (describe(failure, pointers=False) if failure else None) == text
