"""The tools as a server of the protocol's official SDK.

The SDK frames messages and knows the protocol's versions. It does not look at arguments: `tools` does, and its errors
become results that are marked as errors, which an agent reads and can act on.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

import mcp_types as types
import msgspec
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from embedrock import __version__
from embedrock.errors import EmbedrockError, InternalError
from embedrock.faces.mcp.schemas import INSTRUCTIONS, TOOLS
from embedrock.faces.mcp.tools import Asked, Tools
from embedrock.telemetry import LOGGER
from embedrock.wire import openai

#: Where the HTTP request's scope holds what its headers asked for.
ASKED: Final = "embedrock.asked"

_log = logging.getLogger(LOGGER)
#: The same call may be made again at no harm, and changes nothing; it costs money.
_ANNOTATIONS: Final = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def create_server(tools: Tools) -> Server[Any]:
    """Return a server of `tools`, for any number of connections."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)  # it would log what callers sent
    listed = types.ListToolsResult(
        tools=[
            types.Tool(
                name=tool.name,
                title=tool.title,
                description=tool.description,
                input_schema=tool.input_schema,
                output_schema=tool.gives,
                annotations=_ANNOTATIONS,
            )
            for tool in TOOLS.values()
        ]
    )

    async def list_tools(ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:  # noqa: ARG001
        return listed

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"There is no such tool; there are {', '.join(TOOLS)}.")
        asked = ctx.request.scope[ASKED] if ctx.request is not None else Asked()
        return await _answer(tools, params.name, params.arguments or {}, asked)

    return Server(
        "embedrock",
        version=__version__,
        title="Embedrock",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: TOOLS[name].input_schema if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _answer(tools: Tools, name: str, arguments: dict[str, Any], asked: Asked) -> types.CallToolResult:
    try:
        return _result(await tools.call(name, arguments, asked))
    except EmbedrockError as exc:
        if exc.status >= 500:
            _log.warning("mcp %s %s: %s", name, exc.code, exc.explained())
        return _failure(exc)
    except Exception as exc:  # as in the HTTP application: an agent gets an error whatever happens
        # Only where and what kind: an exception's text may hold what a caller sent.
        where = "".join(traceback.format_tb(exc.__traceback__))
        _log.error("mcp %s unexpected %s\n%s", name, type(exc).__name__, where)
        return _failure(InternalError("Something went wrong in the gateway."))


def _result(members: dict[str, Any]) -> types.CallToolResult:
    """Return `members` as JSON, for programs, and as its text, for agents that are shown text only."""
    text = types.TextContent(type="text", text=msgspec.json.encode(members).decode())
    return types.CallToolResult(content=[text], structured_content=members)


def _failure(error: EmbedrockError) -> types.CallToolResult:
    facts = ", ".join(f"{name} {value}" for name, value in (("param", error.param), ("code", error.code)) if value)
    hint = f" Try again in {error.retry_after_s} s." if error.retry_after_s and not error.hopeless else ""
    text = types.TextContent(type="text", text=f"{error.message}{f' ({facts})' if facts else ''}{hint}")
    envelope = msgspec.json.decode(openai.encode_error(error))
    return types.CallToolResult(content=[text], structured_content=envelope, is_error=True)
