"""LiteLLM's own client, in its own environment, against a gateway that runs on LiteLLM's configuration file.

`make conformance` installs LiteLLM. One process asks everything, since importing LiteLLM takes seconds.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bench.peers import install_litellm

from embedrock.settings import load

if TYPE_CHECKING:
    from tests.conftest import Expected, Gateway, StartGateway

KEY = "sk-of-a-reader"
TITAN_V1 = "amazon.titan-embed-text-v1"
ENGLISH = "cohere.embed-english-v3"
TEXTS = ["good morning", "a red bicycle"]
CONFIG = f"""\
model_list:
  - model_name: titan-embed-v1
    litellm_params:
      model: bedrock/{TITAN_V1}
      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID
      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY
      aws_region_name: us-east-1
  - model_name: queries
    litellm_params: {{model: bedrock/{ENGLISH}, input_type: search_query, weight: 2}}
general_settings:
  master_key: {KEY}
"""
#: Runs in LiteLLM's environment; prints what each call came to.
SCRIPT = """
import asyncio, json, sys
import litellm, openai
from litellm.types.router import LiteLLM_Params

litellm.suppress_debug_info = True
url, key, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])


def plain(reply):
    return {"vectors": [item["embedding"] for item in reply.data], "usage": reply.usage.prompt_tokens,
            "total": reply.usage.total_tokens, "model": reply.model, "kind": type(reply).__name__}


def ask(model, **kwargs):
    try:
        return plain(litellm.embedding(model=model, input=texts, **{"api_base": url, "api_key": key, **kwargs}))
    except Exception as exc:
        return {"error": type(exc).__name__, "status": getattr(exc, "status_code", None), "text": str(exc)}


def by_openai(base):
    reply = openai.OpenAI(api_key=key, base_url=base).embeddings.create(input=texts, model="titan-embed-v1")
    return {"vectors": [item.embedding for item in reply.data], "version": openai.__version__}


async def many():
    asks = [litellm.aembedding(model="openai/titan-embed-v1", input=[f"text {n}"], api_base=url, api_key=key)
            for n in range(20)]
    return [reply.data[0]["embedding"] for reply in await asyncio.gather(*asks)]


print(json.dumps({
    "bare host": ask("openai/titan-embed-v1"),
    "with /v1": ask("openai/titan-embed-v1", api_base=url + "/v1"),
    "as a proxy": ask("litellm_proxy/titan-embed-v1"),
    "by provider": ask("titan-embed-v1", custom_llm_provider="openai"),
    "asynchronous": asyncio.run(many()),
    "entry's default": ask("openai/queries"),
    "parameter": ask("openai/queries", input_type="clustering"),
    "openai": by_openai(url),
    "wrong key": ask("openai/titan-embed-v1", api_key="sk-wrong", num_retries=0),
    "no such model": ask("openai/gpt-4o-embed", num_retries=0),
    "a size it lacks": ask("openai/titan-embed-v1", dimensions=300, allowed_openai_params=["dimensions"],
                           num_retries=0),
    "options": sorted(LiteLLM_Params.model_fields),
}))
"""


@pytest.fixture(scope="module")
def gateway(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway on LiteLLM's file."""
    file = tmp_path_factory.mktemp("litellm") / "config.yaml"
    file.write_text(CONFIG)
    return gateway_with(EMBEDROCK_CONFIG=str(file))


@pytest.fixture(scope="module")
def asked(gateway: Gateway) -> dict[str, Any]:
    python = install_litellm() / "bin" / "python"  # installed already: `make` did, with the proxies of the user
    ended = subprocess.run(
        [str(python), "-P", "-c", SCRIPT, gateway.url, KEY, json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUTF8": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("way", ["bare host", "with /v1", "as a proxy", "by provider"])
def test_embedding_gets_every_number(asked: dict[str, Any], expected: Expected, way: str) -> None:
    reply = asked[way]

    assert reply.get("error") is None, reply
    assert reply["vectors"] == expected(TITAN_V1, TEXTS)
    assert reply["kind"] == "EmbeddingResponse"
    assert reply["model"].endswith("titan-embed-v1")
    assert reply["usage"] == reply["total"] > 0


def test_asynchronous_calls_get_each_their_own(asked: dict[str, Any], expected: Expected) -> None:
    assert asked["asynchronous"] == expected(TITAN_V1, [f"text {number}" for number in range(20)])


def test_parameters_of_the_entry_hold_until_the_call_says_otherwise(asked: dict[str, Any], expected: Expected) -> None:
    queries, clusters = asked["entry's default"]["vectors"], asked["parameter"]["vectors"]

    documents = expected(ENGLISH, TEXTS)
    assert queries != documents
    assert clusters != documents
    assert queries != clusters


def test_openais_client_of_that_environment_gets_float32_by_its_default_base64(
    asked: dict[str, Any], expected: Expected
) -> None:
    rounded = np.array(expected(TITAN_V1, TEXTS), np.float32).astype(np.float64).tolist()

    assert asked["openai"]["version"].startswith("2.")
    assert asked["openai"]["vectors"] == rounded


@pytest.mark.parametrize(
    "what, error, status, code",
    [
        ("wrong key", None, 401, "invalid_api_key"),  # which exception it raises depends on words of the message
        ("no such model", "NotFoundError", 404, "model_not_found"),
        ("a size it lacks", "BadRequestError", 400, "invalid_value"),
    ],
)
def test_errors_keep_status_and_code(
    asked: dict[str, Any], what: str, error: str | None, status: int, code: str
) -> None:
    reply = asked[what]

    assert reply["error"] == (error or reply["error"])
    assert reply["status"] == status
    assert code in reply["text"]


def test_none_of_its_options_is_taken_for_a_parameter_of_the_model(asked: dict[str, Any], tmp_path: Path) -> None:
    """Each is either done or told: a file of this version of LiteLLM's never fails for an option of its own."""
    options = [name for name in asked["options"] if name not in ("model", "drop_params", "input_cost_per_token")]
    values = {"aws_region_name": "us-east-1", "api_base": "https://127.0.0.1:1"}
    params = {"model": f"bedrock/{TITAN_V1}"} | {name: values.get(name, "1") for name in options}
    params["aws_bedrock_runtime_endpoint"] = values["api_base"]
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"model_list": [{"model_name": "mine", "litellm_params": params}]}))

    chosen = load({"EMBEDROCK_CONFIG": str(file)})

    assert len(options) > 100
    assert chosen.entries[0].params == {}
    assert len(chosen.notes) > 100
