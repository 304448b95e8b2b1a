"""Jobs of Amazon Nova Multimodal Embeddings: long text, sound and film in segments, each with a vector of its own.

Inputs come from S3 only. The results are a summary, which names one file for each kind of vector: a line a segment.
A job that is through can still have segments that failed: they are told, never left out.

Source: Amazon Nova User Guide, multimodal embeddings, asynchronous invocation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import MediaLimits, ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.jobs import Failure, Found, Jobs
from embedrock.families.kinds import kind_of
from embedrock.families.parameters import Wanted
from embedrock.inputs import Item
from embedrock.media import Media, S3Object
from embedrock.vectors import BROKEN_JSON, Segment

_FINE: Final = "SUCCESS"
_PARTLY: Final = "PARTIAL_SUCCESS"


class _Result(msgspec.Struct):
    embeddingType: str = ""  # noqa: N815  # AWS's name
    status: str = ""
    failureReason: str | None = None  # noqa: N815  # AWS's name
    outputFileUri: str | None = None  # noqa: N815  # AWS's name


class _Summary(msgspec.Struct):
    embeddingResults: list[_Result]  # noqa: N815  # AWS's name


class _Where(msgspec.Struct):
    segmentIndex: int | None = None  # noqa: N815  # AWS's names
    segmentStartSeconds: float | None = None  # noqa: N815
    segmentEndSeconds: float | None = None  # noqa: N815
    segmentStartCharPosition: int | None = None  # noqa: N815
    segmentEndCharPosition: int | None = None  # noqa: N815

    def segment(self, option: str | None) -> Segment:
        return Segment(
            self.segmentStartSeconds,
            self.segmentEndSeconds,
            self.segmentStartCharPosition,
            self.segmentEndCharPosition,
            option,
        )


class _Line(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw()
    segmentMetadata: _Where | None = None  # noqa: N815  # AWS's name
    status: str = _FINE
    failureReason: str | None = None  # noqa: N815  # AWS's name


def is_slow(spec: ModelSpec, item: Item, wanted: Wanted) -> bool:
    """Return whether `item` needs a job: segments are asked for, or it is larger than a call takes. Raises BadRequest.

    An object in S3 that nobody has looked at tells no size.
    """
    values = wanted.values
    kind = kind_of(item)
    if values.get("segmentation") is False or values.get("task_type") == "SINGLE_EMBEDDING":
        _refuse_lengths(values)
        return False
    if kind not in ("text", "audio", "video"):
        return False
    if values.get("segmentation") or values.get("task_type") == "SEGMENTED_EMBEDDING":
        return True
    if ("max_length_chars" if kind == "text" else "duration_seconds") in values:
        return True
    limits: MediaLimits | None = spec.s3_text if kind == "text" else getattr(spec, kind)
    if limits is None or not isinstance(item, Media | S3Object) or item.size is None:
        return False
    most = limits.inline_bytes if isinstance(item, Media) else limits.sync_s3_bytes
    return most is not None and item.size > most


def may_be_slow(item: Item, wanted: Wanted) -> bool:
    """Return whether `item` is sound or film, which a call takes up to 30 seconds of: nobody here knows how long it is.

    Who says that there are to be no segments gets Bedrock's refusal.
    """
    values = wanted.values
    told = values.get("segmentation") is False or values.get("task_type") == "SINGLE_EMBEDDING"
    return kind_of(item) in ("audio", "video") and not told


def _refuse_lengths(values: Mapping[str, Any]) -> None:
    for name in ("duration_seconds", "max_length_chars"):
        if name in values:
            raise BadRequest(
                f"'{name}' is of segments, which the request says it does not want.", param=name, code="invalid_value"
            )


def build_input(spec: ModelSpec, item: Item, wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the body of a job for the object `item`, whose kind is known."""
    if not isinstance(item, S3Object) or item.kind is None:
        raise TypeError("Nova's jobs read from S3")
    values = wanted.values
    medium: dict[str, Any] = {"source": {"s3Location": {"uri": item.uri}}}
    if item.kind == "text":
        medium["truncationMode"] = values["truncate"]
        medium["segmentationConfig"] = _config("maxLengthChars", values.get("max_length_chars"))
    else:
        medium["format"] = item.format
    if item.kind == "image" and "detail_level" in values:
        medium["detailLevel"] = values["detail_level"]
    if item.kind == "video":
        medium["embeddingMode"] = values["embedding_mode"]
    if item.kind in ("audio", "video"):
        medium["segmentationConfig"] = _config("durationSeconds", values.get("duration_seconds"))
    body: dict[str, Any] = {
        "taskType": "SEGMENTED_EMBEDDING",
        "segmentedEmbeddingParams": {
            "embeddingPurpose": values["embedding_purpose"],
            "embeddingDimension": wanted.dimensions,
            item.kind: medium,
        },
    }
    if "schema_version" in values:
        body["schemaVersion"] = values["schema_version"]
    return msgspec.json.encode(body)


