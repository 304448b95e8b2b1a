"""`embedrock doctor`: what it calls, what it says of each failure, and what it never says."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from botocore.exceptions import ClientError, UnauthorizedSSOTokenError

from embedrock import settings, wiring
from embedrock.accounts import Account
from embedrock.errors import Unavailable, UpstreamTimeout
from embedrock.faces.doctor import Limits, Report, cures, examine
from embedrock.faces.doctor.check import PROBLEMS, Check, Login
from embedrock.faces.doctor.plan import plan

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, RunEmbedrock, StartEmulator

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-v4:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO = "twelvelabs.marengo-embed-3-0-v1:0"
KEY, SHORT, SECRET = "AKIACANARYCANARY0000", "AKIA…0000", "canary-secret"
OTHER_KEY = "AKIAOTHEROTHER001111"
ACCOUNT = "123456789012"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "find-out-what-is-wrong.md"

Doctor: TypeAlias = Callable[..., Report]


def aws(url: str | None) -> dict[str, str]:
    """Return an environment with keys, a region, and perhaps another endpoint."""
    keys = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return keys | ({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url} if url else {})


def check_discreet(text: str) -> None:
    """Check that there is no secret, no whole key and no account in what is printed."""
    assert [word for word in (KEY, OTHER_KEY, "canary", ACCOUNT, "arn:aws:iam") if word in text] == []


@pytest.fixture
def doctor(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Examine in this process, against the shared emulator unless `environ` says otherwise; "" removes a variable."""

    def run(*asked: str, limits: Limits | None = None, **environ: str) -> Report:
        merged = {name: value for name, value in (aws(emulator.url) | environ).items() if value}
        for name, value in merged.items():
            monkeypatch.setenv(name, value)  # AWS's chain reads this process's
        report = examine(settings.load(merged), asked, limits)
        check_discreet(report.as_text() + report.as_json())
        return report

    return run


def problems(report: Report) -> list[str]:
    """Return what is wrong with each check, in order; "" for one that works."""
    return [outcome.finding.problem if outcome.finding else "" for outcome in report.outcomes]


def cure(report: Report) -> str:
    """Return all that is said of the one thing that is wrong."""
    (finding,) = {outcome.finding for outcome in report.outcomes if outcome.finding}
    assert finding.problem in PROBLEMS
    return f"{finding.what} {finding.cure}"


def a_check(model: str = TITAN, **environ: str) -> Check:
    """Return the check of a model at AWS itself."""
    chosen = settings.load(aws(None) | environ)
    return plan(chosen, wiring.check(chosen), [model])[0]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# What is called


def test_three_usual_models_are_called_in_each_region(doctor: Doctor, emulator: Emulator) -> None:
    report = doctor(AWS_BEDROCK_REGIONS="us-east-1,eu-west-1")

    rows = {(row["region"], row["model"]): json.loads(row["request_body"]) for row in emulator.journal()}
    assert report.ok
    assert rows.keys() == {(region, model) for region in ("us-east-1", "eu-west-1") for model in (TITAN, COHERE, NOVA)}
    assert rows["eu-west-1", TITAN] == {"inputText": "hello"}
    assert [outcome.check.called for outcome in report.outcomes] == [TITAN, TITAN, COHERE, f"eu.{COHERE}", NOVA, NOVA]


def test_a_call_says_what_the_journal_says(doctor: Doctor, emulator: Emulator) -> None:
    document = json.loads(doctor(COHERE).as_json())

    (check,) = document["checks"]
    (row,) = emulator.journal()
    assert (check["ok"], check["dimensions"], check["tokens"]) == (True, 1536, row["tokens"])
    assert 0 <= check["milliseconds"] < 10_000


