"""Vectors made from the words of a text, so that texts sharing words are near each other. No model is involved.

A text is a bag of features: its words (their stems above all), the word's parts (3 to 5 characters, with marks at its
ends), characters and pairs of characters where a script has no spaces, and, with the smallest weight, the text as it
is, which keeps any two texts apart and gives a lone space a vector. A feature's direction is a row of +1 and -1 taken
from the bits of SHAKE-256, the text's vector the weighted sum. Sums are integers, and one IEEE division by one
correctly rounded square root follows: the numbers are the same on every machine.

Dimensions are prefixes: the vector of 256 dimensions is the first quarter of the one of 1,024, at length 1 again.

A picture is one feature, its bytes: near no text and no other picture.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

# Scripts written without spaces, in which a character carries about as much as a word part: kana, Han, and their
# extensions.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
# Vowel signs and other marks that Python's \w leaves out although they belong to the word.
MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"

_LONGEST = 32  # a longer run counts as several words, so that a word's sum fits 16 bits
_UNITS = re.compile(rf"[{CJK}]{{1,{_LONGEST}}}|(?:[^\W{CJK}]|[{MARKS}]){{1,{_LONGEST}}}")
_SUFFIX = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|ly|s|e)$")

_STEM, _WORD, _PART, _STOP, _CHARACTER, _PAIR, _WHOLE = 5, 2, 1, 2, 3, 4, 1
_STOP_TEXT = """
a about after all am an and any are as at be been but by can could did do does for from had has have he her him his how
i if in into is it its just me more my no not of on or our out she should so some than that the their them then there
these they this to too up us was we were what when where which who why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())


def unit(space: str, text: str, dimensions: int, *, size: int, accent: str = "") -> Floats:
    """Return the vector of `text` in `space`, of length 1.

    `dimensions` numbers are taken from the front of the `size` the space has. An `accent`, say the purpose of the call,
    turns every vector by the same small angle (8 degrees) towards a direction of its own.
    """
    total = _sum(space, text, size)[:dimensions]
    square = int(total @ total)
    if square == 0:  # features that cancel each other out, in practice never
        total = _feature(space, "whole", text, size)[:dimensions].astype(np.int64)
        square = dimensions
    if accent:
        # Scaled up so that the accent, 2 % of the squared length, is a whole number also for the shortest texts.
        total = total * 16 + math.isqrt(256 * square // (50 * dimensions)) * _feature(space, "accent", accent, size)[
            :dimensions
        ].astype(np.int64)
        square = int(total @ total)
    return total / math.sqrt(square)


def unit_of_picture(space: str, data: bytes, *, size: int) -> Floats:
    """Return the vector of the picture in the file `data`, of length 1."""
    # Pixels are not looked at, so alike pictures are not near each other; that comes with a decoder later.
    return _feature(space, "picture", sha256(data).hexdigest(), size) / math.sqrt(size)


def _sum(space: str, text: str, size: int) -> Ints:
    total = _feature(space, "whole", text, size).astype(np.int64) * _WHOLE
    for unit_text, count in Counter(_UNITS.findall(text.casefold())).items():
        # 1, 2, 3, 3, 4, ...: a word said ten times is not ten times as important.
        total += _unit(space, unit_text, size) * np.int64(1 + (count - 1).bit_length())
    return total


@lru_cache(maxsize=16_384)  # 2 KB an entry at 1,024 dimensions
def _unit(space: str, text: str, size: int) -> NDArray[np.int16]:
    """Return the sum of the features of one word, or of one run of characters without spaces."""
    if re.match(f"[{CJK}]", text):
        weights = Counter({("character", character): _CHARACTER for character in text})
        weights += Counter({("pair", text[at : at + 2]): _PAIR for at in range(len(text) - 1)})
    elif text in _STOP_WORDS:
        weights = Counter({("word", text): _STOP})
    else:
        marked = f"<{text}>"
        weights = Counter({("stem", _stem(text)): _STEM, ("word", text): _WORD})
        weights += Counter(
            ("part", marked[at : at + length]) for length in (3, 4, 5) for at in range(len(marked) - length + 1)
        )
    keys = list(weights)
    digests = b"".join(_digest(space, kind, value, size) for kind, value in keys)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(len(keys), size).astype(np.int32)
    weight = np.array([weights[key] * (_PART if key[0] == "part" else 1) for key in keys], np.int32)
    row: NDArray[np.int16] = (2 * (weight @ bits) - weight.sum()).astype(np.int16)
    return row


def _stem(word: str) -> str:
    """Return an English word without its commonest endings; crude, but "models" and "modelling" meet."""
    stem = _SUFFIX.sub("", word)
    return stem[:-1] if stem != word and len(stem) > 3 and stem[-1] == stem[-2] else stem


def _feature(space: str, kind: str, value: str, size: int) -> NDArray[np.int8]:
    bits = np.unpackbits(np.frombuffer(_digest(space, kind, value, size), np.uint8))
    return bits.astype(np.int8) * np.int8(2) - np.int8(1)


def _digest(space: str, kind: str, value: str, size: int) -> bytes:
    return shake_256(f"{space}\0{kind}\0{value}".encode("utf-8", "surrogatepass")).digest(size // 8)
