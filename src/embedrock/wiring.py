"""Opens everything in order, closes it in reverse."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Final

from embedrock import entrance
from embedrock.accounts import Account
from embedrock.catalog import Alias, Names, Target, place
from embedrock.database import Database
from embedrock.errors import EmbedrockError, ModelNotFound, StoreUnavailable, UpstreamAuthFailed
from embedrock.model_list import Entry
from embedrock.service.attempts import Patience
from embedrock.service.background import Background
from embedrock.service.bill import Billing
from embedrock.service.defaults import Defaults
from embedrock.service.door import Door
from embedrock.service.embedder import Embedder, Options
from embedrock.service.jobs import JobRunner
from embedrock.service.keys import Keys
from embedrock.service.limits import Limits
from embedrock.service.native import Native
from embedrock.service.objects import Objects
from embedrock.service.pacer import Quota
from embedrock.service.retry import next_wait
from embedrock.service.s3_rules import S3Rules
from embedrock.service.staging import OWN, Staging
from embedrock.service.sweeper import Sweeper
from embedrock.service.ways import Ways
from embedrock.settings import Settings, SettingsError
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock, endpoint
from embedrock.upstream.credentials import (
    ChainCredentials,
    CredentialSource,
    FixedCredentials,
    chain_loader,
    chain_region,
    source,
)
from embedrock.upstream.s3 import S3
from embedrock.upstream.sigv4 import Credentials

if TYPE_CHECKING:
    from embedrock.service.jwts import Tokens

_SHARE_METRICS_EVERY_S: Final = 1.0
#: OpenAI's names → Bedrock models whose vectors have as many numbers, at length 1 as OpenAI's are.
_OPENAI_ALIASES: Final = {
    "text-embedding-3-small": Alias("cohere.embed-v4:0", {"normalize": True}),
    "text-embedding-3-large": Alias("amazon.nova-2-multimodal-embeddings-v1:0", {"normalize": True}),
    "text-embedding-ada-002": Alias("amazon.titan-embed-text-v1", {"normalize": True}),
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a face needs."""

    names: Names
    embedder: Embedder
    native: Native
    s3: S3Rules
    metrics: Metrics
    database: Database
    door: Door
    keys: Keys
    tokens: Tokens | None  # None: no identity provider was named
    runner: JobRunner
    background: Background
    sweeper: Sweeper
    billing: Billing
    credentials: tuple[CredentialSource | None, ...]  # the gateway's own, then those of entries; None: an API key

    async def needs_keys(self, settings: Settings) -> bool:
        """Return whether callers need a key: there are some, or nobody can tell, or nobody may do without."""
        try:
            return not settings.may_be_keyless or await self.keys.any_usable()
        except StoreUnavailable:
            return True

    async def find_credentials(self) -> None:
        """Return when some credentials are at hand. Raises UpstreamAuthFailed when nobody's are."""
        missing: UpstreamAuthFailed | None = None
        for keys in self.credentials:
            try:
                if keys is not None:
                    await keys.get()
                return
            except UpstreamAuthFailed as exc:
                missing = missing or exc
        if missing is not None:
            raise missing


def names(settings: Settings) -> Names:
    """Return the names callers may use. Raises SettingsError when there is no region or an alias leads nowhere."""
    regions = settings.regions or _regions_of_entries(settings) or ((found,) if (found := chain_region()) else ())
    if not regions:
        raise SettingsError("no AWS region: set AWS_REGION, or AWS_BEDROCK_REGIONS, or a region in your AWS profile")
    aliases: dict[str, Alias | Sequence[Alias]] = dict(_OPENAI_ALIASES) if settings.openai_aliases else {}
    for name, given in settings.aliases.items():
        aliases[name] = Alias(given.model, given.params, given.drop_params, given.token_encoding)
    aliases |= _entries(settings, settings.aliases)
    try:
        return Names(regions, aliases=aliases, arns=settings.arns)
    except ValueError as exc:
        raise SettingsError(str(exc)) from None


def _regions_of_entries(settings: Settings) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry.region for entry in settings.entries if entry.region))


