"""From every form of name a caller may use to the model and the region to call.

    name     =  alias | [ "bedrock/" ] { region "/" | "async_invoke/" } model
    model    =  id | profile "." id | ARN

Rules, in order:

1. An alias of the operator wins as a whole string; what it leads to is not looked up as an alias again (chains are
   followed once, at construction).
2. Ids are compared whole and case-sensitive, never by substring: "v2" and "3" occur in ids of unrelated families.
3. A leading segment is a profile only when a model's whole id follows it, and only if the model has that profile.
4. A region written in the name or the ARN must be one of the operator's.
5. Where Bedrock does not take the bare id on demand, the region's profile is called in its place. That is the same
   model; no name ever leads to another model than the one it names.

LiteLLM looks for `async_invoke/` anywhere in the name (`llms/bedrock/embed/embedding.py`), so both orders with a
region are accepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from embedrock.catalog.aliases import Alias, end_of_chain, places_of, pool_of, quote
from embedrock.catalog.specs import MODELS, ModelSpec
from embedrock.errors import BadRequest, EmbedrockError, ModelNotFound, ModelNotSupported
from embedrock.tokens import EncodingName

MAX_NAME_CHARS = 2048  # Bedrock's own limit for a model id (botocore service model, InvokeModel)
_REMEMBERED = 1024
_OPENAI_NAMES = frozenset({"text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"})
_QUOTED_CHARS = 100

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{1,12}){1,3}-[0-9]{1,2}")
_ARN = re.compile(
    r"arn:aws[a-z-]{0,16}:bedrock:(?P<region>[a-z0-9-]{0,40}):(?P<account>[0-9]{12})?:"
    r"(?P<kind>[a-z-]{1,40})/(?P<id>[A-Za-z0-9._:/-]+)"
)
# Kinds of ARN that stand for a model of the catalogue itself: the others are tuned or bought, and the base model's
# vectors are not theirs.
_SAME_MODEL_KINDS = frozenset({"foundation-model", "inference-profile", "application-inference-profile"})
# Kinds that do not say which model answers.
_OPAQUE_KINDS = frozenset(
    {
        "application-inference-profile",
        "provisioned-model",
        "custom-model-deployment",
        "imported-model",
        "custom-model",
    }
)
# What a region's name begins with → its geographic profile. The first match holds: GovCloud before the other US ones.
_GEOGRAPHIES = (("us-gov-", "us-gov"), ("us-", "us"), ("eu-", "eu"), ("ap-", "apac"), ("ca-", "ca"))
# Profiles of one country inside a geography, for choosing a region: Tokyo and Osaka; Sydney and Melbourne.
_COUNTRIES = {
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a name leads."""

    spec: ModelSpec
    name: str  # as the caller wrote it
    region: str  # the region to call
    invoke_id: str  # what Bedrock is called with: base id, profile id or ARN
    background: bool  # asked for as `async_invoke/…`
    alias: Alias | None = field(default=None, compare=False)  # the name tells it
    account: str = ""  # whose credentials to call it with; "": the gateway's own
    others: tuple[Target, ...] = ()  # more places that serve the same model under this name

    @property
    def place(self) -> str:
        """The name of the way to the model: the region, and whose credentials where they are not the gateway's."""
        return place(self.account, self.region)

    @property
    def job_id(self) -> str:
        """What StartAsyncInvoke is called with: a model that is the operator's own, or the base id; never a profile."""
        arn = _ARN.fullmatch(self.invoke_id)
        return self.invoke_id if arn and arn["kind"] not in _SAME_MODEL_KINDS else self.spec.id

    @property
    def token_encoding(self) -> EncodingName:
        """The vocabulary that token ids in the input are of: the one clients fall back to, unless the alias says."""
        return (self.alias and self.alias.token_encoding) or "cl100k_base"


