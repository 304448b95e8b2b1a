"""Credentials that expire under load cost no request, and are fetched once.

The gateway has its keys from a program, as an AWS profile's `credential_process` names one; the emulator checks every
signature. The test changes what the program says, then lets the old keys expire, while 32 callers go on.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
CALLERS = 32
#: What is asked, and how many calls it takes at most.
ASKS: list[tuple[dict[str, Any], int]] = [
    ({"model": TITAN, "input": "a red bicycle"}, 1),
    ({"model": TITAN, "input": [f"text {number}" for number in range(6)]}, 6),
    ({"model": ENGLISH, "input": [f"text {number}" for number in range(20)]}, 1),
    ({"model": MARENGO_3, "input": ["a", "b"]}, 2),
]
OLD = {"access_key": "ASIAOLD", "secret_key": "old-secret", "session_token": "old-token"}
NEW = {"access_key": "ASIANEW", "secret_key": "new-secret", "session_token": "new-token"}
_KEY = re.compile("Credential=([A-Z]+)/")


class Vendor:
    """A program that prints the credentials in a file, and notes each run; and the AWS profile that names it."""

    def __init__(self, directory: Path) -> None:
        self._credentials = directory / "credentials.json"
        self._runs = directory / "runs"
        self.config = directory / "config"
        program = directory / "program.sh"
        program.write_text(f'echo run >> "{self._runs}"\ncat "{self._credentials}"\n')
        self.config.write_text(f"[default]\ncredential_process = /bin/sh {program}\n")

    def sells(self, keys: dict[str, str], expiration: str | None) -> None:
        """Print `keys` from now on."""
        members = {
            "Version": 1,
            "AccessKeyId": keys["access_key"],
            "SecretAccessKey": keys["secret_key"],
            "SessionToken": keys["session_token"],
        }
        if expiration:
            members["Expiration"] = expiration
        beside = self._credentials.with_suffix(".new")
        beside.write_text(json.dumps(members))
        beside.replace(self._credentials)  # whoever reads finds the one or the other

    def runs(self) -> int:
        return len(self._runs.read_text().splitlines())


class Load:
    """Callers that ask again and again, each over a connection of its own, until told to stop."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._finished = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.answers: Counter[tuple[int, int, str]] = Counter()  # (which of ASKS, status, vectors or error)

    def call(self, seed: int) -> None:
        rng = Random(seed)
        with contextlib.closing(self._gateway.connect()) as connection:
            while not self._stop.is_set():
                number = rng.randrange(len(ASKS))
                body = json.dumps(ASKS[number][0] | {"encoding_format": "base64"}).encode()
                connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
                response = connection.getresponse()
                text = response.read()
                if response.status == 200:
                    text = " ".join(item["embedding"] for item in json.loads(text)["data"]).encode()
                with self._changed:
                    self.answers[number, response.status, text.decode()] += 1
                    self._finished += 1
                    self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        """Return when so many more requests are finished."""
        with self._changed:
            goal = self._finished + more
            assert self._changed.wait_for(lambda: self._finished >= goal, timeout=60), "the load stands still"

    def stop(self) -> None:
        self._stop.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CALLERS) as pool:
            callers: list[Future[None]] = [pool.submit(self.call, seed) for seed in range(CALLERS)]
            try:
                yield
            finally:
                self.stop()
        for caller in callers:
            caller.result()


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


def keys_of(rows: list[dict[str, Any]], status: int) -> Counter[str]:
    """Return which access keys signed the calls that got `status`."""
    found = (_KEY.search(row["headers"]["authorization"]) for row in rows if row["status"] == status)
    return Counter(match[1] for match in found if match)


@pytest.mark.parametrize("expiration", [None, "2099-01-01T00:00:00Z"], ids=["without an end", "with an end"])
def test_credentials_that_expire_under_load_cost_no_request(
    start_emulator: StartEmulator,
    start_gateway: StartGateway,
    expected: Expected,
    vendor: Vendor,
    expiration: str | None,
) -> None:
    emulator = start_emulator()
    emulator.credentials(**OLD)
    vendor.sells(OLD, expiration)
    gateway = gateway_of(start_gateway, emulator, vendor)
    load = Load(gateway)

    with load.running():
        load.wait_for(150)
        runs_before = vendor.runs()
        vendor.sells(NEW, expiration)
        emulator.credentials(**NEW, expired=[OLD["access_key"]])
        load.wait_for(250)

    rows = emulator.journal()
    assert runs_before == 1
    assert vendor.runs() == 2
    assert {status for _, status, _ in load.answers} == {200}
    check_vectors(load, expected)
    # The old keys were refused, to each caller's calls at most once; each refused call was made again with the new.
    assert {row["status"] for row in rows} == {200, 403}
    assert keys_of(rows, 403).keys() == {"ASIAOLD"}
    assert 1 <= keys_of(rows, 403)["ASIAOLD"] <= CALLERS * 6
    assert keys_of(rows, 200).keys() == {"ASIAOLD", "ASIANEW"}
    calls: Counter[str] = Counter()
    for (number, _, _), count in load.answers.items():
        calls[ASKS[number][0]["model"]] += ASKS[number][1] * count
    made = Counter(row["model"] for row in rows if row["status"] == 200)
    assert 1 <= made.pop(ENGLISH) <= calls.pop(ENGLISH)  # callers share those
    assert made == calls


