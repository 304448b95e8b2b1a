"""Token ids to text: clients that tokenise by themselves send `[15339, 1917]` for "hello world".

A table, `<encoding>.bin`, is compressed by zlib and holds

    4 bytes   how many ids there are, unsigned, little-endian
    n bytes   the length of each id's token in bytes; 0 for an id that no token has
    the rest  the tokens, one after the other

A token is bytes, not characters: one character can be spread over several tokens, and a slice of ids can begin or end
inside it. As in tiktoken, what is cut is replaced by U+FFFD.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

EncodingName = Literal["cl100k_base", "o200k_base"]

COUNT_BYTES: Final = 4


class UnknownToken(ValueError):
    """An id that is not in the vocabulary: `token`, at index `position` of the ids."""

    def __init__(self, position: int, token: int, name: str) -> None:
        super().__init__(f"What stands at position {position} is no token id of {name}.")
        self.position = position
        self.token = token


class Encoding:
    """One vocabulary, ready to decode. `packed` is a table as the module describes it."""

    def __init__(self, name: str, packed: bytes) -> None:
        table = zlib.decompress(packed)
        count = int.from_bytes(table[:COUNT_BYTES], "little")
        self.name = name
        self._lengths: NDArray[np.uint8] = np.frombuffer(table, np.uint8, count, COUNT_BYTES)
        self._blob: NDArray[np.uint8] = np.frombuffer(table, np.uint8, offset=COUNT_BYTES + count)
        self._starts: NDArray[np.uint32] = np.cumsum(self._lengths, dtype=np.uint32) - self._lengths

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD. Special tokens give their names.

        That each id is an int is the caller's promise: a bool, a float or a string is not refused, and gives some text
        or some error. An int may have any size. Raises UnknownToken.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the tokens of `ids`, joined, before they are read as UTF-8. Raises UnknownToken."""
        try:
            tokens = np.array(ids, np.uint32)
            lengths = self._lengths[tokens].astype(np.int64)
        except (OverflowError, IndexError):
            raise self._unknown(ids) from None
        if not lengths.all():
            raise self._unknown(ids)
        # One gather instead of a slice an id, a quarter of the time: for each byte of the text, where it stands in the
        # blob, which is its place in the text plus the distance between the two places of its token.
        distance = self._starts[tokens] - (np.cumsum(lengths) - lengths)
        where = np.repeat(distance, lengths)
        where += np.arange(where.size)
        return bytes(self._blob[where])

    def _unknown(self, ids: Sequence[int]) -> UnknownToken:
        known = self._lengths
        position = next(i for i, token in enumerate(ids) if not (0 <= token < known.size and known[token]))
        return UnknownToken(position, ids[position], self.name)


@cache
def encoding(name: EncodingName) -> Encoding:
    """Return the encoding called `name`; the first call loads its table: 5 to 10 ms, about 3 MB."""
    return Encoding(name, Path(__file__).with_name(f"{name}.bin").read_bytes())
