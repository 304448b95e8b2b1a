"""The command line. Exit codes: 0 success, 1 failure, 2 wrong usage. Errors are one line on standard error."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from embedrock import __version__, settings
from embedrock.errors import BadRequest, EmbedrockError, StoreUnavailable, UpstreamAuthFailed
from embedrock.faces import emulated
from embedrock.faces.cli.books import accounts_app, usage
from embedrock.faces.cli.common import (
    ClickException,
    ConfigFile,
    Emulated,
    UsageError,
    find_settings,
    help_without_command,
)
from embedrock.faces.cli.embed import embed
from embedrock.faces.cli.jobs import jobs_app
from embedrock.faces.cli.keys import keys_app
from embedrock.settings import Settings, SettingsError

app = typer.Typer(
    name="embedrock",
    help="Embeddings on AWS Bedrock, in OpenAI's API.\n\n"
    "Try it without an AWS account:  embedrock serve --emulator\n\n"
    "With AWS credentials and a region in the environment:  embedrock serve",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Look at the configuration.", rich_markup_mode=None)
app.add_typer(config_app, name="config")
app.add_typer(accounts_app, name="accounts")
app.add_typer(keys_app, name="keys")
app.add_typer(jobs_app, name="jobs")


def main() -> None:
    """Run the command line and exit."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.CRITICAL)  # its tracebacks hold what AWS said, ARNs and all
    try:
        code = app(standalone_mode=False)
    except ClickException as exc:
        command = exc.ctx.command_path if getattr(exc, "ctx", None) else "embedrock"
        wrong = exc.format_message().replace("Value error, ", "").rstrip(".?")
        _fail(f"{wrong}. Try '{command} --help'.", code=exc.exit_code)  # 2: wrong usage
    except typer.Abort:
        sys.exit(130)
    except UpstreamAuthFailed as exc:
        _fail(f"{exc.explained()} Try AWS_PROFILE, AWS_ACCESS_KEY_ID or AWS_BEARER_TOKEN_BEDROCK; or --emulator.")
    except StoreUnavailable as exc:
        _fail(f"{exc.explained()} {exc.__cause__ or ''}")  # the driver's words: why, and of which host and database
    except EmbedrockError as exc:
        _fail(exc.explained())
    except SettingsError as exc:
        _fail(str(exc))
    except OSError as exc:
        _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 1) -> None:
    print(f"embedrock: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Embeddings on AWS Bedrock, in OpenAI's API."""
    if version:
        print(f"embedrock {__version__}")
    else:
        help_without_command(context)


@config_app.callback(invoke_without_command=True)
def config_top(context: typer.Context) -> None:
    """Look at the configuration."""
    help_without_command(context)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [env EMBEDROCK_HOST, default 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. [env EMBEDROCK_PORT, default 4000]")
    ] = None,
    config: ConfigFile = None,
    emulator: Emulated = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
) -> None:
    """Run the gateway.

    Any OpenAI client works with base_url http://127.0.0.1:4000/v1. `embedrock config check` shows the settings:
    each is an environment variable, or a line of the file.
    """
    if host is not None:
        os.environ["EMBEDROCK_HOST"] = host
    if port is not None:
        os.environ["EMBEDROCK_PORT"] = str(port)
    from embedrock import entrance, wiring  # the server's imports cost a third of a second
    from embedrock.faces import mcp as mcp_face
    from embedrock.faces.http import server

    with emulated.running(emulator) as emulator_url:
        chosen = find_settings(config)
        wiring.check(chosen)
        asyncio.run(entrance.check_database(chosen))
        if chosen.mcp:
            mcp_face.require_sdk()
        for note in (*chosen.notes, *wiring.usable_entries(chosen)[1]):
            print(f"embedrock: {note}", file=sys.stderr)

        def listening(url: str) -> None:
            print(f"Embedrock {__version__} listens on {url}  (OpenAI base URL: {url}/v1)")
            print(f"Bedrock: {_upstream(chosen, emulator_url)}", flush=True)

        server.run(chosen, workers=workers, listening=listening)


@app.command()
def emulator(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port. [env EMBEDROCK_EMULATOR_PORT, default 4570]")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, help="Added to each call. [env EMBEDROCK_EMULATOR_LATENCY_MS]")
    ] = None,
) -> None:
    """Run the Bedrock emulator alone.

    For boto3, or any other Bedrock client: point AWS_ENDPOINT_URL at it, with any AWS keys.
    It is not AWS: its vectors come from the words of a text, not from a model.
    """
    options = ["--port", str(port)] if port is not None else []
    if latency_ms is not None:
        options += ["--latency-ms", str(latency_ms)]
    emulated.require()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bedrock_emulator", *options])  # noqa: S606


