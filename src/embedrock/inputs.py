"""What a caller may send as `input`, checked and cleaned.

    "text"             one input
    ["a", "b"]         one input each
    ""                 one space; the answer says so
    ["a", ""]          refused, naming the index; or spaces where the operator prefers that
    "data:type/sub…"   media: never embedded as text
    "s3://bucket/key"  an object in S3: never embedded as text

Whitespace is text. NUL passes. A lone surrogate, which JSON can spell and UTF-8 cannot, becomes U+FFFD.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from embedrock.errors import BadRequest

_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+", re.ASCII)


class Texts(NamedTuple):
    """The texts of one request, in its order."""

    values: list[str]
    listed: bool  # the caller sent a list: errors name `input[i]`
    emptied: tuple[int, ...] = ()  # indexes of empty strings that became one space

    def param(self, index: int) -> str:
        """Return the name of input `index` as the caller knows it."""
        return f"input[{index}]" if self.listed else "input"


def read_texts(value: object, *, max_inputs: int, empty_as_space: bool = False) -> Texts:
    """Return the texts in `value`, ready to be sent.

    Raises BadRequest naming the input that is no text, is empty, or is media, and when there are none or too many.
    """
    if isinstance(value, str):
        return Texts([_clean(value, "input") or " "], listed=False, emptied=() if value else (0,))
    if value is None:
        raise BadRequest("'input' is missing.", param="input", code="empty_input")
    if not isinstance(value, list):
        raise BadRequest("'input' must be a string or an array of strings.", param="input", code="invalid_type")
    if not value:
        raise BadRequest("'input' is an empty array.", param="input", code="empty_input")
    if len(value) > max_inputs:
        raise BadRequest(
            f"'input' holds {len(value)} items; this gateway takes at most {max_inputs} a request.",
            param="input",
            code="too_many_inputs",
        )
    return _read_list(value, empty_as_space)


def _read_list(items: list[object], empty_as_space: bool) -> Texts:
    texts: list[str] = []
    emptied: list[int] = []
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise _not_a_text(item, index)
        if not item:
            if not empty_as_space:
                raise BadRequest(f"'input[{index}]' is empty.", param=f"input[{index}]", code="empty_input")
            emptied.append(index)
        texts.append(_clean(item, f"input[{index}]") or " ")
    return Texts(texts, listed=True, emptied=tuple(emptied))


def _clean(text: str, param: str) -> str:
    if text.startswith(("data:", "s3://")) and (text[0] == "s" or _DATA_URI.match(text)):
        kind = "an object in S3" if text[0] == "s" else "media"
        raise BadRequest(
            f"'{param}' is {kind}; this version of Embedrock reads text only.", param=param, code="unsupported_media"
        )
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins what was a pair after all; what stays alone is replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _not_a_text(item: object, index: int) -> BadRequest:
    if index == 0 and (type(item) is int or (isinstance(item, list) and item and type(item[0]) is int)):
        message = (
            f"'input[{index}]' looks like token ids; this version of Embedrock reads text only "
            "(in LangChain: check_embedding_ctx_length=False)."
        )
    else:
        message = f"'input[{index}]' must be a string, not {_json_type(item)}."
    return BadRequest(message, param=f"input[{index}]", code="invalid_type")


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
