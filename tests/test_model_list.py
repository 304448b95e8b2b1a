"""LiteLLM's file as settings: what is read, what is told with its line, and what stops the start."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedrock import wiring
from embedrock.accounts import Account
from embedrock.model_list import SECTIONS, Entry
from embedrock.settings import Settings, SettingsError, load

TITAN_V1 = "bedrock/amazon.titan-embed-text-v1"
TITAN = "bedrock/amazon.titan-embed-text-v2:0"

Read = Callable[..., Settings]
Refuse = Callable[..., str]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return the settings of a file with this text, and of an environment."""
    path = tmp_path / "config.yaml"

    def read_text(text: str, **environ: str) -> Settings:
        path.write_text(text, encoding="utf-8")
        return load({"EMBEDROCK_CONFIG": str(path), **environ})

    return read_text


@pytest.fixture
def refusal(read: Read, tmp_path: Path) -> Refuse:
    """Return what is said of a file that cannot be used, without the path before its line."""

    def refuse(text: str, **environ: str) -> str:
        with pytest.raises(SettingsError) as caught:
            wiring.check(read(text, **environ))
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/config.yaml:", "")

    return refuse


def one(*params: str, model: str = TITAN, rest: str = "") -> str:
    """Return a file with one entry; the first of `params` stands in line 5, and `rest` after them."""
    lines = ["model_list:", "  - model_name: mine", "    litellm_params:", f"      model: {model}"]
    return "\n".join([*lines, *(f"      {param}" for param in params), rest])


def notes(settings: Settings) -> list[str]:
    """Return the notes, each from its line on."""
    return [note.partition("config.yaml:")[2] for note in settings.notes]


# ---------------------------------------------------------------- what is read


def test_two_models_with_keys_from_the_environment(read: Read) -> None:
    keys = "aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID, aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY"
    text = f"""
model_list:
  - model_name: old
    litellm_params: {{model: {TITAN_V1}, {keys}, aws_region_name: us-east-1}}
  - model_name: new
    litellm_params: {{model: {TITAN}, {keys}, aws_region_name: us-east-1}}
"""
    chosen = read(text, AWS_ACCESS_KEY_ID="AKIAMINE", AWS_SECRET_ACCESS_KEY="s3cret")

    account = Account("AKIAMINE", "s3cret", region="us-east-1")
    assert chosen.entries == (
        Entry("old", TITAN_V1, 4, account, "us-east-1"),
        Entry("new", TITAN, 6, account, "us-east-1"),
    )
    assert chosen.notes == ()


@pytest.mark.parametrize(
    "param, field, value",
    [
        ("aws_session_token", "session_token", "t"),
        ("aws_profile_name", "profile", "work"),
        ("aws_role_name", "role_arn", "arn:aws:iam::123456789012:role/embed"),
        ("aws_session_name", "role_session_name", "mine"),
        ("aws_external_id", "external_id", "x1"),
        ("api_key", "bearer", "ABSK"),
        ("aws_bedrock_runtime_endpoint", "endpoint", "https://vpce.example.com"),
        ("api_base", "endpoint", "http://127.0.0.1:4570"),
    ],
)
def test_each_member_of_the_account(read: Read, param: str, field: str, value: str) -> None:
    (plain,) = read(one(f"{param}: {value}")).entries
    (looked_up,) = read(one(f"{param}: os.environ/MINE"), MINE=value).entries

    assert getattr(plain.account, field) == getattr(looked_up.account, field) == value
    assert not plain.account.is_default


def test_web_identity_needs_its_role(read: Read, refusal: Refuse) -> None:
    (entry,) = read(one("aws_web_identity_token: /run/token", "aws_role_name: arn:aws:iam::1:role/a")).entries

    assert entry.account.web_identity_token == "/run/token"
    assert refusal(one("aws_web_identity_token: /run/token")) == "3: aws_web_identity_token needs aws_role_name"


