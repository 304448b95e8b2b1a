"""Who asks, and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from embedrock.service.limits import UNLIMITED, Limits


@dataclass(frozen=True, slots=True)
class Caller:
    """One key, or everybody where there are no keys. `name` stands for the key and tells nothing about it.

    `s3_prefixes`: the places in S3 that the key may name, of those that all may; None: all of them.
    """

    name: str = ""
    limits: Limits = UNLIMITED
    s3_prefixes: tuple[str, ...] | None = None


ANYBODY: Final = Caller()
