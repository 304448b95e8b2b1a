"""What a picture is made of, as features in the space where its model's texts are: no model is involved.

Four parts, each brought to a length of its own before they are added:

- words: its colours by name (white, gray and black count less than the others), and whether it is bright or dark. They
  are the very words of texts, so "a red bicycle" is near a red picture and not near a blue one.
- tint: its mean colour.
- layout: how the colour of each cell of an 8 x 8 grid differs from the mean.
- itself: the bytes of the file, a little, so that no two files have the same vector.

All but the last change little when a picture is scaled or stored as JPEG. Everything is worked out in whole numbers, so
the same pixels give the same vector on every machine.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..vectors import Ints, Space, feature, of_bytes, of_word, scaled
from .pictures import SIDE, Picture

_Names: TypeAlias = tuple[str, ...]

_GRID = 8
_WORDS, _TINT, _LAYOUT, _ITSELF = 70_000, 30_000, 70_000, 10_000  # lengths of the parts
_FAINT_TINT, _FAINT_LAYOUT = 64, 8  # in grey levels: there a part has half its length, since what is faint is noise

# Examples of each colour, RGB; a pixel takes the names of the nearest ones.
_COLOURS: dict[_Names, tuple[tuple[int, int, int], ...]] = {
    ("red",): ((255, 0, 0), (200, 20, 30), (140, 0, 0)),
    ("orange",): ((255, 140, 0), (230, 110, 30)),
    ("yellow",): ((255, 255, 0), (240, 210, 50)),
    ("green",): ((0, 255, 0), (0, 128, 0), (60, 160, 60), (120, 200, 80)),
    ("cyan",): ((0, 255, 255), (0, 160, 160)),
    ("blue",): ((0, 0, 255), (30, 60, 160), (0, 0, 128), (70, 130, 230)),
    ("purple",): ((128, 0, 128), (150, 60, 200), (200, 0, 255)),
    ("pink",): ((255, 105, 180), (255, 180, 200)),
    ("brown",): ((120, 70, 20), (90, 50, 30)),
    ("white",): ((255, 255, 255),),
    ("gray", "grey"): ((128, 128, 128), (190, 190, 190), (70, 70, 70)),
    ("black",): ((0, 0, 0),),
}
_PALE: tuple[_Names, ...] = (("white",), ("gray", "grey"), ("black",))
_STRENGTHS = [1 if names in _PALE else 3 for names in _COLOURS]
_EXAMPLES = np.array([example for examples in _COLOURS.values() for example in examples], np.int64)
_STARTS = np.cumsum([0, *map(len, _COLOURS.values())])[:-1]  # of each colour's examples
_SOFT = 400  # squared distance within which a pixel has two names whatever their order
_PIXELS = SIDE * SIDE
_NEGLIGIBLE = _PIXELS * 1024 // 100  # a hundredth of the picture: the rims of what is drawn
_BRIGHT, _DARK = 170, 85  # lightness, 0 to 255


def of_picture(space: Space, picture: Picture) -> Ints:
    """Return the sum of the features of a picture."""
    colours = picture.small.reshape(_PIXELS, 3).astype(np.int64)
    lit = _lit(colours)
    tint = lit.sum(axis=0) // (_PIXELS // 16)  # 16 times the mean
    cells = lit.reshape(_GRID, SIDE // _GRID, _GRID, SIDE // _GRID, 3).sum(axis=(1, 3)).reshape(-1, 3)
    layout = (cells - cells.sum(axis=0) // len(cells)).reshape(-1)  # 16 times as well
    return (
        _words(space, colours)
        + _part(space, "tint", tint, _TINT, faint=_FAINT_TINT)
        + _part(space, "layout", layout, _LAYOUT, faint=_FAINT_LAYOUT * _GRID)
        + scaled(of_bytes(space, "picture", picture.data), _ITSELF)
    )


def _lit(colours: Ints) -> Ints:
    """Return luma, from its middle, and chroma, twice as strong, of RGB colours (ITU-R BT.601, in 256ths)."""
    red, green, blue = colours.T
    luma = (77 * red + 150 * green + 29 * blue) // 256 - 128
    chroma_blue = (-43 * red - 85 * green + 128 * blue) // 128
    chroma_red = (128 * red - 107 * green - 21 * blue) // 128
    return np.stack((luma, chroma_blue, chroma_red), axis=1)


def _part(space: Space, kind: str, weights: Ints, length: int, *, faint: int) -> Ints:
    """Return the features of `weights`, 16ths of grey levels, at `length`, or shorter when they are faint."""
    strength = math.isqrt(int(weights @ weights)) // 16
    total = np.einsum("i,ij->j", weights, _directions(space, kind, len(weights)))
    return scaled(total, length * strength // (strength + faint))


@lru_cache(maxsize=32)
def _directions(space: Space, kind: str, count: int) -> NDArray[np.int8]:
    return np.stack([feature(space, kind, str(at)) for at in range(count)])


def _words(space: Space, colours: Ints) -> Ints:
    """Return the sum of the words for the colours and for the tone, the shorter the more of them there are.

    A picture of many colours is of none in particular; else any two of them would be alike.
    """
    weights = _weights(colours)
    total = np.zeros(space.size, np.int64)
    for names, weight in weights.items():
        for name in names:
            total += of_word(space, name).astype(np.int64) * weight // len(names)
    together = sum(weights.values())
    return scaled(total, _WORDS * math.isqrt(sum(weight**2 for weight in weights.values())) // together)


def _weights(colours: Ints) -> dict[_Names, int]:
    """Return what counts of a picture's words, and how much."""
    far = np.minimum.reduceat(((colours[:, None, :] - _EXAMPLES) ** 2).sum(axis=2), _STARTS, axis=1)
    near = np.maximum(0, 2 * far.min(axis=1, keepdims=True) + _SOFT - far)  # without a jump from name to name
    shares = (near * 1024 // near.sum(axis=1, keepdims=True)).sum(axis=0).tolist()
    weights = {
        names: strength * math.isqrt(share - _NEGLIGIBLE)
        for names, share, strength in zip(_COLOURS, shares, _STRENGTHS, strict=True)
        if share > _NEGLIGIBLE
    }
    lightness = int((colours.max(axis=1) + colours.min(axis=1)).sum()) // (2 * _PIXELS)
    # At most half of what all white or all black has.
    tones: dict[_Names, int] = {("bright",): 6 * (lightness - _BRIGHT), ("dark",): 6 * (_DARK - lightness)}
    return weights | {names: weight for names, weight in tones.items() if weight > 0}
