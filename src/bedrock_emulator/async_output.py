"""What an asynchronous call leaves in S3, `{where}/{id of the call}/...`, as the models lay it out.

Marengo writes `output.json`, the body of a synchronous answer; Nova a file of lines a type of embedding, and a summary
that names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from .models import nova_segments, segmented
from .models.files import Objects
from .models.segment import Part, dumps, json_lines
from .s3.store import Blob, Bucket, S3Object, Store

_MANIFEST = "manifest.json"
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a bucket."""

    bucket: Bucket
    prefix: str

    @property
    def uri(self) -> str:
        """The folder's URI."""
        return f"s3://{self.bucket.name}/{self.prefix}"

    def put(self, name: str, blob: Blob) -> None:
        """Add an object."""
        self.bucket.put(f"{self.prefix}/{name}", S3Object.of(blob, _JSON))


def write_manifest(store: Store, place: Place, arn: str) -> None:
    """Write the file that is there whatever comes of the call."""
    place.put(_MANIFEST, store.keep(orjson.dumps({"invocationArn": arn})))


def make(store: Store, place: Place, model_id: str, body: dict[str, Any], objects: Objects) -> dict[str, Blob]:
    """Return the files of a call by their names, not yet in the bucket. Raises AwsError for a bad input."""
    found = segmented.parts(model_id, body, objects)
    if not segmented.is_nova(model_id):
        return {part.file: _write(store, _document(part.entries)) for part in found}
    files = {part.file: _write(store, json_lines(part.entries)) for part in found}
    return {**files, nova_segments.SUMMARY: store.keep(dumps(_summary(body, place, found)))}


def _summary(body: dict[str, Any], place: Place, found: list[Part]) -> dict[str, Any]:
    return {
        "sourceFileUri": nova_segments.source(body),
        "embeddingDimension": nova_segments.dimensions(body),
        "embeddingResults": [
            {
                "embeddingType": part.kind,
                "status": "SUCCESS",
                "failureReason": None,
                "message": None,
                "outputFileUri": f"{place.uri}/{part.file}",
            }
            for part in found
        ],
    }


def _document(entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield an answer's body piece by piece."""
    start = b'{"data":['
    for entry in entries:
        yield start + dumps(entry)
        start = b","
    yield b"]}"


def _write(store: Store, pieces: Iterable[bytes]) -> Blob:
    writer = store.writer()
    try:
        for piece in pieces:
            writer.write(piece)
    except BaseException:
        writer.discard()
        raise
    return writer.finish()