@pytest.mark.parametrize(
    "model, region",
    [
        ("bedrock/eu-west-1/amazon.titan-embed-text-v2:0", "eu-west-1"),
        ("bedrock/async_invoke/eu-west-1/amazon.titan-embed-text-v2:0", "eu-west-1"),
        ("bedrock/us-gov-west-1/amazon.titan-embed-text-v2:0", "us-gov-west-1"),
        ("arn:aws:bedrock:eu-central-1::foundation-model/amazon.titan-embed-text-v2:0", "eu-central-1"),
        ("bedrock/arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.cohere.embed-v4:0", "eu-central-1"),
        (TITAN, None),
        ("amazon.titan-embed-text-v2:0", None),
        ("bedrock/us.cohere.embed-v4:0", None),
    ],
)
def test_region_in_a_models_name_is_the_entrys(read: Read, model: str, region: str | None) -> None:
    """The file is the operator's: what it names may be called, whatever AWS_REGION is."""
    chosen = read(one(model=model), AWS_REGION="us-east-1")

    (entry,) = chosen.entries
    assert entry.region == region
    assert wiring.check(chosen).find("mine").region == (region or "us-east-1")


def test_regions_of_entries_are_the_gateways_where_nobody_says(read: Read) -> None:
    names = wiring.check(read(one("aws_region_name: ap-south-1")))

    assert names.regions == ("ap-south-1",)
    assert names.find("cohere.embed-english-v3").region == "ap-south-1"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REGION_NAME"])
def test_region_variable_that_is_not_there_is_looked_for_in_the_others(read: Read, variable: str) -> None:
    chosen = read(one(f"aws_region_name: os.environ/{variable}"), AWS_BEDROCK_REGIONS="eu-west-1,us-east-1")

    assert chosen.entries[0].region is None
    assert wiring.check(chosen).find("mine").region == "eu-west-1"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"])
def test_variable_of_aws_may_be_missing_for_its_chain_looks_again(read: Read, name: str) -> None:
    param = {
        "AWS_ACCESS_KEY_ID": "aws_access_key_id",
        "AWS_SESSION_TOKEN": "aws_session_token",
        "AWS_PROFILE": "aws_profile_name",
        "AWS_BEARER_TOKEN_BEDROCK": "api_key",
    }[name]

    (entry,) = read(one(f"{param}: os.environ/{name}"), **{name: ""}).entries

    assert entry.account.is_default


def test_parameters_of_the_model(read: Read) -> None:
    (entry,) = read(
        one("dimensions: 512", "input_type: os.environ/PURPOSE", "normalize: false"), PURPOSE="search_query"
    ).entries

    assert entry.params == {"dimensions": 512, "input_type": "search_query", "normalize": False}


def test_drop_params_of_an_entry_and_of_all(read: Read) -> None:
    chosen = read(one("drop_params: false", rest="litellm_settings: {drop_params: true}"))

    assert chosen.entries[0].drop_params is False
    assert chosen.drop_params is True


@pytest.mark.parametrize(
    "written, per_million", [("0.00000002", "0.02"), ("2e-8", "0.02"), ("0", "0"), ('"1.35e-07"', "0.135")]
)
def test_price_is_read_exactly(read: Read, written: str, per_million: str) -> None:
    (entry,) = read(one(f"input_cost_per_token: {written}")).entries

    assert entry.usd_per_million_tokens == Decimal(per_million)


def test_quotas_of_an_entry(read: Read) -> None:
    (entry,) = read(one("rpm: 100", "tpm: 3e5")).entries

    assert (entry.rpm, entry.tpm) == (100, 300_000)


def test_master_key_is_the_key_of_callers(read: Read) -> None:
    text = one(rest="general_settings: {master_key: os.environ/MASTER}")

    assert read(text, MASTER="sk-master").api_key == ("sk-master",)
    assert read(text, MASTER="sk-master", EMBEDROCK_API_KEY="sk-other").api_key == ("sk-other",)


