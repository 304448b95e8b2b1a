"""Settings as they are written: text to value. Raises ValueError, whose message goes behind the setting's name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlsplit

_ALGORITHMS = {f"{kind}{bits}" for kind in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512)} | {"EdDSA"}
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_S3_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[!-~]*)?")


def text(value: str) -> str:
    """Return a text that is not empty."""
    if not value:
        raise ValueError("is empty")
    return value


def flag(value: str) -> bool:
    """Return a truth."""
    match value.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("must be true or false")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def seconds(value: str) -> float:
    """Return a time of at most an hour."""
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 < number <= 3600:
        raise ValueError("must be more than 0 and at most 3600 seconds")
    return number


def decimal(value: str) -> Decimal:
    """Return a decimal number."""
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise ValueError("must be a decimal number") from None
    if not (number.is_finite() and 0 < number <= 1_000_000):  # NaN cannot even be compared
        raise ValueError("must be more than 0 and at most 1,000,000")
    return number


def several(value: str) -> tuple[str, ...]:
    """Return what is separated by commas."""
    return tuple(part for part in (item.strip() for item in value.split(",")) if part)


def s3_prefixes(value: str) -> tuple[str, ...]:
    """Return places in S3."""
    prefixes = several(value)
    for prefix in prefixes:
        if not _S3_PREFIX.fullmatch(prefix):
            raise ValueError("must be places like s3://bucket or s3://bucket/folder")
    return prefixes


def hosts(value: str) -> tuple[str, ...]:
    """Return names of hosts."""
    hosts = several(value.lower())
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError("must be names of hosts, such as embeddings.example.com")
    return hosts


def database_url(value: str) -> str:
    """Return the URL of a database."""
    if not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ValueError("must be sqlite:///PATH or postgresql://…")
    return value


def redis_url(value: str) -> str:
    """Return the URL of a Redis."""
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be redis://…, rediss://… or unix://…")
    return value


def key_secret(value: str) -> str:
    """Return a secret that is long enough."""
    if len(value) < 32:
        raise ValueError("must have at least 32 letters, drawn at random")
    return value


def jwks_url(value: str) -> str:
    """Return a URL that nobody on the way can answer for."""
    parts = urlsplit(value) if is_url(value) else None
    if parts is None or (parts.scheme != "https" and not is_loopback(parts.hostname or "")):
        raise ValueError("must be an https:// URL")
    return value


def algorithms(value: str) -> tuple[str, ...]:
    """Return algorithms of signatures."""
    algorithms = several(value)
    if not algorithms or not set(algorithms) <= _ALGORITHMS:
        raise ValueError(f"must be some of {', '.join(sorted(_ALGORITHMS))}")
    if 0 < sum(algorithm.startswith("HS") for algorithm in algorithms) < len(algorithms):
        raise ValueError("must not mix algorithms of secrets (HS…) with those of public keys")
    return algorithms


def choice(*allowed: str) -> Callable[[str], str]:
    """Return a parser of one of some words."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}")
        return value

    return parse


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_url(url: str) -> bool:
    """Return whether a text is a URL of HTTP."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number for a port, or brackets without an address
        return False
