"""LiteLLM's configuration file, as far as it is about embedding models of Bedrock.

`model_list` gives names to models, each with its own credentials, region and parameters; entries of one name are a
pool. `general_settings.master_key` is the key callers send. A value `os.environ/NAME` is read from the environment;
the variables that AWS's own chain, or the gateway, looks at again may be missing, and any other may not. A member
that is null counts as absent.

What is not supported is not passed over in silence: each such line becomes a note, which the start and `config check`
print. Source: LiteLLM's proxy configuration, `model_list`; its own options are those of version 1.106.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from embedrock.accounts import Account

SECTIONS: Final = (
    "model_list",
    "litellm_settings",
    "general_settings",
    "router_settings",
    "environment_variables",
    "agent_list",
    "assistant_settings",
    "callback_settings",
    "callbacks",
    "credential_list",
    "files_settings",
    "finetune_settings",
    "guardrails",
    "mcp_servers",
    "mcp_tools",
    "policies",
    "policy_attachments",
    "prompts",
    "sandbox_tools",
    "search_tools",
    "vector_store_registry",
)
_SHOWN_CHARS: Final = 100  # of what stands in the file
_ENVIRON: Final = "os.environ/"
_LOOKED_AT_AGAIN: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_REGION_NAME",
    "AWS_BEARER_TOKEN_BEDROCK",
)
#: LiteLLM's name → ours.
_ACCOUNT: Final = {
    "aws_access_key_id": "access_key",
    "aws_secret_access_key": "secret_key",
    "aws_session_token": "session_token",
    "aws_profile_name": "profile",
    "aws_role_name": "role_arn",
    "aws_session_name": "role_session_name",
    "aws_external_id": "external_id",
    "aws_web_identity_token": "web_identity_token",
    "api_key": "bearer",
    "aws_bedrock_runtime_endpoint": "endpoint",
    "api_base": "endpoint",
}
#: LiteLLM's own options, which are no parameters of a model.
_NOT_SUPPORTED: Final = re.compile(
    r"""
    (.+_)?costs?(_.+)? | regional_.+ | tiered_pricing | max_budget | budget_.+            # money
    | [io]tpm | default_api_key_.+ | max_parallel_requests | weight | order           # routing and limits
    | (additional|allowed)_.+ | (adaptive|complexity|quality)_router_.+ | use_.+ | fallbacks | max_fallbacks
    | .*timeout.* | .*retr(y|ies).* | cooldown_time | .*keepalive.* | region_name | ssl_verify
    | caching | cache | ttl | tags | tag_regex | metadata | user | guardrails | mock_.+   # requests
    | (extra_)?headers | provider_affinity_header | extra_body | encoding_format | max_file_size_mb
    | custom_llm_provider | api_version | organization | base_model | model_id | model_info | output_vector_size
    | (anthropic|auto_router|aws|azure|bedrock|bucket|client|fireworks|gcs|litellm|milvus|openai|s3|tenant|valkey
      |vector_store|vertex|watsonx)_.+                                                    # others' services
    | configurable_clientside_auth_params | merge_reasoning_content_in_choices
    """,
    re.VERBOSE,
)
#: Of these, what the gateway does anyway.
_HOLDS_ANYWAY: Final = (("custom_llm_provider", "bedrock"), ("encoding_format", "float"))
_KNOWN_MODEL_INFO: Final = frozenset({"id", "mode", "description", "base_model"})
#: With the prefix that says so, or an id, as "gpt-3.5-turbo" is none: those entries may well lack their variables.
_OF_BEDROCK: Final = re.compile(r"bedrock/|arn:|([a-z-]+\.)?[a-z0-9]+\.[a-z][^/]*\Z")
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
_REGION_OF_MODEL: Final = re.compile(
    rf"(?:bedrock/)?(?:async_invoke/)?(?:arn:[a-z-]+:bedrock:)?({_REGION.pattern})[/:]"
)


class ModelListError(ValueError):
    """The file cannot be used; the message is one line that begins with the line's number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `model_list`: a place that serves a model under a name."""

    name: str
    model: str
    line: int
    account: Account = field(default_factory=Account)
    region: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    drop_params: bool | None = None
    usd_per_million_tokens: Decimal | None = None
    rpm: float | None = None  # requests and tokens a minute that Bedrock lets the account have
    tpm: float | None = None


