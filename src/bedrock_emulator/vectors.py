"""Vectors made from the words of a text, so that texts sharing words are near each other. No model is involved.

A text is a bag of features: its words (their stems above all), the word's parts (3 to 5 characters, with marks at its
ends), characters and pairs of characters where a script has no spaces, and, with the smallest weight, the text as it
is, which keeps any two texts apart and gives a lone space a vector. A feature's direction is a row of +1 and -1 taken
from the bits of SHAKE-256, the text's vector the weighted sum. Sums are integers, and one IEEE division by one
correctly rounded square root follows: the numbers are the same on every machine.

Dimensions are prefixes: the vector of 256 dimensions is the first quarter of the one of 1,024, at length 1 again.

Every kind of input first becomes a sum of features, whole numbers in all the dimensions of the model's space; sums can
be fused, and `unit` makes the vector. What pictures are made of is in `models.looks`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import NamedTuple, TypeAlias

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


_FUSED = 1 << 20  # the length of a sum that is fused: large enough that rounding it does not show


class Space(NamedTuple):
    """Where one model's vectors live: vectors of different spaces have nothing to do with each other."""

    name: str
    size: int  # the most dimensions of the model


def unit(space: Space, total: Ints, dimensions: int, *, accent: str = "") -> Floats:
    """Return the vector of a sum of features, of length 1.

    `dimensions` numbers are taken from the front of the space's `size`. An `accent`, say the purpose of the call, turns
    every vector by the same small angle (8 degrees) towards a direction of its own.
    """
    total = total[:dimensions]
    square = int(total @ total)
    if square == 0:  # features that cancel each other out, in practice never
        total = feature(space, "nothing", "")[:dimensions].astype(np.int64)
        square = dimensions
    if accent:
        # Scaled up so that the accent, 2 % of the squared length, is a whole number also for the shortest texts.
        turn = feature(space, "accent", accent)[:dimensions].astype(np.int64)
        total = total * 16 + math.isqrt(256 * square // (50 * dimensions)) * turn
        square = int(total @ total)
    return total / math.sqrt(square)


def bfloat16(values: Floats) -> NDArray[np.float32]:
    """Return numbers rounded to bfloat16: float32 without its lower 16 bits."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))  # half to even
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def scaled(total: Ints, length: int) -> Ints:
    """Return a sum of features stretched to a length, in whole numbers; nothing stays nothing."""
    square = int(total @ total)
    return np.rint(total * (length / math.sqrt(square))).astype(np.int64) if square else total


def fuse(totals: Sequence[Ints]) -> Ints:
    """Return one sum of features for several: each counts alike whatever its length, the first ones a little more.

    Order matters so that callers who mix it up are found out.
    """
    if len(totals) == 1:
        return totals[0]
    parts = [scaled(total, _FUSED - _FUSED * at // (8 * len(totals))) for at, total in enumerate(totals)]
    total: Ints = np.stack(parts).sum(axis=0) // len(parts)
    return total


def of_text(space: Space, text: str) -> Ints:
    """Return the sum of the features of a text."""
    total = feature(space, "whole", text).astype(np.int64) * _WHOLE
    for unit_text, count in Counter(_UNITS.findall(text.casefold())).items():
        # 1, 2, 3, 3, 4, ...: a word said ten times is not ten times as important.
        total += of_word(space, unit_text) * np.int64(1 + (count - 1).bit_length())
    return total


def of_bytes(space: Space, kind: str, data: bytes) -> Ints:
    """Return the one feature of a file that is not looked into: near nothing but itself."""
    return feature(space, kind, sha256(data).hexdigest()).astype(np.int64)


def of_name(space: Space, kind: str, name: str) -> Ints:
    """Return the one feature of something only known by name, such as an object in S3."""
    return feature(space, kind, name).astype(np.int64)


@lru_cache(maxsize=16_384)  # 2 KB an entry at 1,024 dimensions, 6 at 3,072
def of_word(space: Space, text: str) -> NDArray[np.int16]:
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
    digests = b"".join(_digest(space, kind, value) for kind, value in keys)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(len(keys), space.size)
    weight = np.array([weights[key] * (_PART if key[0] == "part" else 1) for key in keys], np.int16)
    # A product of whole numbers has no BLAS behind it; einsum takes a tenth of the time of `@`.
    row: NDArray[np.int16] = (2 * np.einsum("i,ij->j", weight, bits) - weight.sum(dtype=np.int16)).astype(np.int16)
    return row


def _stem(word: str) -> str:
    """Return an English word without its commonest endings; crude, but "models" and "modelling" meet."""
    stem = _SUFFIX.sub("", word)
    return stem[:-1] if stem != word and len(stem) > 3 and stem[-1] == stem[-2] else stem


def feature(space: Space, kind: str, value: str) -> NDArray[np.int8]:
    """Return the direction of one feature: +1 or -1 in each dimension."""
    bits = np.unpackbits(np.frombuffer(_digest(space, kind, value), np.uint8))
    return bits.astype(np.int8) * np.int8(2) - np.int8(1)


def _digest(space: Space, kind: str, value: str) -> bytes:
    named = f"{space.name}\0{kind}\0{value}".encode("utf-8", "surrogatepass")
    return shake_256(named).digest(space.size // 8)
