"""What can be known about inputs before a call: what the model reads, how long, how large.

Everything is checked before anything is sent, so that a request which cannot succeed costs nothing. A text is cut
only when the caller asked for truncation, and only to what Bedrock's own check of the body lets through; the rest of
the cutting is the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

import msgspec

from embedrock.catalog import MediaLimits, ModelSpec
from embedrock.errors import BadRequest, ContextTooLong, RequestTooLarge
from embedrock.families import Family
from embedrock.families.jobs import Jobs
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Inputs, Item, Part
from embedrock.media import Kind, Media, S3Object

#: What one call's inputs may hold as JSON. Bedrock takes 25,000,000 bytes a body; the rest is for what is around them.
MAX_CALL_BYTES: Final = 24_900_000
_SHORT_CHARS: Final = 10_000
_WORST_ESCAPE: Final = 6  # bytes a character: a control character as \u00XX
_KINDS: Final = ("text", "image", "audio", "video")
_AROUND_TEXT: Final = 60  # bytes of quotes, commas and members: much, when a thousand parts hold a letter each


class Ready(NamedTuple):
    """Inputs as they will be sent."""

    items: Sequence[Item]
    truncated: tuple[int, ...] = ()  # indexes of texts that were cut here
    slow: tuple[int, ...] = ()  # indexes of inputs that need a job


def prepare(spec: ModelSpec, family: Family, inputs: Inputs, wanted: Wanted, *, background: bool = False) -> Ready:
    """Return the inputs ready to be sent, in the background all as jobs.

    Raises BadRequest that names the first which cannot be.
    """
    items = inputs.items
    limit = spec.max_input_chars
    slow = () if family.jobs is None else _slow(spec, family.jobs, inputs, wanted, background=background)
    if not slow and inputs.texts_only and limit and max(map(len, items)) <= limit:  # nearly always
        if family.check is not None:
            family.check(spec, items[0], wanted)  # looks at kinds, not at words: one text stands for all
        return Ready(items)
    ready: list[Item] = []
    truncated: list[int] = []
    for index, item in enumerate(items):
        try:
            by = _prepare_slow if index in slow else _prepare
            sent = by(spec, item, wanted, partial(inputs.part_param, index))
            if family.check is not None:
                family.check(spec, sent, wanted)
        except BadRequest as exc:
            raise named(exc, inputs.param(index)) from None
        if isinstance(item, str) and sent != item:
            truncated.append(index)
        ready.append(sent)
    return Ready(ready, tuple(truncated), slow)


def _slow(spec: ModelSpec, jobs: Jobs, inputs: Inputs, wanted: Wanted, *, background: bool) -> tuple[int, ...]:
    """Return the indexes of the inputs that need a job."""
    said = wanted.values.get("input_type")
    slow = []
    for index, item in enumerate(inputs.items):
        if isinstance(item, S3Object) and item.kind is None and said in _KINDS:
            item = item._replace(kind=said)
        try:
            if jobs.is_slow(spec, item, wanted) or background:
                slow.append(index)
        except BadRequest as exc:
            raise named(exc, inputs.param(index)) from None
    return tuple(slow)


def _prepare_slow(spec: ModelSpec, item: Item, wanted: Wanted, param: Callable[[int], str]) -> Item:
    """Return the item ready for a job, which takes more of everything than a call."""
    if isinstance(item, Fused):
        return _prepare(spec, item, wanted, param)
    if isinstance(item, str):
        return item if spec.s3_text is not None else _fit(spec, item, wanted)
    if isinstance(item, S3Object):
        item = _with_kind(item, wanted.values.get("input_type"))
        if item.kind is None:
            return item
    kind = str(item.kind)
    limits: MediaLimits | None = spec.s3_text if kind == "text" else getattr(spec, kind)
    if kind not in spec.async_modalities:
        raise BadRequest(f"{spec.id} reads {' and '.join(spec.async_modalities)}.", code="unsupported_media")
    if limits is None:
        return item
    if item.format and limits.formats and item.format not in limits.formats:
        raise _unread(spec, kind, limits, item.format)
    if item.size is not None and limits.async_bytes is not None and item.size > limits.async_bytes:
        raise RequestTooLarge(
            f"The {kind} has {item.size} bytes; {spec.id} takes at most {limits.async_bytes}.", code="media_too_large"
        )
    return item


def _with_kind(item: S3Object, said: object) -> S3Object:
    """Return the object with its kind: what is known of it, else what was `said`; None while nobody has looked."""
    if item.kind is not None:
        return item
    if said in _KINDS:
        return item._replace(kind=cast("Kind", said))
    if item.size is not None:
        raise BadRequest(
            "Neither the extension of the S3 object's key nor its content type tells what it is.",
            code="unsupported_media",
        )
    return item


def _unread(spec: ModelSpec, kind: str, limits: MediaLimits, format_: str) -> BadRequest:
    return BadRequest(
        f"{spec.id} reads {kind} as {', '.join(limits.formats)}, not as {format_}.", code="unsupported_media"
    )


def named(error: BadRequest, param: str) -> BadRequest:
    """Return the error with the name of the input it is about, unless it has one."""
    if error.param is None:
        error.param = param
        error.message = f"'{param}': {error.message}"
    return error


def json_bytes(item: Item) -> int:
    """Return about how many bytes an item takes in a body: never fewer than it does."""
    match item:
        case str():
            text = len(item) * _WORST_ESCAPE if len(item) < _SHORT_CHARS else len(msgspec.json.encode(item))
            return text + _AROUND_TEXT
        case Media():
            return len(item.base64) + 200
        case S3Object():
            return len(item.uri) + 200
        case Fused():
            return sum(map(json_bytes, item.parts))


def _is_too_large(item: Item) -> bool:
    if isinstance(item, str):
        if len(item) * _WORST_ESCAPE <= MAX_CALL_BYTES:
            return False
        return len(item) > MAX_CALL_BYTES or json_bytes(item) > MAX_CALL_BYTES
    return json_bytes(item) > MAX_CALL_BYTES


def _prepare(spec: ModelSpec, item: Item, wanted: Wanted, param: Callable[[int], str]) -> Item:
    if isinstance(item, str):
        sent: Item = _fit(spec, item, wanted)
    elif isinstance(item, Fused):
        if not spec.fuses:
            raise BadRequest(
                f"{spec.id} makes no vector of several parts; send each as an input of its own.",
                code="unsupported_input_combination",
            )
        parts = []
        for number, part in enumerate(item.parts):
            try:
                parts.append(_checked_part(spec, part, wanted, fused=True))
            except BadRequest as exc:
                raise named(exc, param(number)) from None
        sent = Fused(tuple(parts))
    else:
        sent = _checked_part(spec, item, wanted)
    if _is_too_large(sent) and not can_stage(spec, sent):
        message = "It is larger than a call to Bedrock may be, 25,000,000 bytes as JSON."
        if isinstance(sent, str):
            raise ContextTooLong(message)
        raise BadRequest(message, code="media_too_large")
    return sent


def can_stage(spec: ModelSpec, item: Item) -> bool:
    """Return whether a model reads the media of an item from S3 as well."""
    media = [part for part in (item.parts if isinstance(item, Fused) else (item,)) if isinstance(part, Media)]
    return bool(media) and all(_limits(spec, part.kind).sync_s3_bytes is not None for part in media)


def large(items: Sequence[Item], slow: Sequence[int]) -> list[int]:
    """Return the positions of the items with media that are too large for a call; those that need a job are not."""
    return [at for at, item in enumerate(items) if at not in slow and not isinstance(item, str) and _is_too_large(item)]


def _fit(spec: ModelSpec, text: str, wanted: Wanted) -> str:
    limit = spec.max_input_chars
    if limit is None or len(text) <= limit:
        return text
    if wanted.cut is None:
        hint = " 'truncate' cuts what is too long." if spec.truncate_values else ""
        raise ContextTooLong(f"The text has {len(text)} characters; {spec.id} reads at most {limit} a text.{hint}")
    most = spec.max_truncated_chars or limit
    return text[:most] if wanted.cut == "end" else text[-most:]


def _checked_part(spec: ModelSpec, part: Part, wanted: Wanted, *, fused: bool = False) -> Part:
    if isinstance(part, str):
        return _fit(spec, part, wanted)
    if isinstance(part, S3Object):
        return _s3_object(spec, part, "image" if fused else wanted.values.get("input_type"))
    limits = _limits(spec, part.kind)
    if limits.formats and part.format not in limits.formats:
        raise _unread(spec, part.kind, limits, part.format)
    most = max(limits.inline_bytes or 0, limits.sync_s3_bytes or 0)  # what is too large for a body goes to S3
    if most and part.size > most:
        raise BadRequest(
            f"The {part.kind} has {part.size} bytes; {spec.id} takes at most {most}.",
            code="media_too_large",
        )
    side = max(part.width or 0, part.height or 0)
    if limits.max_side_pixels is not None and side > limits.max_side_pixels:
        raise BadRequest(
            f"The image is {part.width} by {part.height} pixels; "
            f"{spec.id} takes at most {limits.max_side_pixels} a side.",
            code="media_too_large",
        )
    return part


def _s3_object(spec: ModelSpec, part: S3Object, said: object) -> S3Object:
    """Return the object with its kind: what is known of it, else what was `said`.

    One that nobody has looked at yet passes if it may turn out to be something that the model reads.
    """
    part = _with_kind(part, said)
    if part.kind is None:
        return part
    kind = str(part.kind)
    limits = s3_limits(spec, kind)
    if limits.formats and part.format and part.format not in limits.formats:
        raise _unread(spec, kind, limits, part.format)
    if part.size is not None and limits.sync_s3_bytes is not None and part.size > limits.sync_s3_bytes:
        raise RequestTooLarge(
            f"The {kind} has {part.size} bytes; {spec.id} takes at most {limits.sync_s3_bytes} from S3.",
            code="media_too_large",
        )
    return part


def s3_limits(spec: ModelSpec, kind: str) -> MediaLimits:
    """Return the limits of objects in S3 of a kind; one without `sync_s3_bytes` cannot go to the model as it is."""
    return spec.s3_text or MediaLimits() if kind == "text" else _limits(spec, kind)


def _limits(spec: ModelSpec, kind: str) -> MediaLimits:
    if kind not in spec.input_modalities:
        reads = " and ".join(spec.input_modalities)
        what = f"fuses {reads}" if kind in spec.async_modalities else f"reads {reads}"
        raise BadRequest(f"{spec.id} {what}, not {kind}.", code="unsupported_media")
    limits: MediaLimits | None = getattr(spec, kind)
    return limits or MediaLimits()
