"""The command line. Exit codes: 0 success, 1 failure, 2 wrong usage. Errors are one line on standard error."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from embedrock import __version__, settings
from embedrock.errors import BadRequest, EmbedrockError, UpstreamAuthFailed
from embedrock.faces import emulated
from embedrock.settings import Settings, SettingsError

if TYPE_CHECKING:
    from embedrock.vectors import Render

# Typer brings its own click; the bases of its errors have no public names.
_UsageError: Any = typer.BadParameter.__mro__[1]
_ClickException: Any = typer.BadParameter.__mro__[2]

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

_USUAL_MODEL = "amazon.titan-embed-text-v2:0"

Emulated = Annotated[
    bool, typer.Option("--emulator", help="Use a local emulator instead of AWS; needs no credentials.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings. [env EMBEDROCK_CONFIG]")]


class Format(StrEnum):
    """How `embed` prints vectors."""

    json = "json"
    jsonl = "jsonl"
    npy = "npy"


def main() -> None:
    """Run the command line and exit."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.CRITICAL)  # its tracebacks hold what AWS said, ARNs and all
    try:
        code = app(standalone_mode=False)
    except _ClickException as exc:
        command = exc.ctx.command_path if getattr(exc, "ctx", None) else "embedrock"
        _fail(f"{exc.format_message().rstrip('.')}. Try '{command} --help'.", code=exc.exit_code)  # 2: wrong usage
    except typer.Abort:
        sys.exit(130)
    except UpstreamAuthFailed as exc:
        _fail(f"{exc.explained()} Try AWS_PROFILE, AWS_ACCESS_KEY_ID or AWS_BEARER_TOKEN_BEDROCK; or --emulator.")
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
        _help_without_command(context)


@config_app.callback(invoke_without_command=True)
def config_top(context: typer.Context) -> None:
    """Look at the configuration."""
    _help_without_command(context)


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


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
    from embedrock import wiring  # the server's imports cost a third of a second
    from embedrock.faces import mcp as mcp_face
    from embedrock.faces.http import server

    with emulated.running(emulator) as emulator_url:
        chosen = _settings(config)
        wiring.check(chosen)
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
        chosen = _settings(config)
        wiring.check(chosen)
        for note in (*chosen.notes, *wiring.usable_entries(chosen)[1]):
            print(f"embedrock: {note}", file=sys.stderr)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the thread that reads cannot be woken to end in order
        asyncio.run(stdio.serve(chosen))


@app.command()
def embed(
    text: Annotated[list[str] | None, typer.Argument(help="Texts, one vector each.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file of texts, one a line; - is standard input.")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"Model or alias; {_USUAL_MODEL} when there is none, and all with --plan.")
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help="Numbers a vector, where the model has a choice.")] = None,
    format: Annotated[  # noqa: A002  # what the option is called
        Format | None, typer.Option(help="json (default), jsonl (a line a text) or npy (float32).")
    ] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="Print how near the texts are instead.")] = False,
    plan: Annotated[
        Path | None, typer.Option(help="Embed nothing: print calls, tokens, cost and time of this file, by model.")
    ] = None,
    config: ConfigFile = None,
    emulator: Emulated = False,
) -> None:
    """Embed texts, without a server.

    embedrock embed "a red bicycle" "a blue bicycle" --similarity --emulator
    """
    if plan is not None:
        if text or file or similarity or emulator or format is not None:
            raise _UsageError("--plan takes a file, and nothing to embed or print beside it.")
        _print_plan(_lines(plan), None if model is None else [model], config)
        return
    texts = [*(text or []), *(_lines(file) if file else [])]
    if file and not texts:
        raise SettingsError(f"{file}: the file is empty")
    if not texts:
        raise _UsageError("No text: give some, or --file; --file - reads standard input.")
    if similarity and format is not None:
        raise _UsageError("--similarity prints a table and takes no --format.")
    if format is Format.npy and sys.stdout.isatty():
        raise _UsageError("npy is binary: send it to a file or a pipe.")
    from embedrock import vectors  # numpy and the rest cost a third of a second
    from embedrock.faces import show

    render: Render[Any] = vectors.as_float32 if similarity or format is Format.npy else vectors.as_json
    with emulated.running(emulator):
        chosen = _settings(config)
        rows, tokens = asyncio.run(_embed(chosen, texts, model or _USUAL_MODEL, dimensions, render))
    if similarity:
        print(show.similarity_table(texts, rows))
        if emulator:
            print("From the emulator: near means shared words and word parts. A model knows meanings.")
    elif format is Format.npy:
        show.write_npy(rows, sys.stdout.buffer)
    elif format is Format.jsonl:
        for index, row in enumerate(rows):
            print(f'{{"index":{index},"embedding":{show.json_text(row)}}}')
    else:
        print(f'{{"model":{msgspec.json.encode(model or _USUAL_MODEL).decode()},"tokens":{tokens},"embeddings":[')
        print(",\n".join(map(show.json_text, rows)) + "]}")


