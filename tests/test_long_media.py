"""Media of more than a megabyte, which stay in the body they came in, are embedded as short ones are."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


def picture() -> str:
    out = io.BytesIO()
    Image.effect_noise((900, 700), 80).convert("RGB").save(out, "png")
    assert out.tell() > 1_000_000
    return f"data:image/png;base64,{b64encode(out.getvalue()).decode()}"


def film() -> str:
    data = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(256)) * 5000
    return f"data:video/mp4;base64,{b64encode(data).decode()}"


@pytest.mark.parametrize(
    "model",
    [
        "amazon.titan-embed-image-v1",
        "cohere.embed-english-v3",
        "cohere.embed-v4:0",
        "twelvelabs.marengo-embed-3-0-v1:0",
        NOVA,
    ],
)
def test_long_picture_has_the_vector_of_the_picture(
    gateway: Gateway, emulator: Emulator, expected: Expected, model: str
) -> None:
    uri = picture()

    alone = gateway.embed({"model": model, "input": uri})
    listed = gateway.embed({"model": model, "input": [uri]})

    assert alone.vectors() == listed.vectors() == expected(model, [uri])
    assert len(emulator.journal()) == 2


def test_long_film_has_the_vector_of_the_film(gateway: Gateway, expected: Expected) -> None:
    uri = film()

    assert gateway.embed({"model": NOVA, "input": [uri]}).vectors() == expected(NOVA, [uri])


def test_long_media_of_one_list_keep_their_places(gateway: Gateway, expected: Expected) -> None:
    items = ["a", picture(), "b", film(), picture()]

    assert gateway.embed({"model": NOVA, "input": items}).vectors() == expected(NOVA, items)
