"""Command line: `python -m bedrock_emulator`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from . import catalog, latency
from .app import Emulator
from .server import run
from .settings import BadSettingError
from .sigv4 import Keys


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the emulator until it is stopped. Returns 0, or 1 when the address cannot be had."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.access_key) != bool(options.secret_key) or (options.session_token and not options.access_key):
        parser.error("--access-key and --secret-key go together, --session-token only with them")
    keys = Keys(options.access_key, options.secret_key, options.session_token) if options.access_key else None
    app = Emulator(
        latency_s=options.latency_ms / 1000, latencies=options.latency, profiles=dict(options.profile), keys=keys
    )
    try:
        run(
            app,
            host=options.host,
            port=options.port,
            certfile=options.certfile,
            keyfile=options.keyfile,
            exit_with_parent=options.exit_with_parent,
        )
    except OSError as error:
        sys.stderr.write(
            f"bedrock-emulator cannot listen on {options.host}:{options.port}: {os.strerror(error.errno or 0)}\n"
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bedrock_emulator", description="A local Bedrock for embedding models.")
    environment = os.environ.get
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port",
        type=_port,
        default=environment("EMBEDROCK_EMULATOR_PORT", "4570"),
        help="port to listen on, 0 for any free one (EMBEDROCK_EMULATOR_PORT, 4570)",
    )
    parser.add_argument(
        "--latency-ms",
        type=_milliseconds,
        default=environment("EMBEDROCK_EMULATOR_LATENCY_MS", "0"),
        help="added to every model call (EMBEDROCK_EMULATOR_LATENCY_MS, 0)",
    )
    parser.add_argument(
        "--latency",
        action="append",
        default=[],
        type=_latency,
        metavar="JSON",
        help="a profile of latency, as posted to /_emulator/latency, instead of --latency-ms; may be repeated",
    )
    parser.add_argument("--certfile", help="serve TLS with this certificate (PEM)")
    parser.add_argument("--keyfile", help="its key, when not in the same file")
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        type=_profile,
        metavar="ARN=MODEL",
        help="let an opaque ARN, say of an application inference profile, stand for a model; may be repeated",
    )
    parser.add_argument("--access-key", metavar="ID", help="check signatures: only this access key is known")
    parser.add_argument(
        "--secret-key", metavar="SECRET", help="its secret; one for tests, since others can read it here"
    )
    parser.add_argument("--session-token", metavar="TOKEN", help="the session token that has to come with it")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return port


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 3_600_000:
        raise argparse.ArgumentTypeError("must be a number of milliseconds, 0 or more")
    return value


def _latency(text: str) -> latency.Latency:
    try:
        return latency.read(json.loads(text))
    except (ValueError, BadSettingError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _profile(text: str) -> tuple[str, str]:
    arn, _, model_id = text.rpartition("=")
    if not arn.startswith("arn:"):
        raise argparse.ArgumentTypeError("must be ARN=MODEL")
    if model_id not in catalog.BY_ID:
        raise argparse.ArgumentTypeError(f"{model_id} is no embedding model of Bedrock")
    return arn, model_id


if __name__ == "__main__":
    sys.exit(main())