def test_what_the_configuration_names_is_called_and_nothing_else(
    doctor: Doctor, emulator: Emulator, tmp_path: Path
) -> None:
    """Aliases and defaults with their parameters, ARNs, and what was asked for; what is the same, once."""
    arn = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{COHERE}"
    file = tmp_path / "embedrock.yaml"
    file.write_text(
        f"aliases:\n  small: {{model: '{TITAN}', params: {{dimensions: 256}}}}\n  tiny: small\n"
        f"  pictures: {{model: cohere.embed-english-v3, params: {{input_type: image}}}}\n"
        f"arns:\n  {arn}: {COHERE}\ndefault_model_params:\n  {NOVA}: {{dimensions: 384}}\n",
        encoding="utf-8",
    )

    report = doctor(TITAN, "small", EMBEDROCK_CONFIG=str(file))

    found = [(tuple(o.check.names), o.check.target.spec.id, o.check.wanted.dimensions) for o in report.outcomes]
    assert report.ok
    assert found == [
        (("small", "tiny"), TITAN, 256),
        (("pictures",), "cohere.embed-english-v3", 1024),
        ((arn,), COHERE, 1536),
        ((NOVA,), NOVA, 384),
        ((TITAN,), TITAN, 1024),
    ]
    bodies = {(row["model"], row["request_body"]) for row in emulator.journal()}
    assert len(emulator.journal()) == len(bodies) == 5


def test_a_name_with_a_region_is_called_there_only(doctor: Doctor, emulator: Emulator) -> None:
    doctor(f"bedrock/eu-west-1/{TITAN}", f"us.{COHERE}", AWS_BEDROCK_REGIONS="us-east-1,us-west-2,eu-west-1")

    called = {(row["model"], row["region"]) for row in emulator.journal()}
    assert called == {(TITAN, "eu-west-1"), (COHERE, "us-east-1")}


def test_each_place_of_a_pool_is_called_with_its_own_credentials(
    doctor: Doctor, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.credentials(access_key=KEY, secret_key=SECRET)
    file = tmp_path / "config.yaml"
    places = [(KEY, "us-east-1"), (OTHER_KEY, "eu-west-1")]
    file.write_text(
        "model_list:\n"
        + "".join(
            f"  - model_name: pool\n    litellm_params:\n      model: bedrock/{TITAN}\n"
            f"      aws_region_name: {region}\n      aws_access_key_id: {key}\n      aws_secret_access_key: {SECRET}\n"
            for key, region in places
        ),
        encoding="utf-8",
    )

    report = doctor(EMBEDROCK_CONFIG=str(file))

    signed = {(dict(row["headers"])["authorization"].split("/")[0], row["region"]) for row in emulator.journal()}
    assert signed == {(f"AWS4-HMAC-SHA256 Credential={key}", region) for key, region in places}
    assert problems(report) == ["", "credentials_unknown"]
    assert "AKIA…1111" in cure(report)
    assert "aws_secret_access_key and aws_session_token of the entry in line 10" in cure(report)
    text = report.as_text()
    assert "Credentials 1  keys of the entry in line 4, key AKIA…0000" in text
    assert "Credentials 2  keys of the entry in line 10, key AKIA…1111" in text


def test_calls_are_made_at_once(start_emulator: StartEmulator, doctor: Doctor) -> None:
    slow = start_emulator("--latency-ms", "200")

    doctor(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url)

    assert max(row["concurrency"] for row in slow.journal()) == 3


# What AWS answers

FAULTS: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("access_denied", {"reason": "model"}, "model_access", ["Bedrock console of us-east-1", "model access"]),
    (
        "access_denied",
        {"reason": "policy"},
        "iam_denied",
        [f"Allow bedrock:InvokeModel on arn:aws:bedrock:us-east-1::foundation-model/{TITAN}."],
    ),
    ("access_denied", {"reason": "account"}, "account_restricted", ["not verified", "AWS Support"]),
    (
        "throttle",
        {},
        "throttled",
        ["quota may be 0", "Service Quotas", "'On-demand model inference requests per minute", "Embeddings V2"],
    ),
    ("not_found", {"reason": "legacy"}, "legacy", ["30 days", "current model", "embed all anew"]),
    ("not_found", {"reason": "end_of_life"}, "end_of_life", ["end of its life", "embed all anew"]),
    ("expired_token", {}, "credentials_expired", [SHORT, "AWS_SESSION_TOKEN"]),
    ("unrecognized_client", {}, "credentials_unknown", [SHORT, "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"]),
    ("signature_expired", {"clock": "behind"}, "clock_wrong", ["clock", "5 minutes"]),
    ("signature_expired", {"clock": "ahead"}, "clock_wrong", ["clock", "5 minutes"]),
    ("reset", {"at": "before_headers"}, "unreachable", ["broke", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]),
    ("reset", {"at": "mid_body"}, "unreachable", ["broke", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]),
    ("server_error", {"status": 500}, "bedrock_failed", ["500 (InternalServerException)", "AWS Health"]),
    ("server_error", {"status": 502}, "bedrock_failed", ["status 502.", "AWS Health"]),
    ("model_not_ready", {}, "warming", ["Try again"]),
    ("model_timeout", {}, "timeout", ["did not answer"]),
    ("model_error", {}, "bedrock_failed", ["424 (ModelErrorException)"]),
    ("dimensions", {}, "invalid_answer", ["512 numbers, not 1024"]),
    ("zeros", {}, "invalid_answer", ["zero"]),
]


