"""What holds when a request does not say: the alias's word, then the operator's, then the family's; and no leaks."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from embedrock.catalog import Alias, Names
from embedrock.errors import BadRequest
from embedrock.families import FAMILIES
from embedrock.families.parameters import Wanted
from embedrock.service.defaults import Defaults
from embedrock.wire import openai

from .stand_ins import ENGLISH, NOVA, TITAN, V4

ALIASES = {
    "query": Alias(V4, {"input_type": "search_query", "output_dimension": 512}),
    "short": Alias("query", {"max_tokens": 99, "truncate": "END"}),
    "bits": Alias(TITAN, {"embeddingTypes": ["binary"], "normalize": False}),
    "loose": Alias(TITAN, {"dimensions": 256}, drop_params=True),
    "strict": Alias(TITAN, drop_params=False),
    "small": Alias("query", {"dimensions": 256}),
}
BY_MODEL: dict[str, dict[str, Any]] = {
    "cohere.embed-v4": {"truncate": "LEFT", "input_type": "clustering"},
    TITAN: {"dimensions": 512},
}
NAMES = Names(["us-east-1"], aliases=ALIASES)


def defaults(by_model: dict[str, dict[str, Any]] | None = None, *, drop_params: bool = False) -> Defaults:
    return Defaults(NAMES, BY_MODEL if by_model is None else by_model, drop_params=drop_params)


def ask(
    held: Defaults, name: str, dimensions: int | None = None, *params: dict[str, Any]
) -> tuple[Wanted, tuple[str, ...]]:
    target = NAMES.find(name)
    return held.wanted(target, FAMILIES[target.spec.family], dimensions, params)


def refusal(held: Defaults, name: str, dimensions: int | None = None, *params: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        ask(held, name, dimensions, *params)
    return caught.value


# ---------------------------------------------------------------- who wins


@pytest.mark.parametrize(
    "name, params, expected",
    [
        (V4, [], {"truncate": "LEFT", "input_type": "clustering"}),
        (f"us.{V4}", [], {"truncate": "LEFT", "input_type": "clustering"}),
        ("query", [], {"truncate": "LEFT", "input_type": "search_query"}),
        ("short", [], {"truncate": "END", "input_type": "search_query", "max_tokens": 99}),
        ("short", [{"truncate": "NONE"}], {"truncate": "NONE", "input_type": "search_query", "max_tokens": 99}),
        ("short", [{"truncate": None}], {"truncate": "END", "input_type": "search_query", "max_tokens": 99}),
        ("query", [{}, {"input_type": "image"}], {"truncate": "LEFT", "input_type": "image"}),
        (
            "query",
            [{"truncate": "START"}, {"truncate": "NONE", "input_type": "image"}],
            {"truncate": "START", "input_type": "image"},
        ),
        (ENGLISH, [], {"truncate": "NONE", "input_type": "search_document"}),
        (ENGLISH, [{"truncate": "END"}], {"truncate": "END", "input_type": "search_document"}),
    ],
    ids=str,
)
def test_request_alias_operator_family_in_this_order(
    name: str, params: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    wanted, dropped = ask(defaults(), name, None, *params)

    assert (wanted.values, dropped) == (expected, ())


@pytest.mark.parametrize(
    "name, dimensions, params, expected",
    [
        (ENGLISH, None, [], 1024),
        (TITAN, None, [], 512),
        (TITAN, 1024, [], 1024),
        ("loose", None, [], 256),
        ("loose", 1024, [], 1024),
        ("query", None, [], 512),
        ("query", 256, [], 256),
        ("small", None, [], 256),
        ("small", None, [{"output_dimension": 1024}], 1024),
        ("query", None, [{"output_dimension": 1024}], 1024),
        ("query", None, [{"dimensions": 1024}], 1024),
        ("query", None, [{}, {"output_dimension": 1024}], 1024),
        ("query", 256, [{"output_dimension": 256}], 256),
        ("query", 256, [{}, {"output_dimension": 1024}], 256),
    ],
    ids=str,
)
def test_size_is_the_requests_then_the_aliass_then_the_operators_then_the_models(
    name: str, dimensions: int | None, params: list[dict[str, Any]], expected: int
) -> None:
    assert ask(defaults(), name, dimensions, *params)[0].dimensions == expected


def test_size_in_two_spellings_of_one_layer_must_agree() -> None:
    error = refusal(defaults(), V4, 256, {"output_dimension": 512})

    assert (error.param, error.code) == ("dimensions", "invalid_value")


def test_parameter_of_a_weaker_layer_is_checked_although_it_does_not_hold() -> None:
    """A mistake is told whether or not it would have mattered."""
    error = refusal(defaults(), V4, None, {"truncate": "END"}, {"truncate": "sideways"})

    assert (error.param, error.code) == ("truncate", "invalid_value")


# ---------------------------------------------------------------- unknown parameters


def test_unknown_parameter_is_refused_by_its_name_and_the_known_are_told() -> None:
    error = refusal(defaults(), V4, None, {"truncate": "END", "temperature": 0.5})

    assert (error.status, error.param, error.code) == (400, "temperature", "unsupported_parameter")
    assert error.message == (
        f"Unknown parameter: 'temperature'. {V4} takes "
        "dimensions, normalize, input_type, truncate, max_tokens, embedding_types."
    )


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 101, "\u202egnp"])
def test_odd_parameter_is_refused_without_harm_to_logs(name: str) -> None:
    error = refusal(defaults(), TITAN, None, {name: 1})
    shown = json.loads(openai.encode_error(error))["error"]

    assert shown["code"] == "unsupported_parameter"
    assert shown["message"].isprintable()
    assert len(shown["message"]) <= 250


@pytest.mark.parametrize(
    "name, everywhere, dropped",
    [
        (TITAN, False, False),
        (TITAN, True, True),
        ("loose", False, True),
        ("loose", True, True),
        ("strict", False, False),
        ("strict", True, False),
        ("bits", True, True),
        ("bits", False, False),
    ],
)
def test_unknown_parameters_are_dropped_where_the_alias_or_the_operator_says_so(
    name: str, everywhere: bool, dropped: bool
) -> None:
    held = defaults(drop_params=everywhere)
    params: list[dict[str, Any]] = [{"top_p": 1, "normalize": True, "stream": None, "stop": []}, {"n": 1, "top_p": 2}]

    if dropped:
        wanted, names = ask(held, name, None, *params)
        assert names == ("top_p", "stop", "n"), "in the caller's order, each once"
        assert wanted.values["normalize"] is True
    else:
        assert refusal(held, name, None, *params).param == "top_p"


def test_wrong_value_is_refused_where_unknown_names_are_dropped() -> None:
    error = refusal(defaults(drop_params=True), TITAN, None, {"normalize": "yes", "top_p": 1})

    assert error.param == "normalize"


# ---------------------------------------------------------------- the operator's mistakes


@pytest.mark.parametrize(
    "by_model, words",
    [
        ({"nonsense": {}}, "^defaults of 'nonsense': The model 'nonsense' does not exist"),
        ({TITAN: {"temperature": 1}}, f"^defaults of '{TITAN}': Unknown parameter: 'temperature'"),
        ({TITAN: {"dimensions": 300}}, f"^defaults of '{TITAN}': .* makes vectors of"),
        ({"query": {"truncate": 1}}, "^defaults of 'query': 'truncate' must be a string"),
        ({V4: {}, "query": {}}, "^defaults of 'query': .* has defaults already, under another name"),
    ],
)
def test_defaults_that_cannot_hold_are_named(by_model: dict[str, dict[str, Any]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        defaults(by_model)


@pytest.mark.parametrize(
    "alias, words",
    [
        (Alias(TITAN, {"temperature": 1}), "^alias 'a': Unknown parameter"),
        (Alias(TITAN, {"temperature": 1}, drop_params=True), "^alias 'a': Unknown parameter"),
        (Alias(V4, {"output_dimension": 300}), "^alias 'a': .* makes vectors of"),
        (Alias(ENGLISH, {"normalize": False}), "^alias 'a': 'normalize' must be true"),
        (Alias("b", {"truncate": "END"}), "^alias 'a': 'truncate' must be"),
    ],
)
def test_alias_that_cannot_hold_is_named(alias: Alias, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Defaults(Names(["us-east-1"], aliases={"a": alias, "b": Alias(V4, {"truncate": 1})}))


def test_nothing_needs_to_be_said() -> None:
    assert ask(Defaults(), TITAN) == ask(Defaults(NAMES), TITAN)


# ---------------------------------------------------------------- leaks

#: What requests say: some of it right, some wrong, some unknown to one of the models.
SAID: dict[str, list[Any]] = {
    "truncate": ["NONE", "END", "LEFT", "down", None],
    "input_type": ["search_query", "image", 3],
    "embedding_types": [["float"], ["int8"], ["binary"], "float", []],
    "embeddingTypes": [["binary"], ["float"]],
    "normalize": [True, False, None],
    "max_tokens": [1, 9, 0],
    "output_dimension": [256, 1536, "256"],
    "dimensions": [256, 512, 300],
    "top_p": [0.5],
    "stream": [None, True],
}
CALLED = ["query", "short", "bits", "loose", "strict", V4, TITAN, f"bedrock/{V4}"]


def drawn(chance: Random) -> tuple[str, int | None, list[dict[str, Any]]]:
    layers = [
        {name: chance.choice(values) for name, values in SAID.items() if chance.random() < 0.15}
        for _ in range(chance.choice([0, 0, 1, 1, 2]))
    ]
    return chance.choice(CALLED), chance.choice([None, None, None, 256, 512, 1536]), layers


def outcome(held: Defaults, name: str, dimensions: int | None, params: list[dict[str, Any]]) -> object:
    try:
        wanted, dropped = ask(held, name, dimensions, *params)
    except BadRequest as exc:
        return exc.message, exc.param, exc.code
    return deepcopy(wanted), dropped


def test_no_request_leaves_anything_behind_for_the_next() -> None:
    """A thousand interleavings over two models and their aliases: each request finds what it would find alone."""
    chance = Random(2026)
    answered = refused = 0
    for number in range(1000):
        by_model = deepcopy(BY_MODEL)
        used = defaults(by_model, drop_params=number % 2 == 0)
        for _ in range(chance.randint(2, 8)):
            name, dimensions, params = drawn(chance)
            sent = deepcopy(params)

            found = outcome(used, name, dimensions, params)

            assert found == outcome(defaults(drop_params=number % 2 == 0), name, dimensions, sent)
            assert params == sent
            answered += isinstance(found, tuple) and isinstance(found[0], Wanted)
            refused += not (isinstance(found, tuple) and isinstance(found[0], Wanted))
        assert by_model == BY_MODEL
    assert min(answered, refused) > 1000, "both kinds of outcome were tried"


def test_more_names_than_are_remembered_are_no_trouble() -> None:
    """A caller may spell a profile's ARN in as many ways as there are accounts."""
    held = defaults()
    alone = ask(held, V4)[0]
    for number in range(5000):
        arn = f"arn:aws:bedrock:us-east-1:{number:012d}:inference-profile/us.{V4}"
        assert ask(held, arn)[0] == alone

    assert len(held._usual) <= 4096


def test_defaults_of_one_model_are_not_anothers() -> None:
    held = defaults({NOVA: {"embedding_purpose": "CLUSTERING", "truncate": "END"}})

    assert ask(held, NOVA)[0].values["embedding_purpose"] == "CLUSTERING"
    assert ask(held, ENGLISH)[0].values["truncate"] == "NONE"
