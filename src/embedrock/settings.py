"""Settings: one frozen value, read from the environment and one YAML file, passed down.

The environment wins over the file. Only this module reads either. A setting that is unknown, or that cannot be read,
is an error that names it, and in the file its line. It is one thing, and long because there is much to set.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

from embedrock import config_file, parsers
from embedrock.accounts import Account
from embedrock.config_file import AliasSettings as AliasSettings
from embedrock.config_file import SettingsError as SettingsError
from embedrock.model_list import Entry

PREFIX = "EMBEDROCK_"
DEFAULT_MODEL_PARAMS = "DEFAULT_MODEL_PARAMS"
QUOTAS = PREFIX + "QUOTAS"
BUCKETS = "AWS_S3_REGIONAL_BUCKETS"

#: Variables that other tools brought up, and that mean the same here.
KEPT = {
    "AWS_BEDROCK_REGIONS": "the regions the gateway may call, separated by commas, the first by default",
    "AWS_REGION, AWS_DEFAULT_REGION, AWS_REGION_NAME": "the one region, where AWS_BEDROCK_REGIONS is not set",
    "AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …": "credentials, by the chain every AWS tool has",
    "AWS_ACCOUNT_ID": "whose keys they are, where the chain does not tell: then buckets have to be this account's",
    "AWS_BEARER_TOKEN_BEDROCK": "a Bedrock API key; wins over other credentials",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME, AWS_ENDPOINT_URL": "another endpoint, such as a VPC endpoint or the emulator",
    "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL": "another S3, whose buckets are the first segment of the path",
    "AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT": "AWS's other endpoints",
    "AWS_CA_BUNDLE": "a file of certificates to trust",
    BUCKETS: (
        "JSON: region → the gateway's bucket there, for media too large for a call, and what jobs read and write"
    ),
    DEFAULT_MODEL_PARAMS: (
        "JSON: any name of a model → its parameters, for requests that do not say; checked at start"
    ),
    QUOTAS: (
        "JSON: any name of a model → `requests_per_minute`, `tokens_per_minute`: what Bedrock lets the account have in "
        "a region. Calls are paced to 95 % of it; what is not told is learned from the first throttle"
    ),
}
#: What needs more than a line.
ONLY_IN_FILE = {
    "aliases": "names of your own → another name; or a model with `params`, `drop_params` and `token_encoding`",
    "arns": "ARNs that do not tell their model → a name of the model",
    "model_list, general_settings, litellm_settings": "LiteLLM's, as far as they are about embeddings on Bedrock",
    "quotas": "as EMBEDROCK_QUOTAS, which wins as a whole",
    "default_model_params": "as DEFAULT_MODEL_PARAMS, which wins as a whole",
}

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

# Variables with the prefix that are not settings of the gateway: this module's own, the emulator's, the tests'.
_OWN = {QUOTAS, PREFIX + "CONFIG", PREFIX + "EMULATED", PREFIX + "METRICS_DIR", PREFIX + "WORKERS"}
_OTHERS = (PREFIX + "EMULATOR_", PREFIX + "TEST_")
_DEFAULT_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REGION_NAME")


def _setting(parse: Callable[[str], Any], default: Any, explanation: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"parse": parse, "help": explanation, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator decides. The fields with help are `EMBEDROCK_<NAME>`, or `<name>` in the file."""

    host: str = _setting(parsers.text, "127.0.0.1", "address to listen on; any other than loopback needs a key")
    port: int = _setting(parsers.whole(0, 65535), 4000, "port to listen on; 0 takes any free one")
    api_key: tuple[str, ...] = _setting(
        parsers.several,
        (),
        "keys that callers may use, separated by commas; none: any key or none, on loopback only",
        secret=True,
    )
    allow_no_auth: bool = _setting(parsers.flag, False, "listen beyond loopback without keys")
    key_requests_per_minute: int = _setting(
        parsers.whole(0, 10**9), 0, "requests a minute of keys without a limit of their own; 0: no limit"
    )
    key_tokens_per_minute: int = _setting(
        parsers.whole(0, 10**9), 0, "tokens a minute of each key, likewise; 0: no limit"
    )
    key_concurrency: int = _setting(parsers.whole(0, 10**6), 0, "requests at once of such keys; 0: no limit")
    max_body_bytes: int = _setting(parsers.whole(1024, 2**31), 100_000_000, "largest request body, in bytes")
    max_inputs: int = _setting(parsers.whole(1, 1_000_000), 2048, "most inputs in a request")
    empty_input: Literal["refuse", "space"] = _setting(
        parsers.choice("refuse", "space"), "refuse", 'what becomes of "" in a list: refuse it, or embed one space'
    )
    timeout_s: float = _setting(parsers.seconds, 600.0, "longest a request may take, in seconds")
    lanes: int = _setting(parsers.whole(1, 1024), 64, "most calls to Bedrock in flight for one request")

    drop_params: bool = _setting(parsers.flag, False, "drop parameters a model does not know, instead of refusing them")
    openai_aliases: bool = _setting(
        parsers.flag, False, "serve text-embedding-3-small, -3-large and -ada-002 by Bedrock models of their sizes"
    )
    marengo_pair: bool = _setting(
        parsers.flag, True, "a text and an image, alone in a request, are one input to Marengo 3"
    )
    s3_prefixes: tuple[str, ...] = _setting(
        parsers.s3_prefixes, (), "places in S3 that callers may name, s3://bucket/folder, separated by commas"
    )
    sweep: bool = _setting(
        parsers.flag, True, "remove by the hour what killed processes left behind in the gateway's own buckets"
    )

    native_prefixes: tuple[str, ...] = _setting(
        parsers.several, (), "more beginnings of model ids for the native path, besides amazon.titan- and cohere."
    )
    credits_per_usd: Decimal = _setting(  # noqa: RUF009  # a field like the others
        parsers.decimal, Decimal(10), "credits for a US dollar of Bedrock's prices"
    )

    database_url: str = _setting(
        parsers.database_url,
        "",
        "where accounts and jobs are kept: `sqlite:///PATH` or `postgresql://…` (extra `[postgres]`); by default "
        "`embedrock.db` in the user's data directory, made when it is first needed",
        secret=True,
    )

    key_secret: str = _setting(
        parsers.key_secret,
        "",
        "what keys are kept under in the database, at least 32 letters; by default made once, in a file beside "
        "SQLite's; PostgreSQL's replicas need it",
        secret=True,
    )

    redis_url: str = _setting(
        parsers.redis_url,
        "",
        "where replicas share the limits of keys, `redis://…` or `rediss://…`; needs embedrock[redis]",
        secret=True,
    )

    jwt_jwks_url: str = _setting(
        parsers.jwks_url,
        "",
        "where an identity provider has the keys that tokens are checked with; needs embedrock[jwt]",
    )
    jwt_key: str = _setting(
        parsers.text,
        "",
        "in place of the URL: a public key as PEM, or a secret of at least 32 bytes for HS256",
        secret=True,
    )
    jwt_algorithms: tuple[str, ...] = _setting(
        parsers.algorithms, ("RS256",), "algorithms that tokens may be signed by, separated by commas"
    )
    jwt_issuer: str = _setting(parsers.text, "", "the `iss` of tokens; needed for them")
    jwt_audience: str = _setting(parsers.text, "", "the `aud` of tokens; needed for them")
    jwt_account_claim: str = _setting(parsers.text, "sub", "the claim of tokens that is the name of an account")

    mcp: bool = _setting(parsers.flag, False, "serve MCP tools for agents at /mcp; needs embedrock[mcp]")
    mcp_hosts: tuple[str, ...] = _setting(
        parsers.hosts,
        (),
        "names under which /mcp is reached, besides this machine's and EMBEDROCK_HOST, separated by commas",
    )

    #: names callers may use, and what they stand for; only in the file
    aliases: Mapping[str, AliasSettings] = field(default_factory=dict)
    #: any name of a model → its parameters, when nobody else says; DEFAULT_MODEL_PARAMS, or in the file
    default_model_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: any name of a model → requests and tokens a minute that Bedrock lets the account have; EMBEDROCK_QUOTAS, or in
    #: the file
    quotas: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    #: LiteLLM's `model_list`: names, each with a model, and perhaps credentials, of its own; only in the file
    entries: tuple[Entry, ...] = ()
    #: what LiteLLM's file says and this gateway does not do, with its line
    notes: tuple[str, ...] = ()
    #: ARNs that do not tell their model, and the model behind each; only in the file
    arns: Mapping[str, str] = field(default_factory=dict)

    # AWS's own variables.
    regions: tuple[str, ...] = ()
    runtime_url: str | None = None
    s3_url: str | None = None
    #: region → the gateway's own bucket there
    buckets: Mapping[str, str] = field(default_factory=dict)
    bearer_token: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    fips: bool = False
    dual_stack: bool = False

    #: whose credentials the gateway's own calls are made with; by default, what AWS's chain finds
    account: Account = field(default_factory=Account)
    #: Bedrock is the local emulator: no AWS credentials are looked for
    emulated: bool = False
    #: where the database is when nobody says
    data_dir: Path = field(default_factory=lambda: _data_dir({}))
    #: how many processes share the port, and the quotas
    workers: int = 1
    #: where the worker processes of one port keep their metrics; None: there is one process
    metrics_dir: str | None = None

    @property
    def key_limits(self) -> tuple[int | None, int | None, int | None]:
        """Requests and tokens a minute, and requests at once, of a key without limits of its own; None: no limit."""
        return self.key_requests_per_minute or None, self.key_tokens_per_minute or None, self.key_concurrency or None

    @property
    def may_be_keyless(self) -> bool:
        """Whether the gateway may answer without keys, should there be none."""
        return not self.api_key and not self.takes_tokens and (self.allow_no_auth or parsers.is_loopback(self.host))

    @property
    def takes_tokens(self) -> bool:
        """Whether tokens of an identity provider are taken for keys."""
        return bool(self.jwt_jwks_url or self.jwt_key)

    def __post_init__(self) -> None:
        if self.bearer_token and self.runtime_url and not self.runtime_url.startswith("https:"):
            raise SettingsError("AWS_BEARER_TOKEN_BEDROCK is set, and a key is not sent to an endpoint without https")
        if not (self.api_key or self.may_be_keyless or self.database_url or self.takes_tokens):
            raise SettingsError(
                f"host {self.host}: anybody could use your AWS account; set EMBEDROCK_API_KEY, name the "
                "database of your keys in EMBEDROCK_DATABASE_URL (also where it is the default one), "
                "listen on 127.0.0.1, or set EMBEDROCK_ALLOW_NO_AUTH=true"
            )


