"""Settings: what each variable does, who wins, and errors that name what is wrong and keep secrets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from embedrock import vectors, wiring
from embedrock.errors import BadRequest, ModelNotFound
from embedrock.settings import AliasSettings, Settings, SettingsError, documented, load

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
    ("KEY_REQUESTS_PER_MINUTE", "600", 600, "-1"),
    ("KEY_TOKENS_PER_MINUTE", "0", 0, "many"),
    ("KEY_CONCURRENCY", "32", 32, "1000001"),
    ("MAX_BODY_BYTES", "2048", 2048, "1023"),
    ("MAX_INPUTS", "5000", 5000, "0"),
    ("EMPTY_INPUT", "space", "space", "drop"),
    ("TIMEOUT_S", "1.5", 1.5, "0"),
    ("LANES", "8", 8, "1025"),
    ("DROP_PARAMS", "true", True, "some"),
    ("OPENAI_ALIASES", "true", True, "2"),
    ("MARENGO_PAIR", "false", False, "never"),
    ("SWEEP", "false", False, "never"),
    ("S3_PREFIXES", "s3://media, s3://films/new/,", ("s3://media", "s3://films/new/"), "media"),
    ("NATIVE_PREFIXES", "acme., twelvelabs.", ("acme.", "twelvelabs."), None),
    ("CREDITS_PER_USD", "12.50", Decimal("12.5"), "0"),
    ("DATABASE_URL", "sqlite:///x.db", "sqlite:///x.db", None),
    ("KEY_SECRET", "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", None),
    ("REDIS_URL", "redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1", None),
    ("JWT_JWKS_URL", "https://id.example/keys", "https://id.example/keys", "http://id.example/keys"),
    ("JWT_KEY", "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", None),
    ("JWT_ALGORITHMS", "ES256, EdDSA", ("ES256", "EdDSA"), "none"),
    ("JWT_ISSUER", "https://id.example", "https://id.example", ""),
    ("JWT_AUDIENCE", "embedrock", "embedrock", ""),
    ("JWT_ACCOUNT_CLAIM", "org", "org", ""),
    ("MCP", "true", True, "perhaps"),
    ("MCP_HOSTS", "A.example, b.example:8443", ("a.example", "b.example:8443"), "https://a.example"),
]


def test_every_variable_is_in_the_table() -> None:
    assert {setting.name.upper() for setting in documented()} == {row[0] for row in VARIABLES}


def test_every_variable_is_explained() -> None:
    assert all(setting.metadata["help"] for setting in documented())


def test_only_what_may_hold_a_key_or_a_password_is_secret() -> None:
    assert [setting.name for setting in documented() if setting.metadata["secret"]] == [
        "api_key",
        "database_url",
        "key_secret",
        "redis_url",
        "jwt_key",
    ]


def test_database_that_is_none_is_refused_without_showing_its_password() -> None:
    shown = refusal({"EMBEDROCK_DATABASE_URL": "mysql://root:hunter2@db/x"})

    assert "EMBEDROCK_DATABASE_URL" in shown
    assert "hunter2" not in shown


def test_secret_that_could_be_guessed_is_refused_without_showing_it() -> None:
    assert refusal({"EMBEDROCK_KEY_SECRET": "hunter2"}) == (
        "EMBEDROCK_KEY_SECRET must have at least 32 letters, drawn at random"
    )


def test_gateway_beyond_loopback_is_for_keys_of_its_database_too() -> None:
    open_to_all = load({"EMBEDROCK_HOST": "192.0.2.1", "EMBEDROCK_DATABASE_URL": "sqlite:///x.db"})

    assert not open_to_all.may_be_keyless


TOKENS = {
    "EMBEDROCK_JWT_JWKS_URL": "https://id.example/keys",
    "EMBEDROCK_JWT_ISSUER": "https://id.example",
    "EMBEDROCK_JWT_AUDIENCE": "embedrock",
}


@pytest.mark.parametrize(
    "environ, said",
    [
        ({"EMBEDROCK_JWT_KEY": "x"}, "one of them"),
        ({"EMBEDROCK_JWT_ISSUER": None}, "EMBEDROCK_JWT_ISSUER"),
        ({"EMBEDROCK_JWT_AUDIENCE": None}, "EMBEDROCK_JWT_AUDIENCE"),
        ({"EMBEDROCK_JWT_JWKS_URL": None}, "missing"),
        ({"EMBEDROCK_JWT_JWKS_URL": None, "EMBEDROCK_JWT_KEY": "x"}, "no public key"),
        ({"EMBEDROCK_JWT_ALGORITHMS": "HS256"}, "never at a URL"),
        ({"EMBEDROCK_JWT_ALGORITHMS": "RS256,HS256"}, "must not mix"),
        ({"EMBEDROCK_JWT_ALGORITHMS": ","}, "must be some of"),
    ],
)
def test_tokens_that_could_not_be_checked_are_refused_at_start(environ: dict[str, str | None], said: str) -> None:
    whole = {name: value for name, value in (TOKENS | environ).items() if value is not None}

    with pytest.raises(SettingsError, match=said):
        wiring.check(load(whole | {"AWS_REGION": "us-east-1"}))


def test_gateway_that_takes_tokens_answers_nobody_without() -> None:
    assert not load(TOKENS).may_be_keyless
    assert load(TOKENS | {"EMBEDROCK_HOST": "192.0.2.1"}).takes_tokens


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
        drop_params=False,
        openai_aliases=False,
        marengo_pair=True,
        sweep=True,
        s3_prefixes=(),
        native_prefixes=(),
        credits_per_usd=Decimal(10),
        aliases={},
        default_model_params={},
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
        ("S3_PREFIXES", ["", " , "], ()),
        ("S3_PREFIXES", ["s3://a.b-c", " s3://a.b-c ,"], ("s3://a.b-c",)),
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
        ("CREDITS_PER_USD", "ten"),
        ("CREDITS_PER_USD", ""),
        ("CREDITS_PER_USD", "-1"),
        ("CREDITS_PER_USD", "nan"),
        ("CREDITS_PER_USD", "Infinity"),
        ("CREDITS_PER_USD", "1000001"),
        ("S3_PREFIXES", "s3://"),
        ("S3_PREFIXES", "s3://Media"),
        ("S3_PREFIXES", "S3://media"),
        ("S3_PREFIXES", "s3://media, films"),
        ("S3_PREFIXES", "s3://media/a b"),
        ("S3_PREFIXES", "s3://*"),
        ("S3_PREFIXES", "https://media.s3.amazonaws.com"),
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
    assert chosen.aliases == {
        "small": AliasSettings("amazon.titan-embed-text-v2:0"),
        "text-embedding-3-small": AliasSettings("small"),
    }
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
        ("aliases: {small: [a]}\n", 1, "alias 'small' must be a name, or hold a model"),
        ("aliases:\n  a: b\n  a: c\n", 3, "alias 'a' is no name, or is there twice"),
        ("aliases:\n  a: b\n  [c]: d\n", 3, "is no name"),
        ("aliases:\n  a: b\n  c: {}\n", 3, "alias 'c' must be a name, or hold a model"),
        ("aliases:\n  a: b\n\n  c: {params: {}}\n", 4, "alias 'c' must be a name, or hold a model"),
        ("aliases:\n  c:\n    model: [m]\n", 2, "alias 'c' must be a name, or hold a model"),
        ("aliases:\n  c: {model: m, paramz: {}}\n", 2, "alias 'c': unknown member 'paramz'; there are drop_params, "),
        ("aliases:\n  c: {model: m, 1: {}}\n", 2, "alias 'c': unknown member '1'"),
        ("aliases:\n  c: {model: m, params: [a]}\n", 2, "alias 'c': params must be a mapping"),
        ("aliases:\n  c: {model: m, params: }\n", 2, "alias 'c': params must be a mapping"),
        ("aliases:\n  c: {model: m, params: {on: 1}}\n", 2, "alias 'c': params must be a mapping of names"),
        ("aliases:\n  c: {model: m, drop_params: 1}\n", 2, "alias 'c': drop_params must be true or false"),
        ("aliases:\n  c: {model: m, drop_params: 'true'}\n", 2, "alias 'c': drop_params must be true or false"),
        ("aliases:\n  c: {model: m, token_encoding: p50k_base}\n", 2, "alias 'c': token_encoding must be"),
        ("aliases:\n  c: {model: m, token_encoding: [a]}\n", 2, "alias 'c': token_encoding must be"),
        ("aliases:\n  c: {model: m, params: {a: !!python/none x}}\n", 2, "alias 'c' holds a value that is not plain"),
        ("port: 1\ndefault_model_params: [a]\n", 2, "default_model_params must map names of models"),
        ("default_model_params: {m: truncate}\n", 1, "default_model_params must map names of models"),
        ("default_model_params:\n  m: {1: 2}\n", 1, "default_model_params must map names of models"),
        ("default_model_params:\n  m: {a: !secret x}\n", 1, "default_model_params holds a value that is not plain"),
        ("default_model_params:\n  m: {a: 2026-13-01}\n", 1, "default_model_params holds a value that is not plain"),
        ("default_model_params: {}\ndefault_model_params: {}\n", 2, "default_model_params is there twice"),
        ("s3_prefixes: [s3://a-b, c]\n", 1, "s3_prefixes must be places like s3://bucket"),
        ("arns: {x: {y: z}}\n", 1, "arns must be a mapping"),
        ("port: 1\n  bad: [\n", 2, "not valid YAML"),
    ],
)
def test_mistake_in_the_file_is_named_with_its_line(write: Write, text: str, line: int, words: str) -> None:
    environ = write(text)
    message = refusal(environ)

    assert message.startswith(f"{environ['EMBEDROCK_CONFIG']}:{line}: ")
    assert words in message


def test_alias_may_say_what_holds_where_it_is_used(write: Write) -> None:
    environ = write(
        "aliases:\n"
        "  plain: {model: cohere.embed-v4}\n"
        "  query:\n"
        "    model: plain\n"
        "    params:\n"
        "      input_type: search_query\n"
        "      output_dimension: 512\n"
        "      embedding_types: [float]\n"
        "      normalize: true\n"
        "    drop_params: false\n"
        "    token_encoding: o200k_base\n"
    )
    params = {
        "input_type": "search_query",
        "output_dimension": 512,
        "embedding_types": ["float"],
        "normalize": True,
    }

    assert load(environ).aliases == {
        "plain": AliasSettings("cohere.embed-v4", {}, None, None),
        "query": AliasSettings("plain", params, False, "o200k_base"),
    }


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


# ---------------------------------------------------------------- defaults of models

TITAN = "amazon.titan-embed-text-v2:0"
V4 = "cohere.embed-v4:0"
US = {"AWS_REGION": "us-east-1"}


def test_defaults_of_models_are_read_from_json() -> None:
    text = '{"cohere.embed-v4": {"truncate": "END", "max_tokens": 9}, "small": {}}'

    assert load({"DEFAULT_MODEL_PARAMS": text}).default_model_params == {
        "cohere.embed-v4": {"truncate": "END", "max_tokens": 9},
        "small": {},
    }


def test_defaults_of_models_are_read_from_the_file(write: Write) -> None:
    environ = write(f"default_model_params:\n  cohere.embed-v4: {{truncate: END, max_tokens: 9}}\n  '{TITAN}': {{}}\n")

    assert load(environ).default_model_params == {
        "cohere.embed-v4": {"truncate": "END", "max_tokens": 9},
        TITAN: {},
    }


def test_environments_defaults_of_models_win_as_a_whole(write: Write) -> None:
    environ = write(f"default_model_params: {{'{V4}': {{truncate: END}}, '{TITAN}': {{dimensions: 256}}}}\n")

    assert load(environ | {"DEFAULT_MODEL_PARAMS": f'{{"{V4}": {{}}}}'}).default_model_params == {V4: {}}


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "is not valid JSON"),
        ("{'m': {}}", "is not valid JSON"),
        ("[]", "must map names of models to their parameters"),
        ("null", "must map names of models to their parameters"),
        ('{"m": "END"}', "must map names of models to their parameters"),
        ('{"m": {}, "n": null}', "must map names of models to their parameters"),
    ],
)
def test_defaults_of_models_that_cannot_be_read_are_refused(text: str, words: str) -> None:
    assert refusal({"DEFAULT_MODEL_PARAMS": text}) == f"DEFAULT_MODEL_PARAMS {words}"


def refusal_at_start(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        wiring.check(load(US | environ))
    assert "\n" not in str(caught.value), "one line"
    return str(caught.value)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {V4: {}},
        {V4: {"output_dimension": 512, "input_type": "search_query", "truncate": None}},
        {TITAN: {"normalize": False}, V4: {"normalize": True}},
        {f"us.{V4}": {"truncate": "LEFT"}},
        {f"bedrock/{V4}": {"truncate": "LEFT"}},
        {"amazon.nova-2-multimodal-embeddings-v1:0": {"embeddingPurpose": "CLUSTERING", "truncation_mode": "END"}},
    ],
    ids=str,
)
def test_defaults_of_any_name_of_a_model_are_taken_at_start(params: dict[str, Any]) -> None:
    wiring.check(load(US | {"DEFAULT_MODEL_PARAMS": json.dumps(params)}))


@pytest.mark.parametrize(
    "params, words",
    [
        ({"nonsense": {}}, "defaults of 'nonsense': The model 'nonsense' does not exist"),
        ({TITAN: {"input_type": "x"}}, f"defaults of '{TITAN}': Unknown parameter: 'input_type'. {TITAN} takes"),
        ({TITAN: {"dimensions": 300}}, f"defaults of '{TITAN}': {TITAN} makes vectors of 256, 512 or 1024 numbers"),
        ({TITAN: {"dimensions": "256"}}, f"defaults of '{TITAN}': 'dimensions' must be an integer"),
        ({V4: {"normalize": False}}, f"defaults of '{V4}': 'normalize' must be true with this model"),
        ({V4: {"truncate": "end"}}, f"defaults of '{V4}': 'truncate' must be NONE, "),
        ({V4: {"dimensions": 256, "output_dimension": 512}}, f"defaults of '{V4}': 'output_dimension' contradicts"),
        ({V4: {}, "cohere.embed-v4": {}}, f"defaults of 'cohere.embed-v4': {V4} has defaults already"),
        ({f"us.{V4}": {}, V4: {}}, f"defaults of '{V4}': {V4} has defaults already"),
    ],
    ids=str,
)
def test_defaults_that_cannot_hold_are_refused_at_start(params: dict[str, Any], words: str) -> None:
    assert refusal_at_start({"DEFAULT_MODEL_PARAMS": json.dumps(params)}).startswith(words)


@pytest.mark.parametrize(
    "alias, words",
    [
        ("{model: nonsense}", "alias 'a': The model 'nonsense' does not exist"),
        (f"{{model: '{TITAN}', params: {{truncate: END}}}}", "alias 'a': Unknown parameter: 'truncate'"),
        (f"{{model: '{TITAN}', params: {{dimensions: 300}}}}", f"alias 'a': {TITAN} makes vectors of"),
        (f"{{model: '{V4}', params: {{truncate: down}}}}", "alias 'a': 'truncate' must be"),
        (f"{{model: '{V4}', params: {{truncate: 2026-11-20}}}}", "alias 'a': 'truncate' must be a string"),
    ],
)
def test_alias_that_cannot_hold_is_refused_at_start(write: Write, alias: str, words: str) -> None:
    assert refusal_at_start(write(f"aliases: {{a: {alias}}}\n")).startswith(words)


# ---------------------------------------------------------------- what settings do

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


@pytest.mark.parametrize(
    "name, model, dimensions",
    [
        ("text-embedding-3-small", V4, 1536),
        ("text-embedding-3-large", NOVA, 3072),
        ("text-embedding-ada-002", "amazon.titan-embed-text-v1", 1536),
    ],
)
def test_openais_names_lead_to_models_of_their_sizes_when_switched_on(name: str, model: str, dimensions: int) -> None:
    """With vectors of length 1, as OpenAI's are."""
    target = wiring.check(load(US | {"EMBEDROCK_OPENAI_ALIASES": "true"})).find(name)

    assert (target.spec.id, target.spec.default_dimensions) == (model, dimensions)
    assert target.alias is not None
    assert target.alias.params == {"normalize": True}
    with pytest.raises(ModelNotFound):
        wiring.check(load(US)).find(name)