@dataclass(slots=True)
class ModelList:
    """What a file in LiteLLM's form says, and what of it is not supported."""

    entries: list[Entry] = field(default_factory=list)
    master_key: str | None = None
    drop_params: bool | None = None
    notes: list[str] = field(default_factory=list)


class _Member(NamedTuple):
    """A member of a mapping, as YAML nodes: a note on it names the line of its key."""

    key: Any
    value: Any


def read(
    sections: Mapping[str, tuple[Any, Any]], plain: Callable[[Any], Any], environ: Mapping[str, str], file: str
) -> ModelList:
    """Return what LiteLLM's sections say, each a YAML node of its key and one of its value.

    `plain` makes a node plain Python. Raises ModelListError.
    """
    reader = _Reader(plain, environ, file)
    for section, (key, value) in sections.items():
        match section:
            case "model_list":
                reader.model_list(value)
            case "general_settings" | "litellm_settings":
                reader.settings(section, value)
            case _:
                reader.note(key, f"{section} is not supported")
    return reader.found


class _Reader:
    def __init__(self, plain: Callable[[Any], Any], environ: Mapping[str, str], file: str) -> None:
        self._plain = plain
        self._environ = environ
        self._file = file
        self.found = ModelList()

    def note(self, node: Any, text: str) -> None:
        self.found.notes.append(f"{self._where(node)}: {_shown(text)}")

    def model_list(self, node: Any) -> None:
        if _is_null(node):
            return
        if node.id != "sequence":
            raise ModelListError(f"{self._where(node)}: model_list must be a list")
        for item in node.value:
            members = self._members(item)
            name = self._text(members.get("model_name"), item, "model_name")
            if "litellm_params" not in members:
                raise ModelListError(f"{self._where(item)}: the entry has no litellm_params")
            for member, (key, value) in members.items():
                if member == "model_info":
                    self._model_info(value)
                elif member not in ("model_name", "litellm_params"):
                    self.note(key, f"{member} is not supported")
            self._entry(name, members["litellm_params"])

    def settings(self, section: str, node: Any) -> None:
        for name, member in self._members(node).items():
            if (section, name) == ("general_settings", "master_key"):
                self.found.master_key = self._text(member, member.key, name)
            elif (section, name) == ("litellm_settings", "drop_params"):
                self.found.drop_params = self._flag(member.value, name)
            else:
                self.note(member.key, f"{section}.{name} is not supported")

    def _entry(self, name: str, params: _Member) -> None:
        members = self._members(params.value)
        model = self._text(members.get("model"), params.key, "model")
        at = members.pop("model").key
        if "*" in name or "*" in model:
            self.note(at, "wildcards are not supported; left out")
            return
        if not _OF_BEDROCK.match(model):
            self.note(at, f"{model[:_SHOWN_CHARS]} is not a model of Bedrock; left out")
            return
        account: dict[str, str | None] = {}
        own: dict[str, Any] = {}
        options: dict[str, Any] = {}
        for key, (key_node, value) in members.items():
            if key in _ACCOUNT:
                account[_ACCOUNT[key]] = self._text_or_none(value, key) or None
            elif key == "aws_region_name":
                options["region"] = self._region(value, key)
            elif key in ("rpm", "tpm"):
                options[key] = float(self._number(value, key))
            elif key == "drop_params":
                options["drop_params"] = self._flag(value, key)
            elif key == "input_cost_per_token":
                options["usd_per_million_tokens"] = self._number(value, key) * 1_000_000
            elif _NOT_SUPPORTED.fullmatch(key):
                if (key, value.value) not in _HOLDS_ANYWAY:
                    self.note(key_node, f"{key} is not supported")
            else:
                own[key] = self._value(value, key)
        if (account.get("web_identity_token") or "").startswith("oidc/"):
            self.note(members["aws_web_identity_token"].key, "tokens by oidc/ are not supported; left out")
            return
        if not options.get("region") and (written := _REGION_OF_MODEL.match(model)):
            options["region"] = written[1]
        whose = Account(**account, region=options.get("region"))
        self._check_account(whose, self._where(params.key))
        if self._environ.get("EMBEDROCK_EMULATED") == "true":  # nobody's credentials, and no other endpoint
            whose = Account()
        self.found.entries.append(Entry(name, model, at.start_mark.line + 1, whose, params=own, **options))

    def _check_account(self, account: Account, where: str) -> None:
        if bool(account.access_key) != bool(account.secret_key):
            raise ModelListError(f"{where}: aws_access_key_id and aws_secret_access_key need each other")
        if account.web_identity_token and not account.role_arn:
            raise ModelListError(f"{where}: aws_web_identity_token needs aws_role_name")
        if account.endpoint and not _is_url(account.endpoint):
            raise ModelListError(f"{where}: the endpoint is not an http:// or https:// URL")
        names = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL")
        url = account.endpoint or next((self._environ[name] for name in names if self._environ.get(name)), "")
        if account.bearer and url.startswith("http:") and self._environ.get("EMBEDROCK_EMULATED") != "true":
            raise ModelListError(f"{where}: api_key is a key of Bedrock, and not sent to an endpoint without https")

    def _model_info(self, node: Any) -> None:
        for name, (key, value) in self._members(node).items():
            if name == "mode":
                if self._plain(value) not in ("embedding", "embeddings"):
                    self.note(key, "a mode other than embedding is not supported")
            elif name not in _KNOWN_MODEL_INFO:
                self.note(key, f"model_info.{name} is not supported")

    # --------------------------------------------------------------------------------------------------- one value

    def _members(self, node: Any) -> dict[str, _Member]:
        """Return the members of a mapping that are not null; what is merged into it (`<<`) is the weaker."""
        import yaml  # see settings

        if _is_null(node):
            return {}
        if node.id != "mapping":
            raise ModelListError(f"{self._where(node)}: must be a mapping")
        try:
            yaml.constructor.SafeConstructor().flatten_mapping(node)
        except yaml.YAMLError:
            raise ModelListError(f"{self._where(node)}: what is merged here is no mapping") from None
        members = {str(key.value): _Member(key, value) for key, value in node.value}
        return {name: member for name, member in members.items() if not _is_null(member.value)}

    def _text(self, member: _Member | None, at: Any, name: str) -> str:
        value = self._text_or_none(member.value, name) if member is not None else None
        if not value:
            raise ModelListError(f"{self._where(at)}: {name} is missing")
        return value

    def _text_or_none(self, node: Any, name: str) -> str | None:
        value = self._plain(node)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ModelListError(f"{self._where(node)}: {name} must be a text")
        text = str(value)
        if not text.startswith(_ENVIRON):
            return text
        variable = text.removeprefix(_ENVIRON)
        if self._environ.get(variable):
            return self._environ[variable]
        if variable in _LOOKED_AT_AGAIN:
            return None
        raise ModelListError(f"{self._where(node)}: {_shown(variable)[:_SHOWN_CHARS]} is not in the environment")

    def _value(self, node: Any, name: str) -> Any:
        value = self._plain(node)
        return self._text_or_none(node, name) if isinstance(value, str) else value

    def _region(self, node: Any, name: str) -> str | None:
        region = self._text_or_none(node, name)
        if region and not _REGION.fullmatch(region):
            raise ModelListError(f"{self._where(node)}: {region[:60]!r} is not the name of an AWS region")
        return region or None

    def _flag(self, node: Any, name: str) -> bool:
        value = self._plain(node)
        if not isinstance(value, bool):
            raise ModelListError(f"{self._where(node)}: {name} must be true or false")
        return value

    def _number(self, node: Any, name: str) -> Decimal:
        number = Decimal(-1)
        if node.id == "scalar":
            with suppress(InvalidOperation):
                number = Decimal(node.value)
        if not number.is_finite() or number < 0:
            raise ModelListError(f"{self._where(node)}: {name} must be a number, 0 or more")
        return number

    def _where(self, node: Any) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"


def _shown(text: str) -> str:
    """Return `text` in one line, whatever is in it."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _is_null(node: Any) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number for a port, or brackets without an address
        return False
