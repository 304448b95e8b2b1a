"""Credentials: one refresh for everybody, off the event loop, and the ones at hand until there are others."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import botocore.exceptions
import botocore.session
import pytest

from embedrock.errors import UpstreamAuthFailed
from embedrock.upstream.credentials import ChainCredentials, FixedCredentials, chain_loader, chain_region
from embedrock.upstream.sigv4 import Credentials

OLD = Credentials("AKIAOLD", "secret")
NEW = Credentials("AKIANEW", "secret", "token")
A_MINUTE = 60.0


class Loader:
    """A chain that finds what it is told to, when it is let; it counts how often it is asked."""

    def __init__(self, *found: Credentials | Exception | None) -> None:
        self.found = list(found)
        self.asked: list[bool] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self._calls = threading.Semaphore(0)

    def __call__(self, anew: bool) -> Credentials | None:
        self.asked.append(anew)
        self.threads.add(threading.get_ident())
        self._calls.release()
        assert self.gate.wait(5)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def called(self) -> None:
        """Return as soon as the chain was asked once more since the last time."""
        assert await asyncio.to_thread(self._calls.acquire, timeout=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def refreshed(chain: ChainCredentials) -> None:
    """Return when the refresh that is under way, if any, has ended one way or the other."""
    if chain._refresh is not None:
        await asyncio.wait([chain._refresh])


# ---------------------------------------------------------------- get


async def test_hundred_callers_load_once() -> None:
    load = Loader(OLD)
    chain = ChainCredentials(load)

    found = await asyncio.gather(*(chain.get() for _ in range(100)))

    assert found == [OLD] * 100
    assert load.asked == [False]


async def test_loading_does_not_block_the_event_loop() -> None:
    load = Loader(OLD)
    await ChainCredentials(load).get()

    assert load.threads.isdisjoint({threading.get_ident()})


async def test_credentials_at_hand_are_not_loaded_again_within_a_minute() -> None:
    load, clock = Loader(OLD, NEW), Clock()
    chain = ChainCredentials(load, clock=clock)
    await chain.get()
    clock.now += A_MINUTE - 1

    assert await chain.get() == OLD
    assert load.asked == [False]


async def test_refresh_goes_on_in_the_background() -> None:
    load, clock = Loader(OLD, NEW), Clock()
    chain = ChainCredentials(load, clock=clock)
    await chain.get()
    clock.now += A_MINUTE
    load.gate.clear()

    at_hand = [await chain.get() for _ in range(100)]
    load.gate.set()
    await refreshed(chain)

    assert at_hand == [OLD] * 100
    assert load.asked == [False, False]
    assert await chain.get() == NEW


@pytest.mark.parametrize("failure", [None, UpstreamAuthFailed("no"), OSError("no route to the metadata service")])
async def test_refresh_that_fails_leaves_what_is_at_hand(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    load, clock = Loader(OLD, failure, NEW), Clock()
    chain = ChainCredentials(load, clock=clock)
    await chain.get()

    clock.now += A_MINUTE
    with caplog.at_level(logging.WARNING):
        await chain.get()
        await refreshed(chain)
    after_failure = await chain.get()
    clock.now += A_MINUTE
    await chain.get()
    await refreshed(chain)

    assert after_failure == OLD
    assert "could not be refreshed" in caplog.text
    assert await chain.get() == NEW


async def test_failed_refresh_is_not_repeated_at_every_call() -> None:
    load, clock = Loader(OLD, UpstreamAuthFailed("no")), Clock()
    chain = ChainCredentials(load, clock=clock)
    await chain.get()
    clock.now += A_MINUTE
    await chain.get()
    await refreshed(chain)

    for _ in range(10):
        assert await chain.get() == OLD
        await refreshed(chain)
    assert len(load.asked) == 2


async def test_nothing_found_is_an_error_for_everybody_and_looked_for_again() -> None:
    load = Loader(None, None, OLD)
    chain = ChainCredentials(load)

    errors = await asyncio.gather(*(chain.get() for _ in range(10)), return_exceptions=True)
    assert [type(error) for error in errors] == [UpstreamAuthFailed] * 10
    assert load.asked == [False]
    with pytest.raises(UpstreamAuthFailed):
        await chain.get()
    assert await chain.get() == OLD


async def test_caller_who_hangs_up_does_not_stop_the_refresh_of_others() -> None:
    load = Loader(OLD)
    load.gate.clear()
    chain = ChainCredentials(load)
    first, second = asyncio.create_task(chain.get()), asyncio.create_task(chain.get())
    await load.called()

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    load.gate.set()

    assert await second == OLD
    assert load.asked == [False]


async def test_refresh_of_callers_who_all_hung_up_is_kept() -> None:
    load = Loader(OLD, NEW)
    load.gate.clear()
    chain = ChainCredentials(load)
    only = asyncio.create_task(chain.get())
    await load.called()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    load.gate.set()
    await refreshed(chain)

    assert await chain.get() == OLD


# ---------------------------------------------------------------- replace


async def test_refused_credentials_are_replaced_once_for_everybody() -> None:
    load = Loader(OLD, NEW)
    chain = ChainCredentials(load)
    refused = await chain.get()

    found = await asyncio.gather(*(chain.replace(refused) for _ in range(100)))

    assert found == [NEW] * 100
    assert load.asked == [False, True]


async def test_chain_with_nothing_new_is_asked_once_for_everybody() -> None:
    load = Loader(OLD)
    chain = ChainCredentials(load)
    refused = await chain.get()
    load.gate.clear()
    waiting = [asyncio.create_task(chain.replace(refused)) for _ in range(64)]
    await load.called()
    await load.called()

    load.gate.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)

    assert {type(outcome) for outcome in outcomes} == {UpstreamAuthFailed}
    assert load.asked == [False, True]


async def test_refusal_that_comes_as_a_refresh_ends_does_not_spin() -> None:
    """The refresh is over then, and what follows its end is yet to run."""
    chain = ChainCredentials(Loader(OLD))
    refused = await chain.get()
    done = asyncio.create_task(asyncio.sleep(0, OLD))
    await asyncio.wait([done])
    chain._refresh = done

    with pytest.raises(UpstreamAuthFailed):
        await asyncio.wait_for(chain.replace(refused), 5)


async def test_latecomer_gets_what_is_there_already() -> None:
    load = Loader(OLD, NEW)
    chain = ChainCredentials(load)
    refused = await chain.get()
    await chain.replace(refused)

    assert await chain.replace(refused) == NEW
    assert load.asked == [False, True]


@pytest.mark.parametrize("found", [OLD, None, UpstreamAuthFailed("no")])
async def test_chain_without_others_is_an_error(found: Credentials | Exception | None) -> None:
    chain = ChainCredentials(Loader(OLD, found))
    refused = await chain.get()

    with pytest.raises(UpstreamAuthFailed):
        await chain.replace(refused)


async def test_refused_credentials_are_looked_for_anew_although_a_refresh_is_under_way() -> None:
    """That refresh may end with the refused ones: it was not told that AWS refuses them."""
    load, clock = Loader(OLD, OLD, NEW), Clock()
    chain = ChainCredentials(load, clock=clock)
    refused = await chain.get()
    clock.now += A_MINUTE
    load.gate.clear()
    await chain.get()
    await load.called()
    await load.called()

    replacing = asyncio.create_task(chain.replace(refused))
    await asyncio.sleep(0)  # it begins
    load.gate.set()

    assert await replacing == NEW


async def test_fixed_credentials_cannot_be_replaced() -> None:
    fixed = FixedCredentials(OLD)

    assert await fixed.get() == OLD
    with pytest.raises(UpstreamAuthFailed):
        await fixed.replace(OLD)


# ---------------------------------------------------------------- botocore's chain


@pytest.fixture
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which botocore finds nothing and asks nobody."""
    for name in [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ]:  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def write_keys(path: Path, profile: str, key: str, token: str | None = None) -> None:
    lines = [f"[{profile}]", f"aws_access_key_id = {key}", "aws_secret_access_key = s"]
    path.write_text("\n".join([*lines, *([f"aws_session_token = {token}"] if token else [])]) + "\n")


