"""Settings: what each variable does, who wins, and errors that name what is wrong and keep secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedrock.settings import Settings, SettingsError, documented, load

Write = Callable[[str], dict[str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes the file and returns the environment that names it."""

    def write_file(text: str) -> dict[str, str]:
        path = tmp_path / "embedrock.yaml"
        path.write_text(text, encoding="utf-8")
        return {"EMBEDROCK_CONFIG": str(path)}

    return write_file


def refusal(environ: dict[str, str], **overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, **overrides)
    message = str(caught.value)
    assert "\n" not in message, "one line"
    return message


#: Each variable's name below the prefix, a value as written, and as read; and a value that cannot be.
VARIABLES: list[tuple[str, str, object, str | None]] = [
    ("HOST", "::1", "::1", ""),
    ("PORT", "8080", 8080, "65536"),
    ("API_KEY", "k1, k2,", ("k1", "k2"), None),
    ("ALLOW_NO_AUTH", "true", True, "maybe"),
    ("MAX_BODY_BYTES", "2048", 2048, "1023"),
    ("MAX_INPUTS", "5000", 5000, "0"),
    ("EMPTY_INPUT", "space", "space", "drop"),
    ("TIMEOUT_S", "1.5", 1.5, "0"),
    ("LANES", "8", 8, "1025"),
]


def test_every_variable_is_in_the_table() -> None:
    assert {setting.name.upper() for setting in documented()} == {row[0] for row in VARIABLES}


def test_every_variable_is_explained() -> None:
    assert all(setting.metadata["help"] for setting in documented())


def test_only_keys_are_secret() -> None:
    assert [setting.name for setting in documented() if setting.metadata["secret"]] == ["api_key"]


def test_defaults() -> None:
    assert load({}) == Settings(
        host="127.0.0.1",
        port=4000,
        api_key=(),
        allow_no_auth=False,
        max_body_bytes=100_000_000,
        max_inputs=2048,
        empty_input="refuse",
        timeout_s=600.0,
        lanes=64,
        aliases={},
        arns={},
        regions=(),
        runtime_url=None,
        bearer_token=None,
        ca_bundle=None,
        fips=False,
        dual_stack=False,
        emulated=False,
    )


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name, text, value, _bad", VARIABLES)
def test_variable_is_read(name: str, text: str, value: object, _bad: str | None) -> None:
    assert getattr(load({f"EMBEDROCK_{name}": text}), name.lower()) == value


@pytest.mark.parametrize("name, text, value, _bad", VARIABLES)
def test_setting_of_the_file_is_read(write: Write, name: str, text: str, value: object, _bad: str | None) -> None:
    assert getattr(load(write(f'{name.lower()}: "{text}"\n')), name.lower()) == value


@pytest.mark.parametrize("name, _text, _value, bad", [row for row in VARIABLES if row[3] is not None])
def test_variable_that_cannot_be_read_is_named(name: str, _text: str, _value: object, bad: str) -> None:
    message = refusal({f"EMBEDROCK_{name}": bad})

    assert message.startswith(f"EMBEDROCK_{name} ")
    assert bad in message


@pytest.mark.parametrize("name, _text, _value, bad", [row for row in VARIABLES if row[3] is not None])
def test_setting_of_the_file_that_cannot_be_read_is_named_with_its_line(
    write: Write,
    name: str,
    _text: str,
    _value: object,
    bad: str,
) -> None:
    environ = write(f'# a comment\n\n{name.lower()}: "{bad}"\n')

    assert refusal(environ).startswith(f"{environ['EMBEDROCK_CONFIG']}:3: {name.lower()} ")


@pytest.mark.parametrize(
    "variable, values, value",
    [
        ("ALLOW_NO_AUTH", ["true", "TRUE", "1", "yes", "on"], True),
        ("ALLOW_NO_AUTH", ["false", "False", "0", "no", "off"], False),
        ("TIMEOUT_S", ["3600", "3600.0"], 3600.0),
        ("TIMEOUT_S", ["0.001"], 0.001),
        ("PORT", ["0"], 0),
        ("PORT", ["65535"], 65535),
        ("MAX_INPUTS", ["1"], 1),
        ("LANES", ["1024"], 1024),
        ("API_KEY", ["", ",", " , "], ()),
        ("API_KEY", ["k", " k ", "k,"], ("k",)),
    ],
)
def test_spellings_and_limits(variable: str, values: list[str], value: object) -> None:
    read = [getattr(load({f"EMBEDROCK_{variable}": text}), variable.lower()) for text in values]

    assert read == [value] * len(values)


