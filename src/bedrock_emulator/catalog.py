"""The embedding models of Bedrock, and what an id in a path means in a region.

Names, inference types and modalities as live listings of 2026 show them. Region lists are known only in part, so every
model is offered in every region, except where an answer of AWS is known: which models need an inference profile where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import AwsError, profile_needed, unknown_model


def _always(region: str) -> bool:  # noqa: ARG001
    return True


def _never(region: str) -> bool:  # noqa: ARG001
    return False


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the listing. `on_demand` says in which regions the bare id can be invoked."""

    model_id: str
    name: str
    inputs: tuple[str, ...] = ("TEXT",)
    profiles: tuple[str, ...] = ()
    on_demand: Callable[[str], bool] = _always
    provisioned: bool = False
    customizations: tuple[str, ...] = ()
    streaming: bool | None = False
    end_of_life: str | None = None  # legacy when given

    @property
    def provider(self) -> str:
        """The provider as listed."""
        return {"amazon": "Amazon", "cohere": "Cohere", "twelvelabs": "TwelveLabs"}[self.model_id.partition(".")[0]]

    def inference_types(self, region: str) -> list[str]:
        """Return how the model can be used in a region."""
        offered = {
            "ON_DEMAND": self.on_demand(region),
            "INFERENCE_PROFILE": bool(self.profiles),
            "PROVISIONED": self.provisioned,
        }
        return [name for name, holds in offered.items() if holds]


MODELS: tuple[Model, ...] = (
    Model("amazon.titan-embed-text-v1", "Titan Embeddings G1 - Text"),
    Model("amazon.titan-embed-text-v1:2:8k", "Titan Embeddings G1 - Text", on_demand=_never, provisioned=True),
    Model("amazon.titan-embed-g1-text-02", "Titan Text Embeddings v2"),  # really a small v
    Model("amazon.titan-embed-text-v2:0", "Titan Text Embeddings V2"),
    Model("amazon.titan-embed-text-v2:0:8k", "Titan Text Embeddings V2", on_demand=_never),
    Model("amazon.titan-embed-image-v1", "Titan Multimodal Embeddings G1", ("TEXT", "IMAGE"), streaming=None),
    Model(
        "amazon.titan-embed-image-v1:0",
        "Titan Multimodal Embeddings G1",
        ("TEXT", "IMAGE"),
        on_demand=_never,
        provisioned=True,
        customizations=("FINE_TUNING",),  # documented; uncertain in the listing
        streaming=None,
    ),
    Model(
        "amazon.nova-2-multimodal-embeddings-v1:0",
        "Amazon Nova Multimodal Embeddings",
        ("TEXT", "IMAGE", "AUDIO", "VIDEO"),
    ),
    # Cohere v3 takes images although its listing has only TEXT.
    Model("cohere.embed-english-v3", "Embed English"),
    Model("cohere.embed-english-v3:0:512", "Embed English", on_demand=_never, provisioned=True),
    Model("cohere.embed-multilingual-v3", "Embed Multilingual"),
    Model("cohere.embed-multilingual-v3:0:512", "Embed Multilingual", on_demand=_never, provisioned=True),
    Model(
        "cohere.embed-v4:0",
        "Embed v4",
        ("TEXT", "IMAGE"),
        profiles=("us", "eu", "global"),
        on_demand=lambda region: region == "us-east-1",
    ),
    Model(
        "twelvelabs.marengo-embed-2-7-v1:0",
        "Marengo Embed v2.7",
        ("TEXT", "IMAGE", "AUDIO", "VIDEO"),
        profiles=("us", "eu", "apac"),
        on_demand=_never,
        end_of_life="2026-11-30T00:00:00Z",
    ),
    Model(
        "twelvelabs.marengo-embed-3-0-v1:0",
        "Marengo Embed 3.0",
        ("TEXT", "IMAGE", "AUDIO", "VIDEO"),
        profiles=("us", "eu"),
        on_demand=lambda region: not region.startswith("eu-"),
    ),
)
BY_ID: dict[str, Model] = {model.model_id: model for model in MODELS}

_ARN = re.compile(r"arn:aws(?:-[a-z-]+)?:bedrock:([a-z0-9-]*):(\d{12})?:([a-z-]+)/(.+)")
_REGIONS_OF_PREFIX = {"us": "us-", "eu": "eu-", "apac": "ap-", "global": ""}


def profile_ids(model: Model, region: str) -> list[str]:
    """Return the ids of the system inference profiles of a model that can be called from a region."""
    return [f"{prefix}.{model.model_id}" for prefix in model.profiles if region.startswith(_REGIONS_OF_PREFIX[prefix])]


def base_id(identifier: str) -> str:
    """Return the id of the model that an id, or the id of a system inference profile of any region, stands for.

    Raises KeyError for anything else.
    """
    prefix, _, rest = identifier.partition(".")
    if identifier not in BY_ID and prefix in BY_ID[rest].profiles:
        return rest
    return BY_ID[identifier].model_id


def is_known(identifier: str) -> bool:
    """Tell whether something is the id of a model, or of a system inference profile of any region."""
    try:
        base_id(identifier)
    except KeyError:
        return False
    return True


def find_profile(profile_id: str, region: str) -> Model | None:
    """Return the model behind a system inference profile, or None when the region has no such profile."""
    model = BY_ID.get(profile_id.partition(".")[2])
    return model if model and profile_id in profile_ids(model, region) else None


def resolve(identifier: str, region: str, registered: Mapping[str, str]) -> Model:
    """Return the model an id, profile id or ARN stands for when invoked in a region.

    `registered` maps ARNs that say nothing of their model, such as those of application inference profiles, to model
    ids. Raises AwsError as Bedrock answers: unknown here, or only with an inference profile.
    """
    if known := registered.get(identifier):
        return BY_ID[known]
    if match := _ARN.fullmatch(identifier):
        return _resolve_arn(match, region)
    if model := find_profile(identifier, region):
        return model
    model = BY_ID.get(identifier)
    if model is None:
        raise unknown_model()
    if not model.on_demand(region):
        raise profile_needed(identifier)
    return model


def _resolve_arn(match: re.Match[str], region: str) -> Model:
    arn_region, account, kind, name = match.groups()
    if kind == "foundation-model" and not account:
        model = BY_ID.get(name)
    elif kind == "inference-profile" and account:
        model = find_profile(name, region)
    else:
        # Uncertain: an older wording of Bedrock for what it cannot resolve; the error is one its API declares.
        raise AwsError(
            404,
            "ResourceNotFoundException",
            "Could not resolve the foundation model from the provided model identifier.",
        )
    if model is None or arn_region != region:
        raise unknown_model()
    if kind == "foundation-model" and not model.on_demand(region):
        raise profile_needed(name)
    return model