def test_members_of_ours_stand_beside_theirs(read: Read) -> None:
    chosen = read(one("aws_region_name: us-east-1", rest="port: 8080\naliases: {search: mine}\n"))

    assert chosen.port == 8080
    assert wiring.check(chosen).find("search").spec.id == "amazon.titan-embed-text-v2:0"


def test_null_counts_as_absent(read: Read) -> None:
    params = [f"{name}: null" for name in ("api_key", "aws_region_name", "drop_params", "rpm", "dimensions")]
    rest = "general_settings:\nlitellm_settings: {drop_params: null, cache: null}\nrouter_settings:\n"

    chosen = read(one(*params, rest=rest))

    assert chosen.entries == (Entry("mine", TITAN, 4),)
    assert notes(chosen) == ["12: router_settings is not supported"]


def test_empty_file_of_theirs_has_no_entries(read: Read) -> None:
    assert read("model_list:\ngeneral_settings: {}\n").entries == ()


def test_what_is_merged_is_the_weaker(read: Read) -> None:
    text = f"""
model_list:
  - model_name: mine
    litellm_params: &common {{model: {TITAN_V1}, aws_region_name: us-east-1, aws_profile_name: work}}
  - model_name: other
    litellm_params:
      <<: *common
      model: {TITAN}
"""
    entries = read(text).entries

    assert [(entry.model, entry.region, entry.account.profile) for entry in entries] == [
        (TITAN_V1, "us-east-1", "work"),
        (TITAN, "us-east-1", "work"),
    ]


def test_with_the_emulator_nobodys_credentials_are_used(read: Read) -> None:
    """So that the file one has can be tried without an account."""
    text = one("api_key: ABSK", "aws_region_name: eu-west-1", "api_base: https://vpce.example.com")

    (entry,) = read(text, EMBEDROCK_EMULATED="true", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:4570").entries

    assert (entry.account, entry.region) == (Account(), "eu-west-1")


def test_file_of_the_documentation_is_good(read: Read) -> None:
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "configure.md").read_text(encoding="utf-8")
    text = page.partition("```yaml\nmodel_list:")[2].partition("```")[0]

    chosen = read("model_list:" + text, TEAM_KEY_ID="AKIATEAM", TEAM_SECRET="s", MASTER_KEY="k")

    assert chosen.notes == ()
    assert chosen.api_key == ("k",)
    names = wiring.check(chosen)
    assert set(names.aliases) == {"search", "another-team"}
    assert [place.region for place in names.find("search").others] == ["eu-west-1"]


# ---------------------------------------------------------------- what is told

#: Options of LiteLLM's that are no parameters of a model.
OPTIONS = [
    *("itpm", "otpm", "max_parallel_requests", "weight", "order", "tags", "max_budget", "budget_duration"),
    *("timeout", "stream_timeout", "request_timeout", "max_retries", "num_retries", "cooldown_time", "fallbacks"),
    *("organization", "api_version", "region_name", "model_id", "base_model", "litellm_credential_name", "user"),
    *("extra_headers", "headers", "extra_body", "metadata", "ssl_verify", "cache", "ttl", "mock_response"),
    *("output_cost_per_token", "input_cost_per_second", "input_cost_per_image", "cost_per_second", "tiered_pricing"),
    *("input_cost_per_token_batches", "output_vector_size", "allowed_openai_params", "additional_drop_params"),
    *("aws_sts_endpoint", "aws_session_tags", "aws_batch_role_arn", "s3_bucket_name", "vertex_project"),
    *("azure_ad_token", "watsonx_region_name", "use_in_pass_through", "use_litellm_proxy", "guardrails"),
    *("configurable_clientside_auth_params", "merge_reasoning_content_in_choices", "default_api_key_rpm_limit"),
]


@pytest.mark.parametrize("option", OPTIONS)
def test_option_that_is_not_supported_is_told_with_its_line(read: Read, option: str) -> None:
    chosen = read(one("dimensions: 256", f"{option}:\n        - 1"))

    assert notes(chosen) == [f"6: {option} is not supported"]
    assert chosen.entries[0].params == {"dimensions": 256}