@pytest.mark.parametrize(
    "variable, text",
    [
        ("PORT", "-1"),
        ("PORT", "4000.0"),
        ("PORT", "http"),
        ("PORT", ""),
        ("TIMEOUT_S", "nan"),
        ("TIMEOUT_S", "inf"),
        ("TIMEOUT_S", "-1"),
        ("TIMEOUT_S", "3601"),
        ("TIMEOUT_S", "ten"),
        ("ALLOW_NO_AUTH", ""),
        ("EMPTY_INPUT", "Space"),
        ("MAX_BODY_BYTES", "100MB"),
    ],
)
def test_value_that_is_none_is_refused(variable: str, text: str) -> None:
    assert f"EMBEDROCK_{variable}" in refusal({f"EMBEDROCK_{variable}": text})


# ---------------------------------------------------------------- who wins


def test_environment_wins_over_the_file(write: Write) -> None:
    environ = write("port: 1\nmax_inputs: 3\n") | {"EMBEDROCK_PORT": "10"}

    chosen = load(environ)

    assert (chosen.port, chosen.max_inputs) == (10, 3)


@pytest.mark.parametrize(
    "variable", ["EMBEDROCK_PROT", "EMBEDROCK_CONFIGX", "EMBEDROCK_METRICS_DIRX", "EMBEDROCK_port"]
)
def test_variable_that_is_no_setting_is_refused(variable: str) -> None:
    assert variable in refusal({variable: "1"})


@pytest.mark.parametrize("region", ["us east", "US-EAST-1", "mars"])
def test_region_that_cannot_be_one_is_refused(region: str) -> None:
    assert region in refusal({"AWS_REGION": region})


def test_variable_that_is_wrong_is_refused_although_the_file_is_right(write: Write) -> None:
    assert "EMBEDROCK_PORT" in refusal(write("port: 1\n") | {"EMBEDROCK_PORT": "x"})


def test_empty_key_in_the_environment_takes_back_the_files(write: Write) -> None:
    assert load(write("api_key: k\n") | {"EMBEDROCK_API_KEY": ""}).api_key == ()


# ---------------------------------------------------------------- the file


def test_file_with_everything(write: Write) -> None:
    environ = write(
        "host: localhost\n"
        "api_key: [k1, k2]\n"
        "allow_no_auth: false\n"
        "timeout_s: 2.5\n"
        "aliases:\n"
        "  small: amazon.titan-embed-text-v2:0\n"
        "  text-embedding-3-small: small\n"
        "arns:\n"
        "  arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefabcdef: amazon.titan-embed-text-v2:0\n"
    )

    chosen = load(environ)

    assert (chosen.host, chosen.api_key, chosen.allow_no_auth, chosen.timeout_s) == (
        "localhost",
        ("k1", "k2"),
        False,
        2.5,
    )
    assert chosen.aliases == {"small": "amazon.titan-embed-text-v2:0", "text-embedding-3-small": "small"}
    assert list(chosen.arns.values()) == ["amazon.titan-embed-text-v2:0"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_empty_file_changes_nothing(write: Write, text: str) -> None:
    assert load(write(text)) == load({})


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("prot: 1\n", 1, "unknown setting 'prot'"),
        ("port: 1\n\nlanse: 2\n", 3, "unknown setting 'lanse'"),
        ("PORT: 1\n", 1, "unknown setting 'PORT'"),
        ("runtime_url: http://x\n", 1, "unknown setting 'runtime_url'"),
        ("emulated: true\n", 1, "unknown setting 'emulated'"),
        ("regions: [us-east-1]\n", 1, "unknown setting 'regions'"),
        ("port: 1\nport: 2\n", 2, "port is there twice"),
        ("port: {a: 1}\n", 1, "port must be one value"),
        ("port: [[1]]\n", 1, "port must be one value"),
        ("aliases: small\n", 1, "aliases must be a mapping"),
        ("port: 1\naliases: [small]\n", 2, "aliases must be a mapping"),
        ("aliases: {small: [a]}\n", 1, "aliases must be a mapping"),
        ("arns: {x: {y: z}}\n", 1, "arns must be a mapping"),
        ("port: 1\n  bad: [\n", 2, "not valid YAML"),
    ],
)
def test_mistake_in_the_file_is_named_with_its_line(write: Write, text: str, line: int, words: str) -> None:
    environ = write(text)
    message = refusal(environ)

    assert message.startswith(f"{environ['EMBEDROCK_CONFIG']}:{line}: ")
    assert words in message


