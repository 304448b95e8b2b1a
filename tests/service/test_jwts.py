"""Tokens for keys: good ones lead to their account, and of the forged ones none does."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from tests import forged
from tests.forged import ACCOUNT, AUDIENCE, EC, EC_JWK, ISSUER, JWK, OTHER_RSA, PEM, RSA, token

from embedrock.errors import IdentityUnavailable, Unauthenticated
from embedrock.service import issuing, jwks
from embedrock.service.callers import Caller
from embedrock.service.jwks import GivenKey, Jwks, KeySource
from embedrock.service.jwts import Rules, Tokens
from embedrock.service.limits import Limits
from embedrock.store import Store, open_store

RULES = Rules(PEM, "", ("RS256",), ISSUER, AUDIENCE, "sub")
SECRET = "0123456789abcdef0123456789abcdef"
FORGED = forged.forged()
WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505  # that it is weak is the point
WEAK_JWK: dict[str, Any] = RSAAlgorithm.to_jwk(WEAK_RSA.public_key(), as_dict=True) | {"kid": JWK["kid"]}


class Provider:
    """An identity provider's keys, and how often they were fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.fetches = 0
        self.away = False
        self.hangs: threading.Event | None = None
        self.now = 1000.0
        self.source = Jwks(self.fetch, lambda: self.now)

    def fetch(self) -> bytes:
        self.fetches += 1
        if self.away:
            raise OSError("away")
        if self.hangs is not None:
            self.hangs.wait(30)
        return json.dumps({"keys": self.keys}).encode()


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{tmp_path_factory.mktemp('accounts') / 'db'}")
    await issuing.open_account(store, ACCOUNT, None)
    yield store
    await store.close()


Make = Callable[..., Tokens]


@pytest.fixture
def make(store: Store) -> Make:
    """Return what makes a checker of tokens."""

    async def here() -> Store:
        return store

    def make(rules: Rules = RULES, source: KeySource | None = None, **clocks: Any) -> Tokens:
        return Tokens(rules, source or rules.source(), here, Limits(requests=5), **clocks)

    return make