def usable_entries(settings: Settings) -> tuple[list[Entry], list[str]]:
    """Return LiteLLM's entries for embedding models, and a note on each of the others."""
    known = Names(settings.regions or _regions_of_entries(settings) or ("us-east-1",))
    usable, notes = [], []
    for entry in settings.entries:
        try:
            known.find(entry.model)
        except ModelNotFound:
            if entry.model.removeprefix("bedrock/") not in settings.arns:
                notes.append(f"line {entry.line}: {entry.model[:100]!r} is no embedding model known here; left out")
                continue
        except EmbedrockError:
            pass  # told when the name is made
        usable.append(entry)
    return usable, notes


def _entries(settings: Settings, taken: Mapping[str, object]) -> dict[str, list[Alias]]:
    """Return LiteLLM's entries as aliases; those of one name are the places of one."""
    pools: dict[str, list[Alias]] = {}
    for entry in usable_entries(settings)[0]:
        if entry.name in taken:
            raise SettingsError(f"{entry.name[:60]!r} is an alias and a model_name")
        where = Alias(
            entry.model,
            entry.params,
            entry.drop_params,
            region=entry.region,
            account=_account_name(settings, entry.account),
            usd_per_million_tokens=entry.usd_per_million_tokens,
        )
        pools.setdefault(entry.name, []).append(where)
    return pools


def _account_name(settings: Settings, account: Account) -> str:
    """Return the name that stands for an account where secrets have no business; "" for the gateway's own."""
    if account.is_default:
        return ""
    return f"account-{[entry.account for entry in settings.entries].index(account) + 1}"


def _defaults(settings: Settings, found: Names) -> Defaults:
    try:
        return Defaults(found, settings.default_model_params, drop_params=settings.drop_params)
    except ValueError as exc:
        raise SettingsError(str(exc)) from None


def _quotas(settings: Settings, found: Names) -> Callable[[str, str], Quota]:
    """Return the quota of a model at a place: that of LiteLLM's entries there, else the operator's for the model."""
    of_model = {_known(found, name).spec.id: Quota(*limits) for name, limits in settings.quotas.items()}
    at_place: dict[tuple[str, str], Quota] = {}
    for entry in usable_entries(settings)[0]:
        target = found.find(entry.name)
        for way in (target, *target.others):
            ours = way.account == _account_name(settings, entry.account) and entry.region in (None, way.region)
            if ours and (entry.rpm or entry.tpm):
                at_place[way.place, way.spec.id] = Quota(entry.rpm or None, entry.tpm or None)

    def quota(place: str, model: str) -> Quota:
        found = at_place.get((place, model)) or of_model.get(model) or Quota()
        return found.shared_by(settings.workers)

    return quota


def _known(found: Names, name: str) -> Target:
    try:
        return found.find(name)
    except EmbedrockError as exc:
        raise SettingsError(f"quotas: {exc.message}") from None


def _s3_rules(settings: Settings) -> S3Rules:
    """Return what callers may name in S3: one operator, or nobody, may name whatever the credentials can read."""
    shared = len(settings.api_key) > 1
    own = tuple(f"s3://{bucket}/{OWN}" for bucket in settings.buckets.values())
    return S3Rules(settings.s3_prefixes if settings.s3_prefixes or shared else None, own)


