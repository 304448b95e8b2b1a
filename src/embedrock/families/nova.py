"""Amazon Nova Multimodal Embeddings, synchronous: one text, image, short clip of audio or video a call.

Purpose and truncation have no defaults of their own in Bedrock: they are always sent, as is the number of dimensions,
about whose default clients disagree. Purpose changes the token count as well as the vector. A video whose sound is
asked for separately gives two vectors. Tokens come in a header only.

Source: Amazon Nova User Guide, multimodal embeddings; shapes of answers were seen live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.answer import Answer, header_tokens
from embedrock.families.job_parameters import BACKGROUND, OUTPUT_S3_URI, flag
from embedrock.families.kinds import check_said, kind_of
from embedrock.families.parameters import Table, Wanted, choice, whole
from embedrock.families.raw import json_string
from embedrock.inputs import Fused, Item
from embedrock.media import Media, S3Object
from embedrock.vectors import BROKEN_JSON, Segment

PURPOSES: Final = (
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
)
TABLE: Final = Table(
    (
        choice(
            "embedding_purpose",
            "embeddingPurpose",
            PURPOSES,
            "What the vector is for: GENERIC_INDEX is stored, a …_RETRIEVAL searches for what its name says.",
            default="GENERIC_INDEX",
        ),
        choice(
            "truncate",
            "truncationMode",
            ("NONE", "START", "END"),
            "Which end of a text that is too long is cut off.",
            default="NONE",
        ),
        choice(
            "detail_level",
            "detailLevel",
            ("STANDARD_IMAGE", "DOCUMENT_IMAGE"),
            "How closely an image is read; DOCUMENT_IMAGE for pages with much text.",
        ),
        choice(
            "embedding_mode",
            "embeddingMode",
            ("AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE"),
            "One vector of a video with its sound, or one of each.",
            default="AUDIO_VIDEO_COMBINED",
        ),
        choice("input_type", "inputType", ("text", "image", "audio", "video"), "What the inputs are, if not clear."),
        choice("schema_version", "schemaVersion", ("nova-multimodal-embed-v1",), "The version of Bedrock's body."),
        choice(
            "task_type",
            "taskType",
            ("SINGLE_EMBEDDING", "SEGMENTED_EMBEDDING"),
            "The task: one vector an input, or one a segment.",
        ),
        flag("segmentation", "segmentation", "One vector for each segment of text, audio and video."),
        whole("duration_seconds", "durationSeconds", 1, 30, "Seconds of a segment of audio and video; asks for them."),
        whole("max_length_chars", "maxLengthChars", 800, 50_000, "Characters of a segment of text; asks for them."),
        BACKGROUND,
        OUTPUT_S3_URI,
    ),
    dimensions=("embeddingDimension",),
)

_USUAL: Final = re.compile(rb'\s*\{\s*"embeddings"\s*:\s*\[\s*\{\s*"embedding"\s*:\s*(?=\[)')
_USUAL_END: Final = re.compile(
    rb'\s*,\s*"embeddingType"\s*:\s*"[A-Z_]+"\s*(?:,\s*"truncatedCharLength"\s*:\s*(\d+)\s*)?\}\s*\]\s*\}\s*\Z'
)


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw
    embeddingType: str = ""  # noqa: N815  # AWS's name
    truncatedCharLength: int | None = None  # noqa: N815  # AWS's name


class _FullAnswer(msgspec.Struct):
    embeddings: list[_Embedding]


def check(spec: ModelSpec, item: Item, wanted: Wanted) -> None:  # noqa: ARG001
    """Raise BadRequest when `input_type` says something else, or an object in S3 does not tell its format."""
    check_said(wanted, kind_of(item))
    if isinstance(item, S3Object) and item.size is not None and item.format is None and item.kind != "text":
        raise BadRequest(
            "Neither the extension of the S3 object's key nor its content type tells its format.",
            code="unsupported_media",
        )


def build_request(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for the one item in `items`."""
    (item,) = items
    values = wanted.values
    params: dict[str, Any] = {
        "embeddingPurpose": values["embedding_purpose"],
        "embeddingDimension": wanted.dimensions,
    }
    if isinstance(item, str):
        params["text"] = {"truncationMode": values["truncate"], "value": item}
    elif isinstance(item, S3Object) and item.kind == "text":
        params["text"] = {"truncationMode": values["truncate"], "source": _source(item)}
    elif not isinstance(item, Fused):
        assert item.kind is not None  # noqa: S101  # checked by who knows the caller's names
        medium: dict[str, Any] = {"format": item.format, "source": _source(item)}
        if item.kind == "image" and "detail_level" in values:
            medium["detailLevel"] = values["detail_level"]
        if item.kind == "video":
            medium["embeddingMode"] = values["embedding_mode"]
        params[item.kind] = medium
    body: dict[str, Any] = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}
    if "schema_version" in values:
        body["schemaVersion"] = values["schema_version"]
    return msgspec.json.encode(body)


def _source(item: Media | S3Object) -> dict[str, Any]:
    return {"bytes": json_string(item.base64)} if isinstance(item, Media) else {"s3Location": {"uri": item.uri}}


def parse_response(
    body: bytes | bytearray, headers: Mapping[bytes, bytes], items: Sequence[Item], wanted: Wanted
) -> Answer:
    """Return the vector, or the two of a video with its sound apart. Raises InvalidUpstream."""
    tokens = header_tokens(headers)
    # A video without sound has no vector for it, and the one it has is labelled all the same.
    apart = _is_video(items[0]) and wanted.values["embedding_mode"] == "AUDIO_VIDEO_SEPARATE"
    if not apart and (start := _USUAL.match(body)) and (at := body.find(b"]", start.end())) > 0:  # noqa: SIM102
        if end := _USUAL_END.match(body, at + 1):
            return Answer([bytes(body[start.end() : at + 1])], tokens, cut=bool(int(end[1] or 0)))
    try:
        embeddings = msgspec.json.decode(body, type=_FullAnswer).embeddings
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Nova Multimodal Embeddings.") from exc
    if not embeddings or len(embeddings) > (2 if apart else 1):
        raise InvalidUpstream(f"Bedrock answered {len(embeddings)} vectors for one input.")
    cut = any(part.truncatedCharLength for part in embeddings)
    segments = [Segment(option=part.embeddingType.lower()) for part in embeddings] if apart else None
    return Answer([bytes(part.embedding) for part in embeddings], tokens, segments, cut)


def _is_video(item: Item) -> bool:
    return isinstance(item, Media | S3Object) and item.kind == "video"
