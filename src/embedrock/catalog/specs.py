"""The facts of each model, read once from `models.toml`.

The file is data: a field this module does not know, a missing one, or one of another type is an error at import that
names the model and the field. What the file leaves out is unknown: None, or empty.
"""

from __future__ import annotations

import datetime
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

Family = Literal[
    "titan_text_v1", "titan_text_v2", "titan_image", "nova", "cohere_v3", "cohere_v4", "marengo_2_7", "marengo_3_0"
]
Modality = Literal["text", "image", "audio", "video"]


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars on demand in us-east-1; None: unknown, or the model is not billed so."""

    text_per_million_tokens: Decimal | None = None
    text_per_request: Decimal | None = None
    image_each: Decimal | None = None
    image_per_million_tokens: Decimal | None = None
    document_image_each: Decimal | None = None
    video_per_second: Decimal | None = None
    audio_per_second: Decimal | None = None
    batch_multiplier: Decimal | None = None  # what a batch job costs, as a share of the above


@dataclass(frozen=True, slots=True)
class Quota:
    """What a new account was seen to have, by region."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """How large one input of a modality may be, by the way it travels."""

    formats: tuple[str, ...] = ()
    encoding: Literal["base64", "data_uri"] | None = None
    inline_bytes: int | None = None
    sync_s3_bytes: int | None = None
    sync_s3_chars: int | None = None
    sync_seconds: int | None = None
    async_bytes: int | None = None
    async_seconds: int | None = None
    max_side_pixels: int | None = None
    resized_above_pixels: int | None = None  # accepted, and made smaller by the model


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most a field takes, and what it is when absent."""

    min: int
    max: int
    default: int | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How a long input may be cut into segments, each with its own vector."""

    seconds: Range | None = None  # of one segment
    min_seconds: Range | None = None  # of the shortest segment, where the model finds the cuts
    chars: Range | None = None
    max_media_segments: int | None = None
    max_text_segments: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """The facts of one model. Meanings and sources: `models.toml`.

    There is one instance a model, so specs compare and hash by identity: they are cheap keys.
    """

    id: str
    name: str
    provider: str
    family: Family
    lifecycle: Literal["ACTIVE", "LEGACY"]
    input_modalities: tuple[Modality, ...]
    dimensions: tuple[int, ...]
    default_dimensions: int
    max_inputs_per_call: int  # texts in one call
    output_types: tuple[str, ...]
    sources: tuple[str, ...]
    end_of_life: datetime.date | None = None
    aliases: tuple[str, ...] = ()
    listed_variants: tuple[str, ...] = ()
    profile_prefixes: tuple[str, ...] = ()
    profile_required: bool = False
    on_demand_regions: tuple[str, ...] = ()
    async_regions: tuple[str, ...] = ()
    async_modalities: tuple[Modality, ...] = ()
    fuses: bool = False
    mixed_calls: bool = False
    packed_types: tuple[str, ...] = ()
    max_images_per_call: int | None = None
    max_fused_per_call: int | None = None
    max_input_tokens: int | None = None
    max_input_chars: int | None = None
    max_truncated_chars: int | None = None
    truncate_values: tuple[str, ...] = ()
    truncate_default: str | None = None
    normalized: bool | None = None
    normalize_switch: bool = False  # the request has a field for it
    tokens_in: tuple[Literal["body", "header"], ...] = ()
    batch_job: bool = False
    image: MediaLimits | None = None
    audio: MediaLimits | None = None
    video: MediaLimits | None = None
    s3_text: MediaLimits | None = None
    segmentation: Segmentation | None = None
    prices: Prices = Prices()
    quota: Quota = Quota()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+\.[a-z0-9.:-]+", self.id):
            raise ValueError("id: not <provider>.<model>")
        for field in ("dimensions", "input_modalities", "output_types", "sources"):
            if not getattr(self, field):
                raise ValueError(f"{field}: empty")
        if list(self.dimensions) != sorted(set(self.dimensions)):
            raise ValueError("dimensions: not ascending")
        if self.default_dimensions not in self.dimensions:
            raise ValueError("default_dimensions: not one of dimensions")
        if self.profile_required and not self.profile_prefixes:
            raise ValueError("profile_required: without profile_prefixes")
        if self.profile_required and self.on_demand_regions:
            raise ValueError("on_demand_regions: although profile_required")


def read_models(text: str) -> dict[str, ModelSpec]:
    """Return the models of a TOML document by id, in its order.

    Raises ValueError that names the model and the field.
    """
    document = tomllib.loads(text)
    tables = document.pop("models", None)
    if document or not isinstance(tables, list):
        raise ValueError("models: expected a list of tables [[models]], and nothing beside it")
    models: dict[str, ModelSpec] = {}
    taken: set[str] = set()
    for number, table in enumerate(tables, 1):
        label = table.get("id") if isinstance(table, dict) else None
        label = label if isinstance(label, str) else f"model {number}"
        try:
            spec = cast("ModelSpec", _read(ModelSpec, table, ""))
            for name in (spec.id, *spec.aliases, *spec.listed_variants):
                if name in taken:
                    raise ValueError(f"id, aliases or listed_variants: {name} is taken")
                taken.add(name)
        except ValueError as exc:
            raise ValueError(f"{label}: {exc}") from None
        models[spec.id] = spec
    return models


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, value: object, where: str) -> object:
    """Return a TOML value as the type `hint`; raise ValueError that begins with the field, `where`."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):  # X | None: TOML has no null, so a value is an X
        return _read(get_args(hint)[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list")
        items = tuple(_read(get_args(hint)[0], item, where) for item in value)
        if len(set(items)) != len(items):
            raise ValueError(f"{where}: an item stands twice")
        return items
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{where}: expected one of {', '.join(get_args(hint))}")
        return value
    if is_dataclass(hint):
        return _read_table(cast("type", hint), value, where)
    if hint is Decimal:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            raise ValueError(f'{where}: expected a decimal number as a string, like "0.02"')
        return Decimal(value)
    if type(value) is not hint:  # exact: True is an int to isinstance, and a datetime a date
        raise ValueError(f"{where}: expected {hint.__name__}")
    if value == "" or (hint is int and cast("int", value) < 1):
        raise ValueError(f"{where}: empty or not positive")
    return value


def _read_table(cls: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a table")
    path = f"{where}." if where else ""
    known = {field.name: field for field in fields(cls)}
    for key in value:
        if key not in known:
            raise ValueError(f"{path}{key}: unknown field")
    for name, field in known.items():
        if name not in value and field.default is MISSING:
            raise ValueError(f"{path}{name}: missing")
    return cls(**{key: _read(_hints(cls)[key], item, f"{path}{key}") for key, item in value.items()})


def _load() -> Mapping[str, ModelSpec]:
    path = Path(__file__).with_name("models.toml")
    try:
        return types.MappingProxyType(read_models(path.read_text(encoding="utf-8")))
    except ValueError as exc:
        raise ValueError(f"{path.name}: {exc}") from exc


MODELS: Mapping[str, ModelSpec] = _load()
