"""What a caller may send as `input`, checked and cleaned.

    "text"                       one input
    ["a", "b"]                   one input each
    [15339, 1917]                one input, as token ids
    [[15339], [1917]]            one input each, as token ids
    [[part, part], "b"]          a list of content parts is one input: several things, one vector
    ""                           one space; the answer says so
    ["a", ""]                    refused, naming the index; or spaces where the operator prefers that
    "data:type/sub;base64,…"     media, never embedded as text
    "s3://bucket/key"            an object in S3, never embedded as text

    part = {"type": "text", "text": "…"} | {"type": "image_url", "image_url": "…" or {"url": "…"}}

Any other string is text: whitespace, NUL and web addresses too. A lone surrogate, which JSON can spell and UTF-8
cannot, becomes U+FFFD. What may be in a list of parts, and what a model can read, is decided by who knows the model.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from embedrock import media
from embedrock.errors import BadRequest, ContextTooLong, RequestTooLarge
from embedrock.media import LongUri as LongUri
from embedrock.media import Media as Media
from embedrock.media import S3Object as S3Object
from embedrock.media import is_media as is_media
from embedrock.tokens import EncodingName, UnknownToken, encoding

Part = str | Media | S3Object


class Fused(NamedTuple):
    """Several things that become one vector, in the caller's order."""

    parts: tuple[Part, ...]


Item = str | Media | S3Object | Fused

DEFAULT_ENCODING: Final[EncodingName] = "cl100k_base"  # what clients use for models they do not know
_MAX_TOKENS: Final = 500_000  # of one input; the longest token has 128 characters
_MAX_DECODED_CHARS: Final = 200_000_000  # of all inputs: token ids may stand for twenty times their own bytes
_HEAVY_TOKENS: Final = 100_000
_HEAVY_CHARS: Final = 2_000_000
_MAX_PARTS: Final = 1000
_PART_MEMBERS: Final = {"text": {"type", "text"}, "image_url": {"type", "image_url"}}


class Inputs(NamedTuple):
    """The inputs of one request, in its order."""

    items: list[Item]
    listed: bool  # the caller sent a list: errors name `input[i]`
    emptied: tuple[int, ...] = ()  # indexes of empty strings that became one space
    texts_only: bool = True
    pair: bool = False  # the two inputs of the request have become one item

    def param(self, index: int) -> str:
        """Return the name of input `index` as the caller knows it."""
        return f"input[{index}]" if self.listed else "input"

    def part_param(self, index: int, part: int) -> str:
        """Return the name of part `part` of item `index` as far as the caller gave it one."""
        return self.param(part if self.pair else index)


def read_inputs(
    value: object, max_inputs: int, empty_as_space: bool = False, token_encoding: EncodingName = DEFAULT_ENCODING
) -> Inputs:
    """Return the inputs in `value`, ready to be checked against a model.

    Raises BadRequest naming the input that cannot be read or is empty, and when there are none or too many.
    """
    if isinstance(value, str):
        item = _read_string(value, "input") or " "
        return Inputs([item], listed=False, emptied=() if value else (0,), texts_only=isinstance(item, str))
    if value is None:
        raise BadRequest("'input' is missing.", param="input", code="empty_input")
    if isinstance(value, LongUri):
        return Inputs([media.read_data_uri(value, "input")], listed=False, texts_only=False)
    if not isinstance(value, list):
        raise BadRequest("'input' must be a string or an array.", param="input", code="invalid_type")
    if not value:
        raise BadRequest("'input' is an empty array.", param="input", code="empty_input")
    if type(value[0]) is int:
        return Inputs([_read_tokens(value, "input", token_encoding)], listed=False)
    if len(value) > max_inputs:
        raise BadRequest(
            f"'input' holds {len(value)} items; this gateway takes at most {max_inputs} a request.",
            param="input",
            code="too_many_inputs",
        )
    return _read_list(value, empty_as_space, token_encoding)


