"""Files of a caller's own as inputs: a picture is one, a PDF as many as it has pages.

A page is a picture beside a text that tells its file and number, which a model that fuses makes one vector of. Pages
are painted at 150 dots an inch, and smaller where that would be more than models look at; a picture that is too large
to be sent is made smaller in the same way. Nothing of a file is read by the gateway: it never decodes what it is sent.

Needs `embedrock[media]`, except for pictures that are sent as they are.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pybase64

from embedrock.errors import BadRequest
from embedrock.faces.sdk.arguments import InvalidArgument
from embedrock.media import Media, read_bytes

DPI: Final = 150
MAX_PAGES: Final = 200
MAX_PIXELS: Final = 2_400_000  # Cohere Embed v4 makes larger ones smaller: AWS Bedrock User Guide
_MAX_SIDE: Final = 2_048  # Titan Multimodal takes no longer one
_MAX_BYTES: Final = 4_900_000  # most models take 5,000,000
_LARGEST_FILE: Final = 500_000_000
_POINTS_AN_INCH: Final = 72
_QUALITIES: Final = (85, 60, 30)  # of JPEG: the first that is small enough

Part = dict[str, Any]


def pages(
    file: str | Path, *, dpi: int = DPI, max_pages: int = MAX_PAGES, max_pixels: int = MAX_PIXELS
) -> list[list[Part]]:
    """Return the pages of a PDF as inputs, each a list of two parts: its file and number as text, and its picture.

    Raises ValueError when the file is no PDF that can be read, or has more than `max_pages`.
    """
    if not (1 <= dpi <= 1200 and max_pages >= 1 and max_pixels >= 1):
        raise InvalidArgument("'dpi' is from 1 to 1200; 'max_pages' and 'max_pixels' are at least 1.", param="dpi")
    path = Path(file)
    name = path.name
    return [
        [
            {"type": "text", "text": f"file_name: {name}, page: {number}"},
            {"type": "image_url", "image_url": {"url": _jpeg_uri(image)}},
        ]
        for number, image in enumerate(_painted(path, dpi, max_pages, max_pixels), start=1)
    ]


def picture(file: str | Path, *, max_pixels: int = MAX_PIXELS) -> str:
    """Return a picture as a data URI: as it is if models take it so, else smaller, as JPEG.

    Raises ValueError when the file is no picture.
    """
    path = Path(file)
    data = _read(path)
    found = _known(data, path)
    if found.kind != "image":
        raise InvalidArgument(
            f"{path.name}: sound and film are not for this; a gateway and `embedrock.Client` take them.", param="file"
        )
    side = max(found.width or 0, found.height or 0)
    if found.size <= _MAX_BYTES and side <= _MAX_SIDE and (found.width or 0) * (found.height or 0) <= max_pixels:
        return found.data_uri
    _require("PIL", "to make a large picture smaller")
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        width, height = _fit(*upright.size, max_pixels)
        return _jpeg_uri(upright.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))


def _painted(path: Path, dpi: int, max_pages: int, max_pixels: int) -> Iterator[Any]:
    _require("pypdfium2", "to read a PDF")
    _require("PIL", "to read a PDF")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(_read(path))
    except pypdfium2.PdfiumError as exc:
        raise InvalidArgument(
            f"{path.name}: it is no PDF that can be read, or needs a password.", param="file"
        ) from exc
    with closing(document):
        if len(document) > max_pages:
            raise InvalidArgument(
                f"{path.name}: it has {len(document)} pages, and at most {max_pages} are taken.", param="max_pages"
            )
        for number in range(len(document)):
            with closing(document[number]) as page:
                width, height = (max(1.0, points * dpi / _POINTS_AN_INCH) for points in page.get_size())
                most = _fit(int(width), int(height), max_pixels)[0] - 0.5  # what is left over makes another pixel
                with closing(page.render(scale=min(1.0, most / width) * dpi / _POINTS_AN_INCH)) as bitmap:
                    yield bitmap.to_pil()


def _fit(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return the largest size of the same shape that models look at."""
    factor = min(1.0, _MAX_SIDE / max(width, height), (max_pixels / (width * height)) ** 0.5)
    return max(1, int(width * factor)), max(1, int(height * factor))


def _jpeg_uri(image: Any) -> str:
    for quality in _QUALITIES:
        out = io.BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=quality)
        if out.tell() <= _MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{pybase64.b64encode_as_string(out.getvalue())}"


def _known(data: bytes, path: Path) -> Media:
    try:
        return read_bytes(data, None, path.name)
    except BadRequest as exc:
        raise InvalidArgument(exc.message, param="file") from None


def _read(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_FILE:
        raise InvalidArgument(f"{path.name}: it has more than {_LARGEST_FILE:,} bytes.", param="file")
    return path.read_bytes()


def _require(package: str, what_for: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InvalidArgument(f"{what_for[0].upper()}{what_for[1:]}, install 'embedrock[media]'.", param="file")
