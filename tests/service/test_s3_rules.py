"""Which objects in S3 a caller may name."""

from __future__ import annotations

import pytest

from embedrock.errors import S3AccessDenied
from embedrock.inputs import Item
from embedrock.media import S3Object
from embedrock.service.s3_rules import S3Rules

from .stand_ins import PNG, fused, inputs_of


def at(uri: str) -> S3Object:
    return S3Object(uri, "image", "png")


def allows(prefixes: tuple[str, ...] | None, uri: str, of_key: tuple[str, ...] | None = None) -> bool:
    try:
        S3Rules(prefixes).check(inputs_of(at(uri)), of_key)
    except S3AccessDenied:
        return False
    return True


@pytest.mark.parametrize(
    "prefixes, uri, expected",
    [
        (None, "s3://any/where.png", True),
        ((), "s3://any/where.png", False),
        (("s3://media",), "s3://media/a.png", True),
        (("s3://media/",), "s3://media/a.png", True),
        (("s3://media",), "s3://media/films/new/a.png", True),
        (("s3://media/films",), "s3://media/films/a.png", True),
        (("s3://media/films/",), "s3://media/films/new/a.png", True),
        (("s3://other", "s3://media"), "s3://media/a.png", True),
        (("s3://media",), "s3://media-of-others/a.png", False),
        (("s3://media",), "s3://media.evil/a.png", False),
        (("s3://media/films",), "s3://media/films-of-others/a.png", False),
        (("s3://media/films",), "s3://media/films", False),
        (("s3://media/films",), "s3://media/a.png", False),
        (("s3://media/films",), "s3://media/Films/a.png", False),
        (("s3://media",), "s3://other/media/a.png", False),
        (("s3://media",), "s3://other/s3://media/a.png", False),
    ],
)
def test_place_opens_what_lies_below_it_and_nothing_beside_it(
    prefixes: tuple[str, ...] | None, uri: str, expected: bool
) -> None:
    assert allows(prefixes, uri) is expected


@pytest.mark.parametrize(
    "prefixes, of_key, expected",
    [
        (None, ("s3://media/mine",), True),
        (("s3://media",), ("s3://media/mine",), True),
        (("s3://media/mine",), ("s3://media",), True),
        (("s3://media",), ("s3://media/yours",), False),
        (("s3://other",), ("s3://media/mine",), False),
        (None, (), False),
    ],
)
def test_key_may_name_what_lies_in_its_own_places_and_in_everybodys(
    prefixes: tuple[str, ...] | None, of_key: tuple[str, ...], expected: bool
) -> None:
    assert allows(prefixes, "s3://media/mine/a.png", of_key) is expected


@pytest.mark.parametrize(
    "items, listed, param",
    [
        ([at("s3://other/a.png")], False, "input"),
        ([at("s3://other/a.png")], True, "input[0]"),
        (["s3", PNG, at("s3://media/a.png"), at("s3://other/a.png"), at("s3://other/b.png")], True, "input[3]"),
        (["a", fused("b", at("s3://media/a.png"), at("s3://other/a.png"))], True, "input[1]"),
    ],
    ids=range(4),
)
def test_first_object_outside_is_refused_by_its_index(items: list[Item], listed: bool, param: str) -> None:
    with pytest.raises(S3AccessDenied) as caught:
        S3Rules(("s3://media",)).check(inputs_of(*items, listed=listed))

    error = caught.value
    assert (error.status, error.param, error.code) == (403, param, "s3_access_denied")
    assert "other" not in error.message
    assert "media" not in error.message, "what the operator allows is not told"


@pytest.mark.parametrize(
    "of_key, who", [(None, "this gateway may"), ((), "this key (it has none"), (("s3://mine",), "this key may")]
)
def test_refusal_says_whether_gateway_or_key_lacks_the_place(of_key: tuple[str, ...] | None, who: str) -> None:
    with pytest.raises(S3AccessDenied) as caught:
        S3Rules(() if of_key is None else ("s3://other",)).check(inputs_of(at("s3://other/a.png")), of_key)

    assert who in caught.value.message


def test_other_inputs_are_no_concern_of_the_rules() -> None:
    S3Rules(()).check(inputs_of("s3://other/a.png", PNG, fused("a", PNG)))
