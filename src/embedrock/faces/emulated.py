"""An emulator beside a command, for as long as it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from embedrock.settings import SettingsError

_BUCKET = "embedrock-emulator"  # the one that the emulator always has, in every region


def require() -> None:
    """Raise SettingsError when the emulator's packages are not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("orjson", "PIL")):
        raise SettingsError("the emulator needs more packages: pip install 'embedrock[emulator]'")


@contextmanager
def running(wanted: bool) -> Iterator[str | None]:
    """Run an emulator as a child for as long as the context lasts, and point the environment at it."""
    if not wanted:
        yield None
        return
    require()
    port = os.environ.get("EMBEDROCK_EMULATOR_PORT", "0")
    # The child stops when its standard input closes: also when this process is killed.
    command = [sys.executable, "-m", "bedrock_emulator", "--port", port, "--exit-with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        assert child.stdin is not None and child.stdout is not None  # noqa: S101  # both are pipes
        try:
            first = child.stdout.readline()
            url = first.rpartition(" ")[2].strip()
            if not url.startswith("http"):
                raise SettingsError("the emulator did not start")
            os.environ["EMBEDROCK_EMULATED"] = "true"
            os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = url
            os.environ["AWS_ENDPOINT_URL_S3"] = url
            os.environ.setdefault("AWS_S3_REGIONAL_BUCKETS", json.dumps(dict.fromkeys(_regions(), _BUCKET)))
            yield url
        finally:
            child.stdin.close()
            child.terminate()


def _regions() -> list[str]:
    """Return the regions that the environment names, or the one that is used when it names none."""
    several = [name.strip() for name in os.environ.get("AWS_BEDROCK_REGIONS", "").split(",") if name.strip()]
    names = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REGION_NAME")
    return several or [next(filter(None, map(os.environ.get, names)), "us-east-1")]
