"""The command line: what it prints, its exit status, and errors of one line."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from embedrock import __version__

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, RunEmbedrock

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
REGION = {"AWS_REGION": "us-east-1"}


@pytest.fixture
def aws(emulator: Emulator) -> dict[str, str]:
    """An environment in which Bedrock is the shared emulator."""
    return REGION | {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
    }


def check_failed(ended: subprocess.CompletedProcess[bytes], status: int, *words: str) -> str:
    """Check for an error of exactly one line on standard error, and nothing on standard output."""
    message = ended.stderr.decode()
    assert (ended.returncode, ended.stdout) == (status, b""), message
    assert message.startswith("embedrock: ")
    assert message.endswith("\n")
    assert message.count("\n") == 1, message
    assert all(word in message for word in words), message
    return message


def printed(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a command that succeeded printed; it said nothing on standard error."""
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.decode()


# Help


@pytest.mark.parametrize("command", ["", "serve", "emulator", "mcp", "embed", "models", "config", "config check"])
def test_every_command_has_help(run_embedrock: RunEmbedrock, command: str) -> None:
    text = printed(run_embedrock(*command.split(), "--help"))

    assert text.startswith(f"Usage: embedrock {command}".rstrip())
    assert "--help" in text


def test_help_names_every_command(run_embedrock: RunEmbedrock) -> None:
    text = printed(run_embedrock("--help"))

    commands = {"serve", "emulator", "mcp", "embed", "models", "config", "doctor", "accounts", "keys", "usage", "jobs"}
    assert set(re.findall(r"^  (\w+)  ", text, re.MULTILINE)) == commands
    assert "embedrock serve --emulator" in text


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("serve", ["--host", "--port", "--config", "--emulator", "--workers"]),
        ("emulator", ["--port", "--latency-ms"]),
        ("embed", ["--file", "--model", "--dimensions", "--format", "--similarity"]),
        ("models", ["--json"]),
    ],
)
def test_help_names_every_option(run_embedrock: RunEmbedrock, command: str, options: list[str]) -> None:
    text = printed(run_embedrock(command, "--help"))

    assert [option for option in options if option not in text] == []


def test_version_is_the_packages(run_embedrock: RunEmbedrock) -> None:
    assert printed(run_embedrock("--version")) == f"embedrock {__version__}\n"


@pytest.mark.parametrize("command", ["", "config"])
def test_no_command_shows_the_help_as_help_does(run_embedrock: RunEmbedrock, command: str) -> None:
    ended = run_embedrock(*command.split())

    shown = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 2
    assert shown.strip() == printed(run_embedrock(*command.split(), "--help")).strip()


# embed


def test_embed_prints_one_json_document(run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected) -> None:
    texts = ["a red bicycle", "日本語 \N{BICYCLE}", " "]

    document = json.loads(printed(run_embedrock("embed", *texts, **aws)))

    assert document["model"] == TITAN
    assert document["embeddings"] == expected(TITAN, texts)


def test_embed_reports_the_journals_tokens(
    run_embedrock: RunEmbedrock, aws: dict[str, str], emulator: Emulator
) -> None:
    document = json.loads(printed(run_embedrock("embed", "a red bicycle", "taxes", "--model", ENGLISH, **aws)))

    assert document["tokens"] == sum(row["tokens"] for row in emulator.journal())


def test_embed_prints_a_line_a_text(run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected) -> None:
    texts = [f"text {number}" for number in range(100)]

    lines = printed(run_embedrock("embed", *texts, "--format", "jsonl", "--model", ENGLISH, **aws)).splitlines()

    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [row["index"] for row in rows] == list(range(100))
    assert [row["embedding"] for row in rows] == expected(ENGLISH, texts)