def _print_plan(texts: Sequence[str], models: Sequence[str] | None, config: Path | None) -> None:
    from embedrock import wiring
    from embedrock.faces import estimate, show

    if not texts:
        raise SettingsError("the file is empty")
    chosen = _settings(config)
    if not chosen.regions:
        chosen = dataclasses.replace(chosen, regions=("us-east-1",))  # nobody is called, and prices are of there
    rows = estimate.estimates(texts, wiring.check(chosen), chosen.quotas, models)
    print(f"{len(texts):,} texts, {len(set(texts)):,} different. Tokens are about a quarter of the characters.")
    print("The quota is yours (EMBEDROCK_QUOTAS), or what a new account was seen to have.\n")
    print(show.estimates_table(rows))


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="As GET /v1/models answers.")] = False) -> None:
    """List the models, their sizes, limits and prices."""
    from embedrock.catalog import MODELS
    from embedrock.faces import show
    from embedrock.wire import openai

    if as_json:
        print(openai.encode_models(MODELS.items(), _settings(None).max_inputs).decode())
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
        chosen = _settings(config)
        for note in (*chosen.notes, *wiring.usable_entries(chosen)[1]):
            print(f"embedrock: {note}", file=sys.stderr)
        try:
            report = examine(chosen, model or ())
        except BadRequest as exc:
            raise _UsageError(exc.message) from None  # a model nobody knows
    print(report.as_json() if as_json else report.as_text())
    raise typer.Exit(0 if report.ok else 1)


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Check environment and file, and print what is in force. Calls nobody."""
    from embedrock import wiring

    chosen = _settings(config)
    for setting in settings.documented():
        value = getattr(chosen, setting.name)
        if value == ():
            value = "none"
        if setting.metadata["secret"]:
            value = f"{len(value)} set" if value else "none"
        elif isinstance(value, bool):
            value = str(value).lower()
        print(f"EMBEDROCK_{setting.name.upper():<16} {value!s:<12} {setting.metadata['help']}")
    print(f"Bedrock   {_upstream(chosen, None)}")
    for alias, model in chosen.aliases.items():
        print(f"Alias     {alias} is {model.model}{_shown(model.params)}")
    for name, members in chosen.default_model_params.items():
        print(f"Defaults  {name}{_shown(members)}")
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


def _settings(config: Path | None) -> Settings:
    if config is not None:
        os.environ["EMBEDROCK_CONFIG"] = str(config)
    return settings.load(os.environ)


def _upstream(chosen: Settings, emulator_url: str | None) -> str:
    if emulator_url:
        return f"the local emulator at {emulator_url} (not AWS: its vectors come from words, not from a model)"
    return chosen.runtime_url or "AWS"


async def _embed(
    chosen: Settings, texts: Sequence[str], model: str, dimensions: int | None, render: Render[Any]
) -> tuple[list[Any], int]:
    from embedrock.wiring import open_gateway

    async with open_gateway(chosen) as gateway:
        size = chosen.max_inputs
        rows: list[Any] = []
        tokens = 0
        for start in range(0, len(texts), size):
            try:
                reply = await gateway.embedder.embed(
                    model, list(texts[start : start + size]), render=render, dimensions=dimensions
                )
            except BadRequest as exc:
                if start:  # the index it names counts from where this part begins
                    exc.message += f" (input[0] is text {start + 1} of {len(texts)})"
                raise
            rows += reply.vectors
            tokens += reply.tokens
    return rows, tokens


def _lines(file: Path) -> list[str]:
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: not a text in UTF-8") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    if "" in lines:
        raise SettingsError(f"{file}:{lines.index('') + 1}: the line is empty, and an empty text has no vector")
    return lines
