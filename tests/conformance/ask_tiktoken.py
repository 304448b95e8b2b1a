"""Answers questions about tiktoken; runs in an environment that has it and LiteLLM, whose wheel holds the vocabularies.

    python ask_tiktoken.py CACHE_DIR

copies the vocabularies into CACHE_DIR, where tiktoken looks before it asks the network, says how it stands in one line
of JSON, and then answers each line on standard input with one on standard output:

    {"do": "tokens", "encoding": …, "stop": n}    the tokens of the ids 0 to n - 1 in hex, null where there is none
    {"do": "encode", "encoding": …, "text": …}    the ids of a text; names of special tokens are special in it
    {"do": "decode", "encoding": …, "many": …}    the text of each list of ids, what is cut replaced
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import tiktoken  # type: ignore[import-not-found]  # not installed where types are checked


def copy_vocabularies(cache: Path) -> None:
    """Copy LiteLLM's vocabularies: files named by the SHA-1 of their address, as tiktoken looks for them."""
    found = importlib.util.find_spec("litellm")
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    for path in folder.iterdir():
        if len(path.name) == 40:
            shutil.copy(path, cache)


def token_hex(encoding: Any, token: int) -> str | None:
    try:
        return str(encoding.decode_single_token_bytes(token).hex())
    except KeyError:
        return None


def answer(ask: dict[str, Any]) -> Any:
    encoding = tiktoken.get_encoding(ask["encoding"])
    if ask["do"] == "tokens":
        return [token_hex(encoding, token) for token in range(ask["stop"])]
    if ask["do"] == "encode":
        return encoding.encode(ask["text"], allowed_special="all")
    return [encoding.decode(ids, errors="replace") for ids in ask["many"]]


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    cache = Path(sys.argv[1])
    copy_vocabularies(cache)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
    say({"tiktoken": tiktoken.__version__})
    for line in sys.stdin:
        say(answer(json.loads(line)))


if __name__ == "__main__":
    main()