@pytest.mark.parametrize("text", ["- port: 1\n", "port\n", "3\n"])
def test_file_that_is_no_mapping_is_refused(write: Write, text: str) -> None:
    environ = write(text)

    assert refusal(environ).startswith(environ["EMBEDROCK_CONFIG"])


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"

    assert refusal({"EMBEDROCK_CONFIG": str(path)}) == f"{path}: No such file or directory"
    assert refusal({"EMBEDROCK_CONFIG": str(tmp_path)}).startswith(str(tmp_path))


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "embedrock.yaml"
    path.write_bytes(b"host: \xff\n")

    assert refusal({"EMBEDROCK_CONFIG": str(path)}) == f"{path}: not valid YAML"


def test_file_cannot_make_objects(write: Write) -> None:
    environ = write("host: !!python/object/apply:os.system [exit 1]\n")

    assert load(environ | {"EMBEDROCK_ALLOW_NO_AUTH": "true"}).host == "exit 1"


# ---------------------------------------------------------------- keys and where to listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load({"EMBEDROCK_HOST": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.2", "example.com", "localhost.example.com"])  # noqa: S104
def test_any_other_address_needs_a_key_or_a_clear_word(host: str) -> None:
    message = refusal({"EMBEDROCK_HOST": host})

    assert host in message
    assert "EMBEDROCK_API_KEY" in message
    assert "EMBEDROCK_ALLOW_NO_AUTH" in message
    assert load({"EMBEDROCK_HOST": host, "EMBEDROCK_API_KEY": "k"}).host == host
    assert load({"EMBEDROCK_HOST": host, "EMBEDROCK_ALLOW_NO_AUTH": "true"}).host == host


@pytest.mark.parametrize("keys", ["", ",", " , "])
def test_empty_key_is_no_key(keys: str) -> None:
    refusal({"EMBEDROCK_HOST": "10.0.0.1", "EMBEDROCK_API_KEY": keys})


SECRET = "sk-never-shown"


@pytest.mark.parametrize(
    "text",
    [
        f"api_key: {{{SECRET}: 1}}\n",
        f"api_key: [[{SECRET}]]\n",
        f"api_key: {SECRET}\napi_key: {SECRET}\n",
        f"api_keys: {SECRET}\n",
        f"api_key: {SECRET}\nport: x\n",
        f"api_key: '{SECRET}\n",
        f"api_key: {SECRET}: 1\n",
        f"api_key: {SECRET}\nhost: ''\n",
    ],
)
def test_key_in_the_file_is_in_no_message(write: Write, text: str) -> None:
    assert SECRET not in refusal(write(text))