@pytest.mark.parametrize(("fault", "options", "problem", "words"), FAULTS)
def test_a_fault_is_named_with_its_cure_after_one_attempt(
    run_embedrock: RunEmbedrock,
    emulator: Emulator,
    fault: str,
    options: dict[str, Any],
    problem: str,
    words: list[str],
) -> None:
    emulator.fault(fault, **options)

    ended = run_embedrock("doctor", "--model", TITAN, "--json", **aws(emulator.url))

    printed = ended.stdout.decode()
    assert (ended.returncode, ended.stderr, emulator.fired()) == (1, b"", 1)
    document = json.loads(printed)
    (check,) = document["checks"]
    assert (document["ok"], check["ok"], check["problem"], document["snippets"]) == (False, False, problem, {})
    said = f"{check['what']} {check['cure']}"
    assert [word for word in words if word not in said] == [], said
    check_discreet(printed)


@pytest.mark.parametrize(
    ("model", "region", "words"),
    [
        (
            COHERE,
            "eu-west-1",
            [f"<account>:inference-profile/eu.{COHERE}", f"arn:aws:bedrock:*::foundation-model/{COHERE}"],
        ),
        (f"global.{COHERE}", "us-east-1", [f"arn:aws:bedrock:::foundation-model/{COHERE}"]),
    ],
)
def test_a_profile_needs_rights_on_itself_and_on_its_models(
    doctor: Doctor, emulator: Emulator, model: str, region: str, words: list[str]
) -> None:
    emulator.fault("access_denied", reason="policy")

    report = doctor(model, AWS_REGION=region)

    assert (problems(report), emulator.fired()) == (["iam_denied"], 1)
    assert [word for word in words if word not in cure(report)] == []


def test_a_bare_id_where_a_profile_is_needed_is_told_the_profile(
    doctor: Doctor, emulator: Emulator, tmp_path: Path
) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text(f"arns:\n  arn:aws:bedrock:eu-west-1::foundation-model/{COHERE}: {COHERE}\n", encoding="utf-8")

    report = doctor(AWS_REGION="eu-west-1", EMBEDROCK_CONFIG=str(file))

    assert emulator.journal()[0]["status"] == 400
    assert problems(report) == ["profile_needed"]
    assert f"Name eu.{COHERE} or global.{COHERE} instead." in cure(report)


def test_a_profile_of_elsewhere_is_told_what_the_region_has(doctor: Doctor, emulator: Emulator) -> None:
    report = doctor(f"us.{COHERE}", AWS_REGION="eu-west-1")

    assert emulator.journal()[0]["status"] == 400
    assert problems(report) == ["not_in_region"]
    assert f"Bedrock does not know us.{COHERE} in eu-west-1. In eu-west-1, name eu.{COHERE}" in cure(report)
    assert "Regions the catalogue knows it in: us-east-1." in cure(report)


