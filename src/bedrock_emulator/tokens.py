"""Token counts by a simple rule; the real tokenizers are not public.

A text is cut into pieces: a run of ASCII letters and digits in pieces of at most `word` characters, other letters in
pieces of three, characters of scripts without spaces one by one, every other visible character alone. Chosen so that
the counts seen in live recordings come out.
"""

from __future__ import annotations

import re

from .vectors import CJK


class Pieces:
    """Cuts texts of one model family."""

    def __init__(self, word: int) -> None:
        self._piece = re.compile(rf"[A-Za-z0-9]{{1,{word}}}|[^\WA-Za-z0-9{CJK}]{{1,3}}|\S")

    def count(self, text: str) -> int:
        """Return the number of pieces, 0 for white space only."""
        return len(self._piece.findall(text))

    def cut(self, text: str, most: int, *, keep_end: bool) -> str:
        """Return the part of `text` that holds its first (or, with `keep_end`, last) `most` pieces."""
        found = [match.span() for match in self._piece.finditer(text)]
        if len(found) <= most:
            return text
        return text[found[-most][0] :] if keep_end else text[: found[most - 1][1]]
