"""The application under a server that is not ours: plain ASGI, without extensions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from embedrock import settings
from embedrock.faces.http.app import App

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected

TITAN = "amazon.titan-embed-text-v2:0"


async def call(app: App, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one request, as ASGI's messages tell them."""
    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, end = sent
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"]


async def test_application_lives_and_answers_by_plain_asgi(emulator: Emulator, expected: Expected) -> None:
    environ = {"EMBEDROCK_EMULATED": "true", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url}
    app = App(settings.load(environ))
    life: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, life.get, told.put))
    await life.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"

    body = json.dumps({"model": TITAN, "input": ["a", "b"]}).encode()
    status, headers, answer = await call(app, "POST", "/v1/embeddings", body)
    lost = await call(app, "GET", "/nowhere", b"")
    await life.put({"type": "lifespan.shutdown"})
    ended = await told.get()
    await living

    assert (status, headers["content-length"]) == (200, str(len(answer)))
    assert [item["embedding"] for item in json.loads(answer)["data"]] == expected(TITAN, ["a", "b"])
    assert (lost[0], set(json.loads(lost[2])["error"])) == (404, {"message", "type", "param", "code"})
    assert ended["type"] == "lifespan.shutdown.complete"
