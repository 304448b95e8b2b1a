"""The media formats that Bedrock's embedding models read between them, and the names the world has for each.

Names are Bedrock's own (`jpeg`, `3gp`), as in the `format` fields of the Amazon Nova User Guide, embeddings schema.
Every other model reads a part of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["image", "audio", "video"]


class Format(NamedTuple):
    """A format: what it holds, the MIME type it is sent with, and the types and file extensions that mean it."""

    kind: Kind
    mime: str
    types: tuple[str, ...]
    extensions: tuple[str, ...]


FORMATS: Final[Mapping[str, Format]] = {
    "png": Format("image", "image/png", ("image/png", "image/x-png"), ("png",)),
    "jpeg": Format("image", "image/jpeg", ("image/jpeg", "image/jpg", "image/pjpeg"), ("jpg", "jpeg", "jpe", "jfif")),
    "gif": Format("image", "image/gif", ("image/gif",), ("gif",)),
    "webp": Format("image", "image/webp", ("image/webp",), ("webp",)),
    "mp3": Format("audio", "audio/mpeg", ("audio/mpeg", "audio/mp3", "audio/x-mp3", "audio/mpeg3"), ("mp3",)),
    "wav": Format(
        "audio",
        "audio/wav",
        ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/x-pn-wav"),
        ("wav", "wave"),
    ),
    # RFC 5334 keeps application/ogg for any Ogg; of the models' formats only audio is Ogg.
    "ogg": Format("audio", "audio/ogg", ("audio/ogg", "application/ogg"), ("ogg", "oga", "opus")),
    "mp4": Format("video", "video/mp4", ("video/mp4", "video/x-m4v"), ("mp4", "m4v")),
    "mov": Format("video", "video/quicktime", ("video/quicktime", "video/mov"), ("mov", "qt")),
    "mkv": Format("video", "video/x-matroska", ("video/x-matroska", "video/matroska", "video/mkv"), ("mkv",)),
    "webm": Format("video", "video/webm", ("video/webm",), ("webm",)),
    "flv": Format("video", "video/x-flv", ("video/x-flv", "video/flv"), ("flv",)),
    "mpeg": Format("video", "video/mpeg", ("video/mpeg", "video/x-mpeg"), ("mpeg",)),
    # The same bytes as mpeg under another name, which the models know too.
    "mpg": Format("video", "video/mpeg", ("video/mpg", "video/x-mpg"), ("mpg",)),
    "wmv": Format("video", "video/x-ms-wmv", ("video/x-ms-wmv", "video/wmv", "video/x-ms-asf"), ("wmv",)),
    "3gp": Format("video", "video/3gpp", ("video/3gpp", "video/3gp"), ("3gp", "3gpp")),
}

#: The format of each MIME type, in lower case.
BY_TYPE: Final[Mapping[str, str]] = {type_: name for name, format_ in FORMATS.items() for type_ in format_.types}

#: The format of each file extension, in lower case and without the dot.
BY_EXTENSION: Final[Mapping[str, str]] = {
    extension: name for name, format_ in FORMATS.items() for extension in format_.extensions
}

#: Extensions of objects that hold text.
TEXT_EXTENSIONS: Final = frozenset({"txt", "text", "md", "markdown", "rst", "csv", "json"})
