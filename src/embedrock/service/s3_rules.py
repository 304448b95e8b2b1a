"""Which objects in S3 a request may name: the gateway's own credentials would read any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embedrock.errors import BadRequest, S3AccessDenied
from embedrock.inputs import Fused, Inputs
from embedrock.media import S3Object


@dataclass(frozen=True, slots=True)
class S3Rules:
    """`prefixes`: `s3://bucket` or `s3://bucket/folder`, with all below it; None: whatever credentials can read.

    `own`: places that are the gateway's, which nobody may name. `of_key`, in the checks: the places of one key, which
    may name what lies in both.
    """

    prefixes: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()

    def check(self, inputs: Inputs, of_key: tuple[str, ...] | None = None) -> None:
        """Raise S3AccessDenied naming the first input that lies outside."""
        if self.prefixes is None and of_key is None and not self.own:
            return
        for index, part in _objects(inputs):
            if not self._allows(part.uri, of_key):
                param = inputs.param(index)
                who = _who(part.uri, of_key)
                raise S3AccessDenied(f"'{param}' is in no place in S3 that {who} may read.", param=param)

    def check_uris(self, uris: Iterable[str], of_key: tuple[str, ...] | None = None) -> None:
        """Raise S3AccessDenied when one of the URIs, in a body of Bedrock's own, lies outside."""
        for uri in uris:
            if not self._allows(uri, of_key):
                raise S3AccessDenied(f"The body names an object in no place in S3 that {_who(uri, of_key)} may read.")

    def check_folder(self, uri: str, inputs: Inputs, of_key: tuple[str, ...] | None = None) -> None:
        """Raise S3AccessDenied when the folder for results lies outside, BadRequest when it is none of its own."""
        if "/" not in uri.removeprefix("s3://") or any(uri == part.uri for _, part in _objects(inputs)):
            raise BadRequest(
                "'output_s3_uri' must be a folder: neither a whole bucket nor one of the inputs.",
                param="output_s3_uri",
                code="invalid_output_location",
            )
        if not self._allows(f"{uri}/", of_key):
            message = f"'output_s3_uri' is in no place in S3 that {_who(f'{uri}/', of_key)} may write to."
            raise S3AccessDenied(message, param="output_s3_uri")

    def _allows(self, uri: str, of_key: tuple[str, ...] | None) -> bool:
        return _lies_in(uri, self.prefixes) and _lies_in(uri, of_key) and not _lies_in(uri, self.own)


def _objects(inputs: Inputs) -> Iterator[tuple[int, S3Object]]:
    """Yield the objects in S3 that inputs name, with the index of the input."""
    for index, item in enumerate(inputs.items):
        for part in item.parts if isinstance(item, Fused) else (item,):
            if isinstance(part, S3Object):
                yield index, part


def _who(uri: str, of_key: tuple[str, ...] | None) -> str:
    """Return who may not have what lies outside."""
    if _lies_in(uri, of_key):
        return "this gateway"
    return "this key" if of_key else "this key (it has none: operators give a key its own with --s3-prefix)"


def _lies_in(uri: str, prefixes: tuple[str, ...] | None) -> bool:
    # At a slash: s3://media must not open s3://media-of-others.
    return prefixes is None or any(uri.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)
