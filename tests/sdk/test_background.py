"""The thread behind the SDK: any thread, any event loop, forked children, cancellation, and an end without a word."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from embedrock import aembedding, embedding
from embedrock.faces.sdk import background

from .stand_ins import RunScript, Silent

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected

TITAN = "amazon.titan-embed-text-v2:0"

CALL = f"""
from embedrock import aembedding, embedding

def call(text):
    return embedding("{TITAN}", text, dimensions=256, aws_region_name="us-east-1").data[0].embedding
"""


def test_import_is_light(run_script: RunScript) -> None:
    """Nothing that takes long is imported before it is used."""
    printed = run_script(
        "import sys, json\n"
        "before = set(sys.modules)\n"
        "import embedrock\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
        "print(dir(embedrock) == sorted(embedrock.__all__))\n"
    ).splitlines()

    ours = {name for name in json.loads(printed[0]) if name.startswith("embedrock")}
    heavy = {name.partition(".")[0] for name in json.loads(printed[0])} & {
        "asyncio",
        "botocore",
        "msgspec",
        "numpy",
        "prometheus_client",
        "simdjson",
        "ssl",
        "typer",
        "uvicorn",
        "yaml",
    }
    assert ours == {"embedrock"}
    assert heavy == set()
    assert printed[1] == "True"


def test_every_public_name_is_there() -> None:
    import embedrock

    assert all(getattr(embedrock, name) is not None for name in embedrock.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        embedrock.nothing  # noqa: B018


def test_calls_of_any_thread_share_one_thread_and_one_connection_each(
    emulator: Emulator, expected: Expected, aws: dict[str, Any]
) -> None:
    texts = [f"text {number}" for number in range(64)]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda text: embedding(TITAN, text, dimensions=256, **aws), texts))

    assert [response.data[0].embedding for response in found] == expected(TITAN, texts, 256)
    assert [thread.name for thread in threading.enumerate()].count("embedrock") == 1
    assert max(row["concurrency"] for row in emulator.journal()) <= 16


def test_calls_of_any_event_loop_share_it_too(expected: Expected, aws: dict[str, Any]) -> None:
    async def call(text: str) -> object:
        return (await aembedding(TITAN, text, dimensions=256, **aws)).data[0].embedding

    found = [asyncio.run(call(text)) for text in ("a", "b", "c")]

    assert found == expected(TITAN, ["a", "b", "c"], 256)
    assert [thread.name for thread in threading.enumerate()].count("embedrock") == 1


async def test_blocking_call_works_inside_of_a_running_loop(expected: Expected, aws: dict[str, Any]) -> None:
    assert embedding(TITAN, "a", dimensions=256, **aws).data[0].embedding == expected(TITAN, ["a"], 256)[0]


async def test_cancelling_stops_the_work(silent: Silent, aws: dict[str, Any]) -> None:
    task = asyncio.ensure_future(aembedding(TITAN, "a", **aws | {"aws_bedrock_runtime_endpoint": silent.url}))
    assert await asyncio.to_thread(silent.asked.wait, 5)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(silent.hung_up.wait, 5), "the connection is closed"


async def test_time_limit_of_the_callers_own_stops_the_work(silent: Silent, aws: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await aembedding(TITAN, "a", **aws | {"aws_bedrock_runtime_endpoint": silent.url})

    assert await asyncio.to_thread(silent.hung_up.wait, 5)


def test_interrupted_call_stops_the_work(silent: Silent, aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C interrupts the wait of the main thread."""
    from concurrent.futures import Future

    def interrupted(_: Future[Any]) -> None:
        assert silent.asked.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedding(TITAN, "a", **aws | {"aws_bedrock_runtime_endpoint": silent.url})

    assert silent.hung_up.wait(5)


def test_process_ends_without_a_word(emulator: Emulator, silent: Silent, aws: dict[str, Any]) -> None:
    """Also with connections open, and while a call of another thread goes on."""
    code = f"""
import threading
from embedrock import embedding

def hopeless():
    try:
        embedding("{TITAN}", "a", **{aws | {"aws_bedrock_runtime_endpoint": silent.url}})
    except BaseException:  # the process ends
        pass

embedding("{TITAN}", "a", **{aws})
threading.Thread(target=hopeless, daemon=True).start()
input()
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        assert silent.asked.wait(20)
        printed = program.communicate("\n", timeout=20)

    assert (program.returncode, *printed) == (0, "", "")
    assert len(emulator.journal()) == 1


def test_program_that_only_imports_starts_nothing(run_script: RunScript) -> None:
    printed = run_script(f"import threading\n{CALL}\nprint(threading.active_count())")

    assert printed == "1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_forked_child_has_a_thread_of_its_own(run_script: RunScript, emulator: Emulator, expected: Expected) -> None:
    """Parent and child call at the same time, before and after, on connections that they do not share."""
    code = f"""
import multiprocessing, os
{CALL}

def child(pipe):
    for number in range(20):
        pipe.send(call(f"child {{number}}"))

before = call("before")
mine, its = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(its,))
process.start()
own = [call(f"parent {{number}}") for number in range(20)]
theirs = [mine.recv() for _ in range(20)]
process.join()
assert process.exitcode == 0
print([before, *own, *theirs, call("after")])
mine.close()
its.close()
"""
    printed = run_script(code, dev=False)

    texts = ["before", *(f"{who} {number}" for who in ("parent", "child") for number in range(20)), "after"]
    assert json.loads(printed) == expected(TITAN, texts, 256)
    assert len(emulator.journal()) == 42


async def test_failure_to_open_is_told_to_every_caller_and_tried_again(
    expected: Expected, aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    secure = aws | {"aws_bedrock_runtime_endpoint": "https://127.0.0.1:1"}

    found = await asyncio.gather(*(aembedding(TITAN, "a", **secure) for _ in range(5)), return_exceptions=True)

    assert {str(error) for error in found} == {"AWS_CA_BUNDLE does not name a readable file of certificates"}
    assert embedding(TITAN, "a", dimensions=256, **aws).data[0].embedding == expected(TITAN, ["a"], 256)[0]


def test_job_that_raises_raises_to_the_caller() -> None:
    async def job(_: object) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        background.run(job)
