"""Which objects in S3 a request may name: the gateway's own credentials would read any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from embedrock.errors import S3AccessDenied
from embedrock.inputs import Fused, Inputs
from embedrock.media import S3Object


@dataclass(frozen=True, slots=True)
class S3Rules:
    """`prefixes`: `s3://bucket` or `s3://bucket/folder`, with all below it; None: whatever credentials can read."""

    prefixes: tuple[str, ...] | None = None

    def check(self, inputs: Inputs) -> None:
        """Raise S3AccessDenied naming the first input that lies outside."""
        if self.prefixes is None:
            return
        for index, item in enumerate(inputs.items):
            for part in item.parts if isinstance(item, Fused) else (item,):
                if isinstance(part, S3Object) and not self._allows(part.uri):
                    param = inputs.param(index)
                    raise S3AccessDenied(f"'{param}' is in no place in S3 that this gateway may read.", param=param)

    def check_uris(self, uris: Iterable[str]) -> None:
        """Raise S3AccessDenied when one of the URIs, in a body of Bedrock's own, lies outside."""
        if self.prefixes is not None and not all(map(self._allows, uris)):
            raise S3AccessDenied("The body names an object in no place in S3 that this gateway may read.")

    def _allows(self, uri: str) -> bool:
        # At a slash: s3://media must not open s3://media-of-others.
        return any(uri.startswith(prefix.rstrip("/") + "/") for prefix in self.prefixes or ())
