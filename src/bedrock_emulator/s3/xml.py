"""S3's XML: written by hand, since it is flat, read by the standard library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def tag(name: str, value: str | int | bool) -> str:
    """Return an element with a text."""
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(shown)}</{name}>"


def nest(name: str, children: Iterable[str]) -> str:
    """Return an element with elements."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(root: str, content: str, *, namespace: bool = True) -> bytes:
    """Return a whole document."""
    named = f' xmlns="{_NAMESPACE}"' if namespace else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{named}>{content}</{root}>'.encode()


def when(at: datetime) -> str:
    """Return a time as listings show it."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def parse(body: bytes) -> ET.Element:
    """Return the root of a document, names without their namespaces. Raises ValueError."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # sent by tests; expat bounds what entities may grow to
    except ET.ParseError as error:
        raise ValueError(str(error)) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def texts(element: ET.Element, name: str) -> Iterator[str]:
    """Yield the texts of the children of a name."""
    yield from (child.text or "" for child in element.findall(name))