@app.command()
def mcp(config: ConfigFile = None, emulator: Emulated = False) -> None:
    """Serve MCP tools to an agent, over standard input and output.

    For the configuration of an agent: the command is embedrock, the argument mcp. The settings are those of `serve`;
    EMBEDROCK_MCP=true serves the same tools over HTTP.
    """
    from embedrock import wiring
    from embedrock.faces import mcp as mcp_face

    mcp_face.require_sdk()
    from embedrock.faces.mcp import stdio

    with emulated.running(emulator):
        chosen = find_settings(config)
        wiring.check(chosen)
        for note in (*chosen.notes, *wiring.usable_entries(chosen)[1]):
            print(f"embedrock: {note}", file=sys.stderr)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the thread that reads cannot be woken to end in order
        asyncio.run(stdio.serve(chosen))


app.command()(embed)
app.command()(usage)


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="As GET /v1/models answers.")] = False) -> None:
    """List the models, their sizes, limits and prices."""
    from embedrock.catalog import MODELS
    from embedrock.faces import show
    from embedrock.wire import openai

    if as_json:
        print(openai.encode_models(MODELS.items(), find_settings(None).max_inputs).decode())
    else:
        print(show.models_table(MODELS.values()))


@app.command()
def doctor(
    config: ConfigFile = None,
    emulator: Emulated = False,
    model: Annotated[list[str] | None, typer.Option(help="Check this model or alias too; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Call each model and region of the configuration once, and say what is wrong and what cures it.

    Without models in the configuration, three usual ones. A call embeds one word, and is billed by AWS as such.
    """
    from embedrock import wiring
    from embedrock.faces.doctor import examine

    with emulated.running(emulator):
        chosen = find_settings(config)
        for note in (*chosen.notes, *wiring.usable_entries(chosen)[1]):
            print(f"embedrock: {note}", file=sys.stderr)
        try:
            report = examine(chosen, model or ())
        except BadRequest as exc:
            raise UsageError(exc.message) from None  # a model nobody knows
    print(report.as_json() if as_json else report.as_text())
    raise typer.Exit(0 if report.ok else 1)


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Check environment and file, and print what is in force. Calls nobody."""
    from embedrock import wiring

    chosen = find_settings(config)
    for setting in settings.documented():
        value = getattr(chosen, setting.name)
        if value in ((), ""):
            value = "none"
        elif setting.metadata["secret"]:  # how many keys, and of nothing how long
            value = f"{len(value)} set" if isinstance(value, tuple) else "set"
        elif isinstance(value, tuple):
            value = ",".join(value)
        elif isinstance(value, bool):
            value = str(value).lower()
        print(f"EMBEDROCK_{setting.name.upper():<16} {value!s:<12} {setting.metadata['help']}")
    print(f"Bedrock   {_upstream(chosen, None)}")
    for alias, model in chosen.aliases.items():
        print(f"Alias     {alias} is {model.model}{_shown(model.params)}")
    for name, members in chosen.default_model_params.items():
        print(f"Defaults  {name}{_shown(members)}")
    print(f"Buckets   {', '.join(f'{region}: {name}' for region, name in chosen.buckets.items()) or 'none'}")
    if not chosen.quotas:
        print("Quotas    none told; they are learned from throttles")
    for name, (requests, tokens) in chosen.quotas.items():
        print(f"Quota     {name}: {requests or 'unknown'} requests, {tokens or 'unknown'} tokens a minute")
    print(f"ARNs      {len(chosen.arns)} with a model behind them")
    print(f"Regions   {', '.join(wiring.check(chosen).regions)}")
    entries, notes = wiring.usable_entries(chosen)
    for entry in entries:
        where = f" in {entry.region}" if entry.region else ""
        print(f"Model     {entry.name} is {entry.model}{where}{_shown(entry.params)}")
    for note in (*chosen.notes, *notes):
        print(f"Note      {note}")
    print("The configuration is good.")


def _shown(params: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in params.items())


def _upstream(chosen: Settings, emulator_url: str | None) -> str:
    if emulator_url:
        return f"the local emulator at {emulator_url} (not AWS: its vectors come from words, not from a model)"
    return chosen.runtime_url or "AWS"
