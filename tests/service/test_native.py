"""Bodies that are Bedrock's own: passed on as they are, and paced and tried again like all else."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from embedrock.catalog import Names
from embedrock.errors import InvalidUpstream, Retry, Unavailable, UpstreamThrottled
from embedrock.service.callers import Caller
from embedrock.service.health import Health
from embedrock.service.native import Native, NativeReply
from embedrock.service.pacer import Pacer, Quota
from embedrock.service.ways import Ways
from embedrock.telemetry import Metrics

from .stand_ins import TITAN, StandIn, in_turn
from .virtual_time import run

TARGET = Names(["us-east-1"]).find(TITAN)
BODY = b'{"inputText": "four",  "dimensions": 300}'
ANSWER = b'{ "embedding":[0.5 , 1e-3],"inputTextTokenCount":7}'


class Place:
    """A region, its pace, and what passes bodies on."""

    def __init__(self, upstream: StandIn, quota: Quota = Quota()) -> None:  # noqa: B008
        ways = Ways({"us-east-1": upstream})
        self.pacer = Pacer(quota, clock=time.monotonic)
        ways._shared["us-east-1", TITAN] = (self.pacer, Health(time.monotonic))
        self._native = Native(ways, Metrics(), timeout_s=60.0)
        self.upstream = upstream

    async def invoke(self, body: bytes = BODY, *, texts: tuple[str, ...] = ("four",), caller: str = "") -> NativeReply:
        return await self._native.invoke(TARGET, body, texts=texts, caller=Caller(caller))


def test_answer_is_what_bedrock_said_byte_for_byte() -> None:
    async def main() -> None:
        place = Place(in_turn([ANSWER]))
        reply = await place.invoke()
        assert (reply.body, reply.reported, reply.calls, reply.region) == (ANSWER, True, 1, "us-east-1")
        assert place.upstream.sent[0].body == json.loads(BODY)
        assert place.pacer.in_flight == 0

    run(main)


def test_failures_that_pass_are_tried_again() -> None:
    async def main() -> None:
        blip = Unavailable("blip", retry=Retry.TRANSIENT)
        reply = await Place(in_turn([blip, UpstreamThrottled("slow"), b"broken", ANSWER])).invoke()
        assert (reply.body, reply.calls) == (ANSWER, 4)
        with pytest.raises(InvalidUpstream):
            await Place(in_turn([b"broken"] * 3)).invoke()

    run(main)


def test_bodies_keep_the_pace_and_are_refused_where_they_could_not_end_in_time() -> None:
    async def main() -> None:
        place = Place(StandIn(lambda _: ANSWER), Quota(60))
        begun = time.monotonic()
        asking = [asyncio.create_task(place.invoke(caller="a")) for _ in range(70)]
        await asyncio.sleep(0)
        await place.invoke(caller="b")
        assert time.monotonic() - begun <= 3, "callers take turns"
        found = await asyncio.gather(*asking, return_exceptions=True)
        refused = [error for error in found if isinstance(error, UpstreamThrottled)]
        assert len(refused) == 70 - 58
        assert time.monotonic() - begun <= 62
        assert (place.pacer.in_flight, place.pacer.waiting) == (0, 0)

    run(main)


def test_tokens_that_bedrock_counts_correct_the_estimate() -> None:
    async def main() -> None:
        place = Place(StandIn(lambda _: ANSWER), Quota(None, 6000))
        await place.invoke(texts=("x" * 400,))
        assert place.pacer._tokens is not None
        assert place.pacer._tokens.level(time.monotonic()) == pytest.approx(9.5 - 7, abs=0.01)

    run(main)