def documented() -> tuple[Field[Any], ...]:
    """Return the fields that are `EMBEDROCK_…` variables, with their parser, help and secrecy in `metadata`."""
    return tuple(f for f in fields(Settings) if "parse" in f.metadata)


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings of `environ` and of the file it names in EMBEDROCK_CONFIG.

    Raises SettingsError.
    """
    known = {f.name: f for f in documented()}
    values: dict[str, Any] = {}
    if config := environ.get(PREFIX + "CONFIG"):
        readers = {name: partial(_parse, setting) for name, setting in known.items()}
        values |= config_file.read(Path(config), readers, environ)
    for variable in environ:
        if not variable.startswith(PREFIX) or variable in _OWN or variable.startswith(_OTHERS):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known or variable != PREFIX + name.upper():
            raise SettingsError(f"{variable[:60]} is not a setting")
        values[name] = _parse(known[name], environ[variable], variable)
    if environ.get(DEFAULT_MODEL_PARAMS):
        values["default_model_params"] = config_file.read_defaults(
            _json(DEFAULT_MODEL_PARAMS, environ[DEFAULT_MODEL_PARAMS]), DEFAULT_MODEL_PARAMS
        )
    if environ.get(QUOTAS):
        values["quotas"] = config_file.read_quotas(_json(QUOTAS, environ[QUOTAS]), QUOTAS)
    values |= _aws(environ)
    values["emulated"] = environ.get(PREFIX + "EMULATED") == "true"
    values["workers"] = parsers.whole(1, 64)(environ.get(PREFIX + "WORKERS") or "1")
    values["data_dir"] = _data_dir(environ)
    values["metrics_dir"] = environ.get(PREFIX + "METRICS_DIR") or None
    if values["emulated"]:
        values["bearer_token"] = None
        values["regions"] = values["regions"] or ("us-east-1",)
    return Settings(**values)


def _json(variable: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{variable} is not valid JSON") from None


def _data_dir(environ: Mapping[str, str]) -> Path:
    """Return where programs of this system keep a user's data."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path())
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "embedrock"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "embedrock"
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "embedrock"


