"""Tools for agents, over the Model Context Protocol: at `/mcp` of the gateway, or over standard input and output.

The protocol's official SDK is an extra, and its import costs half a second and 30 MB: `server`, `http` and `stdio`
import it, and are themselves imported only where MCP is switched on.
"""

from importlib import metadata

from embedrock.settings import SettingsError

_SDK_VERSION = "2"  # what the modules here are written for


def require_sdk() -> None:
    """Raise SettingsError unless the SDK is installed. Imports nothing of it."""
    try:
        found = metadata.version("mcp")
    except metadata.PackageNotFoundError:
        found = "none"
    if found.partition(".")[0] != _SDK_VERSION:
        raise SettingsError(
            f"MCP needs the package mcp, version {_SDK_VERSION}, and there is {found}: pip install embedrock[mcp]"
        )
