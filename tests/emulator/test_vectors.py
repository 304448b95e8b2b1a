"""Vectors: unit length, prefixes, the same everywhere, and near each other when texts are."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_emulator import expected_vectors
from bedrock_emulator.vectors import Floats, Space, bfloat16, fuse, of_bytes, of_name, of_text, unit

from .conftest import ENGLISH, MULTILINGUAL, TITAN

SPACE = Space("titan-text-v2", 1024)


def vector(text: str, dimensions: int = 1024, space: Space = SPACE, accent: str = "") -> Floats:
    return unit(space, of_text(space, text), dimensions, accent=accent)


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("hello", "hello", 1.0, 1.0),
        ("hello", "Hello!", 0.95, 0.999),
        ("The cat sat on the mat.", "the cat sat on the mat", 0.95, 0.999),
        ("How do I reset my password?", "I forgot my password, how can I reset it?", 0.6, 0.9),
        ("The cat sat on the mat", "A cat is sitting on a mat", 0.4, 0.8),
        ("embedding models", "models for embeddings", 0.5, 0.9),
        ("The cat sat on the mat", "Quarterly revenue grew by ten percent", -0.1, 0.1),
        ("cat", "cats", 0.5, 0.9),
        ("東京は日本の首都です", "日本の首都は東京", 0.5, 0.9),
        ("東京は日本の首都です", "猫が好き", -0.15, 0.15),
        ("Кошка сидит", "Кошка сидела", 0.4, 0.8),
        (" ", "\n", -0.15, 0.15),
    ],
)
def test_texts_are_as_near_as_the_words_they_share(one: str, other: str, least: float, most: float) -> None:
    similarity = float(vector(one) @ vector(other))

    assert least - 1e-9 <= similarity <= most + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.sampled_from([256, 512, 1024]))
def test_any_text_gives_a_unit_vector(text: str, dimensions: int) -> None:
    assert np.linalg.norm(vector(text, dimensions)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dimensions", [256, 512])
def test_fewer_dimensions_are_a_prefix_brought_to_length_one(dimensions: int) -> None:
    whole = vector("a prefix of a longer vector")

    prefix = whole[:dimensions] / np.linalg.norm(whole[:dimensions])

    assert vector("a prefix of a longer vector", dimensions) == pytest.approx(prefix, abs=1e-12)


def test_models_have_different_spaces() -> None:
    found = [vector("hello world", space=Space(name, 1024)) for name in ("titan-text-v2", ENGLISH, MULTILINGUAL)]

    similarities = np.array(found) @ np.array(found).T
    assert np.abs(similarities - np.eye(3)).max() < 0.15


@pytest.mark.parametrize("text", ["hello", " ", "", "東京は日本の首都です。"])
def test_a_query_is_very_near_its_document(text: str) -> None:
    document, query = (vector(text, accent=accent) for accent in ("", "search_query"))

    assert 0.95 <= float(document @ query) < 0.9999


def test_vectors_are_the_same_on_every_machine() -> None:
    """The digest was taken once; another one means that stored vectors no longer match."""
    digest = hashlib.sha256()
    for text in ("hello", "Hello, world!", "東京は日本の首都です", " ", "a" * 5000, "naïve café 🚀"):
        for dimensions in (256, 512, 1024):
            digest.update(vector(text, dimensions).astype("<f8").tobytes())
        asked = vector(text, space=Space(ENGLISH, 1024), accent="search_query")
        digest.update(asked.astype("<f8").tobytes())

    assert digest.hexdigest() == "6af5a102a0b14e965fdcb988de07928bcbd690dbacfcbcb077236003d3ed0bcd"


@pytest.mark.parametrize("size", [512, 1536, 3072])
def test_a_space_may_have_any_size(size: int) -> None:
    space = Space("any", size)

    found = np.array([vector(text, size, space) for text in ("a red bicycle", "the red bicycles", "quarterly revenue")])

    assert found.shape == (3, size)
    similarities = found @ found.T
    assert similarities[0, 1] > 0.7
    assert abs(similarities[0, 2]) < 0.1


def test_what_is_fused_is_near_each_part_and_most_to_the_first() -> None:
    one, other = of_text(SPACE, "a red bicycle"), of_text(SPACE, "quarterly revenue grew " * 50)

    fused = unit(SPACE, fuse([one, other]), 1024)

    first, second = float(fused @ unit(SPACE, one, 1024)), float(fused @ unit(SPACE, other, 1024))
    assert 0.8 > first > second > 0.6


def test_fusing_minds_the_order_and_leaves_a_lone_part_alone() -> None:
    one, other = of_text(SPACE, "one"), of_text(SPACE, "other")

    assert (fuse([one, other]) != fuse([other, one])).any()
    assert fuse([one]) is one


def test_a_thousand_parts_can_be_fused() -> None:
    parts = [of_text(SPACE, f"part {number}") for number in range(1000)]

    assert np.linalg.norm(unit(SPACE, fuse(parts), 1024, accent="any")) == pytest.approx(1.0, abs=1e-12)


def test_files_and_names_are_near_nothing_but_themselves() -> None:
    found = [
        unit(SPACE, total, 1024)
        for total in (
            of_bytes(SPACE, "audio", b"one"),
            of_bytes(SPACE, "audio", b"two"),
            of_bytes(SPACE, "video", b"one"),
            of_name(SPACE, "s3", "s3://bucket/one"),
            of_text(SPACE, "s3://bucket/one"),
        )
    ]

    similarities = np.array(found) @ np.array(found).T
    assert np.abs(similarities - np.eye(5)).max() < 0.15
    assert (unit(SPACE, of_bytes(SPACE, "audio", b"one"), 1024) == found[0]).all()


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    values = np.array([1.0, 0.1416015625, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -0.3, 0.0])

    assert bfloat16(values).tolist() == [1.0, 0.1416015625, 1.0, 1 + 2**-6, 1 + 2**-7, -0.30078125, 0.0]


def test_a_long_run_of_one_character_does_not_overflow() -> None:
    assert float(vector("的" * 8000) @ vector("的" * 7000)) > 0.9


def test_different_texts_have_different_vectors() -> None:
    texts = [f"item {number}" for number in range(500)] + ["dog bites man", "man bites dog", "Man bites dog"]

    assert len({vector(text).tobytes() for text in texts}) == len(texts)


def test_expected_vectors_takes_an_object_bytes_or_text() -> None:
    expected = expected_vectors(TITAN, {"inputText": "hello"})

    assert expected_vectors(TITAN, b'{"inputText":"hello"}') == expected
    assert expected_vectors(TITAN, '{"inputText":"hello"}') == expected


def test_two_thousand_texts_take_about_a_second_at_most() -> None:
    started = time.perf_counter()
    for number in range(2000):
        expected_vectors(TITAN, {"inputText": f"document {number} of the corpus"})

    assert time.perf_counter() - started < 4  # measured: 0.4 s; the rest is room for a busy machine