def _config(name: str, length: int | None) -> dict[str, int]:
    return {} if length is None else {name: length}  # the object has to be there, and may be empty


def name_files(summary: bytes) -> Sequence[str]:
    """Return the URIs of the files that hold vectors."""
    return [
        result.outputFileUri
        for result in _results(summary)
        if result.outputFileUri and result.status in (_FINE, _PARTLY)
    ]


def read(summary: bytes, files: Mapping[str, bytes]) -> Found:
    """Return the vectors of all kinds, each kind's in order, and what failed. Raises InvalidUpstream."""
    found = Found()
    results = _results(summary)
    for result in results:
        if result.status not in (_FINE, _PARTLY):
            found.failures.append(Failure(result.failureReason or "no reason"))
            continue
        if not result.outputFileUri:
            raise InvalidUpstream("The results of a job name no file.")
        option = result.embeddingType.lower() if len(results) > 1 else None
        lines = _lines(files[result.outputFileUri], one=result.outputFileUri.endswith(".json"))
        _add(found, lines, option, whole=result.status == _FINE)
    if not found.vectors and not found.failures:
        raise InvalidUpstream("The results of a job hold no vector.")
    return found


def _add(found: Found, lines: Sequence[_Line], option: str | None, *, whole: bool) -> None:
    indexes = []
    for line in lines:
        where = line.segmentMetadata or _Where()
        indexes.append(where.segmentIndex)
        segment = where.segment(option)
        if line.status != _FINE:
            found.failures.append(Failure(line.failureReason or "no reason", segment))
        elif not bytes(line.embedding):
            raise InvalidUpstream("A line of a job's results has no vector.")
        else:
            found.vectors.append(bytes(line.embedding))
            found.segments.append(segment if segment != Segment() else None)
    known = [index for index in indexes if index is not None]
    # Lines that are missing are seen by their numbers. A job that failed partly may leave out what failed.
    if known != sorted(set(known)) or (whole and known and known != list(range(len(indexes)))):
        raise InvalidUpstream("The results of a job are not complete.")


def _results(summary: bytes) -> list[_Result]:
    try:
        results = msgspec.json.decode(summary, type=_Summary).embeddingResults
    except BROKEN_JSON as exc:
        raise InvalidUpstream("The summary of a job's results is none of Nova's.") from exc
    if not results:
        raise InvalidUpstream("The summary of a job's results names none.")
    return results


def _lines(file: bytes, *, one: bool) -> list[_Line]:
    try:
        return [msgspec.json.decode(file, type=_Line)] if one else msgspec.json.Decoder(_Line).decode_lines(file)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("A file of a job's results is cut short, or none of Nova's.") from exc


JOBS: Final = Jobs(build_input, frozenset(), is_slow, "segmented-embedding-result.json", name_files, read, may_be_slow)