def test_what_works_is_told_beside_what_does_not(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fault("throttle", match={"model": COHERE})

    text = doctor().as_text()

    assert emulator.fired() == 1
    assert re.search(rf"^{TITAN} +us-east-1 +ok +1024 +2 +\d+$", text, re.MULTILINE)
    assert re.search(rf"^{COHERE} +us-east-1 +FAILS: throttled$", text, re.MULTILINE)
    assert f"\n{COHERE} in us-east-1:\n  Bedrock throttles" in text
    assert "Cure: Where nothing else uses it" in text
    assert "Not checked: guardrails" in text


def test_the_same_cure_is_told_once(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fault("expired_token")

    text = doctor().as_text()

    assert emulator.fired() == 3
    assert text.count("have expired") == 1
    assert f"{TITAN} in us-east-1, {COHERE} in us-east-1, {NOVA} in us-east-1:" in " ".join(text.split())
    assert "OpenAI(" not in text


@pytest.mark.parametrize(
    ("status", "name", "text", "problem", "words"),
    [
        (400, "ValidationException", "Operation not allowed", "account_restricted", ["operation not allowed"]),
        (
            *(403, "AccessDeniedException"),
            f"Model access is denied due to User: arn:aws:iam::{ACCOUNT}:user/x is not authorized to perform: "
            "aws-marketplace:Subscribe on resource: *",
            *("model_access", ["Embed v4 of Cohere", "aws-marketplace:Subscribe"]),
        ),
        (
            *(403, "AccessDeniedException"),
            f"User: arn:aws:iam::{ACCOUNT}:user/x is not authorized to perform: bedrock:InvokeModel on resource: "
            f"arn:aws:bedrock:us-east-1::foundation-model/{COHERE} with an explicit deny in a service control policy",
            *("iam_denied", ["service control policy"]),
        ),
        (403, "InvalidSignatureException", "The request signature we calculated …", "signature_refused", ["secret"]),
        (
            *(403, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'us-east-1'."),
            *("wrong_endpoint", ["not Bedrock's runtime in us-east-1"]),
        ),
        (400, "RequestExpired", "", "clock_wrong", ["clock"]),
        (403, "InvalidClientTokenId", "", "credentials_unknown", ["AWS's chain"]),
        (400, "ServiceQuotaExceededException", "", "quota", ["Service Quotas"]),
        (404, "UnknownOperationException", "Unknown operation.", "wrong_endpoint", ["not Bedrock"]),
        (403, "", "", "wrong_endpoint", ["not Bedrock", "VPC endpoint"]),
        (301, "", "", "wrong_endpoint", ["not Bedrock"]),
        (429, "", "", "throttled", ["Service Quotas"]),
        (503, "", "", "bedrock_failed", ["503"]),
        (400, "ValidationException", f"Malformed {ACCOUNT}", "refused", ["400 (ValidationException)"]),
        (400, f"arn:aws:iam::{ACCOUNT}", "", "refused", ["status 400."]),
    ],
)
def test_an_answer_of_aws_is_understood_and_not_repeated(
    status: int, name: str, text: str, problem: str, words: list[str]
) -> None:
    finding = cures.of_answer(a_check(COHERE), status, name, text)

    assert finding.problem == problem
    assert [word for word in words if word not in f"{finding.what} {finding.cure}"] == []
    check_discreet(f"{finding.what} {finding.cure}")


@pytest.mark.parametrize(
    ("name", "text", "problem", "words"),
    [
        ("AccessDeniedException", "Invalid API Key format", "api_key_refused", ["not known", "API keys"]),
        ("", "Authentication failed: Please make sure your API Key is valid.", "api_key_refused", ["us-east-1"]),
        ("ExpiredTokenException", "Bearer Token has expired", "api_key_refused", ["expired"]),
        (
            *("AccessDeniedException", "not authorized to perform: bedrock:CallWithBearerToken", "iam_denied"),
            ["bedrock:CallWithBearerToken", "bedrock:InvokeModel", "AWS_BEARER_TOKEN_BEDROCK"],
        ),
    ],
)
def test_a_refused_api_key_is_told_from_a_missing_right(name: str, text: str, problem: str, words: list[str]) -> None:
    finding = cures.of_answer(a_check(AWS_BEARER_TOKEN_BEDROCK="canary"), 403, name, text)

    assert finding.problem == problem
    assert [word for word in words if word not in f"{finding.what} {finding.cure}"] == []
    check_discreet(f"{finding.what} {finding.cure}")


def test_a_legacy_model_that_works_is_told_its_end(doctor: Doctor) -> None:
    report = doctor("twelvelabs.marengo-embed-2-7-v1:0")

    assert report.ok
    assert "ok (AWS names 2026-11-30 as its end)" in report.as_text()


def test_a_name_of_background_jobs_is_checked_without_a_job(doctor: Doctor, emulator: Emulator) -> None:
    name = f"bedrock/async_invoke/us.{MARENGO}"

    report = doctor(name)

    assert report.ok
    assert name in report.as_text()
    assert {row["op"] for row in emulator.journal()} == {"InvokeModel"}


# The way there


def test_a_closed_port_is_told(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    report = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=f"http://user:canary@127.0.0.1:{port}")

    assert problems(report) == ["unreachable"]
    assert f"127.0.0.1:{port} could not be reached. Check AWS_ENDPOINT_URL_BEDROCK_RUNTIME" in cure(report)


def test_an_untrusted_certificate_is_told_and_cured_by_the_bundle(
    start_emulator: StartEmulator, doctor: Doctor, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    secure = start_emulator("--certfile", str(cert), "--keyfile", str(key))

    report = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url)
    cured = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url, AWS_CA_BUNDLE=str(cert))

    assert problems(report) == ["tls"]
    assert "set AWS_CA_BUNDLE" in cure(report)
    assert cured.ok
    assert len(secure.journal()) == 1


def test_an_api_key_is_called_over_tls_and_its_rights_are_told(
    start_emulator: StartEmulator, doctor: Doctor, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    secure = start_emulator("--certfile", str(cert), "--keyfile", str(key))
    environ = {
        "AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key-canary",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": secure.url,
        "AWS_CA_BUNDLE": str(cert),
    }

    works = doctor(TITAN, **environ)
    secure.fault("access_denied", reason="policy")
    denied = doctor(TITAN, **environ)
    fired = secure.fired()
    secure.clear()
    secure.credentials(access_key=KEY, secret_key=SECRET)
    refused = doctor(TITAN, **environ)

    assert works.ok
    assert "AWS_BEARER_TOKEN_BEDROCK; it wins over all other credentials" in works.as_text()
    assert (problems(denied), fired) == (["iam_denied"], 1)
    assert "bedrock:CallWithBearerToken" in cure(denied)
    assert problems(refused) == ["api_key_refused"]
    assert "for AWS_BEARER_TOKEN_BEDROCK" in cure(refused)


def test_https_where_there_is_no_tls_is_told(doctor: Doctor, emulator: Emulator) -> None:
    report = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url.replace("http:", "https:"))

    assert problems(report) == ["wrong_endpoint"]
    assert "does not speak TLS" in cure(report)
    assert "http or https" in cure(report)


def test_http_where_there_is_tls_is_told(
    start_emulator: StartEmulator, doctor: Doctor, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    secure = start_emulator("--certfile", str(cert), "--keyfile", str(key))

    report = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url.replace("https:", "http:"))

    assert problems(report) == ["unreachable"]
    assert "http or https" in cure(report)


def test_a_server_that_is_not_bedrock_is_told(doctor: Doctor, gateway: Gateway) -> None:
    report = doctor(TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=gateway.url)

    assert problems(report) == ["wrong_endpoint"]
    assert f"What answers at {gateway.host}:{gateway.port} is not Bedrock" in cure(report)


def test_a_region_without_an_address_is_told() -> None:
    error = Unavailable("Bedrock could not be reached.")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")

    finding = cures.of_no_answer(a_check(AWS_REGION="us-nowhere-9"), error)

    assert finding.problem == "unreachable"
    assert finding.what == "No address is known for bedrock-runtime.us-nowhere-9.amazonaws.com."
    assert "Check that Bedrock is in the region us-nowhere-9, and DNS" in finding.cure


# When everything hangs


def test_silence_ends_in_time_for_all_calls(doctor: Doctor, silent: str) -> None:
    """Also for the calls that wait for their turn behind those that hang."""
    limits = Limits(call_s=0.3, all_s=0.5, at_once=1)

    report = doctor(limits=limits, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=silent)

    assert problems(report) == ["timeout"] * 3
    said = [outcome.finding.what for outcome in report.outcomes if outcome.finding]
    assert "did not answer in time" in said[0]
    assert said[2] == "There was no time left to make the call."


def test_a_look_up_that_hangs_is_left_behind(doctor: Doctor, emulator: Emulator, tmp_path: Path) -> None:
    pipe, config = tmp_path / "pipe", tmp_path / "config"
    os.mkfifo(pipe)
    config.write_text(f"[default]\ncredential_process = cat {pipe}\n", encoding="utf-8")

    report = doctor(
        limits=Limits(all_s=0.5), AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_CONFIG_FILE=str(config)
    )

    with pipe.open("wb"):  # the program ends
        pass
    assert problems(report) == ["timeout"] * 3
    assert "The look-up of the credentials did not end in time" in cure(report)
    assert emulator.journal() == []


def test_the_usual_limits_are_under_fifteen_seconds() -> None:
    assert Limits().all_s <= 13
    assert Limits().call_s < Limits().all_s


def test_a_timeout_of_our_own_is_a_timeout() -> None:
    assert cures.of_no_answer(a_check(), UpstreamTimeout("late")).problem == "timeout"


# Credentials


def test_no_credentials_are_told_with_every_way_to_give_some(doctor: Doctor, emulator: Emulator) -> None:
    report = doctor(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    assert problems(report) == ["no_credentials"] * 3
    ways = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "role", "--emulator"]
    assert [way for way in ways if way not in cure(report)] == []
    assert emulator.journal() == []


def test_a_profile_that_is_not_there_is_told(doctor: Doctor) -> None:
    report = doctor(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_PROFILE="nobody")

    assert set(problems(report)) == {"credentials_not_loaded"}
    assert "ProfileNotFound" in cure(report)
    assert "aws configure list-profiles" in cure(report)


def test_keys_of_the_environment_are_told(doctor: Doctor, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile work]\nregion = us-east-1\n", encoding="utf-8")

    alone = doctor(TITAN).as_text()
    beside_a_profile = doctor(TITAN, AWS_CONFIG_FILE=str(config), AWS_PROFILE="work").as_text()

    assert "AWS_ACCESS_KEY_ID in the environment, key AKIA…0000" in alone
    assert "AWS_ACCESS_KEY_ID in the environment, which wins over AWS_PROFILE, key AKIA…0000" in beside_a_profile


def test_keys_of_a_profile_are_told(doctor: Doctor, emulator: Emulator, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"[work]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n", encoding="utf-8")
    emulator.fault("expired_token")

    report = doctor(
        TITAN,
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_PROFILE="work",
        AWS_SHARED_CREDENTIALS_FILE=str(file),
    )

    assert (problems(report), emulator.fired()) == (["credentials_expired"], 1)
    assert "Renew them: profile 'work'." in cure(report)
    assert "profile 'work' in the credentials file, key AKIA…0000" in report.as_text()


def test_a_program_that_fails_is_told_without_its_words(doctor: Doctor, tmp_path: Path) -> None:
    config = tmp_path / "config"
    program = f"{sys.executable} -c 'import sys; sys.exit(\"canary\")'"
    config.write_text(f"[default]\ncredential_process = {program}\n", encoding="utf-8")

    report = doctor(TITAN, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_CONFIG_FILE=str(config))

    assert problems(report) == ["credentials_not_loaded"]
    assert "CredentialRetrievalError" in cure(report)


def test_a_role_is_told_by_its_name_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"model_list:\n  - model_name: small\n    litellm_params:\n      model: bedrock/{TITAN}\n"
        f"      aws_role_name: arn:aws:iam::{ACCOUNT}:role/team/embedder\n",
        encoding="utf-8",
    )
    chosen = settings.load(aws(None) | {"EMBEDROCK_CONFIG": str(file)})

    (check,) = plan(chosen, wiring.check(chosen))

    assert check.names == ["small"]
    assert check.login.said == "role 'embedder' of the entry in line 4"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UnauthorizedSSOTokenError(), ["Sign in anew", "aws sso login --profile work"]),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": f"canary {ACCOUNT}"}}, "AssumeRole"),
            ["sts:AssumeRole", "trust policy"],
        ),
        (None, ["Check profile 'work'"]),
    ],
)
def test_credentials_that_cannot_be_loaded_are_told_by_kind(error: Exception | None, words: list[str]) -> None:
    login = Login(Account(), "profile 'work', signed in by SSO", "profile 'work', by `aws sso login --profile work`")

    finding = cures.not_loaded(login, error)

    said = f"{finding.what} {finding.cure}"
    assert finding.problem == "credentials_not_loaded"
    assert [word for word in words if word not in said] == []
    check_discreet(said)


