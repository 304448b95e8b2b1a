"""Token counts: the ones seen in live recordings come out."""

from __future__ import annotations

import pytest

from bedrock_emulator.tokens import Pieces

from .conftest import ENGLISH, MULTILINGUAL, TITAN, Running

SENTENCE = (
    "The quick brown fox jumps over the lazy dog while seventeen philosophers debate the merits of distributed "
    "systems, embeddings and vector databases in the garden of Athens."
)


@pytest.mark.parametrize(("text", "tokens"), [("hello", 2), ("world", 2), ("Hello, world!", 5)])
def test_titan_counts_as_recorded(emulator: Running, text: str, tokens: int) -> None:
    answer = emulator.invoke(TITAN, {"inputText": text})

    assert answer.json["inputTextTokenCount"] == tokens
    assert answer.headers["x-amzn-bedrock-input-token-count"] == str(tokens)


def test_titan_counts_about_a_token_for_every_five_characters(emulator: Running) -> None:
    assert 33 <= emulator.invoke(TITAN, {"inputText": SENTENCE}).json["inputTextTokenCount"] <= 39


@pytest.mark.parametrize(
    ("model", "texts", "tokens"),
    [
        (ENGLISH, ["Hello, world!"], 4),
        (ENGLISH, ["this sentence has exactly seven words inside"] * 96, 672),
        (MULTILINGUAL, ["Test base truncate setting"], 6),
        (MULTILINGUAL, ["hello", "world"], 2),
        (ENGLISH, [""], 1),
    ],
)
def test_cohere_counts_as_recorded_summed_over_the_texts(
    emulator: Running, model: str, texts: list[str], tokens: int
) -> None:
    answer = emulator.invoke(model, {"texts": texts, "input_type": "search_document"})

    assert answer.headers["x-amzn-bedrock-input-token-count"] == str(tokens)


@pytest.mark.parametrize(("keep_end", "kept"), [(False, "one two"), (True, "four five")])
def test_cut_keeps_the_asked_end(keep_end: bool, kept: str) -> None:
    assert Pieces(word=9).cut("one two three four five", 2, keep_end=keep_end) == kept


def test_a_character_of_a_script_without_spaces_is_a_piece() -> None:
    assert Pieces(word=9).count("東京 2026!") == 4
