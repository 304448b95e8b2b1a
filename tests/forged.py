"""Tokens of an identity provider, and those of people who would like to be one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE, ACCOUNT, KID = "https://id.example", "embedrock", "team", "2026-a"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
PEM = (
    RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
JWK: dict[str, Any] = RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": KID, "use": "sig", "alg": "RS256"}
EC_JWK: dict[str, Any] = ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "2026-ec"}


def claims(**members: Any) -> dict[str, Any]:
    """Return good claims, with these laid over them; None leaves one out."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": ACCOUNT, "exp": now + 86_400, "iat": now}
    return {name: value for name, value in (usual | members).items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", header: Mapping[str, Any] | None = None, **members: Any) -> str:
    """Return a signed token."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keys are short is the point of some
        return jwt.encode(claims(**members), key, algorithm, headers={"kid": KID} | dict(header or {}))


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, payload: Any, signature: bytes = b"") -> str:
    return f"{part(header)}.{part(payload)}.{part(signature)}"


def hmac_signed(secret: bytes, algorithm: str = "HS256", **header: Any) -> str:
    """Return a token whose HMAC is under `secret`, which no library would take for one."""
    signing = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': KID} | header)}.{part(claims())}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return f"{signing}.{part(hmac.new(secret, signing.encode(), digest).digest())}"


def forged() -> dict[str, str]:
    """Return tokens that must not be accepted, by what is wrong with each."""
    good = token()
    head, body, signature = good.split(".")
    now = int(time.time())
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    found = {
        f"alg {name!r}": raw({"alg": name, "typ": "JWT", "kid": KID}, claims())
        for name in ("none", "None", "nOnE", "", None, 5, ["RS256"], "rs256", "RS512")
    }
    found["none, with the signature of another"] = raw({"alg": "none"}, claims(), b"x" * 256)
    found |= {
        "hs256 under the public key as pem": hmac_signed(PEM.encode()),
        "hs256 under the public key without its last line break": hmac_signed(PEM.strip().encode()),
        "hs512 under the public key": hmac_signed(PEM.encode(), "HS512"),
        "hs256 under the modulus": hmac_signed(str(JWK["n"]).encode()),
        "hs256 under nothing": hmac_signed(b""),
        "another key": token(OTHER_RSA),
        "another key under no id": token(OTHER_RSA, header={"kid": "other"}),
        "elliptic curve in place of rsa": token(EC, "ES256"),
        "ed25519 in place of rsa": token(ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        "ecdsa of zeros": raw({"alg": "ES256", "kid": KID}, claims(), bytes(64)),
        "signature of 512 bits": raw({"alg": "RS256", "kid": KID}, claims(), b"x" * 64),
    }
    found |= {
        f"header {name}": token(header={name: value})
        for name, value in {
            "jku": "http://127.0.0.1:1/keys",
            "x5u": "http://127.0.0.1:1/cert",
            "jwk": {"kty": "oct", "k": "AAAA"},
            "x5c": ["AAAA"],
            "crit": ["exp"],
            "zip": "DEF",
            "cty": "JWT",
        }.items()
    }
    found["header b64"] = signed({"alg": "RS256", "typ": "JWT", "kid": KID, "b64": True}, claims())
    found |= {
        f"kid {value!r}": raw({"alg": "HS256", "typ": "JWT", "kid": value}, claims(), b"x" * 32)
        for value in ("../../dev/null", "' union select 'x", 5, "\0", "x" * 1000)
    }
    wrong: dict[str, list[Any]] = {
        "exp": [str(now + 600), now + 600.5, 1e308, -1, None, True, now - 1, 0],
        "nbf": [now + 600, str(now), now + 0.5],
        "aud": [None, "other", ["other"], [AUDIENCE, 5], {AUDIENCE: 1}, [], AUDIENCE + " ", 5],
        "iss": [None, ISSUER + "/", "https://evil.example", [ISSUER], 5],
    }
    for claim, values in wrong.items():
        found |= {f"{claim} {number}": token_with(**{claim: value}) for number, value in enumerate(values)}
    found |= {f"account {value!r}": token(sub=value) for value in ("nobody", "' or 1=1--", "")}
    found |= {f"account {value!r}": token_with(sub=value) for value in (None, 5, ["team"])}
    found |= {
        "body changed": f"{head}.{part(claims(sub='another'))}.{signature}",
        "signature cut by a letter": good[:-1],
        "signature of another": f"{head}.{body}.{token(sub='another').split('.')[2]}",
        "the first letters of a good one": good[:200] + good[200:][::-1],
        "no signature": f"{head}.{body}.",
        "no signature, two parts": f"{head}.{body}",
        "encrypted, in five parts": f"{head}.{body}.{body}.{body}.{signature}",
        "a token in a token": token(header={"cty": "JWT"}, token=good),
        "200 levels deep": token(deep=deep),
        "17 levels deep": token(deep=[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]),
        "eight megabytes": f"{head}.{'A' * 8_000_000}.{signature}",
        "padded": f"{head}==.{body}==.{signature}==",
        "standard base64": f"{head}.{body}.{'+/' * 128}",
        "header that is a list": raw(["RS256"], claims(), b"x" * 256),
        "header that is not json": raw(b"{alg:RS256}", claims(), b"x" * 256),
        "of another type": token(header={"typ": "secevent+jwt"}),
    }
    return found


def token_with(**members: Any) -> str:
    """Return a token that is signed as it should be, whatever its claims are."""
    return signed({"alg": "RS256", "typ": "JWT", "kid": KID}, claims(**members))


def signed(header: Any, payload: Any, key: rsa.RSAPrivateKey = RSA) -> str:
    """Return a token that is signed as it should be, whatever is in it."""
    signing = f"{part(header)}.{part(payload)}"
    return f"{signing}.{part(key.sign(signing.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
