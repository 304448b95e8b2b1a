"""The families: models that share one request body and one answer.

A family is a module of pure functions and a table of parameters. It does no I/O, knows no settings and no HTTP.
Nothing is discovered and nothing registers itself: the table below is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from embedrock.catalog import ModelSpec
from embedrock.families import cohere, marengo, marengo_jobs, nova, nova_jobs, titan_image, titan_text
from embedrock.families.answer import Answer
from embedrock.families.jobs import Jobs
from embedrock.families.parameters import Table, Wanted
from embedrock.inputs import Item

BuildRequest = Callable[[ModelSpec, Sequence[Item], Wanted], bytes]
ParseResponse = Callable[[bytes | bytearray, Mapping[bytes, bytes], Sequence[Item], Wanted], Answer]
Check = Callable[[ModelSpec, Item, Wanted], None]


@dataclass(frozen=True, slots=True)
class Family:
    """What a family offers.

    `build_request` returns the InvokeModel body for the items of one call, which are checked already.
    `parse_response` returns their vectors, in order, and the tokens AWS reports. The vectors are cut out, not looked
    at: who renders them checks them. It raises InvalidUpstream on any other answer.
    `check` raises BadRequest, naming no input, for an item that the family's models cannot read although the
    catalogue has its modality; None: there is no such item.
    `jobs` is what its models offer by StartAsyncInvoke; None: nothing.
    """

    build_request: BuildRequest
    parse_response: ParseResponse
    table: Table
    check: Check | None = None
    jobs: Jobs | None = None


FAMILIES: Final[Mapping[str, Family]] = {
    "titan_text_v1": Family(titan_text.build_request, titan_text.parse_response, titan_text.V1),
    "titan_text_v2": Family(titan_text.build_request, titan_text.parse_response, titan_text.V2),
    "titan_image": Family(titan_image.build_request, titan_image.parse_response, titan_image.TABLE, titan_image.check),
    "nova": Family(nova.build_request, nova.parse_response, nova.TABLE, nova.check, nova_jobs.JOBS),
    "cohere_v3": Family(cohere.build_v3, cohere.parse_response, cohere.V3, cohere.check),
    "cohere_v4": Family(cohere.build_v4, cohere.parse_response, cohere.V4, cohere.check),
    "marengo_2_7": Family(
        marengo.build_2_7, marengo.parse_response, marengo.V2_7, marengo.check_2_7, marengo_jobs.JOBS_2_7
    ),
    "marengo_3_0": Family(
        marengo.build_3_0, marengo.parse_response, marengo.V3_0, marengo.check_3_0, marengo_jobs.JOBS_3_0
    ),
}
