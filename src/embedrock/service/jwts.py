"""Tokens of an identity provider in place of keys: JSON Web Tokens, signed, for us, and not over yet.

What they may say is little. The algorithm is one of the operator's; a header holds nothing that leads to a key, or
wants to be understood; times are whole numbers; the issuer is exactly ours, and so is one of the audiences. A claim
names the account.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from embedrock.errors import Unauthenticated
from embedrock.service.callers import Caller
from embedrock.service.jwks import GivenKey, Jwks, KeySource, fetch
from embedrock.service.limits import Limits
from embedrock.store import Store, reports

_FORM: Final = re.compile(rb"[A-Za-z0-9_-]{4,2000}\.[A-Za-z0-9_-]{4,8000}\.[A-Za-z0-9_-]{4,2000}")
_LONGEST: Final = 8192
_REFUSED: Final = {"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "cty", "enc"}  # the rest is read past
_TYPES: Final = ("jwt", "at+jwt")
_REMEMBERED_S: Final = 60.0
_KEPT: Final = 10_000
_DEEPEST: Final = 16
_LATEST: Final = 2**53
KEY: Final = "jwt"  # in the place of a key's id


class Rules(NamedTuple):
    """What the operator says of tokens: a key or the URL of some, and what they have to be."""

    key: str
    jwks_url: str
    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    account_claim: str

    def source(self) -> KeySource:
        """Return where the keys come from. Raises ValueError when the given one is none."""
        return GivenKey(self.key, self.algorithms) if self.key else Jwks(lambda: fetch(self.jwks_url))


class _Known(NamedTuple):
    caller: Caller
    until: float  # by the clock of the machine
    expires_at: float  # in the time of day


class Tokens:
    """Finds whose a token is."""

    def __init__(
        self,
        rules: Rules,
        source: KeySource,
        store: Callable[[], Awaitable[Store | None]],
        usual: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._source = source
        self._store = store
        self._usual = usual
        self._clock = clock
        self._today = today
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def find(self, token: bytes) -> Caller:
        """Return whose the token is. Raises Unauthenticated, IdentityUnavailable, or StoreUnavailable."""
        if len(token) > _LONGEST:
            raise _refused("it is not in the form of one")
        whole = sha256(token).digest()
        known = self._known.get(whole)
        if known is not None and known.until > self._clock():
            if known.expires_at <= self._today():
                raise _refused("it has expired")
            return known.caller
        claims = await self._checked(token)
        caller = await self._caller(claims.get(self._rules.account_claim))
        self._known[whole] = _Known(caller, self._clock() + _REMEMBERED_S, claims["exp"])
        self._known.move_to_end(whole)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return caller

    async def _checked(self, token: bytes) -> Mapping[str, Any]:
        if not _FORM.fullmatch(token):
            raise _refused("it is not in the form of one")
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms or not isinstance(algorithm, str):
            raise _refused("its algorithm is not one of this gateway")
        if header.keys() & _REFUSED or not isinstance(kid, str | None):
            raise _refused("its header holds what this gateway does not read")
        if str(header.get("typ", "jwt")).lower() not in _TYPES:
            raise _refused("it is of another type")
        key = await self._source.find(kid, algorithm)
        if key is None:
            raise _refused("no key of the identity provider fits")
        return self._decoded(token, key, algorithm)

    def _decoded(self, token: bytes, key: Any, algorithm: str) -> Mapping[str, Any]:
        import jwt

        rules = self._rules
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.exceptions.MissingRequiredClaimError as exc:
            raise _refused(f"it has no '{exc.claim}'") from None
        except (jwt.exceptions.PyJWTError, ValueError, RecursionError):
            raise _refused("its signature, issuer or audience is not right") from None
        for name in ("exp", "nbf", "iat"):
            if type(claims.get(name, 0)) is not int or not 0 <= claims.get(name, 0) <= _LATEST:
                raise _refused(f"'{name}' is not a time in whole seconds")
        now = self._today()
        if claims["exp"] <= now:
            raise _refused("it has expired")
        if claims.get("nbf", 0) > now:
            raise _refused("it is not valid yet")
        if _is_deep(claims, _DEEPEST):
            raise _refused("it is nested too deeply")
        return claims

    async def _caller(self, name: object) -> Caller:
        store = await self._store()
        if not isinstance(name, str) or not reports.is_name(name) or store is None:
            raise _refused("it names no account of this gateway")
        account = await store.read(lambda tx: reports.account_named(tx, name))
        if account is None:
            raise _refused("it names no account of this gateway")
        return Caller(account.id, self._usual, account=account.id, key=KEY, s3_prefixes=())


def _header(token: bytes) -> dict[str, Any]:
    text = token.partition(b".")[0]
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + b"=" * (-len(text) % 4)), type=dict[str, Any])
    except (ValueError, RecursionError):
        raise _refused("its header cannot be read") from None


def _is_deep(value: object, most: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and (most == 0 or any(_is_deep(item, most - 1) for item in value))


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"The token is refused: {why}.", code="invalid_token")