def test_operators_alias_wins_over_openais(write: Write) -> None:
    environ = write(f"openai_aliases: true\naliases: {{text-embedding-3-small: '{TITAN}'}}\n")
    names = wiring.check(load(US | environ))

    assert names.find("text-embedding-3-small").spec.id == TITAN
    assert names.find("text-embedding-3-large").spec.id == NOVA


EMULATED = {"EMBEDROCK_EMULATED": "true", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:1"}


@pytest.mark.parametrize("flag, is_one", [(None, True), ("true", True), ("false", False)])
async def test_text_and_image_are_one_input_to_marengo_3_unless_switched_off(flag: str | None, is_one: bool) -> None:
    """The refusal of a wrong word for the input tells what it was taken for."""
    environ = EMULATED | ({} if flag is None else {"EMBEDROCK_MARENGO_PAIR": flag})
    async with wiring.open_gateway(load(environ)) as gateway:
        with pytest.raises(BadRequest) as caught:
            await gateway.embedder.embed(
                "twelvelabs.marengo-embed-3-0-v1:0",
                ["a", "s3://media/a.png"],
                render=vectors.as_json,
                params=[{"input_type": "multi_input"}],
            )

    assert caught.value.param == "input_type"
    assert ("text_image" in caught.value.message) is is_one


@pytest.mark.parametrize(
    "environ, code",
    [
        ({}, "unsupported_media"),
        ({"EMBEDROCK_API_KEY": "one"}, "unsupported_media"),
        ({"EMBEDROCK_API_KEY": "one,two"}, "s3_access_denied"),
        ({"EMBEDROCK_S3_PREFIXES": "s3://other"}, "s3_access_denied"),
        ({"EMBEDROCK_S3_PREFIXES": "s3://other,s3://media"}, "unsupported_media"),
        ({"EMBEDROCK_API_KEY": "one,two", "EMBEDROCK_S3_PREFIXES": "s3://media/films"}, "unsupported_media"),
    ],
)
async def test_one_operator_may_name_any_object_and_several_only_those_of_a_list(
    environ: dict[str, str], code: str
) -> None:
    """The model reads no pictures: an object that may be named is refused for that."""
    async with wiring.open_gateway(load(EMULATED | environ)) as gateway:
        with pytest.raises(BadRequest) as caught:
            await gateway.embedder.embed(TITAN, ["a", "s3://media/films/a.png"], render=vectors.as_json)

    assert (caught.value.param, caught.value.code) == ("input[1]", code)


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