def is_heavy(value: object) -> bool:
    """Return whether reading `value` takes so long that it is better done in a thread: many letters or token ids."""
    if isinstance(value, str):
        return len(value) > _HEAVY_CHARS
    if not isinstance(value, list):
        return isinstance(value, LongUri)
    if len(value) > _HEAVY_TOKENS:
        return True
    size = 0
    for item in value:
        if isinstance(item, LongUri):
            return True
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, list):
            size += len(item) * (_HEAVY_CHARS // _HEAVY_TOKENS)
    return size > _HEAVY_CHARS


def _read_list(values: list[object], empty_as_space: bool, token_encoding: EncodingName) -> Inputs:
    items: list[Item] = []
    emptied: list[int] = []
    texts_only = True
    as_tokens = _is_tokens(values[0])
    decoded_chars = 0
    for index, value in enumerate(values):
        item: Item
        if isinstance(value, str) and not as_tokens:
            if not value:
                if not empty_as_space:
                    raise BadRequest(f"'input[{index}]' is empty.", param=f"input[{index}]", code="empty_input")
                emptied.append(index)
            item = _read_string(value, f"input[{index}]") or " "
        elif as_tokens and _is_tokens(value):
            item = _read_tokens(value, f"input[{index}]", token_encoding)  # type: ignore[arg-type]  # a list
            decoded_chars += len(item)
            if decoded_chars > _MAX_DECODED_CHARS:
                raise RequestTooLarge("The token ids of this request stand for too much text.", param="input")
        elif isinstance(value, LongUri) and not as_tokens:
            item = media.read_data_uri(value, f"input[{index}]")
        elif isinstance(value, list) and not as_tokens:
            item = _read_parts(value, f"input[{index}]")
        else:
            raise _wrong_type(value, index, as_tokens)
        texts_only = texts_only and isinstance(item, str)
        items.append(item)
    return Inputs(items, listed=True, emptied=tuple(emptied), texts_only=texts_only)


def _read_string(text: str, param: str) -> Part:
    scheme = text[:5].lower()  # a cheap look before the exact one
    if scheme == "data:" and media.is_media(text):
        return media.read_data_uri(text, param)
    if scheme == "s3://" and media.is_s3(text):
        return media.read_s3_uri(text, param)
    return _clean(text)


def _clean(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _without_surrogates(text)
    return text


def _without_surrogates(text: str) -> str:
    """Return the text with pairs of surrogates joined and lone ones replaced.

    By numpy: a codec calls its error handler for each, and there may be millions.
    """
    letters = np.array([text + "."]).view(np.uint32)  # numpy would take NULs at the end for padding
    high, low = letters & 0xFC00 == 0xD800, letters & 0xFC00 == 0xDC00
    pairs = np.flatnonzero(high[:-1] & low[1:])
    letters[pairs] = 0x10000 + ((letters[pairs] & 0x3FF) << 10) + (letters[pairs + 1] & 0x3FF)
    letters = np.delete(letters, pairs + 1)
    letters[letters & 0xFFFFF800 == 0xD800] = 0xFFFD
    return str(letters.view(f"<U{letters.size}")[0])[:-1]


# -------------------------------------------------------------------------------------------------------- token ids


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) is int


def _read_tokens(ids: list[object], param: str, token_encoding: EncodingName) -> str:
    for position, token in enumerate(ids) if {*map(type, ids)} != {int} else ():
        if type(token) is not int:
            raise BadRequest(
                f"'{param}[{position}]' must be a token id, like the ones before it, not {_json_type(token)}.",
                param=f"{param}[{position}]",
                code="invalid_type",
            )
    if len(ids) > _MAX_TOKENS:
        raise ContextTooLong(f"'{param}' holds {len(ids)} token ids: more than any model reads.", param=param)
    try:
        return encoding(token_encoding).decode(ids)  # type: ignore[arg-type]  # all are integers
    except UnknownToken as exc:
        where = f"{param}[{exc.position}]"
        raise BadRequest(f"'{where}' is no token of {token_encoding}.", param=where, code="invalid_value") from None


# ---------------------------------------------------------------------------------------------------- content parts


def _read_parts(values: list[object], param: str) -> Item:
    if not values:
        raise BadRequest(f"'{param}' is an empty array.", param=param, code="empty_input")
    if len(values) > _MAX_PARTS:
        raise BadRequest(f"'{param}' holds more than {_MAX_PARTS} parts.", param=param, code="too_many_inputs")
    parts = tuple(_read_part(value, f"{param}[{position}]") for position, value in enumerate(values))
    return parts[0] if len(parts) == 1 else Fused(parts)


def _read_part(value: object, param: str) -> Part:
    if not isinstance(value, dict):
        raise BadRequest(
            f"'{param}' must be a content part, not {_json_type(value)}.", param=param, code="invalid_type"
        )
    kind = value.get("type")
    if kind not in ("text", "image_url"):
        raise BadRequest(f"'{param}.type' must be 'text' or 'image_url'.", param=f"{param}.type", code="invalid_value")
    if value.keys() - _PART_MEMBERS[kind]:
        raise BadRequest(
            f"'{param}' may hold 'type' and '{kind}', and nothing else.", param=param, code="unsupported_parameter"
        )
    content: Any = value.get(kind)
    where = f"{param}.{kind}"
    if kind == "image_url" and isinstance(content, dict):
        if content.keys() - {"url"}:
            raise BadRequest(f"'{where}' may hold 'url', and nothing else.", param=where, code="unsupported_parameter")
        content, where = content.get("url"), f"{where}.url"
    if isinstance(content, LongUri):
        return content.text if kind == "text" else media.read_data_uri(content, where)
    if not isinstance(content, str):
        raise BadRequest(f"'{where}' must be a string.", param=where, code="invalid_type")
    if not content:
        raise BadRequest(f"'{where}' is empty.", param=where, code="empty_input")
    if kind == "text":
        return _clean(content)
    if media.is_s3(content):
        return media.read_s3_uri(content, where)
    if not media.is_media(content):
        raise BadRequest(
            f"'{where}' must be a data URI or an s3:// URI: the gateway fetches nothing from the web.",
            param=where,
            code="url_input_unsupported",
        )
    return media.read_data_uri(content, where)


def _wrong_type(value: object, index: int, as_tokens: bool) -> BadRequest:
    param = f"input[{index}]"
    if value == []:
        return BadRequest(f"'{param}' is an empty array.", param=param, code="empty_input")
    expected = "an array of token ids, like the ones before it" if as_tokens else "a string"
    hint = " Content parts go into an array of their own: [[part, part]]." if isinstance(value, dict) else ""
    return BadRequest(f"'{param}' must be {expected}, not {_json_type(value)}.{hint}", param=param, code="invalid_type")


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str() | LongUri():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
