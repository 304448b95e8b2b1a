"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-emulator.md"
EXAMPLES = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
CALL = """
import json
import boto3
import pytest

TITAN = "amazon.titan-embed-text-v2:0"

def embed(text="hello"):
    client = boto3.client("bedrock-runtime")
    answer = client.invoke_model(modelId=TITAN, body=json.dumps({"inputText": text}))
    client.close()
    return json.loads(answer["body"].read())
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A place for a run of pytest, on a machine whose settings point at AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-of-mine")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "mine")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    return pytester


def until_closed(port: int) -> None:
    """Connect and wait until the other side closes. Raises ConnectionRefusedError when no one listens."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        connection.recv(1)


def passed(run: pytest.Pytester, source: str, count: int, *options: str) -> None:
    run.makepyfile(CALL + source)
    result = run.runpytest_subprocess("-q", "-p", "no:cacheprovider", *options)

    result.assert_outcomes(passed=count)


def test_boto3_needs_nothing_but_the_fixture(run: pytest.Pytester) -> None:
    passed(
        run,
        """
def test_embeds(bedrock_emulator):
    from bedrock_emulator import expected_vectors

    assert [embed()["embedding"]] == expected_vectors(TITAN, {"inputText": "hello"})
    (row,) = bedrock_emulator.journal()
    assert (row["op"], row["model"], row["region"]) == ("InvokeModel", TITAN, "us-east-1")
    assert bedrock_emulator.url.startswith("http://127.0.0.1:")
    boto3.client("bedrock").list_foundation_models()
    assert len(bedrock_emulator.journal()) == 2
""",
        1,
    )


def test_nothing_is_left_for_the_next_test(run: pytest.Pytester) -> None:
    passed(
        run,
        """
@pytest.mark.parametrize("turn", [1, 2])
def test_turn(bedrock_emulator, turn):
    assert (bedrock_emulator.journal(), bedrock_emulator.faults()) == ([], [])
    embed()
    bedrock_emulator.fault("server_error", status=503, match={"model": TITAN})
    bedrock_emulator.guardrail(id="gr1")
    bedrock_emulator._call("POST", "credentials", {"access_key": "a", "secret_key": "b"})

def test_without_the_fixture_the_emulator_is_clear_too(bedrock_emulator_session):
    assert (bedrock_emulator_session.journal(), bedrock_emulator_session.faults()) == ([], [])
    assert bedrock_emulator_session._call("GET", "guardrails") == {"guardrails": []}
    assert bedrock_emulator_session._call("GET", "credentials") == {"credentials": None}
""",
        3,
    )


def test_the_environment_is_restored(run: pytest.Pytester) -> None:
    passed(
        run,
        """
import os

BEFORE = dict(os.environ)

def test_points_at_the_emulator(bedrock_emulator, monkeypatch):
    assert bedrock_emulator.environ.items() <= os.environ.items()
    assert os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == bedrock_emulator.url
    assert not {"AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_SESSION_TOKEN"} & os.environ.keys()
    monkeypatch.undo()
    assert os.environ["AWS_ENDPOINT_URL_BEDROCK"] == bedrock_emulator.url
    assert os.environ["AWS_ENDPOINT_URL_S3"] == bedrock_emulator.url
    assert os.environ["AWS_S3_REGIONAL_BUCKETS"] == '{"us-east-1": "embedrock-emulator"}'

def test_points_where_it_did(bedrock_emulator_session):
    here, there = dict(os.environ), dict(BEFORE)
    for environ in (here, there):
        environ.pop("PYTEST_CURRENT_TEST", None)
    assert here == there
    assert here["AWS_PROFILE"] == "mine"
""",
        2,
    )


def test_one_process_serves_the_run_and_ends_with_it(run: pytest.Pytester) -> None:
    urls = run.path / "urls"
    passed(
        run,
        f"""
@pytest.mark.parametrize("turn", [1, 2])
def test_turn(bedrock_emulator, turn):
    with open({str(urls)!r}, "a") as file:
        file.write(bedrock_emulator.url + "\\n")
""",
        2,
    )

    first, second = urls.read_text().split()
    assert first == second
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(first.rpartition(":")[2])), timeout=10)


def test_the_process_ends_when_the_run_is_killed(run: pytest.Pytester) -> None:
    urls = run.path / "urls"
    run.makepyfile(
        CALL
        + f"""
import os, signal

def test_dies(bedrock_emulator):
    with open({str(urls)!r}, "a") as file:
        file.write(bedrock_emulator.url + "\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    result = run.runpytest_subprocess("-q", "-p", "no:cacheprovider")

    assert result.ret == -9
    with pytest.raises(ConnectionRefusedError):
        for _ in range(1000):
            until_closed(int(urls.read_text().strip().rpartition(":")[2]))


def test_faults_are_counted_and_bad_ones_refused(run: pytest.Pytester) -> None:
    passed(
        run,
        """
def test_fault(bedrock_emulator):
    entry = bedrock_emulator.fault("not_found", match={"model": TITAN})
    with pytest.raises(Exception, match="ResourceNotFoundException"):
        embed()
    assert bedrock_emulator.faults() == [entry | {"fired": 1}]
    with pytest.raises(ValueError, match="fault: must be one of"):
        bedrock_emulator.fault("earthquake")
    with pytest.raises(ValueError, match="id: must be"):
        bedrock_emulator.guardrail()
    bedrock_emulator.clear()
    assert bedrock_emulator.journal() == []
""",
        1,
    )


def test_a_run_that_does_not_ask_starts_no_process(run: pytest.Pytester) -> None:
    run.makepyfile("def test_nothing(): pass")

    result = run.runpytest_subprocess("--setup-show", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*bedrock_emulator*")


def test_the_fixtures_are_listed_with_their_documentation(run: pytest.Pytester) -> None:
    result = run.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")

    result.stdout.fnmatch_lines(["bedrock_emulator -- *", "*every AWS SDK while the test runs*"])


def test_the_examples_of_the_page_pass(run: pytest.Pytester) -> None:
    """In one run of pytest: starting one takes longer than all of them."""
    run.makepyfile(**{f"test_example_{number}": code for number, code in enumerate(EXAMPLES)})

    result = run.runpytest_subprocess("-q", "-p", "no:cacheprovider")

    assert result.parseoutcomes() == {"passed": "".join(EXAMPLES).count("\ndef test_")}
    assert len(EXAMPLES) >= 2
