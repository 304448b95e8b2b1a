"""Where calls go and whose they are, from arguments and environment; pure."""

from __future__ import annotations

from typing import Any

import pytest

from embedrock.accounts import Account
from embedrock.faces.sdk.arguments import InvalidArgument, Place, find_place

TITAN = "amazon.titan-embed-text-v2:0"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "secret"}
REGION = {"AWS_REGION": "us-east-1"}


def place(model: str = TITAN, **said: Any) -> Place:
    """Return the place of these arguments; the rest is the environment."""
    account, region, endpoint = (said.pop(name, None) for name in ("account", "region", "endpoint"))
    return find_place(model, account=account or Account(), region=region, endpoint=endpoint, environ=said)


@pytest.mark.parametrize(
    ("environ", "regions"),
    [
        ({"AWS_REGION_NAME": "eu-west-1", "AWS_REGION": "us-east-1"}, ("eu-west-1",)),
        ({"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2"}, ("us-east-1",)),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, ("us-west-2",)),
        ({"AWS_REGION_NAME": "", "AWS_REGION": "us-east-1"}, ("us-east-1",)),
        ({"AWS_REGION": "us-east-1", "AWS_BEDROCK_REGIONS": "eu-west-1,us-west-2"}, ("us-east-1",)),
        ({"AWS_BEDROCK_REGIONS": "eu-west-1,us-west-2"}, ("eu-west-1", "us-west-2")),
        ({}, ()),
    ],
)
def test_region_of_the_environment(environ: dict[str, str], regions: tuple[str, ...]) -> None:
    assert place(**environ).settings.regions == regions


def test_argument_and_name_win_over_the_environment() -> None:
    assert place(region="eu-west-1", **REGION).settings.regions == ("eu-west-1",)
    assert place(f"bedrock/eu-west-1/{TITAN}", **REGION).settings.regions == ("eu-west-1",)
    assert place(f"bedrock/async_invoke/eu-west-1/{TITAN}", **REGION).settings.regions == ("eu-west-1",)


@pytest.mark.parametrize("name", [TITAN, f"bedrock/{TITAN}", f"us.{TITAN}", f"bedrock/async_invoke/{TITAN}", "a/b"])
def test_name_without_a_region_says_none(name: str) -> None:
    assert place(name, **REGION).settings.regions == ("us-east-1",)


def test_nothing_of_a_gateways_environment_counts() -> None:
    """Not even what a gateway would refuse to start with."""
    gateways = {
        "EMBEDROCK_HOST": "0.0.0.0",  # noqa: S104
        "EMBEDROCK_PORT": "no number",
        "EMBEDROCK_NONSENSE": "1",
        "EMBEDROCK_CONFIG": "/nowhere.yaml",
        "EMBEDROCK_MAX_INPUTS": "1",
        "EMBEDROCK_DROP_PARAMS": "true",
        "DEFAULT_MODEL_PARAMS": "{",
    }

    assert place(**REGION, **KEYS, **gateways) == place(**REGION, **KEYS)


def test_region_of_the_environment_does_not_matter_beside_an_argument() -> None:
    assert place(region="us-east-1", AWS_REGION="mars").settings.regions == ("us-east-1",)
    with pytest.raises(InvalidArgument, match="mars"):
        place(AWS_REGION="mars")


@pytest.mark.parametrize(
    "name, value",
    [
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9"),
        ("AWS_S3_REGIONAL_BUCKETS", '{"us-east-1":"mine"}'),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
    ],
)
def test_what_leads_elsewhere_is_another_place(name: str, value: str) -> None:
    assert place(**REGION, **KEYS, **{name: value}).key != place(**REGION, **KEYS).key


def test_keys_of_the_environment_are_those_of_the_moment() -> None:
    found = place(**REGION, **KEYS, AWS_SESSION_TOKEN="token").settings.account

    assert found == Account(access_key="AKIAENV", secret_key="secret", session_token="token")


def test_arguments_win_over_keys_of_the_environment() -> None:
    mine = Account(access_key="AKIAMINE", secret_key="mine")

    assert place(account=mine, **REGION, **KEYS, AWS_SESSION_TOKEN="another's").settings.account == mine
    assert place(account=Account(profile="work"), **REGION, **KEYS).settings.account == Account(profile="work")


def test_role_is_assumed_with_the_keys_of_the_environment() -> None:
    found = place(account=Account(role_arn="arn:role"), **REGION, **KEYS).settings.account

    assert (found.role_arn, found.access_key) == ("arn:role", "AKIAENV")


def test_bedrock_key_of_the_environment_counts_unless_the_caller_says_whose_credentials() -> None:
    environ = {**REGION, **KEYS, "AWS_BEARER_TOKEN_BEDROCK": "of-env"}

    assert place(**environ).settings.bearer_token == "of-env"
    assert place(**environ).settings.account == Account()
    for account in (Account(access_key="A", secret_key="b"), Account(profile="p"), Account(role_arn="r")):
        assert place(account=account, **environ).settings.bearer_token is None
    assert place(account=Account(bearer="mine"), **environ).settings.bearer_token == "mine"
    assert place(account=Account(endpoint="https://b.example"), **environ).settings.bearer_token == "of-env"


def test_endpoint_wins_over_the_environments() -> None:
    environ = {**REGION, "AWS_ENDPOINT_URL": "http://env"}

    assert place(**environ).settings.runtime_url == "http://env"
    assert place(endpoint="http://mine", **environ).settings.runtime_url == "http://mine"
    assert place(account=Account(endpoint="http://its"), **environ).settings.runtime_url == "http://its"


def key(**changes: Any) -> object:
    usual: dict[str, Any] = {"account": Account(access_key="A", secret_key="b"), "region": "us-east-1"}
    return place(**usual | {"endpoint": "http://h"} | changes).key


def test_equal_arguments_share_an_engine_whatever_else_the_environment_says() -> None:
    assert key() == key(AWS_PAGER="less", AWS_PROFILE="other", AWS_ACCESS_KEY_ID="x", HOME="/home")


@pytest.mark.parametrize(
    "changes",
    [
        {"account": Account(access_key="A", secret_key="c")},
        {"account": Account(access_key="A", secret_key="b", session_token="t")},
        {"account": Account(access_key="A", secret_key="b", role_arn="arn:role")},
        {"account": Account(profile="p")},
        {"account": Account()},
        {"account": Account(bearer="k"), "endpoint": "https://h"},
        {"region": "us-west-2"},
        {"endpoint": "http://i"},
        {"AWS_CA_BUNDLE": "/ca.pem"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
    ],
)
def test_places_that_differ_share_nothing(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_chain_is_another_place_when_what_it_reads_changes() -> None:
    first, second = (place(**REGION, AWS_PROFILE=name) for name in ("a", "b"))

    assert first.key != second.key


def test_secrets_are_not_shown() -> None:
    found = place(account=Account(access_key="A", secret_key="hush"), **REGION)

    assert "hush" not in repr(found.settings)