def place(account: str, region: str) -> str:
    """Return the name of the way to a region with an account's credentials."""
    return f"{account}@{region}" if account else region


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What a name says by itself, whatever regions the gateway may call."""

    spec: ModelSpec
    region: str | None = None
    invoke_id: str | None = None  # when the name says it
    profile: str | None = None
    background: bool = False
    own_model: bool = False  # a tuned or bought model: the base id would be another one


class Names:
    """Resolves every form of name a caller may use. Pure; remembers what it resolved (bounded).

    `regions`: the ones the gateway may call. A name that says none gets the first; a profile, the first it can be
    called from.
    `aliases`: the operator's names → any other name; or several places of one model. `arns`: opaque ARN → any name of
    the model behind it.
    Raises ValueError that names an alias which leads nowhere, in a circle, or from one model's name to another model.
    """

    def __init__(
        self,
        regions: Sequence[str],
        *,
        aliases: Mapping[str, str | Alias | Sequence[Alias]] | None = None,
        arns: Mapping[str, str] | None = None,
        models: Mapping[str, ModelSpec] = MODELS,
    ) -> None:
        if not regions:
            raise ValueError("regions: at least one is needed")
        self.regions = tuple(regions)
        self._models = {name: spec for spec in models.values() for name in (spec.id, *spec.aliases)}
        self._variants = {name: spec for spec in models.values() for name in spec.listed_variants}
        self._arns: dict[str, ModelSpec] = {}
        self._aliases: dict[str, Alias] = {}  # alias → its chain as one, the model the name at the end
        self._remembered = lru_cache(_REMEMBERED)(self._find)  # an exception is not remembered

        places = {name: places_of(places) for name, places in (aliases or {}).items()}
        given = {name: first for name, (first, *_) in places.items()}
        ends = {name: end_of_chain(name, given) for name in given}
        self._pools = {name: pool_of(name, given) for name in ends}  # alias → the one whose places serve it
        self._more: dict[str, tuple[Alias, ...]] = {}  # alias → its other places
        self._add_arns(arns or {}, ends)
        self._add_aliases(ends)
        for name, (first, *more) in places.items():
            self._add_places(name, first, more)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Return the operator's own names."""
        return tuple(self._aliases)

    def find(self, name: str) -> Target:
        """Return the model, the region and the id to call for `name`.

        Raises ModelNotFound, ModelNotSupported or BadRequest, with `param` "model".
        """
        return self._remembered(name)

    # ---------------------------------------------------------------- the operator's names, at construction

    def _add_arns(self, arns: Mapping[str, str], ends: Mapping[str, Alias]) -> None:
        for number, (arn, model) in enumerate(arns.items(), 1):
            label = f"arns: entry {number}"  # an ARN is not repeated in a message
            parts = _ARN.fullmatch(arn)
            if parts is None or not parts["region"] or len(arn) > MAX_NAME_CHARS:
                raise ValueError(f"{label}: not the ARN of a Bedrock model in a region")
            if parts["kind"] not in _SAME_MODEL_KINDS | _OPAQUE_KINDS:
                raise ValueError(f"{label}: ARNs of kind {parts['kind']} cannot be called for embeddings")
            if parts["region"] not in self.regions:
                raise ValueError(f"{label}: its region is not one this gateway may call")
            name = ends[model].model if model in ends else model
            variant = self._variants.get(name.removeprefix("bedrock/"))  # provisioned throughput is bought for these
            try:
                spec = variant or self._parse(name).spec
            except EmbedrockError as exc:
                raise ValueError(f"{label}: {exc.message}") from None
            self._check_same_model(label, arn, spec)
            self._arns[arn] = spec

    def _add_aliases(self, ends: Mapping[str, Alias]) -> None:
        for alias, end in ends.items():
            label = f"alias {quote(alias)}"
            try:
                _check_text(alias)
                _check_text(end.model)
                spec = self._locate(self._parse(end.model), alias, end).spec
            except EmbedrockError as exc:
                raise ValueError(f"{label}: {exc.message}") from None
            self._check_same_model(label, alias, spec)
        self._aliases.update(ends)

    def _add_places(self, name: str, first: Alias, more: Sequence[Alias]) -> None:
        """Take further places of an alias: they must serve the same vectors as the first."""
        for place in more:
            try:
                spec = self._locate(self._parse(place.model), name, place).spec
            except EmbedrockError as exc:
                raise ValueError(f"alias {quote(name)}: {exc.message}") from None
            if spec is not self.find(name).spec or place.params != first.params:
                raise ValueError(f"alias {quote(name)}: its places have different models, or parameters")
        if more:
            self._more[name] = tuple(more)
            self._remembered.cache_clear()

    def _check_same_model(self, label: str, name: str, spec: ModelSpec) -> None:
        """Raise ValueError if `name` by itself names another model than `spec`."""
        try:
            own = self._parse(name).spec
        except EmbedrockError:
            return
        if own is not spec:
            raise ValueError(f"{label}: it is a name of {own.id} and cannot lead to {spec.id}")

    # ---------------------------------------------------------------- one name

    def _find(self, name: str) -> Target:
        _check_text(name)
        alias = self._aliases.get(name)
        if alias is None:
            return self._locate(self._parse(name), name)
        more = (self._locate(self._parse(place.model), name, place) for place in self._more.get(self._pools[name], ()))
        return replace(self._locate(self._parse(alias.model), name, alias), alias=alias, others=tuple(more))

    def _parse(self, name: str) -> _Parsed:
        """Return what a name that is no alias says; raise ModelNotFound, ModelNotSupported or BadRequest."""
        rest = name.removeprefix("bedrock/")
        region: str | None = None
        background = False
        while "/" in rest and not rest.startswith("arn:"):
            head, _, tail = rest.partition("/")
            if head == "async_invoke" and not background:
                background = True
            elif region is None and (head in self.regions or _REGION.fullmatch(head)):
                region = head
            else:
                break
            rest = tail
        parsed = self._parse_arn(rest) if rest.startswith("arn:") else self._parse_id(rest, name)
        if region and parsed.region and region != parsed.region:
            raise BadRequest("The model's name and its ARN say different regions.", param="model", code="invalid_value")
        return replace(parsed, region=region or parsed.region, background=background)

    def _parse_id(self, text: str, name: str) -> _Parsed:
        if spec := self._models.get(text):
            return _Parsed(spec)
        if spec := self._variants.get(text):
            raise ModelNotSupported(
                f"The model {quote(text)} cannot be called on demand: it exists only as provisioned throughput, "
                f"if at all. Use {spec.id}.",
                param="model",
            )
        profile, _, base = text.partition(".")
        if spec := self._models.get(base):
            if profile in spec.profile_prefixes:
                return _Parsed(spec, invoke_id=f"{profile}.{spec.id}", profile=profile)
            known = ", ".join(f"{prefix}.{spec.id}" for prefix in spec.profile_prefixes)
            hint = f"Its inference profiles are {known}." if known else f"Use {spec.id}: it has no inference profiles."
            raise ModelNotFound(f"The model {quote(name)} does not exist. {hint}", param="model")
        raise self._unknown(name)

    def _parse_arn(self, arn: str) -> _Parsed:
        parts = _ARN.fullmatch(arn)
        if parts is None or (parts["region"] and not self._is_region(parts["region"])):
            raise BadRequest(
                "The model is not a well-formed ARN of Amazon Bedrock.", param="model", code="invalid_value"
            )
        region = parts["region"] or None
        kind = parts["kind"]
        if spec := self._arns.get(arn):
            return _Parsed(spec, region, invoke_id=arn, own_model=kind not in _SAME_MODEL_KINDS)
        if kind == "foundation-model" and not parts["account"]:
            if parts["id"] in self._models or parts["id"] in self._variants:
                return replace(self._parse_id(parts["id"], parts["id"]), region=region)
            raise ModelNotFound("The ARN's foundation model is not an embedding model known here.", param="model")
        if kind == "inference-profile" and parts["account"] and region:
            profile, _, base = parts["id"].partition(".")
            if (spec := self._models.get(base)) and profile in spec.profile_prefixes:
                return _Parsed(spec, region, invoke_id=arn, profile=profile)
            raise ModelNotFound(
                "The ARN's inference profile does not belong to an embedding model known here.", param="model"
            )
        if kind in _OPAQUE_KINDS:
            raise ModelNotFound(
                f"An ARN of kind {kind} does not say which model is behind it: "
                "the operator has to add it, with its base model, to the gateway's configuration.",
                param="model",
            )
        raise ModelNotFound("The ARN is not one of a model or an inference profile.", param="model")

    def _locate(self, parsed: _Parsed, name: str, alias: Alias | None = None) -> Target:
        """Choose the region and the id to call."""
        region = parsed.region or (alias and alias.region) or self._region_for(parsed.profile)
        if region not in self.regions and (alias is None or region != alias.region):
            raise BadRequest(
                f"The region {quote(region)} is not one this gateway may call.", param="model", code="invalid_value"
            )
        if parsed.background and not parsed.own_model:  # StartAsyncInvoke takes the base id, not a profile
            invoke_id = parsed.spec.id
        else:
            invoke_id = parsed.invoke_id or _id_on_demand(parsed.spec, region)
        account = alias.account if alias else ""
        return Target(parsed.spec, name, region, invoke_id, parsed.background, account=account)

    def _region_for(self, profile: str | None) -> str:
        """Return the first region that `profile` can be called from; without one, the first: Bedrock will refuse."""
        fitting = (region for region in self.regions if _serves(profile, region))
        return next(fitting, self.regions[0])

    def _is_region(self, text: str) -> bool:
        return text in self.regions or _REGION.fullmatch(text) is not None

    def _unknown(self, name: str) -> ModelNotFound:
        if "arn:" in name.lower():
            return ModelNotFound("The model does not exist.", param="model")
        message = f"The model {quote(name)} does not exist."
        if name in _OPENAI_NAMES:
            hint = "EMBEDROCK_OPENAI_ALIASES=true serves it by a model of its size; or give it an alias."
            return ModelNotFound(f"{message} {hint}", param="model")
        if near := self._nearest(name):
            message += f" Did you mean {' or '.join(near)}?"
        else:
            message += " GET /v1/models, and `embedrock models`, list the models."
        return ModelNotFound(message, param="model")

    def _nearest(self, name: str) -> list[str]:
        """Return up to three known names that look like `name`."""
        wanted = name.removeprefix("bedrock/").lower()
        if len(wanted) > _QUOTED_CHARS:
            return []
        known: Iterable[str] = (*self._models, *(alias for alias in self._aliases if "arn:" not in alias.lower()))
        spelled = {candidate.lower(): candidate for candidate in known if len(candidate) <= _QUOTED_CHARS}
        return [quote(spelled[near]) for near in difflib.get_close_matches(wanted, spelled, n=3, cutoff=0.75)]