def test_embed_writes_numpys_own_format(run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected) -> None:
    ended = run_embedrock("embed", "a red bicycle", "taxes", "--dimensions", "256", "--format", "npy", **aws)

    array = np.load(io.BytesIO(ended.stdout), allow_pickle=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (array.dtype, array.shape) == (np.float32, (2, 256))
    assert array.tobytes() == np.array(expected(TITAN, ["a red bicycle", "taxes"], 256)).astype("<f4").tobytes()


def test_embed_prints_how_near_texts_are(run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected) -> None:
    texts = ["a red bicycle", "a red bike", "quarterly earnings"]

    lines = printed(run_embedrock("embed", *texts, "--similarity", **aws)).splitlines()

    rows = np.array(expected(TITAN, texts))
    cosines = rows @ rows.T
    for index, line in enumerate(lines[1:]):
        assert texts[index] in line
        shown = [float(cell) for cell in line.partition(texts[index])[2].split()]
        assert shown == [round(float(cosines[index, other]), 2) for other in range(index + 1)]
    assert len(lines) == 4


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_embed_reads_a_text_a_line_from_a_file(
    run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(f"première{ending or chr(10)}second line{ending}".encode())

    document = json.loads(printed(run_embedrock("embed", "given", "--file", str(file), **aws)))

    assert document["embeddings"] == expected(TITAN, ["given", "première", "second line"])


def test_embed_reads_standard_input(run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected) -> None:
    ended = run_embedrock("embed", "--file", "-", stdin="one\nзwei\n".encode(), **aws)

    assert json.loads(printed(ended))["embeddings"] == expected(TITAN, ["one", "зwei"])


def test_embed_takes_only_line_ends_for_line_ends(
    run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected
) -> None:
    """A form feed or a Unicode separator is part of a text."""
    ended = run_embedrock("embed", "--file", "-", stdin="one\x0ctwo\u2028three\nfour\n".encode(), **aws)

    assert json.loads(printed(ended))["embeddings"] == expected(TITAN, ["one\x0ctwo\u2028three", "four"])


def test_embed_takes_more_texts_than_a_request(
    run_embedrock: RunEmbedrock, aws: dict[str, str], expected: Expected
) -> None:
    texts = [f"text {number}" for number in range(2100)]
    stdin = "\n".join(texts).encode()

    ended = run_embedrock("embed", "--file", "-", "--model", ENGLISH, "--format", "npy", stdin=stdin, **aws)

    array = np.load(io.BytesIO(ended.stdout), allow_pickle=False)
    assert array.tobytes() == np.array(expected(ENGLISH, texts)).astype("<f4").tobytes()


def test_embed_starts_an_emulator_of_its_own(run_embedrock: RunEmbedrock, expected: Expected) -> None:
    document = json.loads(printed(run_embedrock("embed", "a red bicycle", "--emulator")))

    assert document["embeddings"] == expected(TITAN, ["a red bicycle"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hello", "--model", "gpt-4o"], ["gpt-4o"]),
        (["hello", "--dimensions", "300"], ["300"]),
        (["hello", ""], ["input[1]"]),
        (["s3://bucket/key"], ["S3"]),
        (["a" * 50_001], ["50000"]),
        (["--file", "/nowhere/texts.txt"], ["/nowhere/texts.txt"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_embed_fails_in_one_line(
    run_embedrock: RunEmbedrock, aws: dict[str, str], arguments: list[str], words: list[str]
) -> None:
    check_failed(run_embedrock("embed", *arguments, **aws), 1, *words)


@pytest.mark.parametrize("name", ["nope.pdf", "not/there.jpg", "folder", "program.py"])
def test_embed_takes_no_name_of_a_file_for_a_text(
    run_embedrock: RunEmbedrock, emulator: Emulator, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "program.py").write_text("pass\n", encoding="utf-8")
    given = str(tmp_path / name) if (tmp_path / name).exists() else name

    check_failed(run_embedrock("embed", "hello", given, AWS_ENDPOINT_URL=emulator.url), 2, given, "--file")
    assert emulator.journal() == []


def test_embed_fails_in_one_line_when_bedrock_does(
    run_embedrock: RunEmbedrock, aws: dict[str, str], emulator: Emulator
) -> None:
    emulator.fault("server_error", status=500)

    check_failed(run_embedrock("embed", "hello", **aws), 1)


def test_embed_fails_in_one_line_without_credentials(run_embedrock: RunEmbedrock, emulator: Emulator) -> None:
    ended = run_embedrock("embed", "hello", **REGION, AWS_ENDPOINT_URL=emulator.url)

    check_failed(ended, 1, "credentials")


def test_embed_fails_in_one_line_without_a_region(run_embedrock: RunEmbedrock) -> None:
    check_failed(run_embedrock("embed", "hello"), 1, "AWS_REGION")


def test_embed_fails_in_one_line_on_a_file_that_is_no_text(
    run_embedrock: RunEmbedrock, aws: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(b"caf\xe9\n")

    check_failed(run_embedrock("embed", "--file", str(file), **aws), 1, "UTF-8")


# models


def test_models_prints_a_table(run_embedrock: RunEmbedrock) -> None:
    header, *rows = printed(run_embedrock("models")).splitlines()

    assert header.startswith("model")
    assert {row.split()[0] for row in rows} >= {TITAN, ENGLISH, "cohere.embed-multilingual-v3"}
    assert all("1024" in row for row in rows if row.startswith((TITAN, "cohere.embed-english", "cohere.embed-multi")))


def test_models_json_is_what_the_gateway_lists(run_embedrock: RunEmbedrock, gateway: Gateway) -> None:
    document = json.loads(printed(run_embedrock("models", "--json")))

    assert document == gateway.request("GET", "/v1/models").json()


# config check


def test_config_check_prints_what_is_in_force(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    """The environment wins over the file, and keys are not shown."""
    file = tmp_path / "embedrock.yaml"
    file.write_text(f"port: 4001\nlanes: 7\nmax_inputs: 100\naliases:\n  small: {TITAN}\n", encoding="utf-8")

    text = printed(
        run_embedrock(
            *("config", "check", "--config", str(file)),
            **REGION,
            EMBEDROCK_LANES="9",
            EMBEDROCK_API_KEY="canary-one,canary-two",
            EMBEDROCK_KEY_SECRET="canary" * 6,
            EMBEDROCK_QUOTAS=f'{{"{TITAN}": {{"requests_per_minute": 77}}}}',
            AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "media-of-ours"}',
        )
    )

    values = {fields[0]: fields[1] for line in text.splitlines() if (fields := line.split())}
    assert (values["EMBEDROCK_PORT"], values["EMBEDROCK_LANES"], values["EMBEDROCK_MAX_INPUTS"]) == ("4001", "9", "100")
    assert "canary" not in text
    secrets = {name: values[f"EMBEDROCK_{name}"] for name in ("API_KEY", "KEY_SECRET", "DATABASE_URL", "JWT_KEY")}
    assert secrets == {"API_KEY": "2", "KEY_SECRET": "set", "DATABASE_URL": "none", "JWT_KEY": "none"}
    assert values["EMBEDROCK_JWT_ALGORITHMS"] == "RS256"
    assert "us-east-1: media-of-ours" in text
    assert "77 requests" in text
    assert "small" in text


def test_config_file_may_be_named_in_the_environment(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text("port: 4001\n", encoding="utf-8")

    text = printed(run_embedrock("config", "check", **REGION, EMBEDROCK_CONFIG=str(file)))

    assert re.search(r"^EMBEDROCK_PORT +4001 ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBEDROCK_PORT", "many"),
        ("EMBEDROCK_PORT", "65536"),
        ("EMBEDROCK_LANES", "0"),
        ("EMBEDROCK_TIMEOUT_S", "-1"),
        ("EMBEDROCK_TIMEOUT_S", "nan"),
        ("EMBEDROCK_MAX_BODY_BYTES", "1MB"),
        ("EMBEDROCK_ALLOW_NO_AUTH", "perhaps"),
        ("EMBEDROCK_EMPTY_INPUT", "drop"),
    ],
)
def test_config_check_names_a_bad_variable(run_embedrock: RunEmbedrock, name: str, value: str) -> None:
    check_failed(run_embedrock("config", "check", **REGION, **{name: value}), 1, name, value)


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        ("port: 4001\nlanes: many\n", 2, "lanes"),
        ("# a comment\n\nprot: 4001\n", 3, "prot"),
        ("port: 1\nhost: 127.0.0.1\nport: 2\n", 3, "port"),
        ("port: 1\naliases: [a]\n", 2, "aliases"),
        ("port: 1\nhost: {a: b}\n", 2, "host"),
        ("port: 1\n  bad: indent\n", 2, "YAML"),
    ],
)
def test_config_check_names_file_and_line(
    run_embedrock: RunEmbedrock, tmp_path: Path, content: str, line: int, word: str
) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text(content, encoding="utf-8")

    ended = run_embedrock("config", "check", "--config", str(file), **REGION)

    check_failed(ended, 1, f"{file}:{line}:", word)


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"\xff\xfe\x00"], ids=["a list", "no text"])
def test_config_check_names_a_file_it_cannot_read(run_embedrock: RunEmbedrock, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_bytes(content)

    check_failed(run_embedrock("config", "check", "--config", str(file), **REGION), 1, str(file))


def test_config_check_names_a_file_that_is_not_there(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"

    check_failed(run_embedrock("config", "check", "--config", str(missing), **REGION), 1, str(missing))


def test_config_check_names_an_alias_that_leads_nowhere(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text("aliases:\n  small: no-such-model\n", encoding="utf-8")

    ended = run_embedrock("config", "check", "--config", str(file), **REGION)

    assert ended.returncode == 1
    assert b"alias 'small'" in ended.stderr
    assert b"no-such-model" in ended.stderr


def test_config_check_does_not_show_a_bad_key(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text("api_key: {canary: canary}\n", encoding="utf-8")

    message = check_failed(run_embedrock("config", "check", "--config", str(file), **REGION), 1, "api_key")

    assert "canary" not in message


# Wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        *(["bogus"], ["--bogus"], ["serve", "--bogus"], ["serve", "--port", "abc"], ["serve", "--workers", "0"]),
        *(
            ["serve", "extra"],
            ["embed"],
            ["embed", "hello", "--format", "xml"],
            ["embed", "hello", "--dimensions", "x"],
        ),
        *(["embed", "hello", "--model"], ["models", "extra"], ["config", "bogus"], ["emulator", "--bogus"]),
        *(["emulator", "--port", "abc"], ["emulator", "--port", "99999"], ["emulator", "--latency-ms", "-5"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2(run_embedrock: RunEmbedrock, arguments: list[str]) -> None:
    check_failed(run_embedrock(*arguments), 2)


def test_plan_tells_calls_tokens_cost_and_time_without_a_region(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"text number {i}\n" for i in range(200)) + "text number 7\n", encoding="utf-8")
    quotas = '{"cohere.embed-v4": {"requests_per_minute": 2}}'

    table = printed(run_embedrock("embed", "--plan", str(file), EMBEDROCK_QUOTAS=quotas))

    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if "." in line.split(" ")[0]}
    assert "201 texts, 200 different" in table
    assert rows["amazon.titan-embed-text-v2:0"][:2] == ["200", "800"], "a call a text; four characters a token"
    assert rows["cohere.embed-v4:0"][0] == "3", "96 texts a call"
    assert rows["cohere.embed-v4:0"][3:6] == ["2", "min", "yours"]
    assert len(rows) == 10


def test_plan_of_one_model_is_one_line(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a\nb\n", encoding="utf-8")

    table = printed(run_embedrock("embed", "--plan", str(file), "--model", TITAN))

    assert [line.split()[0] for line in table.splitlines() if "titan" in line] == [TITAN]


def test_openais_name_is_told_its_setting(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock("embed", "a", "--model", "text-embedding-3-small", AWS_REGION="us-east-1")

    assert ended.returncode == 1
    assert b"EMBEDROCK_OPENAI_ALIASES=true" in ended.stderr