@pytest.mark.parametrize("param", ["custom_llm_provider: bedrock", "encoding_format: float"])
def test_what_holds_anyway_is_not_told(read: Read, param: str) -> None:
    assert read(one(param)).notes == ()
    assert notes(read(one(param.split()[0] + " other"))) == [f"5: {param.split(':')[0]} is not supported"]


@pytest.mark.parametrize(
    "section", [name for name in SECTIONS if name not in ("model_list", "general_settings", "litellm_settings")]
)
def test_section_that_is_not_supported_is_told_with_its_line(read: Read, section: str) -> None:
    chosen = read(one(rest=f"{section}:\n  a: 1\n"))

    assert notes(chosen) == [f"5: {section} is not supported"]
    assert len(chosen.entries) == 1


def test_settings_that_are_not_supported_are_told_with_their_lines(read: Read) -> None:
    rest = "general_settings:\n  database_url: x\n  master_key: k\nlitellm_settings:\n  callbacks:\n    - a\n"

    chosen = read(one(rest=rest))

    assert notes(chosen) == [
        "6: general_settings.database_url is not supported",
        "9: litellm_settings.callbacks is not supported",
    ]
    assert chosen.api_key == ("k",)


def test_model_info_is_told_unless_it_says_nothing_new(read: Read) -> None:
    info = "    model_info:\n      id: a\n      mode: embedding\n      base_model: b\n      max_tokens: 4\n    tpm: 3"

    assert notes(read(one(rest=info))) == ["9: model_info.max_tokens is not supported", "10: tpm is not supported"]
    assert notes(read(one(rest="    model_info: {mode: chat}"))) == ["5: a mode other than embedding is not supported"]


@pytest.mark.parametrize(
    "name, model, reason",
    [
        ("gpt", "openai/gpt-4o", "openai/gpt-4o is not a model of Bedrock"),
        ("gpt", "gpt-3.5-turbo", "gpt-3.5-turbo is not a model of Bedrock"),
        ("c", "cohere/embed-english-v3.0", "cohere/embed-english-v3.0 is not a model of Bedrock"),
        ('"*"', TITAN, "wildcards are not supported"),
        ("all", '"bedrock/*"', "wildcards are not supported"),
    ],
)
def test_entry_for_others_is_left_out_with_whatever_it_lacks(read: Read, name: str, model: str, reason: str) -> None:
    rest = f"  - model_name: {name}\n    litellm_params:\n      api_key: os.environ/NOT_HERE\n      model: {model}\n"

    chosen = read(one(rest=rest))

    assert [entry.name for entry in chosen.entries] == ["mine"]
    assert notes(chosen) == [f"8: {reason}; left out"]


def test_token_of_an_identity_provider_we_cannot_ask_leaves_the_entry_out(read: Read) -> None:
    """Never another identity in its place."""
    chosen = read(one("aws_role_name: arn:aws:iam::1:role/a", "aws_web_identity_token: oidc/google/aud"))

    assert chosen.entries == ()
    assert notes(chosen) == ["6: tokens by oidc/ are not supported; left out"]


@pytest.mark.parametrize(
    "model", ["bedrock/anthropic.claude-3-haiku-20240307-v1:0", "bedrock/converse/amazon.nova-pro"]
)
def test_model_of_bedrock_that_does_not_embed_is_left_out(read: Read, model: str) -> None:
    chosen = read(one("aws_region_name: us-east-1", rest=f"  - {{model_name: x, litellm_params: {{model: {model}}}}}"))

    usable, told = wiring.usable_entries(chosen)
    assert [entry.name for entry in usable] == ["mine"]
    assert len(told) == 1
    assert "6: " in told[0]
    assert model in told[0]
    assert "x" not in wiring.check(chosen).aliases


