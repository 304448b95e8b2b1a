"""MCP over standard input and output: one agent, which starts the process and ends it by closing its input."""

from __future__ import annotations

from mcp.server.stdio import stdio_server

from embedrock.faces.mcp.server import create_server
from embedrock.faces.mcp.tools import Tools
from embedrock.settings import Settings
from embedrock.wiring import open_gateway


async def serve(settings: Settings) -> None:
    """Serve until standard input ends. Nothing but the protocol goes to standard output."""
    async with open_gateway(settings) as gateway, stdio_server() as (read, write):
        server = create_server(Tools(settings, gateway))
        await server.run(read, write, server.create_initialization_options())
