"""The tables in the package are OpenAI's vocabularies, to the byte, and come out of what `make` does with them."""

from __future__ import annotations

import base64
import zlib
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pytest

import embedrock.tokens.make
from embedrock.tokens import EncodingName, encoding
from embedrock.tokens.make import VOCABULARIES, make, pack

TABLES = Path(embedrock.tokens.make.__file__).parent
ORDINARY: dict[EncodingName, int] = {"cl100k_base": 100_256, "o200k_base": 199_998}


@cache
def vocabulary_file(name: EncodingName) -> bytes:
    """Return the file that OpenAI publishes, written anew from our table."""
    tokens = (encoding(name).decode_bytes([token]) for token in range(ORDINARY[name]))
    return b"".join(b"%b %d\n" % (base64.b64encode(token), at) for at, token in enumerate(tokens))


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with OpenAI's files, and something else."""
    folder = tmp_path_factory.mktemp("vocabularies")
    for at, name in enumerate(ORDINARY):
        (folder / f"{at}").write_bytes(vocabulary_file(name))
    (folder / "notes.txt").write_text("not a vocabulary")
    (folder / "folder").mkdir()
    return folder


def test_every_encoding_has_a_vocabulary() -> None:
    assert list(VOCABULARIES) == list(ORDINARY) == list(get_args(EncodingName))


@pytest.mark.parametrize("name", list(ORDINARY))
def test_table_is_the_vocabulary_that_openai_publishes(name: EncodingName) -> None:
    assert sha256(vocabulary_file(name)).hexdigest() == VOCABULARIES[name].sha256


@pytest.mark.parametrize("name", list(ORDINARY))
def test_notice_names_the_file_a_table_comes_from(name: EncodingName) -> None:
    notice = (TABLES / "NOTICE").read_text(encoding="utf-8")

    assert f"{name}.bin" in notice
    assert VOCABULARIES[name].sha256 in notice
    assert "MIT License" in notice


def test_make_writes_the_tables_of_the_package(vocabularies: Path, tmp_path: Path) -> None:
    """How zlib packs them may differ between its versions; what is in them may not."""
    make(vocabularies, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.bin" for name in ORDINARY)
    for made in tmp_path.iterdir():
        assert zlib.decompress(made.read_bytes()) == zlib.decompress((TABLES / made.name).read_bytes())


def test_make_refuses_a_vocabulary_with_one_byte_changed(vocabularies: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    changed = bytearray((vocabularies / "0").read_bytes())
    changed[0] ^= 1
    (source / "0").write_bytes(changed)
    (source / "1").write_bytes((vocabularies / "1").read_bytes())

    with pytest.raises(FileNotFoundError, match="cl100k_base"):
        make(source, target)

    assert list(target.iterdir()) == []


def test_token_that_is_too_long_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        pack({0: b"a" * 256})