@pytest.mark.parametrize(
    "environ",
    [
        {"EMBEDROCK_API_KEY": SECRET, "EMBEDROCK_PORT": "x"},
        {"AWS_BEARER_TOKEN_BEDROCK": SECRET, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_BEARER_TOKEN_BEDROCK": SECRET, "EMBEDROCK_HOST": "10.0.0.1"},
        {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": "nonsense"},
        {"AWS_ENDPOINT_URL": f"ftp://user:{SECRET}@example.com"},
    ],
)
def test_secret_in_the_environment_is_in_no_message(environ: dict[str, str]) -> None:
    assert SECRET not in refusal(environ)


# ---------------------------------------------------------------- AWS's variables


@pytest.mark.parametrize(
    "environ, regions",
    [
        ({}, ()),
        ({"AWS_BEDROCK_REGIONS": "us-east-1, eu-west-1,"}, ("us-east-1", "eu-west-1")),
        ({"AWS_REGION": "us-east-1"}, ("us-east-1",)),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, ("us-west-2",)),
        ({"AWS_REGION_NAME": "eu-west-1"}, ("eu-west-1",)),
        ({"AWS_REGION_NAME": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, ("us-west-2",)),
        (
            {"AWS_REGION_NAME": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "us-east-1"},
            ("us-east-1",),
        ),
        ({"AWS_REGION": "us-east-1", "AWS_BEDROCK_REGIONS": "ap-northeast-1"}, ("ap-northeast-1",)),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-west-2"}, ("us-west-2",)),
        ({"AWS_REGION": "us-east-1", "AWS_BEDROCK_REGIONS": " , "}, ("us-east-1",)),
    ],
)
def test_regions_in_their_order(environ: dict[str, str], regions: tuple[str, ...]) -> None:
    assert load(environ).regions == regions


@pytest.mark.parametrize(
    "environ, url",
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": ""}, None),
        ({"AWS_ENDPOINT_URL": "https://all.example"}, "https://all.example"),
        ({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:4570"}, "http://127.0.0.1:4570"),
        (
            {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://one.example"},
            "https://one.example",
        ),
        ({"AWS_ENDPOINT_URL_BEDROCK": "https://control.example"}, None),
        ({"AWS_ENDPOINT_URL_S3": "https://s3.example"}, None),
    ],
)
def test_endpoint_of_the_runtime(environ: dict[str, str], url: str | None) -> None:
    assert load(environ).runtime_url == url


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4570", "ftp://a.example", "//a", "https://", "http://a:99999", "http://a:x", "http://[::1"]
)
def test_endpoint_that_is_no_url_is_refused(url: str) -> None:
    assert "AWS_ENDPOINT_URL" in refusal({"AWS_ENDPOINT_URL": url})


@pytest.mark.parametrize(
    "variable, name, text, value",
    [
        ("AWS_CA_BUNDLE", "ca_bundle", "/etc/ca.pem", "/etc/ca.pem"),
        ("AWS_CA_BUNDLE", "ca_bundle", "", None),
        ("AWS_USE_FIPS_ENDPOINT", "fips", "true", True),
        ("AWS_USE_FIPS_ENDPOINT", "fips", "True", True),
        ("AWS_USE_FIPS_ENDPOINT", "fips", "false", False),
        ("AWS_USE_DUALSTACK_ENDPOINT", "dual_stack", "true", True),
        ("AWS_USE_DUALSTACK_ENDPOINT", "dual_stack", "", False),
        ("AWS_BEARER_TOKEN_BEDROCK", "bearer_token", "ABSK1", "ABSK1"),
        ("AWS_BEARER_TOKEN_BEDROCK", "bearer_token", "", None),
    ],
)
def test_variable_of_aws_is_read(variable: str, name: str, text: str, value: object) -> None:
    assert getattr(load({variable: text}), name) == value


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"])
def test_bearer_key_is_not_sent_without_tls(variable: str) -> None:
    environ = {"AWS_BEARER_TOKEN_BEDROCK": "ABSK1"}

    assert "AWS_BEARER_TOKEN_BEDROCK" in refusal(environ | {variable: "http://127.0.0.1:4570"})
    assert load(environ | {variable: "https://example.com"}).bearer_token == "ABSK1"


def test_emulator_needs_neither_region_nor_key() -> None:
    chosen = load(
        {
            "EMBEDROCK_EMULATED": "true",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:4570",
            "AWS_BEARER_TOKEN_BEDROCK": "ABSK1",
        }
    )

    assert (chosen.emulated, chosen.regions, chosen.bearer_token) == (True, ("us-east-1",), None)


def test_emulator_takes_the_operators_regions() -> None:
    assert load({"EMBEDROCK_EMULATED": "true", "AWS_BEDROCK_REGIONS": "eu-west-1,us-west-2"}).regions == (
        "eu-west-1",
        "us-west-2",
    )