async def refused(tokens: Tokens, text: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await tokens.find(text.encode())
    assert caught.value.code == "invalid_token"
    return caught.value.message


async def test_token_as_identity_providers_commonly_make_them_is_taken(make: Make) -> None:
    """With the digest of a certificate, a header of its own, and an audience beside ours."""
    text = token(header={"x5t": "abc", "x5t#S256": "abc", "ver": "2"}, aud=["other", AUDIENCE])

    assert (await make().find(text.encode())).account


@pytest.mark.parametrize("claim", ["exp", "aud", "iss"])
async def test_claim_that_is_missing_is_named(make: Make, claim: str) -> None:
    members = {"iss": ISSUER, "aud": AUDIENCE, "sub": ACCOUNT, "exp": int(time.time()) + 600}
    del members[claim]
    text = jwt.encode(members, RSA, "RS256", {"kid": JWK["kid"]})

    assert f"it has no '{claim}'" in await refused(make(), text)


async def test_token_leads_to_its_account(make: Make) -> None:
    caller = await make().find(token().encode())

    assert caller.account is not None
    assert caller == Caller(caller.account, Limits(requests=5), account=caller.account, key="jwt", s3_prefixes=())


@pytest.mark.parametrize("source", ["given", "jwks"])
@pytest.mark.parametrize("what", list(FORGED))
async def test_forged_token_is_refused_at_once(make: Make, source: str, what: str) -> None:
    tokens = make(source=Provider(JWK, EC_JWK).source if source == "jwks" else None)
    await tokens.find(token().encode())
    started = time.process_time()
    message = await refused(tokens, FORGED[what])

    assert time.process_time() - started < 0.05
    assert FORGED[what] not in message and "union" not in message


def test_there_are_enough_forged_ones() -> None:
    assert len(FORGED) >= 40
    assert len(set(FORGED.values())) == len(FORGED)


async def test_good_token_is_checked_once_and_no_longer_than_it_holds(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, day = 0.0, time.time()
    tokens = make(clock=lambda: now, today=lambda: day)
    checks = 0
    checked = Tokens._checked

    def count(self: Tokens, text: bytes) -> Any:
        nonlocal checks
        checks += 1
        return checked(self, text)

    monkeypatch.setattr(Tokens, "_checked", count)
    good = token(exp=int(day) + 90)
    for _ in range(100):
        await tokens.find(good.encode())
    assert checks == 1
    now, day = 61.0, day + 61
    await tokens.find(good.encode())
    assert checks == 2
    day += 30
    assert "expired" in await refused(tokens, good)


async def test_tokens_that_begin_alike_are_told_apart(make: Make) -> None:
    """By their first letters, or any other part, a stranger's token could be taken for one that was seen."""
    tokens = make()
    good = token()
    await tokens.find(good.encode())
    for cut in (20, 200, len(good) - 2):
        await refused(tokens, good[:cut] + ("A" if good[cut] != "A" else "B") + good[cut + 1 :])


@pytest.mark.parametrize(
    "rules, signed",
    [
        (RULES._replace(algorithms=("PS256", "RS512")), token(RSA, "PS256")),
        (RULES._replace(algorithms=("PS256", "RS512")), token(RSA, "RS512")),
        (RULES._replace(key=SECRET, algorithms=("HS256",)), token(SECRET, "HS256")),
        (RULES._replace(account_claim="org"), token(sub="somebody", org=ACCOUNT)),
        (RULES, token(header={"typ": "at+jwt"})),
        (RULES, token(nbf=int(time.time()) - 5, scope="a b", realm_access={"roles": ["x"]})),
    ],
)
async def test_what_the_operator_wants_of_tokens_holds(make: Make, rules: Rules, signed: str) -> None:
    assert (await make(rules).find(signed.encode())).key == "jwt"


@pytest.mark.parametrize(
    "key, algorithms, said",
    [
        (PEM, ("HS256",), "a public key is none"),
        (json.dumps(JWK), ("HS256",), "a public key is none"),
        ("short", ("HS256",), "at least 32 bytes"),
        ("nonsense", ("RS256",), "no public key"),
        (PEM, ("ES256",), "no public key"),
        (SECRET, ("EdDSA",), "no public key"),
    ],
)
def test_key_that_does_not_fit_is_told_at_start(key: str, algorithms: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        GivenKey(key, algorithms)
    assert key not in str(caught.value)


def test_private_key_is_refused_at_start() -> None:
    from cryptography.hazmat.primitives import serialization

    private = RSA.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with pytest.raises(ValueError, match="private"):
        GivenKey(private, ("RS256",))


# ------------------------------------------------------------------------------------------- keys at a URL


async def test_keys_are_chosen_by_their_id_and_kind(make: Make) -> None:
    tokens = make(RULES._replace(algorithms=("RS256", "ES256")), Provider(JWK, EC_JWK).source)

    await tokens.find(token().encode())
    await tokens.find(token(EC, "ES256", header={"kid": "2026-ec"}).encode())
    await refused(tokens, token(EC, "ES256"))
    await refused(tokens, token(header={"kid": "2026-ec"}))


async def test_key_without_an_id_in_the_token_is_the_only_one_that_fits(make: Make) -> None:
    import jwt

    nameless = jwt.encode(forged.claims(), RSA, "RS256")
    await make(source=Provider(JWK, EC_JWK).source).find(nameless.encode())
    await refused(make(source=Provider(JWK, JWK | {"kid": "b"}).source), nameless)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": JWK["kid"]},
        JWK | {"use": "enc"},
        JWK | {"alg": "RS512"},
        JWK | {"n": "AQAB"},
        WEAK_JWK,
        {"kty": "RSA", "kid": JWK["kid"]},
        {},
    ],
)
async def test_key_of_another_kind_is_none(make: Make, key: dict[str, Any]) -> None:
    await refused(make(source=Provider(key).source), token(WEAK_RSA if key is WEAK_JWK else RSA))


async def test_keys_are_fetched_once_for_all_and_again_when_they_are_old(make: Make) -> None:
    provider = Provider(JWK)
    tokens = make(source=provider.source)
    await asyncio.gather(*[tokens.find(token(jti=str(number)).encode()) for number in range(20)])
    assert provider.fetches == 1
    provider.now += 301
    await tokens.find(token(jti="later").encode())
    assert provider.fetches == 2


async def test_unknown_ids_cannot_make_the_gateway_fetch_for_ever(make: Make) -> None:
    provider = Provider(JWK)
    tokens = make(source=provider.source)
    for number in range(100):
        await refused(tokens, token(OTHER_RSA, header={"kid": f"new-{number}"}))

    assert provider.fetches == 1
    provider.now += 31
    provider.keys.append(JWK | {"kid": "newer"})
    await tokens.find(token(header={"kid": "newer"}).encode())
    assert provider.fetches == 2, "a key that is new at the provider is found soon"


async def test_keys_hold_while_the_provider_is_away_for_an_hour(make: Make) -> None:
    provider = Provider(JWK)
    tokens = make(source=provider.source)
    await tokens.find(token().encode())
    provider.away = True
    provider.now += 3000
    await tokens.find(token(jti="1").encode())
    provider.now += 700
    with pytest.raises(IdentityUnavailable):
        await tokens.find(token(jti="2").encode())
    provider.away = False
    provider.now += 31
    await tokens.find(token(jti="3").encode())


async def test_keys_that_are_known_do_not_wait_for_a_provider_that_hangs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_WAIT_S", 0.05)
    provider = Provider(JWK)
    tokens = make(source=provider.source)
    caller = await tokens.find(token().encode())
    provider.hangs = threading.Event()
    provider.now += 301
    assert [await tokens.find(token(jti=str(number)).encode()) for number in range(3)] == [caller] * 3
    assert provider.fetches == 2, "one that takes its time"
    monkeypatch.setattr(jwks, "_FETCH_S", 0.05)
    provider.now += 31
    unknown = asyncio.create_task(refused(tokens, token(OTHER_RSA, header={"kid": "new"})))
    provider.hangs.set()
    await unknown


async def test_fetch_that_hangs_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_FETCH_S", 0.05)
    provider = Provider(JWK)
    provider.hangs = threading.Event()
    with pytest.raises(IdentityUnavailable):
        await make(source=provider.source).find(token().encode())
    provider.hangs.set()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": 5}', b'{"keys": [5]}', b"\xff"])
async def test_what_is_no_set_of_keys_is_not_taken_for_one(make: Make, body: bytes) -> None:
    with pytest.raises(IdentityUnavailable):
        await make(source=Jwks(lambda: body)).find(token().encode())


def test_keys_are_fetched_from_nowhere_but_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect leads elsewhere, and a body without an end would fill the memory, or go on for ever."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the standard library's name
            self.send_response(302 if self.path == "/elsewhere" else 200)
            self.send_header("location", "/keys")
            self.end_headers()
            self.wfile.write(b"x" * (200 if self.path == "/large" else 10))

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(jwks, "_MOST_BYTES", 100)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert jwks.fetch(f"{url}/keys") == b"x" * 10
            for path in ("/elsewhere", "/large"):
                with pytest.raises(OSError):
                    jwks.fetch(url + path)
            monkeypatch.setattr(jwks, "_BODY_S", -1.0)
            with pytest.raises(OSError, match="does not end"):
                jwks.fetch(f"{url}/keys")
        finally:
            server.shutdown()
            thread.join()
