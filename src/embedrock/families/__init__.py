"""The families: models that share one request body and one answer.

A family is a module with two pure functions. It does no I/O, knows no settings and no HTTP. Nothing is discovered and
nothing registers itself: the table below is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from embedrock.catalog import ModelSpec
from embedrock.families import cohere_v3, titan_text_v2
from embedrock.families.answer import Answer


class Family(Protocol):
    """What a family's module offers."""

    def build_request(self, spec: ModelSpec, texts: Sequence[str], dimensions: int | None) -> bytes:
        """Return the InvokeModel body for `texts`, at most `spec.max_inputs_per_call` of them.

        `dimensions` is None when the caller asked for none.
        """

    def parse_response(self, body: bytes | bytearray, headers: Mapping[bytes, bytes], count: int) -> Answer:
        """Return `count` vectors, in order, and the tokens AWS reports.

        The vectors are cut out, not looked at: who renders them checks them.
        Raises InvalidUpstream on any other answer.
        """


FAMILIES: Mapping[str, Family] = {
    "titan_text_v2": titan_text_v2,
    "cohere_v3": cohere_v3,
}
