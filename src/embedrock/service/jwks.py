"""The keys that tokens of an identity provider are checked with: one that the operator gave, or those at a URL.

Nothing in a token leads anywhere: a key is chosen by its id among those that are here, and must be of the kind that
the algorithm needs. Ids that nobody knows cannot make the gateway fetch the keys more often than now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from embedrock.errors import IdentityUnavailable
from embedrock.telemetry import LOGGER

_FRESH_S: Final = 300.0
_STALE_S: Final = 3600.0  # while the provider is away
_AGAIN_S: Final = 30.0  # between two fetches, whatever is asked for
_TIMEOUT_S: Final = 5.0  # for any step of a fetch
_BODY_S: Final = 5.0
_FETCH_S: Final = 12.0  # for all of it
_WAIT_S: Final = 1.0  # for newer keys, by who has one of those that are here
_MOST_BYTES: Final = 1_000_000
_RSA_BITS: Final = 2048
_HMAC_BYTES: Final = 32
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

_log = logging.getLogger(LOGGER)


class KeySource(Protocol):
    """Where keys come from."""

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the key with this id for this algorithm; None: there is none. Raises IdentityUnavailable."""


class GivenKey:
    """The one key that the operator gave: a public key as PEM, or for HMAC a secret. Raises ValueError."""

    def __init__(self, text: str, algorithms: Sequence[str]) -> None:
        from jwt.algorithms import get_default_algorithms

        self._keys = {}
        for algorithm in algorithms:
            if algorithm.startswith("HS"):
                if "-----BEGIN" in text or text.lstrip().startswith("{"):
                    raise ValueError(f"{algorithm} needs a secret, and a public key is none")
                if len(text.encode()) < _HMAC_BYTES:
                    raise ValueError(f"a secret for {algorithm} has at least {_HMAC_BYTES} bytes")
                self._keys[algorithm] = text.encode()
                continue
            try:
                key: Any = get_default_algorithms()[algorithm].prepare_key(text.encode())
            except Exception:  # each kind of nonsense has a kind of its own
                raise ValueError(f"it is no public key for {algorithm}, as PEM") from None
            if hasattr(key, "sign"):
                raise ValueError("it is a private key: give the public one")
            if getattr(key, "key_size", _RSA_BITS) < _RSA_BITS and algorithm[:2] in ("RS", "PS"):
                raise ValueError(f"it has fewer than {_RSA_BITS} bits")
            self._keys[algorithm] = key

    async def find(self, kid: str | None, algorithm: str) -> Any:  # noqa: ARG002  # there is one
        return self._keys.get(algorithm)


def fetch(url: str) -> bytes:
    """Return what is at `url`, without following it elsewhere. Raises OSError."""
    import urllib.request  # a fiftieth of a second that most gateways never need

    class Nowhere(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    asked = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310  # the settings' check
    opener = urllib.request.build_opener(Nowhere)
    with opener.open(asked, timeout=_TIMEOUT_S) as answer:
        body, until = b"", time.monotonic() + _BODY_S
        while piece := answer.read1(65536):
            body += piece
            if len(body) > _MOST_BYTES:
                raise OSError("the answer is too large")
            if time.monotonic() > until:
                raise OSError("the answer does not end")
    return body


class Jwks:
    """The keys at a URL, as a JSON Web Key Set; fetched when they are first needed, and when they are old."""

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[dict[str, Any]] | None = None
        self._at = self._tried_at = -_STALE_S
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Any:
        now = self._clock()
        found = self._among(kid, algorithm) if self._at + _STALE_S > now else None
        if found is None or self._at + _FRESH_S <= now:
            await self._refresh(now, None if found is None else _WAIT_S)
            if self._keys is None or self._at + _STALE_S <= now:
                raise IdentityUnavailable("The keys of the identity provider cannot be fetched.")
            found = self._among(kid, algorithm)
        return found

    def _among(self, kid: str | None, algorithm: str) -> Any:
        usable = [key for key in self._keys or () if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
        if len(usable) != 1:
            return None
        from jwt import PyJWK
        from jwt.exceptions import PyJWTError

        try:
            return PyJWK(dict(usable[0]), algorithm=algorithm).key
        except (PyJWTError, ValueError):
            return None

    async def _refresh(self, now: float, wait_s: float | None) -> None:
        """Fetch the keys, unless that was tried a moment ago; wait so long since it began, None: until it ends."""
        if self._fetching is None:
            if self._tried_at + _AGAIN_S > now:
                return
            self._tried_at = now
            self._fetching = asyncio.create_task(self._fetched(now))
        left_s = None if wait_s is None else max(0.0, self._tried_at + wait_s - now)
        await asyncio.wait([self._fetching], timeout=left_s)

    async def _fetched(self, now: float) -> None:
        try:
            async with asyncio.timeout(_FETCH_S):
                body = await asyncio.to_thread(self._fetch)
            self._keys = msgspec.json.decode(body, type=_Set).keys
            self._at = now
        except (OSError, ValueError) as exc:
            _log.warning("identity_unavailable: the keys of the identity provider: %s", type(exc).__name__)
        finally:
            self._fetching = None


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether a key may sign by an algorithm. Secrets are never read from where anybody can read them."""
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return False
    kind = key.get("kty")
    if algorithm[:2] in ("RS", "PS"):
        return kind == "RSA" and len(str(key.get("n", ""))) * 6 >= _RSA_BITS
    if algorithm == "EdDSA":
        return kind == "OKP" and key.get("crv") == "Ed25519"
    return kind == "EC" and key.get("crv") == _CURVES.get(algorithm)
