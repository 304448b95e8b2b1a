"""How a key looks, and what stands for it."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

PREFIX: Final = "sk-embedrock-"
FORM: Final = re.compile(rb"sk-embedrock-[A-Za-z0-9_-]{43}")


def make() -> str:
    """Return a new key."""
    return PREFIX + secrets.token_urlsafe(32)


def shown(token: str) -> str:
    """Return what may be shown of a key: enough to tell it from others, not to guess it."""
    return f"{PREFIX}…{token[-4:]}"


def mark(secret: bytes) -> bytes:
    """Return what the secret itself is known by in the database."""
    return digest(secret, b"the secret of the keys")


def digest(secret: bytes, token: bytes) -> bytes:
    """Return what stands for a key in the database."""
    return hmac.digest(secret, token, "sha256")