def _aws(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what AWS's own variables say."""
    regions = parsers.several(environ.get("AWS_BEDROCK_REGIONS", ""))
    if not regions:
        regions = next(((environ[name],) for name in _DEFAULT_REGION_VARIABLES if environ.get(name)), ())
    for region in regions:
        if not _REGION.fullmatch(region):
            raise SettingsError(f"{region[:60]!r} is not the name of an AWS region, such as us-east-1")
    return {
        "regions": regions,
        "runtime_url": _endpoint(environ, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        "s3_url": _endpoint(environ, "AWS_ENDPOINT_URL_S3"),
        "buckets": _buckets(environ.get(BUCKETS, "")),
        "bearer_token": environ.get("AWS_BEARER_TOKEN_BEDROCK") or None,
        "ca_bundle": environ.get("AWS_CA_BUNDLE") or None,
        "fips": environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true",
        "dual_stack": environ.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true",
    }


def _endpoint(environ: Mapping[str, str], variable: str) -> str | None:
    url = environ.get(variable) or environ.get("AWS_ENDPOINT_URL") or None
    if url and not parsers.is_url(url):
        raise SettingsError(f"{variable} (or AWS_ENDPOINT_URL) is not an http:// or https:// URL")
    return url


def _buckets(text: str) -> dict[str, str]:
    buckets = _json(BUCKETS, text) if text else {}
    if not isinstance(buckets, dict):
        raise SettingsError(f"{BUCKETS} is not a JSON object of regions and buckets")
    for region, bucket in buckets.items():
        if not _REGION.fullmatch(region):
            raise SettingsError(f"{BUCKETS}: {region[:60]!r} is not the name of an AWS region, such as us-east-1")
        if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
            raise SettingsError(f"{BUCKETS}: the bucket of {region} is not the name of one")
    return buckets


def _parse(setting: Field[Any], value: str, where: str) -> Any:
    try:
        return setting.metadata["parse"](value)
    except ValueError as exc:
        shown = "" if setting.metadata["secret"] or not value else f" (it is {value[:60]!r})"
        raise SettingsError(f"{where} {exc}{shown}") from None
