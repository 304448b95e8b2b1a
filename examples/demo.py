"""Starts gateway and emulator, embeds texts and a picture with the official OpenAI client, shows how near they are.

Run by `make demo`. Needs no AWS account and no network.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from openai import OpenAI

from embedrock.faces.show import similarity_table

MODEL = "amazon.titan-embed-text-v2:0"
TEXTS = [
    "How do I reset my password?",
    "I forgot my password and want to reset it",
    "The bicycle needs new brakes",
    "Repairing the brakes of a bicycle",
    "A recipe for tomato soup",
    "Soup made from fresh tomatoes",
]
QUESTION = "my bicycle's brakes squeak"

PICTURE_MODEL = "cohere.embed-v4:0"
PICTURE = Path(__file__).with_name("apple.png")
CAPTIONS = ["a red apple with a green leaf", "a blue sky over the sea"]


def main() -> None:
    """Run the demo; exit with 1 when the gateway does not start."""
    command = [str(Path(sys.executable).with_name("embedrock")), "serve", "--emulator", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EMBEDROCK_"))}
    with TemporaryDirectory(prefix="embedrock-demo-") as data:
        environment["EMBEDROCK_DATABASE_URL"] = f"sqlite:///{data}/demo.db"  # not yours, where there may be keys
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as gateway:  # noqa: S603
            try:
                demonstrate(gateway)
            finally:
                gateway.terminate()


def demonstrate(gateway: subprocess.Popen[str]) -> None:
    """Embed through a gateway that is just starting, and print what comes back."""
    if gateway.stdout is None or not (banner := gateway.stdout.readline()):
        sys.exit("The gateway did not start.")
    print(banner + gateway.stdout.readline())
    url = banner.split(" listens on ")[1].split()[0]
    wait_until_ready(url)
    cpu_s = cpu_seconds(gateway.pid)

    client = OpenAI(base_url=f"{url}/v1", api_key="any key will do")
    reply = client.embeddings.create(model=MODEL, input=TEXTS)
    vectors = [np.array(item.embedding, np.float32) for item in reply.data]
    print(
        f"{len(TEXTS)} texts, {len(vectors)} vectors of {vectors[0].size} numbers, {reply.usage.total_tokens} tokens."
    )
    print("Cosine similarity: 1 is the same direction, 0 is unrelated. Texts 1-2, 3-4 and 5-6 belong together.\n")
    print(similarity_table(TEXTS, vectors))

    query = np.array(client.embeddings.create(model=MODEL, input=QUESTION).data[0].embedding, np.float32)
    nearest = max(range(len(TEXTS)), key=lambda i: float(vectors[i] @ query))
    print(f"\nNearest to {QUESTION!r}: {TEXTS[nearest]!r}")

    show_picture(client)
    print("\nThe emulator makes vectors from words and colours; on Bedrock the same code gets the model's own.")
    print(f"The gateway used {cpu_s} s of CPU until it was ready, and holds {memory_mb(gateway.pid)} MB now.")


def show_picture(client: OpenAI) -> None:
    """Embed two texts and a picture in one request, and print how near they are."""
    data_uri = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    reply = client.embeddings.create(model=PICTURE_MODEL, input=[*CAPTIONS, data_uri])
    vectors = [np.array(item.embedding, np.float32) for item in reply.data]
    print(f"\n{len(CAPTIONS)} texts and a picture in one list, {len(vectors)} vectors of {vectors[0].size} numbers:\n")
    print(similarity_table([*CAPTIONS, f"[picture: examples/{PICTURE.name}]"], vectors))


def wait_until_ready(url: str, *, seconds: float = 20.0) -> None:
    """Return once the gateway says it is ready."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=seconds):  # noqa: S310  # our own child
                return
        except urllib.error.URLError:
            time.sleep(0.01)
    sys.exit("The gateway did not get ready.")


def cpu_seconds(pid: int) -> str:
    """Return the CPU time process `pid` has used so far; it is known on Linux only."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return "an unknown number of"
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return f"{(int(user) + int(system)) / os.sysconf('SC_CLK_TCK'):.2f}"


def memory_mb(pid: int) -> str:
    """Return the resident memory of process `pid` in MB; it is known on Linux only."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return "an unknown number of"
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return f"{int(line.split()[1]) * 1024 / 1e6:.0f}"


if __name__ == "__main__":
    main()
