"""Who may come in, as the settings want it: tokens of an identity provider, limits of keys, the database of both."""

from __future__ import annotations

import importlib.util
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from embedrock.database import Database
from embedrock.errors import StoreUnavailable
from embedrock.service.door import Door
from embedrock.service.issuing import check_secret
from embedrock.service.limits import Limits
from embedrock.settings import Settings, SettingsError
from embedrock.store import ConfigError

if TYPE_CHECKING:
    from embedrock.service.jwks import KeySource
    from embedrock.service.jwts import Rules, Tokens

_GRACE_S: Final = 30.0  # after the longest that a request may take


def check(settings: Settings) -> None:
    """Raise SettingsError when nobody could come in as the settings want it. Opens nothing."""
    _rules_of_tokens(settings)
    _check_redis(settings)


async def check_database(settings: Settings) -> None:
    """Raise SettingsError when there is a database that can never work. One that is away may come back."""
    database = Database(settings)
    try:
        secret = database.find_secret()
        with suppress(StoreUnavailable):
            store = await database.existing()
            if store is not None:
                await check_secret(store, secret)
    except ConfigError as exc:
        raise SettingsError(str(exc)) from None
    finally:
        await database.close()


def open_door(settings: Settings, stack: AsyncExitStack) -> Door:
    """Return what counts by limits; what it opens is closed with `stack`."""
    if not settings.redis_url:
        return Door(settings.workers)
    from embedrock.service.shared_limits import SharedLimits

    shared = SharedLimits(settings.redis_url, seat_s=settings.timeout_s + _GRACE_S)
    stack.push_async_callback(shared.close)
    shared.warm()
    return Door(shared=shared)


def tokens(settings: Settings, database: Database) -> Tokens | None:
    """Return what finds whose a token is; None where none are taken."""
    rules = _rules_of_tokens(settings)
    if rules is None:
        return None
    from embedrock.service.jwts import Tokens

    return Tokens(*rules, database.existing, Limits(*settings.key_limits))


def _check_redis(settings: Settings) -> None:
    if not settings.redis_url:
        return
    if importlib.util.find_spec("redis") is None:
        raise SettingsError("EMBEDROCK_REDIS_URL needs more packages: pip install 'embedrock[redis]'")
    from redis.asyncio.connection import parse_url

    try:
        parse_url(settings.redis_url)
    except ValueError:  # whose message may hold a password
        raise SettingsError("EMBEDROCK_REDIS_URL is not the URL of a Redis") from None


def _rules_of_tokens(settings: Settings) -> tuple[Rules, KeySource] | None:
    """Return what tokens have to be, and the keys to check them with; None where none are taken."""
    if not settings.takes_tokens:
        if settings.jwt_issuer or settings.jwt_audience:
            raise SettingsError("EMBEDROCK_JWT_JWKS_URL or EMBEDROCK_JWT_KEY is missing: tokens cannot be checked")
        return None
    if settings.jwt_jwks_url and settings.jwt_key:
        raise SettingsError("EMBEDROCK_JWT_JWKS_URL and EMBEDROCK_JWT_KEY: tokens are checked with one of them")
    if not (settings.jwt_issuer and settings.jwt_audience):
        raise SettingsError("EMBEDROCK_JWT_ISSUER and EMBEDROCK_JWT_AUDIENCE are needed for tokens")
    if settings.jwt_jwks_url and settings.jwt_algorithms[0].startswith("HS"):
        raise SettingsError("EMBEDROCK_JWT_ALGORITHMS: a secret is never at a URL; give it as EMBEDROCK_JWT_KEY")
    if importlib.util.find_spec("jwt") is None:
        raise SettingsError("tokens need more packages: pip install 'embedrock[jwt]'")
    from embedrock.service.jwts import Rules

    rules = Rules(
        settings.jwt_key,
        settings.jwt_jwks_url,
        settings.jwt_algorithms,
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_account_claim,
    )
    try:
        return rules, rules.source()
    except ValueError as exc:
        raise SettingsError(f"EMBEDROCK_JWT_KEY: {exc}") from None
