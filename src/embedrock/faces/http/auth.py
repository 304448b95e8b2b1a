"""Whose request it is: an operator's key, an account's, or nobody's where none is asked for.

Keys are read in one place of a request. A wrong one costs its network something: who tries many is told to wait. That
takes nothing from a right key, which works from there as before.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from embedrock.errors import Forbidden, RateLimited, Unauthenticated
from embedrock.faces.http.messages import Request
from embedrock.service.callers import Caller
from embedrock.service.key_form import PREFIX
from embedrock.service.keys import Keys, wrong
from embedrock.service.limits import Bucket, Limits
from embedrock.settings import Settings

if TYPE_CHECKING:
    from embedrock.service.jwts import Tokens

_TRIES: Final = 20  # wrong keys a minute from one network
_NETWORKS: Final = 10_000
_LONGEST: Final = 8192  # of a key, or a token; more is not even digested
_TOKEN: Final = b"eyJ"  # how every token begins, since it is JSON
_ACCOUNTS_KEY: Final = b"Bearer " + PREFIX.encode()


class Auth:
    """Knows the operator's keys, and asks `keys` and `tokens` for others. `needed`: nothing is answered without one."""

    def __init__(self, settings: Settings, keys: Keys, tokens: Tokens | None, *, needed: bool) -> None:
        limits = Limits(*settings.key_limits)
        digests = [sha256(key.encode()) for key in settings.api_key]
        self._operators = {digest.digest(): Caller(digest.hexdigest()[:16], limits) for digest in digests}
        self._anybody = Caller(limits=limits)
        self._keys = keys
        self._tokens = tokens
        self._needed = needed
        self._tries: dict[str, Bucket] = {}

    def known(self, request: Request, *, azure: bool) -> Caller | None:
        """Return who asks, as far as that needs no asking elsewhere. Raises Unauthenticated, or Forbidden."""
        if not self._needed:
            if request.headers.get(b"authorization", b"").startswith(_ACCOUNTS_KEY):
                return None
            _check_origin(request.headers)
            return self._anybody
        return self._operators.get(sha256(_sent(request, azure=azure)).digest())

    async def find(self, request: Request, *, azure: bool, client: str) -> Caller:
        """Return whose key a request has that `known` does not know.

        Raises Unauthenticated, RateLimited, or StoreUnavailable.
        """
        sent = _sent(request, azure=azure)
        try:
            if self._tokens is not None and sent.startswith(_TOKEN):
                return await self._tokens.find(sent)
            return await self._keys.find(sent)
        except Unauthenticated as exc:
            self._count(client)
            raise exc from None

    def _count(self, client: str) -> None:
        network = _network(client)
        if network is None:
            return
        if network not in self._tries and len(self._tries) >= _NETWORKS:
            now = time.monotonic_ns()
            self._tries = {name: bucket for name, bucket in self._tries.items() if not bucket.is_full(now)}
        bucket = self._tries.setdefault(network, Bucket(_TRIES))
        if wait_ms := bucket.take(1, time.monotonic_ns()).wait_ms:
            raise RateLimited("Too many wrong keys came from this network.", wait_ms=wait_ms)


def _sent(request: Request, *, azure: bool) -> bytes:
    """Return the key of a request. Raises Unauthenticated when there is none, or not one."""
    sent = [value for name, value in request.raw_headers if name == b"authorization"]
    if azure:  # whose clients send the bare key in a header of its own
        sent += [b"Bearer " + value for name, value in request.raw_headers if name == b"api-key"]
    if not sent:
        raise Unauthenticated("No API key was sent. Send it as 'Authorization: Bearer <key>'.")
    scheme, _, key = sent[0].partition(b" ")
    if len(sent) > 1 or scheme.lower() != b"bearer" or len(key) > _LONGEST:
        raise wrong()
    return key


def _check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse web pages where no key is asked for: a page whose name is made to lead here could spend the account."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and urlsplit(origin).hostname not in ("localhost", "127.0.0.1", "::1"):
        message = "Web pages of elsewhere may not use a gateway without keys."
        raise Forbidden(message, param="Origin")


def _network(client: str) -> str | None:
    """Return the network of an address; None for this machine, where a proxy for everybody may run."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # as a socket for both kinds tells it; those of all the world are one network
    if address.is_loopback:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
