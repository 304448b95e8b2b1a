"""The listings of Bedrock's control plane: foundation models, inference profiles, availability.

Each function returns the answer's JSON value or raises AwsError. Shapes: AWS API reference; values: live listings.
Uncertain, because not seen: the texts of refusals.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from . import catalog
from .catalog import Model
from .errors import AwsError, constraints, enum_rule, validation

ACCOUNT = "123456789012"
_EPOCH = "2025-01-01T00:00:00Z"
_FILTERS = {
    "byCustomizationType": ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"),
    "byOutputModality": ("TEXT", "IMAGE", "EMBEDDING"),
    "byInferenceType": ("ON_DEMAND", "PROVISIONED"),
}
_PROFILE_TYPES = ("SYSTEM_DEFINED", "APPLICATION")


def list_foundation_models(query: Mapping[str, str], region: str) -> dict[str, Any]:
    """Return ListFoundationModels; the API has no pages."""
    for key, allowed in _FILTERS.items():
        _check_enum(key, query.get(key), allowed)
    found = [
        _summary(model, region)
        for model in catalog.MODELS
        if query.get("byProvider", model.provider).lower() == model.provider.lower()
        and query.get("byOutputModality", "EMBEDDING") == "EMBEDDING"
        and query.get("byCustomizationType", "") in ("", *model.customizations)
        and query.get("byInferenceType", "") in ("", *model.inference_types(region))
    ]
    return {"modelSummaries": found}


def get_foundation_model(identifier: str, region: str) -> dict[str, Any]:
    """Return GetFoundationModel for an id or a foundation model's ARN."""
    return {"modelDetails": _summary(_find(identifier, region), region)}


def get_availability(identifier: str, region: str) -> dict[str, Any]:
    """Return GetFoundationModelAvailability: everything is granted."""
    return {
        "modelId": _find(identifier, region).model_id,
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }


def list_inference_profiles(query: Mapping[str, str], region: str, registered: Mapping[str, str]) -> dict[str, Any]:
    """Return ListInferenceProfiles: the system's, then the registered application profiles, a page at a time."""
    wanted = query.get("type")
    _check_enum("type", wanted, _PROFILE_TYPES)
    found = [item for item in _profiles(region, registered) if wanted in (None, item["type"])]
    return page(query, "inferenceProfileSummaries", found)


def get_inference_profile(identifier: str, region: str, registered: Mapping[str, str]) -> dict[str, Any]:
    """Return GetInferenceProfile for an id or an ARN."""
    for profile in _profiles(region, registered):
        if identifier in (profile["inferenceProfileId"], profile["inferenceProfileArn"]):
            return profile
    raise AwsError(404, "ResourceNotFoundException", "The requested inference profile was not found.")


def _find(identifier: str, region: str) -> Model:
    prefix = f"arn:aws:bedrock:{region}::foundation-model/"
    model = catalog.BY_ID.get(identifier.removeprefix(prefix))
    if model is None:
        raise validation("The provided model identifier is invalid.")
    return model


def _summary(model: Model, region: str) -> dict[str, Any]:
    lifecycle = {"status": "LEGACY", "endOfLifeTime": model.end_of_life} if model.end_of_life else {"status": "ACTIVE"}
    summary = {
        "modelArn": f"arn:aws:bedrock:{region}::foundation-model/{model.model_id}",
        "modelId": model.model_id,
        "modelName": model.name,
        "providerName": model.provider,
        "inputModalities": list(model.inputs),
        "outputModalities": ["EMBEDDING"],
        "responseStreamingSupported": model.streaming,
        "customizationsSupported": list(model.customizations),
        "inferenceTypesSupported": model.inference_types(region),
        "modelLifecycle": lifecycle,
    }
    return {key: value for key, value in summary.items() if value is not None}


def _profiles(region: str, registered: Mapping[str, str]) -> list[dict[str, Any]]:
    system = [
        _profile(f"arn:aws:bedrock:{region}:{ACCOUNT}:inference-profile/{profile_id}", model, region, "SYSTEM_DEFINED")
        for model in catalog.MODELS
        for profile_id in catalog.profile_ids(model, region)
    ]
    own = [
        _profile(arn, catalog.BY_ID[model_id], region, "APPLICATION")
        for arn, model_id in registered.items()
        if f":{region}:" in arn and ":application-inference-profile/" in arn
    ]
    return system + own


def _profile(arn: str, model: Model, region: str, kind: str) -> dict[str, Any]:
    profile_id = arn.rpartition("/")[2]
    is_global = profile_id.startswith("global.")
    label = f"{profile_id.partition('.')[0].upper()} " if kind == "SYSTEM_DEFINED" and not is_global else ""
    regions = ["", region] if is_global else [region]  # a global profile lists an ARN without a region
    return {
        "inferenceProfileName": f"{'Global ' if is_global else label}{model.provider} {model.name}",
        "description": f"Routes requests to {model.name}.",
        "createdAt": _EPOCH,
        "updatedAt": _EPOCH,
        "inferenceProfileArn": arn,
        "models": [{"modelArn": f"arn:aws:bedrock:{at}::foundation-model/{model.model_id}"} for at in regions],
        "inferenceProfileId": profile_id,
        "status": "ACTIVE",
        "type": kind,
    }


def page(query: Mapping[str, str], name: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the page of a listing that `maxResults` and `nextToken` ask for."""
    most, start = _read_page(query)
    answer: dict[str, Any] = {name: found[start : start + most]}
    if start + most < len(found):
        answer["nextToken"] = base64.urlsafe_b64encode(str(start + most).encode()).decode()
    return answer


def _read_page(query: Mapping[str, str]) -> tuple[int, int]:
    most = query.get("maxResults", "1000")
    if len(most) > 4 or not most.isdecimal() or not 1 <= int(most) <= 1000:
        raise constraints(("maxResults", most, "Member must be between 1 and 1000"))
    try:
        start = int(base64.urlsafe_b64decode(query.get("nextToken", "MA==")))
    except ValueError:
        raise validation("The provided token is invalid.") from None
    return int(most), start


def _check_enum(key: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise constraints((key, value, enum_rule(allowed)))
