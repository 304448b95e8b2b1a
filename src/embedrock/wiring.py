"""Opens everything in order, closes it in reverse."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedrock.catalog import Names
from embedrock.service.embedder import Embedder, Options
from embedrock.settings import Settings, SettingsError
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock, endpoint
from embedrock.upstream.credentials import (
    ChainCredentials,
    CredentialSource,
    FixedCredentials,
    chain_loader,
    chain_region,
)
from embedrock.upstream.sigv4 import Credentials

_SHARE_METRICS_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a face needs."""

    names: Names
    embedder: Embedder
    metrics: Metrics
    credentials: CredentialSource | None  # None: a Bedrock API key is used


def names(settings: Settings) -> Names:
    """Return the names callers may use. Raises SettingsError when there is no region or an alias leads nowhere."""
    regions = settings.regions or ((found,) if (found := chain_region()) else ())
    if not regions:
        raise SettingsError("no AWS region: set AWS_REGION, or AWS_BEDROCK_REGIONS, or a region in your AWS profile")
    try:
        return Names(regions, aliases=settings.aliases, arns=settings.arns)
    except ValueError as exc:
        raise SettingsError(str(exc)) from None


def check(settings: Settings) -> Names:
    """Return the names of settings that can work, without opening anything. Raises SettingsError."""
    if settings.ca_bundle:
        _tls(settings)
    return names(settings)


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Open what the service needs. Raises SettingsError when the settings cannot work."""
    found = names(settings)
    credentials = _credentials(settings)
    metrics = Metrics(Path(settings.metrics_dir) if settings.metrics_dir else None)
    tls = _tls(settings)
    async with AsyncExitStack() as stack:
        if settings.metrics_dir:
            sharing = asyncio.create_task(_share_metrics(metrics))
            stack.callback(sharing.cancel)
        upstreams = {}
        for region in found.regions:
            url = settings.runtime_url or endpoint(region, fips=settings.fips, dual_stack=settings.dual_stack)
            upstream = Bedrock(region, url, credentials=credentials, bearer=settings.bearer_token, tls=tls)
            stack.callback(upstream.close)
            upstreams[region] = upstream
        options = Options(
            lanes=settings.lanes,
            max_inputs=settings.max_inputs,
            empty_as_space=settings.empty_input == "space",
            timeout_s=settings.timeout_s,
        )
        yield Gateway(found, Embedder(found, upstreams, metrics, options), metrics, credentials)


async def _share_metrics(metrics: Metrics) -> None:
    while True:
        metrics.share()
        await asyncio.sleep(_SHARE_METRICS_EVERY_S)


def _credentials(settings: Settings) -> CredentialSource | None:
    if settings.emulated:
        return FixedCredentials(Credentials("emulator", "emulator"))
    if settings.bearer_token:
        return None
    return ChainCredentials(chain_loader())


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.runtime_url and settings.runtime_url.startswith("http:"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_bundle)
    except OSError:
        raise SettingsError("AWS_CA_BUNDLE does not name a readable file of certificates") from None
