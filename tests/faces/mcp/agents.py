"""Agents, as the tests play them: the official SDK's client, over HTTP in both generations of the protocol, and over
standard input and output.

This folder has no `__init__.py` on purpose: pytest would take it for the SDK, which has its name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import httpx2
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from tests.conftest import Gateway

TITAN = "amazon.titan-embed-text-v2:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
TOOLS = ["openai_embedding", "similarity", "search_texts", "list_embedding_models"]

#: `auto` speaks the newest version of the protocol, `legacy` the ones that begin with a handshake.
Mode: TypeAlias = Literal["auto", "legacy"]
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def over_http(
    gateway: Gateway, *, mode: Mode = "auto", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """Connect to `/mcp`."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(*options: str, **environ: str) -> AsyncIterator[Client]:
    """Start `embedrock mcp` and connect to it. The SDK gives it a bare environment, and what is given here."""
    command = StdioServerParameters(command=sys.executable, args=["-m", "embedrock", "mcp", *options], env=environ)
    async with Client(command) as client:
        yield client


async def ask(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Return what a tool answers, after checking that its text says the same."""
    result = await client.call_tool(name, arguments)
    text = only_text(result)
    assert not result.is_error, text
    answered: dict[str, Any] = result.structured_content
    assert json.loads(text) == answered
    return answered


async def refusal(client: Client, name: str, **arguments: Any) -> tuple[str | None, str | None]:
    """Return param and code of the error a tool answers, after checking that its text tells them too."""
    result = await client.call_tool(name, arguments)
    text = only_text(result)
    assert result.is_error, text
    error: dict[str, Any] = result.structured_content["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert text.startswith(error["message"])
    assert error["param"] is None or error["param"] in text
    assert error["code"] is None or error["code"] in text
    return error["param"], error["code"]


def only_text(result: types.CallToolResult) -> str:
    """Return the text of a result, after checking that it is all there is to show."""
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text
