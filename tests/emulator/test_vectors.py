"""Vectors: unit length, prefixes, the same everywhere, and near each other when texts are."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_emulator import expected_vectors
from bedrock_emulator.vectors import Floats, unit, unit_of_picture

from .conftest import ENGLISH, MULTILINGUAL, TITAN


def vector(text: str, dimensions: int = 1024, space: str = "titan-text-v2") -> Floats:
    return unit(space, text, dimensions, size=1024)


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
    found = [vector("hello world", space=space) for space in ("titan-text-v2", ENGLISH, MULTILINGUAL)]

    similarities = np.array(found) @ np.array(found).T
    assert np.abs(similarities - np.eye(3)).max() < 0.15


@pytest.mark.parametrize("text", ["hello", " ", "", "東京は日本の首都です。"])
def test_a_query_is_very_near_its_document(text: str) -> None:
    document, query = (unit(ENGLISH, text, 1024, size=1024, accent=accent) for accent in ("", "search_query"))

    assert 0.95 <= float(document @ query) < 0.9999


def test_vectors_are_the_same_on_every_machine() -> None:
    """The digest was taken once; another one means that stored vectors no longer match."""
    digest = hashlib.sha256()
    for text in ("hello", "Hello, world!", "東京は日本の首都です", " ", "a" * 5000, "naïve café 🚀"):
        for dimensions in (256, 512, 1024):
            digest.update(vector(text, dimensions).astype("<f8").tobytes())
        digest.update(unit(ENGLISH, text, 1024, size=1024, accent="search_query").astype("<f8").tobytes())

    assert digest.hexdigest() == "6af5a102a0b14e965fdcb988de07928bcbd690dbacfcbcb077236003d3ed0bcd"


def test_vectors_of_pictures_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(unit_of_picture(ENGLISH, b"\x89PNG", size=1024).astype("<f8").tobytes())

    assert digest.hexdigest() == "af20e3295e38bb2e6f3d3f721d92df3e5bf86d308db1c0a8c8caeabfef6be6d3"


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
