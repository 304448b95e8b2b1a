"""Jobs of TwelveLabs Marengo: sound and film, which it reads in no other way; text and images too.

A film has a vector for each clip and option; 3.0 also one of the whole, and of what is seen and heard at once, where
`embedding_scope` and `embedding_type` ask for them. The results are one file, of the shape of the synchronous answer.

Source: AWS Bedrock User Guide, TwelveLabs Marengo Embed 2.7 and 3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.jobs import Found, Jobs
from embedrock.families.kinds import kind_of
from embedrock.families.marengo import build_2_7 as _sync_2_7
from embedrock.families.marengo import build_3_0 as _sync_3_0
from embedrock.families.marengo import source
from embedrock.families.parameters import Wanted
from embedrock.inputs import Item
from embedrock.media import Media, S3Object
from embedrock.vectors import BROKEN_JSON, Segment

_SLOW: Final = ("audio", "video")
_INLINE: Final = frozenset({"text", "image", "audio", "video", "fused"})


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw
    embeddingOption: str | list[str] | None = None  # noqa: N815  # AWS's names
    embeddingScope: str | list[str] | None = None  # noqa: N815
    startSec: float | None = None  # noqa: N815
    endSec: float | None = None  # noqa: N815


class _Results(msgspec.Struct):
    data: list[_Embedding] | _Embedding


def is_slow_2_7(spec: ModelSpec, item: Item, wanted: Wanted) -> bool:  # noqa: ARG001
    """Return whether `item` is sound or film. Raises BadRequest when what is asked of it contradicts itself."""
    if kind_of(item) not in _SLOW:
        return False
    values = wanted.values
    if values.get("duration_seconds", 10) < values.get("min_duration_sec", 0):
        message = "'duration_seconds' must not be below 'min_duration_sec'."
        raise BadRequest(message, param="duration_seconds", code="invalid_value")
    return True


def is_slow_3_0(spec: ModelSpec, item: Item, wanted: Wanted) -> bool:  # noqa: ARG001
    """Return whether `item` is sound or film. Raises BadRequest when what is asked of it contradicts itself."""
    kind = kind_of(item)
    if kind not in _SLOW:
        return False
    _segmentation(wanted.values, kind)
    start, end = wanted.values.get("start_sec", 0), wanted.values.get("end_sec")
    if end is not None and end <= start:
        raise BadRequest("'end_sec' must be after 'start_sec'.", param="end_sec", code="invalid_value")
    if kind == "audio" and "visual" in wanted.values.get("embedding_option", ()):
        raise BadRequest("Audio has nothing 'visual'.", param="embedding_option", code="invalid_value")
    return True


def build_2_7(spec: ModelSpec, item: Item, wanted: Wanted) -> bytes:
    """Return the body of a job of 2.7."""
    kind = kind_of(item)
    if kind not in _SLOW or not isinstance(item, Media | S3Object):
        return _sync_2_7(spec, [item], wanted)
    values = wanted.values
    body: dict[str, Any] = {"inputType": kind, "mediaSource": source(item)}
    named = {"start_sec": "startSec", "length_sec": "lengthSec", "duration_seconds": "useFixedLengthSec"}
    if kind == "video":
        named["min_duration_sec"] = "minClipSec"
    body |= {field: values[name] for name, field in named.items() if name in values}
    if kind == "video" and "embedding_option" in values:
        body["embeddingOption"] = values["embedding_option"]
    return msgspec.json.encode(body)


def build_3_0(spec: ModelSpec, item: Item, wanted: Wanted) -> bytes:
    """Return the body of a job of 3.0."""
    kind = kind_of(item)
    if kind not in _SLOW or not isinstance(item, Media | S3Object):
        return _sync_3_0(spec, [item], wanted)
    values = wanted.values
    content: dict[str, Any] = {"mediaSource": source(item)}
    named = {
        "start_sec": "startSec",
        "end_sec": "endSec",
        "embedding_option": "embeddingOption",
        "embedding_type": "embeddingType",
        "embedding_scope": "embeddingScope",
    }
    content |= {field: values[name] for name, field in named.items() if name in values}
    if segmentation := _segmentation(values, kind):
        content["segmentation"] = segmentation
    body: dict[str, Any] = {"inputType": kind, kind: content}
    if "inference_id" in values:
        body["inferenceId"] = values["inference_id"]
    return msgspec.json.encode(body)


def _segmentation(values: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    method, length = values.get("segmentation", (None, None))
    fixed, least = values.get("duration_seconds"), values.get("min_duration_sec")
    method = method or ("fixed" if fixed is not None else "dynamic" if least is not None else None)
    if method is None:
        return None
    other = "duration_seconds" if method == "dynamic" else "min_duration_sec"
    if other in values:
        raise BadRequest(f"'{other}' has no place with {method} segments.", param=other, code="invalid_value")
    if method == "dynamic" and kind == "audio":
        raise BadRequest("Audio is cut into 'fixed' segments only.", param="segmentation", code="invalid_value")
    said = fixed if method == "fixed" else least
    if None not in (said, length) and said != length:
        message = "'segmentation' says another length than the parameter of its own."
        raise BadRequest(message, param="segmentation", code="invalid_value")
    length = said if length is None else length
    field = "durationSec" if method == "fixed" else "minDurationSec"
    return {"method": method, method: {} if length is None else {field: length}}


def name_files(first: bytes) -> Sequence[str]:  # noqa: ARG001
    """Return nothing: all is in one file."""
    return ()


def read(first: bytes, files: Mapping[str, bytes]) -> Found:  # noqa: ARG001
    """Return the vectors in the order they came. Raises InvalidUpstream."""
    try:
        data = msgspec.json.decode(first, type=_Results).data
    except BROKEN_JSON as exc:
        raise InvalidUpstream("The results of a job are cut short, or none of Marengo's.") from exc
    found = Found()
    for one in data if isinstance(data, list) else [data]:
        segment = Segment(one.startSec, one.endSec, option=_word(one.embeddingOption), scope=_word(one.embeddingScope))
        found.vectors.append(bytes(one.embedding))
        found.segments.append(segment if segment != Segment() else None)
    if not found.vectors:
        raise InvalidUpstream("The results of a job hold no vector.")
    # One that is missing cannot be told: how many there are, only Marengo knows.
    told = [segment for segment in found.segments if segment is not None]
    if len(set(told)) != len(told):
        raise InvalidUpstream("The results of a job hold a segment twice.")
    return found


def _word(value: str | list[str] | None) -> str | None:
    # AWS's pages show the option once as a list, of one.
    return value if isinstance(value, str) or value is None else ",".join(value) or None


JOBS_2_7: Final = Jobs(build_2_7, _INLINE, is_slow_2_7, "output.json", name_files, read)
JOBS_3_0: Final = Jobs(build_3_0, _INLINE, is_slow_3_0, "output.json", name_files, read)
