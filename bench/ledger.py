"""What accounts cost: CPU per request with an account's key beside an operator's, whose use nobody writes down.

`python -m bench.ledger [DATABASE_URL]`; by default a SQLite file in the folder for temporary files. One gateway, two
keys, 32 connections; both are measured in every round, and the ratio is taken inside it.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import peers
from bench.load import TITAN, Target, openai_body, wrk
from bench.process import Cores, Peer, pinned

from embedrock.service import key_form, policy
from embedrock.store import Tx, books, open_store
from embedrock.store import keys as key_rows

ROUNDS = 3
SECONDS = 4
CONNECTIONS = 32
OPERATOR = "operator"
MOST_CPU = 1.25
LEAST_SETTLES = 16


class Round(NamedTuple):
    """Microseconds of CPU a request, and requests a second, without and with the ledger; settlements a commit."""

    off_us: float
    on_us: float
    off_rps: float
    on_rps: float
    settles: float


async def prepare(url: str, secret: str) -> str:
    """Make an account with credits, and return a key of it."""
    token = key_form.make()
    now = time.time_ns() // 1000
    name = f"bench-{secrets.token_hex(4)}"

    def make(tx: Tx) -> None:
        books.open_account(tx, name, name, now)
        books.grant(tx, name, 10**12, now)
        row = key_rows.Key(name, name, name, name, "bench", "", now, None, None, policy.write(policy.Policy()))
        key_rows.add(tx, row, key_form.digest(secret.encode(), token.encode()))

    store = await open_store(url)
    await store.write(make)
    await store.close()
    return token


async def written(url: str) -> tuple[int, int]:
    """Return how many settlements there are, and in how many commits they were written: each has one time."""
    store = await open_store(url)
    sql = "SELECT count(*), count(DISTINCT at) FROM entries WHERE kind = 'use'"
    [(settles, commits)] = await store.read(lambda tx: tx.execute(sql))
    await store.close()
    return settles, commits


def measure(peer: Peer, cores: Cores, target: Target, folder: Path) -> tuple[float, float]:
    """Return microseconds of CPU a request, and requests a second."""
    peer.wait_idle()
    before = peer.cpu_s()
    with pinned(cores.others):
        load = wrk(target, connections=CONNECTIONS, seconds=SECONDS, folder=folder)
    return (peer.cpu_s() - before) / load.requests * 1e6, load.requests / load.wall_s


def run(folder: Path, url: str) -> list[Round]:
    """Start upstream and gateway, and measure."""
    secret = secrets.token_hex(32)
    token = asyncio.run(prepare(url, secret))
    cores = Cores.split()
    upstream = peers.Upstream(folder, cores, digits17=False)
    try:
        settings = {
            "EMBEDROCK_DATABASE_URL": url,
            "EMBEDROCK_KEY_SECRET": secret,
            "EMBEDROCK_API_KEY": OPERATOR,
        }
        command = f"{Path(sys.executable).parent / 'embedrock'} serve"
        gateway = peers.start_gateway(folder, cores, upstream, command=command, lanes=64, settings=settings)
        try:
            body, rounds = openai_body(TITAN, 1, "float"), []
            of = {key: Target(f"{gateway.url}/v1/embeddings", body, 1, key) for key in (OPERATOR, token)}
            for number in range(ROUNDS):
                settles, commits = asyncio.run(written(url))
                cases = (OPERATOR, token) if number % 2 == 0 else (token, OPERATOR)
                found = {key: measure(gateway, cores, of[key], folder) for key in cases}
                settles_now, commits_now = asyncio.run(written(url))
                each = (settles_now - settles) / max(1, commits_now - commits)
                (off_us, off_rps), (on_us, on_rps) = found[OPERATOR], found[token]
                rounds.append(Round(off_us, on_us, off_rps, on_rps, each))
                print(rounds[-1], flush=True)
            return rounds
        finally:
            gateway.stop()
    finally:
        upstream.peer.stop()


def main() -> None:
    """Print what was measured beside the targets."""
    with tempfile.TemporaryDirectory(prefix="embedrock-bench-") as name:
        folder = Path(name)
        rounds = run(folder, sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder / 'books.db'}")
    cpu = statistics.median(found.on_us / found.off_us for found in rounds)
    settles = statistics.median(found.settles for found in rounds)
    print(f"CPU per request with the ledger: {cpu:.2f} x without (target: at most {MOST_CPU})")
    print(f"Settlements a commit at {CONNECTIONS} connections: {settles:.1f} (target: at least {LEAST_SETTLES})")


if __name__ == "__main__":
    main()