def test_profile_of_an_application_is_usable_when_the_file_tells_its_model(read: Read) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefghijkl"

    chosen = read(one(model=f"bedrock/{arn}", rest=f"arns:\n  {arn}: amazon.titan-embed-text-v2:0\n"))

    assert wiring.usable_entries(chosen)[1] == []
    assert wiring.check(chosen).find("mine").invoke_id == arn


# ---------------------------------------------------------------- what stops the start


@pytest.mark.parametrize(
    "text, line, part",
    [
        ("model_list: 3\n", 1, "model_list must be a list"),
        ("model_list:\n  - 3\n", 2, "must be a mapping"),
        ("model_list:\n  - litellm_params: {model: a}\n", 2, "model_name is missing"),
        ("model_list:\n  - model_name: a\n", 2, "the entry has no litellm_params"),
        ("model_list:\n  - model_name: a\n    litellm_params: 3\n", 3, "must be a mapping"),
        ("model_list:\n  - model_name: a\n    litellm_params: {}\n", 3, "model is missing"),
        ("model_list:\n  - model_name: [a]\n    litellm_params: {}\n", 2, "model_name must be a text"),
        (one("<<: 3"), 4, "what is merged here is no mapping"),
        (one("aws_access_key_id: a"), 3, "aws_access_key_id and aws_secret_access_key need each other"),
        (one("aws_secret_access_key: a"), 3, "aws_access_key_id and aws_secret_access_key need each other"),
        (one("aws_profile_name: [a]"), 5, "aws_profile_name must be a text"),
        (one("aws_profile_name: true"), 5, "aws_profile_name must be a text"),
        (one("aws_region_name: mars"), 5, "'mars' is not the name of an AWS region"),
        (one("aws_bedrock_runtime_endpoint: vpce"), 3, "the endpoint is not an http:// or https:// URL"),
        (one("api_base: http://a:b"), 3, "the endpoint is not an http:// or https:// URL"),
        (one("api_key: k", "api_base: http://a"), 3, "not sent to an endpoint without https"),
        (one("drop_params: yes please"), 5, "drop_params must be true or false"),
        (one("input_cost_per_token: free"), 5, "input_cost_per_token must be a number, 0 or more"),
        (one("input_cost_per_token: -1"), 5, "input_cost_per_token must be a number, 0 or more"),
        (one("input_cost_per_token: .inf"), 5, "input_cost_per_token must be a number, 0 or more"),
        (one("input_cost_per_token: [1]"), 5, "input_cost_per_token must be a number, 0 or more"),
        (one("rpm: many"), 5, "rpm must be a number, 0 or more"),
        (one("tpm: {a: 1}"), 5, "tpm must be a number, 0 or more"),
        (one("dimensions: os.environ/NOT_HERE"), 5, "NOT_HERE is not in the environment"),
        (one("api_key: os.environ/NOT_HERE"), 5, "NOT_HERE is not in the environment"),
        (one(model="os.environ/NOT_HERE"), 4, "NOT_HERE is not in the environment"),
        (one(rest="general_settings: [a]"), 5, "must be a mapping"),
        (one(rest="general_settings:\n  master_key: os.environ/NOT_HERE"), 6, "NOT_HERE is not in the environment"),
        (one(rest='general_settings:\n  master_key: ""'), 6, "master_key is missing"),
        (one("dimensions: !!python/object:a.b {}"), 5, "not plain YAML"),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_its_line(refusal: Refuse, text: str, line: int, part: str) -> None:
    message = refusal(text, AWS_REGION="us-east-1")

    assert message.startswith(f"{line}")
    assert part in message


def test_key_of_bedrock_is_not_sent_to_the_gateways_endpoint_without_https(refusal: Refuse) -> None:
    for name in ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"):
        assert "not sent to an endpoint without https" in refusal(one("api_key: k"), **{name: "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "text, part",
    [
        (one("dimensions: 300"), "not 300"),
        (one("input_type: search_query"), "input_type"),  # Titan has none
        (one(model="bedrock/amazon.titan-embed-text-v2:0:8k"), "cannot be called on demand"),
        (one("aws_region_name: us-east-1", model="bedrock/eu-west-1/amazon.titan-embed-text-v2:0"), "eu-west-1"),
        (one(rest="aliases: {mine: cohere.embed-v4:0}"), "'mine' is an alias and a model_name"),
        (
            one(rest=f"  - {{model_name: mine, litellm_params: {{model: {TITAN_V1}}}}}"),
            "'mine': its places have different models, or parameters",
        ),
        (
            one(rest=f"  - {{model_name: mine, litellm_params: {{model: {TITAN}, dimensions: 256}}}}"),
            "'mine': its places have different models, or parameters",
        ),
        (
            f"model_list: [{{model_name: amazon.titan-embed-text-v1, litellm_params: {{model: {TITAN}}}}}]",
            "it is a name of amazon.titan-embed-text-v1 and cannot lead to amazon.titan-embed-text-v2:0",
        ),
    ],
)
def test_entry_that_cannot_work_is_refused_at_start(refusal: Refuse, text: str, part: str) -> None:
    assert part in refusal(text, AWS_REGION="us-east-1")


def test_name_of_openais_is_an_entrys_when_the_file_says_so(read: Read) -> None:
    text = f"model_list: [{{model_name: text-embedding-3-small, litellm_params: {{model: {TITAN}}}}}]"

    names = wiring.check(read(text, AWS_REGION="us-east-1", EMBEDROCK_OPENAI_ALIASES="true"))

    assert names.find("text-embedding-3-small").spec.id == "amazon.titan-embed-text-v2:0"
    assert names.find("text-embedding-ada-002").spec.id == "amazon.titan-embed-text-v1"


def test_secrets_are_in_no_text(read: Read, refusal: Refuse) -> None:
    secrets = ("s3cret-key", "s3cret-token", "s3cret-bearer", "s3cret-master")
    params = ["aws_access_key_id: AKIA", "aws_secret_access_key: s3cret-key", "aws_session_token: s3cret-token"]
    text = one(*params, "api_key: s3cret-bearer", rest="general_settings: {master_key: s3cret-master}")

    said = [repr(read(text)), refusal(text + "\nmodels: 3"), refusal(text, AWS_ENDPOINT_URL="http://a")]

    assert [secret for secret in secrets if any(secret in words for words in said)] == []


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        [TITAN, "os.environ/AWS_PROFILE", "os.environ/X\ny", "openai/\n", "us-east-1", "https://a", "*", "{}"]
    )
    | st.text(max_size=8),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(st.text(max_size=8), value, max_size=3),
    max_leaves=6,
)
PARAMS = st.dictionaries(
    st.sampled_from(["model", "aws_region_name", "aws_access_key_id", "api_key", "api_base", "drop_params", "rpm"])
    | st.sampled_from(["input_cost_per_token", "dimensions", "<<", "aws_role_name", "aws_web_identity_token"]),
    VALUES,
    max_size=5,
)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"model_name": VALUES, "litellm_params": PARAMS | VALUES, "model_info": VALUES, "tpm": VALUES}
    )
    | VALUES,
    max_size=3,
)
FILES = st.fixed_dictionaries(
    {},
    optional={"model_list": ENTRIES | VALUES, "general_settings": VALUES, "litellm_settings": VALUES, "agents": VALUES},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(FILES)
def test_any_file_is_read_or_refused_in_one_line(tmp_path: Path, members: dict[str, Any]) -> None:
    """JSON is YAML, but for a few characters."""
    path = tmp_path / "drawn.yaml"
    path.write_text(json.dumps(members), encoding="utf-8")

    try:
        chosen = load({"EMBEDROCK_CONFIG": str(path)})
    except SettingsError as exc:
        assert "\n" not in str(exc)
    else:
        assert all(entry.name and entry.model and entry.line == 1 for entry in chosen.entries)
        assert all(note.isprintable() for note in chosen.notes)