def test_credentials_expire_again_and_again(
    start_emulator: StartEmulator, start_gateway: StartGateway, expected: Expected, vendor: Vendor
) -> None:
    """Three times in one load: three further runs of the program."""
    emulator = start_emulator()
    emulator.credentials(**OLD)
    vendor.sells(OLD, None)
    load = Load(gateway_of(start_gateway, emulator, vendor))
    names = ["ASIAOLD"]

    with load.running():
        load.wait_for(50)
        for letter in "ABC":
            keys = NEW | {"access_key": f"ASIA{letter}"}
            vendor.sells(keys, None)
            emulator.credentials(**keys, expired=names)
            load.wait_for(80)
            names.append(keys["access_key"])

    rows = emulator.journal()
    assert vendor.runs() == 4
    assert {status for _, status, _ in load.answers} == {200}
    check_vectors(load, expected)
    assert set(keys_of(rows, 403)) == set(names[:-1])
    assert set(keys_of(rows, 200)) == set(names)


def test_one_request_of_many_calls_is_embedded_across_the_change(
    start_emulator: StartEmulator, start_gateway: StartGateway, expected: Expected, vendor: Vendor
) -> None:
    """The keys of a request of 300 calls expire in its middle, and it is answered whole."""
    emulator = start_emulator("--latency-ms", "20")
    emulator.credentials(**OLD)
    vendor.sells(OLD, None)
    gateway = gateway_of(start_gateway, emulator, vendor, EMBEDROCK_LANES="8")
    texts = [f"text {number}" for number in range(300)]

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(gateway.embed, {"model": TITAN, "input": texts})
        while len(emulator.journal()) < 60:
            assert not coming.done()
        vendor.sells(NEW, None)
        emulator.credentials(**NEW, expired=[OLD["access_key"]])
        answer = coming.result()

    rows = emulator.journal()
    assert answer.vectors() == expected(TITAN, texts)
    assert vendor.runs() == 2
    assert 1 <= keys_of(rows, 403)["ASIAOLD"] <= 8
    assert keys_of(rows, 200).total() == 300
    assert answer.headers["x-embedrock-upstream-calls"] == "300"
    answer.check_usage(rows)


def test_keys_that_stay_refused_are_a_503(
    start_emulator: StartEmulator, start_gateway: StartGateway, vendor: Vendor
) -> None:
    """The program has no others: never a 401 or 403 to the caller, whose key is fine."""
    emulator = start_emulator()
    emulator.credentials(**NEW, expired=[OLD["access_key"]])
    vendor.sells(OLD, None)
    gateway = gateway_of(start_gateway, emulator, vendor)

    answer = gateway.embed({"model": TITAN, "input": "a"})

    assert answer.status == 503
    assert answer.error()["code"] == "upstream_auth_failed"
    assert {row["status"] for row in emulator.journal()} == {403}
    assert not any(secret in answer.body.decode() + gateway.errors() for secret in ("old-secret", "ASIAOLD"))

    vendor.sells(NEW, None)
    assert gateway.embed({"model": TITAN, "input": "a"}).status == 200


def gateway_of(start_gateway: StartGateway, emulator: Emulator, vendor: Vendor, **environ: str) -> Gateway:
    return start_gateway(
        aws=False,
        AWS_REGION="us-east-1",
        AWS_CONFIG_FILE=str(vendor.config),
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        **environ,
    )


def check_vectors(load: Load, expected: Expected) -> None:
    """Check that every answer held the vectors of what was asked."""
    assert len(load.answers) == len(ASKS)
    for number, _, text in load.answers:
        ask = ASKS[number][0]
        texts = [ask["input"]] if isinstance(ask["input"], str) else ask["input"]
        wanted = [np.array(vector, "<f4").tobytes() for vector in expected(ask["model"], texts)]
        assert [b64decode(vector) for vector in text.split()] == wanted