def _id_on_demand(spec: ModelSpec, region: str) -> str:
    """Return what InvokeModel takes for `spec` in `region`: the bare id, or the profile where the bare id is refused.

    Without profiles there is no choice, and the list of regions may be partial.
    """
    if not spec.profile_prefixes or region in spec.on_demand_regions:
        return spec.id
    geography = next((profile for start, profile in _GEOGRAPHIES if region.startswith(start)), "global")
    for profile in (geography, "global"):
        if profile in spec.profile_prefixes:
            return f"{profile}.{spec.id}"
    return spec.id


def _serves(profile: str | None, region: str) -> bool:
    """Return whether `profile` can be called from `region`, as far as its name tells. None and global: from any."""
    if profile is None or profile == "global":
        return True
    if profile in _COUNTRIES:
        return region in _COUNTRIES[profile]
    return profile == next((geography for start, geography in _GEOGRAPHIES if region.startswith(start)), None)


def _check_text(name: str) -> None:
    if not name:
        raise BadRequest("The model is empty.", param="model", code="invalid_value")
    if len(name) > MAX_NAME_CHARS:
        raise BadRequest(
            f"The model's name is longer than {MAX_NAME_CHARS:,} characters.", param="model", code="invalid_value"
        )
    if _CONTROL.search(name):
        raise BadRequest("The model's name holds control characters.", param="model", code="invalid_value")
