"""Layers of parameters: who wins, what a model is asked for in the end, and that no layer is changed by it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS
from embedrock.errors import BadRequest
from embedrock.families import FAMILIES
from embedrock.families.parameters import Table, Wanted, choice, one_type, text, whole

from .asking import (
    ENGLISH,
    MARENGO_2,
    MARENGO_3,
    MULTILINGUAL,
    NOVA,
    TITAN,
    TITAN_G1,
    TITAN_IMAGE,
    TITAN_V1,
    V4,
    wanted,
)

SWITCHED = [TITAN]
UNSWITCHED = [model for model in MODELS if model not in SWITCHED]


def resolve(model: str, *layers: dict[str, object]) -> Wanted:
    spec = MODELS[model]
    return FAMILIES[spec.family].table.resolve(spec, layers)


def refusal(model: str, **params: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        wanted(model, **params)
    return caught.value


# ---------------------------------------------------------------- who wins


@pytest.mark.parametrize(
    "layers, truncate, input_type",
    [
        ([], "NONE", "search_document"),
        ([{}, {}], "NONE", "search_document"),
        ([{"truncate": "START"}], "START", "search_document"),
        ([{"truncate": "START"}, {"truncate": "END"}], "START", "search_document"),
        ([{}, {"truncate": "END"}], "END", "search_document"),
        ([{"truncate": "START"}, {"truncate": "END", "input_type": "clustering"}], "START", "clustering"),
        (
            [{"input_type": "search_query"}, {"truncate": "LEFT"}, {"truncate": "END", "input_type": "clustering"}],
            "LEFT",
            "search_query",
        ),
    ],
)
def test_first_layer_that_names_a_parameter_holds(
    layers: list[dict[str, object]], truncate: str, input_type: str
) -> None:
    """And the family's own default holds where none does."""
    values = resolve(V4, *layers).values

    assert (values["truncate"], values["input_type"]) == (truncate, input_type)


@pytest.mark.parametrize(
    "layers, dimensions, asked",
    [
        ([], 1536, False),
        ([{"dimensions": 256}], 256, True),
        ([{"dimensions": 1536}], 1536, True),
        ([{"dimensions": 256}, {"dimensions": 512}], 256, True),
        ([{}, {"dimensions": 512}], 512, True),
    ],
)
def test_size_is_asked_for_when_somebody_names_one(
    layers: list[dict[str, object]], dimensions: int, asked: bool
) -> None:
    found = resolve(V4, *layers)

    assert (found.dimensions, found.size, found.asked) == (dimensions, dimensions, asked)


VALUES: dict[str, list[object]] = {
    "dimensions": [256, 1536],
    "truncate": ["NONE", "END"],
    "input_type": ["search_query", "image"],
    "embedding_types": ["float", "int8"],
    "max_tokens": [1, 2],
}
LAYERS = st.lists(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}), max_size=4
)


@given(LAYERS)
def test_no_layer_is_changed_and_no_two_answers_share_anything(layers: list[dict[str, object]]) -> None:
    before = deepcopy(layers)
    spec = MODELS[V4]
    table = FAMILIES[spec.family].table

    first = table.resolve(spec, [MappingProxyType(layer) for layer in layers])
    second = table.resolve(spec, layers)

    assert layers == before
    assert first == second
    assert isinstance(first.values, dict)
    first.values["truncate"] = "changed"
    assert table.resolve(spec, layers) == second
    assert resolve(V4).values["truncate"] == "NONE"


def test_reading_does_not_change_what_was_sent() -> None:
    sent: dict[str, object] = {"truncationMode": "END", "stream": True, "embeddingPurpose": None}
    known, unknown = FAMILIES["nova"].table.read(MappingProxyType(sent))

    assert (known, unknown) == ({"truncate": "END"}, ["stream"])


# ---------------------------------------------------------------- sizes and types


@pytest.mark.parametrize("model", MODELS)
def test_sizes_of_the_model_are_offered_and_no_other(model: str) -> None:
    spec = MODELS[model]
    for dimensions in spec.dimensions:
        found = wanted(model, dimensions=dimensions)
        assert (found.dimensions, found.size, found.asked) == (dimensions, dimensions, True)

    every = {size for other in MODELS.values() for size in other.dimensions} | {1, 255, 10**30}
    for dimensions in every - set(spec.dimensions):
        error = refusal(model, dimensions=dimensions)
        assert (error.param, error.code) == ("dimensions", "invalid_value")
        assert all(str(size) in error.message for size in spec.dimensions)
        assert len(error.message) < 200


@pytest.mark.parametrize(
    "model, dimensions, kind, size",
    [
        (TITAN, None, "float", 1024),
        (TITAN, None, "binary", 1024),
        (TITAN, 256, "binary", 256),
        (ENGLISH, None, "int8", 1024),
        (MULTILINGUAL, None, "uint8", 1024),
        (ENGLISH, None, "binary", 128),
        (MULTILINGUAL, None, "ubinary", 128),
        (V4, None, "float", 1536),
        (V4, None, "int8", 1536),
        (V4, None, "binary", 192),
        (V4, 256, "ubinary", 32),
        (V4, 1024, "binary", 128),
    ],
)
def test_packed_types_have_an_eighth_of_the_numbers(model: str, dimensions: int | None, kind: str, size: int) -> None:
    """Cohere packs eight dimensions into a number; Titan's bits are a number each."""
    found = wanted(model, dimensions=dimensions, embedding_types=[kind])

    assert (found.kind, found.size) == (kind, size)
    assert found.dimensions == (dimensions or MODELS[model].default_dimensions)