def test_chain_finds_the_environment(clean_environ: pytest.MonkeyPatch) -> None:
    clean_environ.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    clean_environ.setenv("AWS_SECRET_ACCESS_KEY", "s")
    clean_environ.setenv("AWS_SESSION_TOKEN", "t")

    assert chain_loader()(False) == Credentials("AKIAENV", "s", "t")


@pytest.mark.usefixtures("clean_environ")
def test_chain_finds_the_file(tmp_path: Path) -> None:
    write_keys(tmp_path / "credentials", "default", "AKIAFILE")

    assert chain_loader()(False) == Credentials("AKIAFILE", "s", None)


@pytest.mark.usefixtures("clean_environ")
def test_chain_finds_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(tmp_path / "credentials", "work", "AKIAWORK", "t")
    monkeypatch.setenv("AWS_PROFILE", "work")

    assert chain_loader()(False) == Credentials("AKIAWORK", "s", "t")


@pytest.mark.usefixtures("clean_environ")
def test_chain_finds_nothing() -> None:
    load = chain_loader()

    assert load(False) is None
    assert load(True) is None


@pytest.mark.usefixtures("clean_environ")
def test_file_is_read_again_only_when_others_are_wanted(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    write_keys(file, "default", "AKIAOLD")
    load = chain_loader()
    load(False)
    write_keys(file, "default", "AKIANEW")

    assert load(False) == Credentials("AKIAOLD", "s")
    assert load(True) == Credentials("AKIANEW", "s")
    assert load(False) == Credentials("AKIANEW", "s")


@pytest.mark.usefixtures("clean_environ")
def test_keys_that_appear_later_are_found(tmp_path: Path) -> None:
    load = chain_loader()
    load(False)
    write_keys(tmp_path / "credentials", "default", "AKIALATE")

    assert load(False) == Credentials("AKIALATE", "s", None)


@pytest.mark.usefixtures("clean_environ")
def test_profile_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")

    with pytest.raises(UpstreamAuthFailed):
        chain_loader()(False)


@pytest.mark.usefixtures("clean_environ")
def test_program_that_fails_is_an_error_without_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = sh -c 'echo secret-words >&2; exit 1'\n")

    with pytest.raises(UpstreamAuthFailed) as caught:
        chain_loader()(False)
    assert "secret-words" not in caught.value.message


@pytest.mark.parametrize(
    "failure",
    [
        botocore.exceptions.CredentialRetrievalError(provider="sso", error_msg="x"),
        botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"),
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        PermissionError("credentials"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.usefixtures("clean_environ")
def test_everything_botocore_raises_is_an_error_of_the_gateways_credentials(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that STS does not give is a ClientError, and stale keys of a metadata service a RuntimeError."""

    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(botocore.session.Session, "get_credentials", fail)

    with pytest.raises(UpstreamAuthFailed):
        chain_loader()(False)


@pytest.mark.usefixtures("clean_environ")
def test_region_of_the_profile(tmp_path: Path) -> None:
    assert chain_region() is None

    (tmp_path / "config").write_text("[default]\nregion = eu-central-1\n")
    assert chain_region() == "eu-central-1"


def test_region_of_a_profile_that_is_not_there(clean_environ: pytest.MonkeyPatch) -> None:
    clean_environ.setenv("AWS_PROFILE", "nowhere")

    assert chain_region() is None
