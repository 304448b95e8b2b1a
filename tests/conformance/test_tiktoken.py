"""Our decoder beside tiktoken: every id of both vocabularies, texts in many scripts, and slices that cut characters.

tiktoken runs in a process of its own, in the environment of the benchmark's peer, without a network.
"""

from __future__ import annotations

import json
import random
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.peers import install_litellm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedrock.tokens.make
from embedrock.tokens import EncodingName, UnknownToken, encoding
from embedrock.tokens.make import VOCABULARIES, make

NAMES: list[EncodingName] = list(VOCABULARIES)
BEYOND = 210_000  # above the largest id of either vocabulary
TEXTS = 2_500
CUT = "\N{REPLACEMENT CHARACTER}"

#: First and last character of blocks that a drawn text takes its characters from, one block a piece.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x2000, 0x206F), (0x2200, 0x22FF),
    (0x2500, 0x27BF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xFE00, 0xFE0F),
    (0x12000, 0x123FF), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
    (0xE0020, 0xE007F),
]  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(BLOCKS).flatmap(lambda ends: st.text(st.characters(min_codepoint=ends[0], max_codepoint=ends[1]))),
    st.text(),
    st.text(" \t\r\n\u3000\x00", max_size=100),
    st.text("0123456789.,-+e", max_size=40),
    st.sampled_from(
        ["👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "def f(x):\n    return x\n", "don't I'LL", "<|endoftext|>", "<|endofprompt|>", "The "]
    ),
)
DRAWN_TEXTS = st.lists(PIECES, max_size=12).map("".join)


class Tiktoken:
    """The process to ask."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._questions, self._answers = process.stdin, process.stdout
        self.version: str = self._read()["tiktoken"]

    def tokens(self, name: EncodingName, stop: int) -> list[str | None]:
        """Return the token of each id below `stop` in hex, or None."""
        found: list[str | None] = self._ask(do="tokens", encoding=name, stop=stop)
        return found

    def encode(self, name: EncodingName, text: str) -> list[int]:
        ids: list[int] = self._ask(do="encode", encoding=name, text=text)
        return ids

    def decode(self, name: EncodingName, many: list[list[int]]) -> list[str]:
        texts: list[str] = self._ask(do="decode", encoding=name, many=many)
        return texts

    def _ask(self, **question: Any) -> Any:
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        return self._read()

    def _read(self) -> Any:
        line = self._answers.readline()
        assert line, "tiktoken's process has ended; what it said stands above"
        return json.loads(line)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds the vocabulary files once `tiktoken` has started."""
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def tiktoken(cache: Path) -> Iterator[Tiktoken]:
    python = install_litellm() / "bin" / "python"  # installed already: `make` did, with the proxies of the user
    script = Path(__file__).with_name("ask_tiktoken.py")
    nowhere = "http://127.0.0.1:9"  # what would fetch, fails
    with subprocess.Popen(
        [str(python), "-P", str(script), str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"http_proxy": nowhere, "https_proxy": nowhere, "PYTHONUTF8": "1"},
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield Tiktoken(process)
        finally:
            process.kill()


def ours(name: EncodingName, token: int) -> str | None:
    """Return what `Tiktoken.tokens` has for one id."""
    try:
        return encoding(name).decode_bytes([token]).hex()
    except UnknownToken:
        return None


def test_tables_are_made_of_these_vocabularies(tiktoken: Tiktoken, cache: Path, tmp_path: Path) -> None:
    assert tiktoken.version
    make(cache, tmp_path)

    for name in NAMES:
        shipped = Path(embedrock.tokens.make.__file__).with_name(f"{name}.bin")
        assert zlib.decompress(shipped.read_bytes()) == zlib.decompress((tmp_path / f"{name}.bin").read_bytes())


@pytest.mark.parametrize(("name", "known"), [("cl100k_base", 100_256 + 5), ("o200k_base", 199_998 + 2)])
def test_every_id_is_the_same_token_or_none(tiktoken: Tiktoken, name: EncodingName, known: int) -> None:
    theirs = tiktoken.tokens(name, BEYOND)

    assert [ours(name, token) for token in range(BEYOND)] == theirs
    assert len(theirs) - theirs.count(None) == known


@pytest.mark.parametrize("name", NAMES)
def test_drawn_texts_come_back_and_their_slices_are_cut_alike(tiktoken: Tiktoken, name: EncodingName) -> None:
    compared = cut = 0

    @settings(max_examples=TEXTS, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(DRAWN_TEXTS, st.randoms(use_true_random=False))
    def compare(text: str, rng: random.Random) -> None:
        nonlocal compared, cut
        ids = tiktoken.encode(name, text)
        ends = [sorted((rng.randint(0, len(ids)), rng.randint(0, len(ids)))) for _ in range(4)]
        slices = [ids[start:stop] for start, stop in ends]
        decoded = [encoding(name).decode(ids) for ids in slices]
        compared += 1
        cut += sum(CUT in piece for piece in decoded if CUT not in text)

        assert encoding(name).decode(ids) == text
        assert decoded == tiktoken.decode(name, slices)

    compare()

    assert compared >= 2_000
    assert cut >= 500, "too few slices have cut a character"


@pytest.mark.parametrize("name", NAMES)
def test_ids_drawn_without_sense_give_the_same_text(tiktoken: Tiktoken, name: EncodingName) -> None:
    """Broken UTF-8 of all kinds, up to the longest slice that clients send."""
    rng = random.Random(name)
    known = [token for token in range(BEYOND) if ours(name, token) is not None]
    bytewise = [token for token in known if len(encoding(name).decode_bytes([token])) == 1]
    many = [rng.choices(rng.choice((known, bytewise)), k=rng.randint(1, 60)) for _ in range(2_000)]
    many += [rng.choices(known, k=8_191), rng.choices(bytewise, k=8_191)]

    assert len(bytewise) == 256
    assert [encoding(name).decode(ids) for ids in many] == tiktoken.decode(name, many)
