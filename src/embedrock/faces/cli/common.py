"""What the commands share: their options, their settings, and how wrong usage is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from embedrock import settings
from embedrock.settings import Settings

# Typer brings its own click; the bases of its errors have no public names.
UsageError: Any = typer.BadParameter.__mro__[1]
ClickException: Any = typer.BadParameter.__mro__[2]

Emulated = Annotated[
    bool, typer.Option("--emulator", help="Use a local emulator instead of AWS; needs no credentials.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings. [env EMBEDROCK_CONFIG]")]


def find_settings(config: Path | None) -> Settings:
    """Return the settings in force, with the file `config` where one is given."""
    if config is not None:
        os.environ["EMBEDROCK_CONFIG"] = str(config)
    return settings.load(os.environ)


def help_without_command(context: typer.Context) -> None:
    """Print the help of a group of commands that was called without one, and end as wrong usage does."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)