def test_short_keys_are_not_shown_at_all(doctor: Doctor) -> None:
    report = doctor(TITAN, AWS_ACCESS_KEY_ID="AKIATEST")

    assert report.ok
    assert "TEST" not in report.as_text()


# What can be pasted


def test_snippets_work_as_they_are(doctor: Doctor, gateway: Gateway, emulator: Emulator) -> None:
    snippets = json.loads(doctor(EMBEDROCK_PORT=str(gateway.port)).as_json())["snippets"]
    emulator.clear()

    python = subprocess.run([sys.executable, "-c", snippets["openai"]], capture_output=True, check=True).stdout
    curl = subprocess.run(["bash", "-c", f"{snippets['curl']} -s -S --fail"], capture_output=True, check=True).stdout
    hint = f"{snippets['boto3']}\nprint(bedrock.meta.endpoint_url)"
    url = subprocess.run([sys.executable, "-c", hint], capture_output=True, check=True, text=True).stdout

    assert len(json.loads(python)) == 3
    assert len(json.loads(curl)["data"][0]["embedding"]) == 1024
    assert [row["model"] for row in emulator.journal()] == [TITAN, TITAN]
    assert url.strip() == emulator.url
    compile(snippets["langchain"], "langchain", "exec")
    assert f'base_url="{gateway.url}/v1"' in snippets["langchain"]


