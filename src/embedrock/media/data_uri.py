"""Media inside a request: `data:<type>/<subtype>;base64,<data>`.

    type        one of a known list, and the bytes must be what it says
    parameters  skipped: a few of the form `;name=value`, each of at most 100 characters
    base64      strict: standard letters, exact padding, no whitespace, no stray bits (RFC 4648, section 3)

What comes out is the base64 as it was sent; the decoded bytes are looked at and let go.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import pybase64

from embedrock.errors import BadRequest
from embedrock.media.formats import BY_TYPE, FORMATS, Kind
from embedrock.media.images import measure
from embedrock.media.sniff import sniff

_WORD: Final = r"[\w!#$%&'*+.^`|~-]{1,127}"  # RFC 9110, 5.6.2; lengths as in RFC 6838, 4.2
_MEDIA: Final = re.compile(rf"data:{_WORD}/{_WORD}", re.ASCII | re.IGNORECASE)
# A comma may stand in a value: browsers write `data:video/webm;codecs=vp8,opus;base64,` for what they record.
_PARAMETER: Final = rf";(?!base64)(?=[^;]{{1,100}};){_WORD}=[!-:<-~]*"
_HEAD: Final = re.compile(
    rf"data:(?P<type>{_WORD}/{_WORD})(?:{_PARAMETER}){{0,4}};base64,(?=.)", re.ASCII | re.IGNORECASE | re.DOTALL
)
_PIECE_CHARS: Final = 4 * 1024 * 1024  # of base64, decoded at once: a multiple of four
_LONGEST_TYPE_TOLD: Final = 60
_KNOWN_TYPES: Final = ", ".join(dict.fromkeys(format_.mime for format_ in FORMATS.values()))


class LongUri(NamedTuple):
    """A data URI of megabytes, in two parts so that its data need not be copied: `data:…;base64,`, and the rest.

    What is in the rest nobody has looked at yet.
    """

    head: str
    base64: memoryview

    @property
    def text(self) -> str:
        """The whole of it, where the caller says that it is a text."""
        return self.head + str(self.base64, "utf-8", "replace")

    def __repr__(self) -> str:
        return f"LongUri({len(self.base64)} bytes)"


class Media(NamedTuple):
    """A picture, sound or film as it was sent, known to be what it says."""

    kind: Kind
    format: str  # Bedrock's name: png, jpeg, mp4, …
    base64: str | memoryview  # of a long one a view of the caller's body
    size: int  # bytes once decoded
    width: int | None  # pixels; of pictures only
    height: int | None

    @property
    def mime(self) -> str:
        """The MIME type that Bedrock's models know the format by."""
        return FORMATS[self.format].mime

    @property
    def data_uri(self) -> str:
        """The data URI in its one plain form: canonical type, no parameters."""
        base64 = self.base64 if isinstance(self.base64, str) else str(self.base64, "ascii")
        return f"data:{self.mime};base64,{base64}"

    def __repr__(self) -> str:
        return f"Media({self.mime}, {self.size} bytes)"


def is_media(text: str) -> bool:
    """Return whether `text` begins as a data URI with a type does: it is media then, or an error, never a text."""
    return _MEDIA.match(text) is not None


def read_data_uri(text: str | LongUri, param: str) -> Media:
    """Return the media in `text`.

    Raises BadRequest for `param`: `invalid_data_uri`, `unsupported_media`, `invalid_base64`, `media_type_mismatch`,
    `invalid_media` or `media_too_large`.
    """
    head = _HEAD.match(text if isinstance(text, str) else f"{text.head}A")
    if not head:
        raise BadRequest(
            f"'{param}' must be data:<type>/<subtype>;base64,<data>.", param=param, code="invalid_data_uri"
        )
    format_ = BY_TYPE.get(head["type"].lower())
    if format_ is None:
        raise _unsupported(head["type"].lower(), param)
    if isinstance(text, str):
        base64 = text[head.end() :]
        return _media(_decode(base64, param), format_, base64, param)
    if FORMATS[format_].kind == "image":
        return _media(_decode(text.base64, param), format_, text.base64, param)
    return _long_clip(text.base64, format_, param)


def read_bytes(data: bytes, format_: str | None, param: str) -> Media:
    """Return the media in `data`, of the format it is said to have, or of the one its bytes tell.

    Raises BadRequest for `param`: `unsupported_media`, `media_type_mismatch`, `invalid_media` or `media_too_large`.
    """
    format_ = format_ or next(iter(sniff(data)), None)
    if format_ is None:
        raise BadRequest(
            f"'{param}' is of a format that is not known here. Known types: {_KNOWN_TYPES}.",
            param=param,
            code="unsupported_media",
        )
    return _media(data, format_, pybase64.b64encode_as_string(data), param)


def _long_clip(base64: memoryview, format_: str, param: str) -> Media:
    """Return a film or sound that is never decoded whole: of a clip only the beginning is looked at."""
    size = 0
    for at in range(0, len(base64), _PIECE_CHARS):
        piece = base64[at : at + _PIECE_CHARS]
        data = _decode(piece, param)
        if not at:
            _check_type(data, format_, param)
        elif size % 3:
            raise _no_base64(param)  # padding in the middle
        size += len(data)
    return Media(FORMATS[format_].kind, format_, base64, size, None, None)


def _media(data: bytes, format_: str, base64: str | memoryview, param: str) -> Media:
    _check_type(data, format_, param)
    kind = FORMATS[format_].kind
    width, height = measure(data, format_, param) if kind == "image" else (None, None)
    return Media(kind, format_, base64, len(data), width, height)


def _decode(base64: str | memoryview, param: str) -> bytes:
    try:
        data = pybase64.b64decode(base64, validate=True)
    except ValueError:
        data = b""
    # The decoder lets one thing pass: bits that are set in the last letter and belong to no byte.
    end = base64[-4:] if isinstance(base64, str) else str(base64[-4:], "latin-1")
    if pybase64.b64encode_as_string(data[-(len(data) % 3 or 3) :]) != end:
        raise _no_base64(param)
    return data


def _no_base64(param: str) -> BadRequest:
    return BadRequest(
        f"'{param}' is not strict base64: standard letters, exact padding, nothing else.",
        param=param,
        code="invalid_base64",
    )


def _check_type(data: bytes, format_: str, param: str) -> None:
    found = sniff(data)
    if format_ in found:
        return
    really = f"it is {' or '.join(found)}" if found else "its bytes are not"
    raise BadRequest(f"'{param}' says it is {format_}, but {really}.", param=param, code="media_type_mismatch")


def _unsupported(type_: str, param: str) -> BadRequest:
    told = f"is {type_}, which" if len(type_) <= _LONGEST_TYPE_TOLD else "has a type that"
    hint = " Send the pages of a PDF as pictures." if type_ == "application/pdf" else ""
    return BadRequest(
        f"'{param}' {told} is not known here. Known types: {_KNOWN_TYPES}.{hint}",
        param=param,
        code="unsupported_media",
    )