def check(settings: Settings) -> Names:
    """Return the names of settings that can work, without opening anything. Raises SettingsError."""
    if settings.ca_bundle:
        _tls(settings)
    found = names(settings)
    _defaults(settings, found)
    _quotas(settings, found)
    entrance.check(settings)
    return found


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Open what the service needs. Raises SettingsError when the settings cannot work."""
    found = names(settings)
    defaults = _defaults(settings, found)
    credentials = _credentials(settings)
    metrics = Metrics(Path(settings.metrics_dir) if settings.metrics_dir else None)
    async with AsyncExitStack() as stack:
        if settings.metrics_dir:
            sharing = asyncio.create_task(_share_metrics(metrics))
            stack.callback(sharing.cancel)
        upstreams = _upstreams(settings, found, credentials)
        for upstream in upstreams.values():
            stack.callback(upstream.close)
        stores = _stores(settings, upstreams)
        for store in stores.values():
            stack.callback(store.close)
        options = Options(
            lanes=settings.lanes,
            max_inputs=settings.max_inputs,
            empty_as_space=settings.empty_input == "space",
            timeout_s=settings.timeout_s,
            pairs=settings.marengo_pair,
            s3=_s3_rules(settings),
        )
        ways = Ways(upstreams, _quotas(settings, found))
        objects = Objects(stores, settings.max_body_bytes)
        runner = JobRunner(ways, Patience(metrics, options.attempt_timeout_s), stores, settings.buckets)
        embedder = Embedder(found, ways, metrics, options, defaults, objects, runner, Staging(stores, settings.buckets))
        stack.push_async_callback(embedder.close)
        native = Native(ways, metrics, timeout_s=settings.timeout_s)
        database = Database(settings)
        stack.push_async_callback(database.close)
        background = Background(runner, database.store, metrics, settings.credits_per_usd)
        stack.push_async_callback(background.close)
        swept = settings.sweep and not settings.emulated  # that one's buckets do not outlive it
        sweeper = Sweeper(stores, settings.buckets if swept else {})
        stack.callback(sweeper.close)
        billing = Billing(database.store, settings.credits_per_usd)
        stack.push_async_callback(billing.close)
        others = (upstream.credentials for upstream in upstreams.values())
        sources = tuple(dict.fromkeys((credentials, *others)))
        door = entrance.open_door(settings, stack)
        tokens = entrance.tokens(settings, database)
        keys = Keys(database.existing, database.find_secret, Limits(*settings.key_limits))
        yield Gateway(
            found,
            embedder,
            native,
            options.s3,
            metrics,
            database,
            door,
            keys,
            tokens,
            runner,
            background,
            sweeper,
            billing,
            sources,
        )


def _upstreams(settings: Settings, found: Names, credentials: CredentialSource | None) -> dict[str, Bedrock]:
    """Return the ways to Bedrock, by place: the gateway's own in each region, and those of entries."""
    own = Account(bearer=settings.bearer_token)
    ways = {("", region): own for region in found.regions}
    for entry in usable_entries(settings)[0]:
        name = _account_name(settings, entry.account)
        for region in (entry.region,) if entry.region else found.regions:
            ways.setdefault((name, region), entry.account if name else own)
    urls = {
        (name, region): account.endpoint
        or settings.runtime_url
        or endpoint(region, fips=settings.fips, dual_stack=settings.dual_stack)
        for (name, region), account in ways.items()
    }
    tls = _tls(settings) if any(url.startswith("https:") for url in urls.values()) else None
    upstreams = {}
    for (name, region), account in ways.items():
        url = urls[name, region]
        if account.bearer and not url.startswith("https:"):
            raise SettingsError(f"{name or 'AWS_BEARER_TOKEN_BEDROCK'}: a key is not sent to an endpoint without https")
        keys = source(replace(account, region=account.region or region)) if name else credentials
        upstreams[place(name, region)] = Bedrock(region, url, credentials=keys, bearer=account.bearer, tls=tls)
    return upstreams


def _stores(settings: Settings, upstreams: Mapping[str, Bedrock]) -> dict[str, S3]:
    """Return the S3 of each place. A Bedrock API key is none to S3: there the account's other credentials are used."""

    @cache
    def tls() -> ssl.SSLContext:
        return _tls(settings)

    def wait_s(error: EmbedrockError, attempt: int) -> float | None:
        return next_wait(error, attempt, random)

    return {
        name: S3(
            upstream.region,
            settings.s3_url,
            credentials=upstream.credentials or ChainCredentials(chain_loader(settings.account)),
            next_wait=wait_s,
            tls=tls,
            fips=settings.fips,
            dual_stack=settings.dual_stack,
        )
        for name, upstream in upstreams.items()
    }


async def _share_metrics(metrics: Metrics) -> None:
    while True:
        metrics.share()
        await asyncio.sleep(_SHARE_METRICS_EVERY_S)


def _credentials(settings: Settings) -> CredentialSource | None:
    if settings.emulated:
        return FixedCredentials(Credentials("emulator", "emulator"))
    if settings.bearer_token:
        return None
    return source(settings.account)


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_bundle)
    except OSError:
        raise SettingsError("AWS_CA_BUNDLE does not name a readable file of certificates") from None