def test_snippets_name_a_model_that_works_and_no_key(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fault("throttle", match={"model": TITAN})

    report = doctor(
        AWS_BEDROCK_REGIONS="us-east-1,eu-west-1",
        EMBEDROCK_API_KEY="canary",
        EMBEDROCK_HOST="0.0.0.0",  # noqa: S104  # nothing listens
        EMBEDROCK_PORT="4321",
    )

    assert emulator.fired() == 2
    snippets = json.loads(report.as_json())["snippets"]
    assert set(snippets) == {"openai", "curl", "langchain", "boto3"}
    for name in ("openai", "curl", "langchain"):
        assert "http://127.0.0.1:4321/v1" in snippets[name]
        assert "<your key>" in snippets[name]
        assert COHERE in snippets[name]


# The command


def test_the_emulator_is_examined_without_an_account(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock("doctor", "--emulator")

    text = ended.stdout.decode()
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert text.count(" ok ") == 3
    assert "Credentials  the emulator's own" in text
    assert "while `embedrock serve --emulator` runs" in text
    assert 'endpoint_url="http://127.0.0.1:4570"' in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], ["--bogus"]),
        (["extra"], ["extra"]),
        (["--model", "titan-embed"], ["'titan-embed' does not exist"]),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    run_embedrock: RunEmbedrock, emulator: Emulator, arguments: list[str], words: list[str]
) -> None:
    ended = run_embedrock("doctor", *arguments, **aws(emulator.url))

    message = ended.stderr.decode()
    assert (ended.returncode, ended.stdout, message.count("\n")) == (2, b"", 1), message
    assert [word for word in words if word not in message] == []


def test_settings_that_cannot_work_are_one_line_and_1(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock("doctor")

    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (1, b"", 1)
    assert b"AWS_REGION" in ended.stderr


def test_every_problem_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))

    assert rows == PROBLEMS
