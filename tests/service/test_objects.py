"""Objects in S3 that inputs name: looked at, and fetched where the model cannot read them there."""

from __future__ import annotations

import gc
import time
from base64 import b64decode
from typing import Any

import pytest

from embedrock.catalog import Names
from embedrock.errors import BadRequest, EmbedrockError, Overloaded
from embedrock.inputs import Fused, Inputs, read_inputs
from embedrock.media import Media, S3Object
from embedrock.service.objects import Objects, names_objects

from .stand_ins import ENGLISH, MARENGO_3, NOVA, PIXEL, TITAN, TITAN_IMAGE, V4, Stored

PNG = b64decode(PIXEL)
PLACE = "s3://media"


async def resolved(
    model: str, value: object, store: Stored, said: object = None, most_bytes: int = 1000, within_s: float = 60.0
) -> Inputs:
    target = Names(["us-east-1"]).find(model)
    objects = Objects({target.place: store}, most_bytes)
    return await objects.resolve(target, read_inputs(value, 100), said, time.monotonic() + within_s)


async def refusal(model: str, value: object, store: Stored, **more: Any) -> tuple[int, str | None, str | None]:
    with pytest.raises(EmbedrockError) as caught:
        await resolved(model, value, store, **more)
    return caught.value.status, caught.value.param, caught.value.code


@pytest.mark.parametrize("model", [NOVA, MARENGO_3])
async def test_object_goes_to_the_model_as_it_is_where_the_model_reads_s3(model: str) -> None:
    store = Stored({f"{PLACE}/a.png": PNG}, owner="123456789012")

    found = await resolved(model, ["a", f"{PLACE}/a.png"], store)

    assert found.items == ["a", S3Object(f"{PLACE}/a.png", "image", "png", len(PNG), "123456789012")]
    assert store.gets == []


@pytest.mark.parametrize("model", [TITAN_IMAGE, ENGLISH, V4])
async def test_picture_is_fetched_where_the_model_does_not_read_s3(model: str) -> None:
    store = Stored({f"{PLACE}/a.png": PNG})

    found = await resolved(model, ["a", f"{PLACE}/a.png"], store)

    assert found.items == ["a", Media("image", "png", PIXEL, len(PNG), 1, 1)]
    assert store.gets == [f"{PLACE}/a.png"]


async def test_parts_are_fetched_too() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": f"{PLACE}/a.png"}}]

    (found,) = (await resolved(V4, [parts], Stored({f"{PLACE}/a.png": PNG}))).items

    assert found == Fused(("a", Media("image", "png", PIXEL, len(PNG), 1, 1)))


async def test_text_is_fetched_where_the_model_does_not_read_it_from_s3() -> None:
    store = Stored({f"{PLACE}/a.txt": "\ufeffgrün".encode()})

    assert (await resolved(TITAN, f"{PLACE}/a.txt", store)).items == ["grün"]


@pytest.mark.parametrize(("mime", "said"), [("image/png", None), ("", "image"), ("binary/octet-stream", "image")])
async def test_object_without_an_extension_is_what_its_content_type_or_the_caller_says(mime: str, said: object) -> None:
    store = Stored({f"{PLACE}/page": PNG}, mime=mime)

    (found,) = (await resolved(ENGLISH, f"{PLACE}/page", store, said)).items

    assert isinstance(found, Media) and found.format == "png"


async def test_object_that_nothing_tells_what_it_is_stays_for_the_checks_to_refuse() -> None:
    (found,) = (await resolved(ENGLISH, f"{PLACE}/page", Stored({f"{PLACE}/page": PNG}))).items

    assert found == S3Object(f"{PLACE}/page", None, None, len(PNG))


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        ("none.png", None, (404, "input[1]", "s3_object_not_found")),
        ("empty.png", b"", (400, "input[1]", "invalid_media")),
        ("a.jpg", PNG, (400, "input[1]", "media_type_mismatch")),
        ("a.png", b"no picture", (400, "input[1]", "media_type_mismatch")),
        ("large.png", bytes(5_000_001), (413, "input[1]", "media_too_large")),
        ("a.txt", b"\xff\xfe", (400, "input[1]", "invalid_media")),
        ("large.txt", bytes(1_000_001), (413, "input[1]", "media_too_large")),
        ("a.mp4", b"film", (400, "input[1]", "unsupported_media")),
    ],
)
async def test_object_that_cannot_be_embedded_is_refused_by_its_index(
    key: str, data: bytes | None, expected: tuple[int, str, str]
) -> None:
    store = Stored({} if data is None else {f"{PLACE}/{key}": data})

    assert await refusal(ENGLISH, ["a", f"{PLACE}/{key}"], store, most_bytes=10**9) == expected


async def test_request_fetches_no_more_than_it_may() -> None:
    store = Stored({f"{PLACE}/{name}.png": PNG for name in "abc"})
    names = [f"{PLACE}/{name}.png" for name in "abc"]

    assert (await refusal(ENGLISH, names, store, most_bytes=2 * len(PNG)))[0] == 413
    assert len((await resolved(ENGLISH, names, store, most_bytes=3 * len(PNG))).items) == 3


async def test_all_requests_hold_no_more_than_they_may() -> None:
    """Until the last of them is done with, and not a byte longer."""
    large = PNG + bytes(4_900_000)  # what comes behind the end of a picture is nothing to who measures it
    target = Names(["us-east-1"]).find(ENGLISH)
    objects = Objects({target.place: Stored({f"{PLACE}/a.png": large, f"{PLACE}/b.png": b"no picture"})}, 10**9)

    async def resolve(*names: str) -> Inputs:
        uris = [f"{PLACE}/{name}" for name in names]
        return await objects.resolve(target, read_inputs(uris, 100), None, time.monotonic() + 60)

    kept = [await resolve(*["a.png"] * 13), await resolve(*["a.png"] * 13)]
    assert objects.held == 26 * len(large)
    with pytest.raises(Overloaded):
        await resolve("a.png")
    kept.pop()
    assert objects.held == 13 * len(large)
    with pytest.raises(BadRequest):
        await resolve("b.png")
    assert len((await resolve("a.png")).items) == 1
    kept.clear()
    gc.collect()
    assert objects.held == 0


async def test_s3_that_does_not_answer_ends_with_the_request() -> None:
    assert (await refusal(NOVA, f"{PLACE}/a.png", Stored({}), within_s=-1.0))[0] == 504


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", f"{PLACE}/a.png"], True),
        ([[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": f"{PLACE}/a.png"}]], True),
        (["a", f"data:image/png;base64,{PIXEL}"], False),
    ],
)
def test_only_inputs_in_s3_are_looked_at(value: object, expected: bool) -> None:
    assert names_objects(read_inputs(value, 10)) is expected