@pytest.mark.parametrize("model", [TITAN_V1, TITAN_G1, TITAN_IMAGE, NOVA, MARENGO_2, MARENGO_3])
def test_model_of_one_type_has_no_parameter_for_it(model: str) -> None:
    assert MODELS[model].output_types == ("float",)
    assert FAMILIES[MODELS[model].family].table.read({"embedding_types": ["float"]}) == ({}, ["embedding_types"])


def test_type_that_the_family_knows_and_the_model_lacks_is_refused() -> None:
    """An operator may add a model that has fewer types than its family."""
    poor = replace(MODELS[ENGLISH], output_types=("float",))
    with pytest.raises(BadRequest) as caught:
        FAMILIES["cohere_v3"].table.resolve(poor, [{"embedding_types": "int8"}])

    assert (caught.value.param, caught.value.code) == ("embedding_types", "invalid_value")


# ---------------------------------------------------------------- length 1


@pytest.mark.parametrize("flag", [True, False])
def test_switch_is_left_to_the_model_that_has_one(flag: bool) -> None:
    found = wanted(TITAN, normalize=flag)

    assert (found.scale, found.values["normalize"]) == (False, flag)


@pytest.mark.parametrize("model", UNSWITCHED)
def test_vectors_are_scaled_here_where_the_model_has_no_switch(model: str) -> None:
    """And the model is not told."""
    found = wanted(model, normalize=True)

    assert found.scale
    assert "normalize" not in found.values
    assert not wanted(model).scale


@pytest.mark.parametrize("model", UNSWITCHED)
def test_vectors_as_they_are_cannot_be_asked_for_where_the_model_has_no_switch(model: str) -> None:
    error = refusal(model, normalize=False)

    assert (error.param, error.code) == ("normalize", "invalid_value")


@pytest.mark.parametrize("model", [ENGLISH, V4])
@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_whole_numbers_cannot_be_scaled(model: str, kind: str) -> None:
    error = refusal(model, normalize=True, embedding_types=[kind])

    assert (error.param, error.code) == ("normalize", "invalid_value")


def test_titans_own_switch_goes_with_its_bits() -> None:
    assert wanted(TITAN, normalize=True, embedding_types=["binary"]).values["normalize"] is True


# ---------------------------------------------------------------- where a text may be cut


@pytest.mark.parametrize(
    "model, truncate, cut",
    [
        (V4, None, None),
        (V4, "NONE", None),
        (V4, "START", "start"),
        (V4, "LEFT", "start"),
        (V4, "END", "end"),
        (V4, "RIGHT", "end"),
        (NOVA, None, None),
        (NOVA, "START", "start"),
        (NOVA, "END", "end"),
        (MARENGO_2, None, None),
        (MARENGO_2, "none", None),
        (MARENGO_2, "end", "end"),
    ],
)
def test_every_word_for_truncation_is_understood(model: str, truncate: str | None, cut: str | None) -> None:
    assert wanted(model, truncate=truncate).cut == cut


@pytest.mark.parametrize("model", [TITAN_V1, TITAN, TITAN_IMAGE, MARENGO_3])
def test_model_that_never_cuts_is_never_asked_to(model: str) -> None:
    assert wanted(model).cut is None
    assert FAMILIES[MODELS[model].family].table.read({"truncate": "END"}) == ({}, ["truncate"])


# ---------------------------------------------------------------- tables

PARAMETERS = [
    choice("my_word", "myWord", ("a", "b"), "help", default="a", also=("word",)),
    whole("my_number", "myNumberOfThings", 1, 9, "help"),
    text("my_text", "my_text", 3, "help"),
    one_type("myTypes", ("float",)),
]


def test_parameter_has_our_name_first_and_each_name_once() -> None:
    assert [parameter.spellings for parameter in PARAMETERS] == [
        ("my_word", "word", "myWord"),
        ("my_number", "my_number_of_things", "myNumberOfThings"),
        ("my_text",),
        ("embedding_types", "my_types", "myTypes"),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_name_means_two_parameters_of_a_family(family: str) -> None:
    names = [name for parameter in FAMILIES[family].table.all for name in set(parameter.spellings)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_explained(family: str) -> None:
    assert all(parameter.help and parameter.expects for parameter in FAMILIES[family].table.all)


def test_table_takes_any_values_of_its_parameters() -> None:
    table = Table(tuple(PARAMETERS), dimensions=("vectorSize",))

    known, unknown = table.read(
        {"word": "b", "myNumberOfThings": 9, "my_text": "abc", "myTypes": ["float"], "vector_size": 4, "x": 1}
    )

    assert known == {
        "my_word": "b",
        "my_number": 9,
        "my_text": "abc",
        "embedding_types": "float",
        "dimensions": 4,
    }
    assert unknown == ["x"]
