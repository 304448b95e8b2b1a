"""The validator's wording: order and pointers."""

from __future__ import annotations

import pytest

from bedrock_emulator.schema import Failure, Leaf, describe, group, type_name


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
