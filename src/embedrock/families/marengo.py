"""TwelveLabs Marengo, synchronous: one text or image a call; 3.0 also several as one vector.

The two versions have different bodies, different sizes, and vectors that cannot be compared. Audio and video work only
in background jobs. 3.0 makes one vector of a text and an image (`text_image`), or of several images with or without
text (`multi_input`), whose order the placeholders in the text give. Neither reports tokens.

Source: AWS Bedrock User Guide, TwelveLabs Marengo Embed 2.7 and 3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.answer import Answer, header_tokens
from embedrock.families.job_parameters import BACKGROUND, OUTPUT_S3_URI, cuts, seconds, words
from embedrock.families.kinds import check_said, kind_of
from embedrock.families.parameters import Table, Wanted, choice, text, whole
from embedrock.families.raw import json_string
from embedrock.inputs import Fused, Item, Part
from embedrock.media import Media, S3Object
from embedrock.vectors import BROKEN_JSON

_KINDS: Final = ("text", "image", "audio", "video")
_HELP: Final = "What the inputs are; checked against them."
_START: Final = seconds("start_sec", "startSec", "Where in the audio or video to begin.")
_OPTIONS_HELP: Final = "What of the audio or video to make vectors of; all there is, when absent."

V2_7: Final = Table(
    (
        choice("input_type", "inputType", _KINDS, _HELP),
        choice(
            "truncate",
            "textTruncate",
            ("end", "none"),
            "Whether the end of a text that is too long is cut off.",
            default="none",
        ),
        _START,
        seconds("length_sec", "lengthSec", "How much of the audio or video to read."),
        whole("duration_seconds", "useFixedLengthSec", 2, 10, "Seconds of a clip; else the model finds the cuts."),
        whole("min_duration_sec", "minClipSec", 1, 5, "Seconds of the shortest clip of a video."),
        words("embedding_option", "embeddingOption", ("visual-text", "visual-image", "audio"), _OPTIONS_HELP),
        BACKGROUND,
        OUTPUT_S3_URI,
    )
)
V3_0: Final = Table(
    (
        choice("input_type", "inputType", (*_KINDS, "text_image", "multi_input"), _HELP),
        text("inference_id", "inferenceId", 256, "A name of the caller's for the call."),
        _START,
        seconds("end_sec", "endSec", "Where in the audio or video to end."),
        cuts("How audio and video are cut into clips; `dynamic` is for video. Bedrock's own object is taken too."),
        whole("duration_seconds", "durationSec", 1, 10, "Seconds of a clip of fixed length."),
        whole("min_duration_sec", "minDurationSec", 1, 5, "Seconds of the shortest clip of `dynamic` ones."),
        words("embedding_option", "embeddingOption", ("visual", "audio", "transcription"), _OPTIONS_HELP),
        words(
            "embedding_type",
            "embeddingType",
            ("separate_embedding", "fused_embedding"),
            "A vector for each option, or one of all.",
        ),
        words("embedding_scope", "embeddingScope", ("clip", "asset"), "A vector for each clip, or one of the whole."),
        BACKGROUND,
        OUTPUT_S3_URI,
    )
)


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw


class _FullAnswer(msgspec.Struct):
    data: list[_Embedding] | _Embedding | None = None
    embedding: msgspec.Raw = msgspec.Raw()  # not `| None`: msgspec would take nothing but null


def check_2_7(spec: ModelSpec, item: Item, wanted: Wanted) -> None:  # noqa: ARG001
    """Raise BadRequest when `input_type` says something else than `item` is."""
    check_said(wanted, kind_of(item))


def check_3_0(spec: ModelSpec, item: Item, wanted: Wanted) -> None:
    """Raise BadRequest when a fused input has no image, or `input_type` says something else than `item` is."""
    if isinstance(item, Fused) and all(isinstance(part, str) for part in item.parts):
        raise BadRequest(
            f"{spec.id} makes one vector of images, or of text and images, not of texts alone.",
            code="unsupported_input_combination",
        )
    check_said(wanted, _kind_3_0(item))


def build_2_7(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body of 2.7 for the one text or image in `items`."""
    (item,) = items
    body: dict[str, Any]
    if isinstance(item, str):
        body = {"inputType": "text", "inputText": item, "textTruncate": wanted.values["truncate"]}
    else:
        body = {"inputType": "image", "mediaSource": source(_one_image(item))}
    return msgspec.json.encode(body)


def build_3_0(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body of 3.0 for the one item in `items`."""
    (item,) = items
    kind = _kind_3_0(item)
    content: dict[str, Any]
    if isinstance(item, str):
        content = {"inputText": item}
    elif not isinstance(item, Fused):
        content = {"mediaSource": source(item)}
    elif kind == "text_image":
        (words,) = (part for part in item.parts if isinstance(part, str))
        (image,) = (part for part in item.parts if not isinstance(part, str))
        content = {"inputText": words, "mediaSource": source(image)}
    else:
        content = _multi_input(item.parts)
    body: dict[str, Any] = {"inputType": kind, kind: content}
    if "inference_id" in wanted.values:
        body["inferenceId"] = wanted.values["inference_id"]
    return msgspec.json.encode(body)


def _kind_3_0(item: Item) -> str:
    if not isinstance(item, Fused):
        return kind_of(item)
    return "text_image" if sorted(isinstance(part, str) for part in item.parts) == [False, True] else "multi_input"


def _multi_input(parts: Sequence[Part]) -> dict[str, Any]:
    """Return texts and images as one text in which each image has a placeholder, in the caller's order."""
    words: list[str] = []
    sources: list[dict[str, Any]] = []
    prefix = "image"
    while any(f"<@{prefix}" in part for part in parts if isinstance(part, str)):
        prefix += "_"  # a caller's own words must not stand for a picture
    for part in parts:
        if isinstance(part, str):
            words.append(part)
        else:
            name = f"{prefix}{len(sources) + 1}"
            words.append(f"<@{name}>")
            sources.append({"name": name, "mediaType": "image", **source(part)})
    content: dict[str, Any] = {"mediaSources": sources}
    if len(words) > len(sources):
        content["inputText"] = " ".join(words)
    return content


def _one_image(item: Item) -> Media | S3Object:
    if isinstance(item, str | Fused):
        raise TypeError("not an image")  # fused inputs are refused for a model that does not fuse
    return item


def source(item: Media | S3Object) -> dict[str, Any]:
    """Return where Marengo finds a medium."""
    if isinstance(item, Media):
        return {"base64String": json_string(item.base64)}
    return {"s3Location": {"uri": item.uri, **({"bucketOwner": item.owner} if item.owner else {})}}


def parse_response(
    body: bytes | bytearray,
    headers: Mapping[bytes, bytes],
    items: Sequence[Item],  # noqa: ARG001
    wanted: Wanted,  # noqa: ARG001
) -> Answer:
    """Return the one vector. Raises InvalidUpstream."""
    try:
        answer = msgspec.json.decode(body, type=_FullAnswer)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Marengo.") from exc
    # AWS's pages show `data` as a list and as an object, and clients have seen a bare vector too.
    found = answer.data if isinstance(answer.data, list) else [answer.data]
    arrays = [bytes(one.embedding) for one in found if one]
    if not arrays and (bare := bytes(answer.embedding)):
        arrays = [bare]
    if len(arrays) != 1:
        raise InvalidUpstream(f"Bedrock answered {len(arrays)} vectors for one input.")
    return Answer(arrays, header_tokens(headers))
