"""AWS credentials from botocore's chain, refreshed off the event loop, by one task for everybody.

botocore does the finding: environment, files, SSO, web identity, container and instance roles. It blocks while it
asks a metadata service, so it runs in a thread. Credentials at hand are used while fresh ones are fetched, and go on
being used when that fails, until AWS itself refuses them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from embedrock.accounts import Account
from embedrock.errors import UpstreamAuthFailed
from embedrock.upstream.sigv4 import Credentials

_log = logging.getLogger(__name__)

_DEFAULT = Account()
_CHECK_EVERY_S = 60.0  # botocore refreshes from 15 minutes before the end; asking it each minute is early enough


class CredentialSource(Protocol):
    """Where the upstream gets its credentials."""

    def fresh(self) -> Credentials | None:
        """Return credentials that are at hand and need no look at the chain, or None."""

    async def get(self) -> Credentials:
        """Return credentials to sign with. Raises UpstreamAuthFailed when there are none."""

    async def replace(self, refused: Credentials) -> Credentials:
        """Return other credentials than the `refused` ones. Raises UpstreamAuthFailed when there are none."""


class FixedCredentials:
    """Credentials that never change."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def fresh(self) -> Credentials | None:
        return self._credentials

    async def get(self) -> Credentials:
        return self._credentials

    async def replace(self, refused: Credentials) -> Credentials:  # noqa: ARG002
        raise UpstreamAuthFailed("AWS refused the gateway's credentials.")


class ChainCredentials:
    """Credentials from botocore's chain. `load` blocks; it returns None when the chain finds nothing."""

    def __init__(
        self,
        load: Callable[[bool], Credentials | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        self._current: Credentials | None = None
        self._check_at = 0.0
        self._refresh: asyncio.Task[Credentials] | None = None
        self._anew = False  # the refresh under way looks at the whole chain again

    def fresh(self) -> Credentials | None:
        return self._current if self._clock() < self._check_at else None

    async def get(self) -> Credentials:
        if self._current is None:
            return await self._refreshed(anew=False)
        if self._clock() >= self._check_at:
            self._check_at = self._clock() + _CHECK_EVERY_S
            self._start(anew=False)  # in the background; what is at hand still holds
        return self._current

    async def replace(self, refused: Credentials) -> Credentials:
        if self._current == refused and self._refresh is not None and not self._anew:
            await asyncio.shield(self._refresh)  # under way, but only to look whether it is time
        if self._current == refused:
            await self._refreshed(anew=True)
        if self._current is None or self._current == refused:
            raise UpstreamAuthFailed("AWS refused the gateway's credentials, and the chain has no others.")
        return self._current

    async def _refreshed(self, *, anew: bool) -> Credentials:
        # Shielded: a caller who hangs up does not stop the refresh others wait for.
        return await asyncio.shield(self._start(anew=anew))

    def _start(self, *, anew: bool) -> asyncio.Task[Credentials]:
        if self._refresh is None or self._refresh.done():
            self._anew = anew
            self._refresh = asyncio.create_task(self._fetch(anew))
            self._refresh.add_done_callback(self._finished)
        return self._refresh

    async def _fetch(self, anew: bool) -> Credentials:
        found = await asyncio.to_thread(self._load, anew)
        if found is None:
            raise UpstreamAuthFailed("The gateway has no AWS credentials.")
        self._current = found
        self._check_at = self._clock() + _CHECK_EVERY_S
        return found

    def _finished(self, task: asyncio.Task[Credentials]) -> None:
        if self._refresh is task:
            self._refresh = None
        error = None if task.cancelled() else task.exception()
        if error is not None and self._current is not None:  # else whoever waits for them says so
            _log.warning("AWS credentials could not be refreshed: %s", type(error.__cause__ or error).__name__)


def source(account: Account) -> CredentialSource | None:
    """Return where an account's credentials come from; None when it has a Bedrock API key in their place."""
    if account.bearer:
        return None
    if account.access_key and account.secret_key and not account.role_arn:
        return FixedCredentials(Credentials(account.access_key, account.secret_key, account.session_token))
    return ChainCredentials(chain_loader(account))


def _find(account: Account) -> Any:
    """Return botocore's credentials object for an account, or None. It refreshes itself when asked in time."""
    import botocore.credentials  # 60 ms and 15 MB that a gateway on the emulator does not need
    import botocore.session

    session = botocore.session.Session(profile=account.profile)
    if account.access_key and account.secret_key:
        session.set_credentials(account.access_key, account.secret_key, account.session_token)
    if not account.role_arn:
        return session.get_credentials()

    def client(service: str, **options: Any) -> Any:
        return session.create_client(service, **{"region_name": account.region, **options})

    role = {
        "RoleSessionName": account.role_session_name or "embedrock",
        **({"ExternalId": account.external_id} if account.external_id else {}),
    }
    if account.web_identity_token:
        fetcher: Any = botocore.credentials.AssumeRoleWithWebIdentityCredentialFetcher(
            client, lambda: _token(account.web_identity_token or ""), account.role_arn, extra_args=role
        )
        method = "assume-role-with-web-identity"
    else:
        fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
            client, session.get_credentials(), account.role_arn, extra_args=role
        )
        method = "assume-role"
    return botocore.credentials.DeferredRefreshableCredentials(fetcher.fetch_credentials, method)


def _token(token: str) -> str:
    file = Path(token)
    # Read each time: whoever runs the workload writes a new one before the old one ends.
    return file.read_text(encoding="utf-8").strip() if token.startswith("/") and file.is_file() else token


def chain_loader(account: Account = _DEFAULT) -> Callable[[bool], Credentials | None]:  # frozen
    """Return the blocking loader of ChainCredentials: botocore's chain, as far as `account` does not say otherwise."""
    held: list[object] = []

    def load(anew: bool) -> Credentials | None:
        try:
            if anew or not held:
                held[:] = [_find(account)]
            if held[0] is None:
                held.clear()
                return None
            frozen = held[0].get_frozen_credentials()  # type: ignore[attr-defined]  # botocore has no types
        except Exception as exc:  # it calls STS and metadata services, runs programs, reads files: anything goes
            held.clear()
            raise UpstreamAuthFailed("The gateway's AWS credentials could not be loaded.") from exc
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, getattr(frozen, "account_id", None))

    return load


def chain_region(profile: str | None = None) -> str | None:
    """Return the region of an AWS profile, by default of the one in use, or None."""
    import botocore.exceptions  # see _find
    import botocore.session

    try:
        region: str | None = botocore.session.Session(profile=profile).get_config_variable("region")
    except botocore.exceptions.BotoCoreError:
        return None
    return region
