"""Makes the calls: all at once within bounds, each once, and all of them in time."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, ParamSpec, TypeVar

from embedrock import vectors
from embedrock.errors import EmbedrockError, UpstreamAuthFailed
from embedrock.faces.doctor import cures
from embedrock.faces.doctor.check import TEXT, Check, Finding, Login, Outcome
from embedrock.families import FAMILIES
from embedrock.upstream import aws_errors
from embedrock.upstream.bedrock import Bedrock
from embedrock.upstream.connection import Response
from embedrock.upstream.credentials import FixedCredentials
from embedrock.upstream.sigv4 import Credentials

P = ParamSpec("P")
T = TypeVar("T")

_SHORTEST_KEY: Final = 16  # characters of an access key's id, at least: IAM API reference, AccessKey


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one call and all of it may take, in seconds, and how many calls are in flight."""

    call_s: float = 8.0
    all_s: float = 12.0
    at_once: int = 16


class _Way(Bedrock):
    """A way to Bedrock on which every answer reaches `parse`: the errors it else raises hold none of AWS's words.

    Refused credentials are not replaced either: they were looked up a moment ago.
    """

    async def _attempt(self, call: Any, body: bytes, parse: Callable[[Response], T], timeout_s: float) -> T:
        give_up = time.monotonic() + timeout_s
        if self.credentials is None:
            return parse(await self._pool.request(self._with_bearer(call, body), timeout_s=timeout_s))
        credentials = await self.credentials.get()
        return parse(await self._send(call, body, sha256(body).hexdigest(), credentials, give_up))


class _Daemons(ThreadPoolExecutor):
    """Threads nobody waits for: a look-up of credentials or of a host cannot be stopped, only left behind."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` in a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as exc:
                    future.set_exception(exc)

        threading.Thread(target=run, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave them."""


def make(checks: Sequence[Check], ca_bundle: str | None, limits: Limits) -> list[Outcome]:
    """Return what came of each call, in order. Takes `limits.all_s` at most."""

    async def run() -> list[Outcome]:
        asyncio.get_running_loop().set_default_executor(_Daemons())
        return await _make(checks, ssl.create_default_context(cafile=ca_bundle), limits)

    return asyncio.run(run())


async def _make(checks: Sequence[Check], tls: ssl.SSLContext, limits: Limits) -> list[Outcome]:
    give_up = time.monotonic() + limits.all_s
    gate = asyncio.Semaphore(limits.at_once)
    look_ups = {login: asyncio.create_task(_look_up(login)) for login in {check.login: None for check in checks}}

    async def run(check: Check) -> Outcome:
        try:
            async with asyncio.timeout(give_up - time.monotonic()):
                finding = await asyncio.shield(look_ups[check.login])
        except TimeoutError:
            return Outcome(check, cures.late_credentials(check.login))
        if finding:
            return Outcome(check, finding)
        async with gate:
            timeout_s = min(limits.call_s, give_up - time.monotonic())
            return await _call(check, tls, timeout_s) if timeout_s > 0 else Outcome(check, cures.no_time(check))

    return await asyncio.gather(*map(run, checks))


async def _look_up(login: Login) -> Finding | None:
    """Find the credentials, once for all calls that use them; return what is wrong with them."""
    if login.account.bearer:
        return None
    try:
        if login.credentials is None:
            found = await asyncio.to_thread(_ask_chain, login)
            if found is None:
                return cures.no_credentials()
            login.credentials = FixedCredentials(found)
        access_key = (await login.credentials.get()).access_key
    except Exception as exc:  # botocore calls services, runs programs, reads files: anything goes
        return cures.not_loaded(login, exc.__cause__ if isinstance(exc, UpstreamAuthFailed) else exc)
    login.key = f"{access_key[:4]}…{access_key[-4:]}" if len(access_key) >= _SHORTEST_KEY else None
    return None


def _ask_chain(login: Login) -> Credentials | None:
    """Return what botocore's chain finds, and note where. One look-up: it may run a program, or ask for a code."""
    import botocore.session  # 60 ms that the emulator does not need

    session = botocore.session.Session(profile=login.account.profile)
    found = session.get_credentials()
    if found is None:
        return None
    name = session.profile or "default"
    profile = f"profile {name!r}"
    login.said, login.fix = {
        "env": (
            f"AWS_ACCESS_KEY_ID in the environment{', which wins over AWS_PROFILE' if session.profile else ''}",
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        ),
        "shared-credentials-file": (f"{profile} in the credentials file", profile),
        "config-file": (f"{profile} in the config file", profile),
        "sso": (f"{profile}, signed in by SSO", f"{profile}, by `aws sso login --profile {name}`"),
        "login": (f"{profile}, signed in by `aws login`", f"{profile}, by `aws login --profile {name}`"),
        "assume-role": (f"the role of {profile}", f"role_arn of {profile}, and what assumes it"),
        "assume-role-with-web-identity": ("a role by web identity", "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"),
        "custom-process": (f"the credential_process of {profile}",) * 2,
        "container-role": ("the container's role",) * 2,
        "iam-role": ("the instance's role",) * 2,
    }.get(found.method, (f"AWS's chain ({found.method})", profile))
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


async def _call(check: Check, tls: ssl.SSLContext, timeout_s: float) -> Outcome:
    target, login = check.target, check.login
    way = _Way(target.region, check.url, credentials=login.credentials, bearer=login.account.bearer, tls=tls)
    started = time.monotonic()
    try:
        answer = await way.invoke(target.invoke_id, check.body, _whole, timeout_s=timeout_s)
        milliseconds = round((time.monotonic() - started) * 1000)
        if answer.status != 200:
            return Outcome(check, cures.of_answer(check, answer.status, *_words(answer)))
        return Outcome(check, None, _tokens(check, answer), milliseconds)
    except EmbedrockError as exc:
        return Outcome(check, cures.of_no_answer(check, exc))
    finally:
        way.close()


def _whole(response: Response) -> Response:
    return response


def _words(answer: Response) -> tuple[str, str]:
    return aws_errors.name_and_text(answer.headers, answer.body)


def _tokens(check: Check, answer: Response) -> int | None:
    """Return the tokens of an answer, after checking its vector as the gateway would. Raises InvalidUpstream."""
    wanted, family = check.wanted, FAMILIES[check.target.spec.family]
    found = family.parse_response(answer.body, answer.headers, [TEXT], wanted)
    render = vectors.rendering(vectors.as_json, integers=wanted.kind != "float", scale=wanted.scale)
    for array in found.vectors:
        render(array, wanted.size)
    return found.tokens
