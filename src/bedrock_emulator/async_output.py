"""What an asynchronous call leaves in S3, `{where}/{id of the call}/...`, as the models lay it out.

Marengo writes `output.json`, the body of a synchronous answer; Nova a file of lines a type of embedding, and a summary
that names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .async_twists import FAILURE, MESSAGE, status_of, twist_blob, twist_part
from .fate import Fate
from .models import nova_segments, segmented
from .models.files import Objects
from .models.segment import Part, dumps, json_lines
from .s3.store import Blob, Bucket, S3Object, Store

MANIFEST = "manifest.json"
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

    def put(self, files: Mapping[str, Blob]) -> None:
        """Add files by their names."""
        for name, blob in files.items():
            self.bucket.put(f"{self.prefix}/{name}", S3Object.of(blob, _JSON))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.bucket.remove(f"{self.prefix}/{name}")


def write_manifest(store: Store, place: Place, arn: str) -> None:
    """Write the file that is there whatever comes of the call."""
    place.put({MANIFEST: store.keep(orjson.dumps({"invocationArn": arn}))})


def make(
    store: Store, place: Place, model_id: str, body: dict[str, Any], objects: Objects, fate: Fate
) -> dict[str, Blob]:
    """Return the files of a call by their names, not yet in the bucket. Raises AwsError for a bad input."""
    found = [twist_part(fate.output, part) for part in segmented.parts(model_id, body, objects)]
    is_nova = segmented.is_nova(model_id)
    files = {}
    for part in found:
        blob = _write(store, json_lines(part.entries) if is_nova else _document(part.entries))
        files[part.file] = twist_blob(store, fate.output, blob, fate.size)
    if is_nova:
        files[nova_segments.SUMMARY] = store.keep(dumps(_summary(body, place, found, status_of(fate.output))))
    return files


def _summary(body: dict[str, Any], place: Place, found: list[Part], status: str) -> dict[str, Any]:
    return {
        "sourceFileUri": nova_segments.source(body),
        "embeddingDimension": nova_segments.dimensions(body),
        "embeddingResults": [
            {
                "embeddingType": part.kind,
                "status": status,
                "failureReason": None if status == "SUCCESS" else FAILURE,
                "message": None if status == "SUCCESS" else MESSAGE,
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
