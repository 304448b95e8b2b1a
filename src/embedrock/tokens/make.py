"""Writes the tables that `decoder` reads: `python -m embedrock.tokens.make SOURCE_DIR`.

SOURCE_DIR holds OpenAI's vocabulary files under any names, such as a cache folder of tiktoken, or the folder
`litellm/litellm_core_utils/tokenizers` of an installed LiteLLM. They are known by their SHA-256. A line of such a file
is a token in base64 and its id.

Source of hashes and special tokens: tiktoken 0.14, `tiktoken_ext/openai_public.py`.
"""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from embedrock.tokens.decoder import COUNT_BYTES, EncodingName


class Vocabulary(NamedTuple):
    """What the table of an encoding is made of."""

    sha256: str  # of OpenAI's file
    specials: Mapping[int, str]


VOCABULARIES: Final[Mapping[EncodingName, Vocabulary]] = {
    "cl100k_base": Vocabulary(
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        {
            100257: "<|endoftext|>",
            100258: "<|fim_prefix|>",
            100259: "<|fim_middle|>",
            100260: "<|fim_suffix|>",
            100276: "<|endofprompt|>",
        },
    ),
    "o200k_base": Vocabulary(
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        {199999: "<|endoftext|>", 200018: "<|endofprompt|>"},
    ),
}


def pack(tokens: Mapping[int, bytes]) -> bytes:
    """Return the table of `tokens`. Raises ValueError for a token longer than 255 bytes."""
    listed = [tokens.get(token, b"") for token in range(max(tokens) + 1)]
    return zlib.compress(
        len(listed).to_bytes(COUNT_BYTES, "little") + bytes(map(len, listed)) + b"".join(listed), level=9
    )


def read(vocabulary: bytes) -> dict[int, bytes]:
    """Return the tokens of a vocabulary file, by id."""
    lines = (line.split() for line in vocabulary.splitlines())
    return {int(token): base64.b64decode(text) for text, token in lines}


def make(source: Path, target: Path) -> None:
    """Write a table for each encoding into `target`, from the files in `source`.

    Raises FileNotFoundError when none of them is the one that OpenAI published.
    """
    files = {
        sha256(data).hexdigest(): data for data in (path.read_bytes() for path in source.iterdir() if path.is_file())
    }
    for name, (digest, specials) in VOCABULARIES.items():
        if digest not in files:
            raise FileNotFoundError(f"No file in {source} is the vocabulary of {name} (SHA-256 {digest}).")
        tokens = read(files[digest]) | {token: text.encode() for token, text in specials.items()}
        (target / f"{name}.bin").write_bytes(pack(tokens))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m embedrock.tokens.make SOURCE_DIR")
    make(Path(sys.argv[1]), Path(__file__).parent)
