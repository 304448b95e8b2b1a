"""Programs as LiteLLM's page on Bedrock has them, with another import: they run, and print the right vectors.

Each is a process of its own, in which Bedrock is the emulator, as an environment variable says.
"""

from __future__ import annotations

import ast
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .stand_ins import RunScript, whose

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_V2 = "amazon.titan-embed-text-v2:0"

NOVA_TEXT = f"""
from embedrock import embedding
answer = embedding(model="bedrock/{NOVA}", input=["A greeting"], aws_region_name="us-east-1", dimensions=1024)
print(answer.data[0].embedding)
"""

NOVA_IMAGE = f"""
import base64
from embedrock import embedding
with open("image.jpg", "rb") as file:
    encoded = base64.b64encode(file.read()).decode("utf-8")
answer = embedding(
    model="bedrock/{NOVA}",
    input=[f"data:image/jpeg;base64,{{encoded}}"],
    aws_region_name="us-east-1",
    dimensions=1024,
)
print(answer.data[0].embedding[:10])
"""

IMAGE_FUNCTION = f"""
import base64
from embedrock import embedding

TYPES = {{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}}

def embed_image(path, dimensions=1024):
    mime = next((mime for ending, mime in TYPES.items() if path.lower().endswith(ending)), None)
    if mime is None:
        raise ValueError(f"cannot read {{path}}")
    with open(path, "rb") as file:
        encoded = base64.b64encode(file.read()).decode("utf-8")
    answer = embedding(
        model="bedrock/{NOVA}",
        input=[f"data:{{mime}};base64,{{encoded}}"],
        aws_region_name="us-east-1",
        dimensions=dimensions,
    )
    return answer.data[0].embedding

for name in ("image.png", "image.jpg", "image.gif", "image.webp"):
    print(embed_image(name))
"""

ENVIRONMENT = f"""
import os
os.environ["AWS_ACCESS_KEY_ID"] = "AKIAFROMPROGRAM"
os.environ["AWS_SECRET_ACCESS_KEY"] = "secret"
os.environ["AWS_REGION_NAME"] = "us-west-2"

from embedrock import embedding
answer = embedding(
    model="bedrock/{TITAN_V1}",
    input=["a morning's greeting"],
)
print(answer)
print(answer["data"][0]["embedding"])
"""

ERRORS = """
from embedrock import embedding

def call(**changes):
    members = {
        "model": "bedrock/async_invoke/us.twelvelabs.marengo-embed-2-7-v1:0",
        "input": ["A greeting"],
        "aws_region_name": "us-east-1",
        "input_type": "text",
        "output_s3_uri": "s3://your-bucket/output/",
    }
    try:
        embedding(**members | changes)
        print("submitted")
    except ValueError as error:
        if "output_s3_uri cannot be empty" in str(error):
            print("no place")
        elif "requires async_invoke route" in str(error):
            print("route")
        elif "input_type is required" in str(error):
            print("no type")
        else:
            print("another ValueError")
    except Exception as error:
        print(type(error).__name__)

call()
call(output_s3_uri="")
call(input_type=None)
call(model="bedrock/us.twelvelabs.marengo-embed-2-7-v1:0", input_type="video", input=["s3://bucket/film.mp4"])
"""

OF_A_GATEWAY = """
import embedrock as litellm
answer = litellm.embedding(
    model="titan-embed-v1",
    input=["a morning's greeting"],
    api_base="http://0.0.0.0:4000",
    api_key="anything",
)
print(answer.data[0].embedding)
"""

#: The page's table of models.
MODELS = [
    NOVA,
    TITAN_V2,
    TITAN_V1,
    "amazon.titan-embed-image-v1",
    "us.twelvelabs.marengo-embed-2-7-v1:0",
    "cohere.embed-english-v3",
    "cohere.embed-multilingual-v3",
    "cohere.embed-v4:0",
]


@pytest.fixture
def folder(tmp_path: Path, pictures: dict[str, str]) -> Path:
    """A folder with a picture in each format."""
    for form, ending in (("png", "png"), ("jpeg", "jpg"), ("gif", "gif"), ("webp", "webp")):
        (tmp_path / f"image.{ending}").write_bytes(b64decode(pictures[form].partition(",")[2]))
    return tmp_path


def test_text_on_nova(run_script: RunScript, expected: Expected) -> None:
    printed = run_script(NOVA_TEXT)

    assert ast.literal_eval(printed) == expected(NOVA, ["A greeting"], 1024)[0]


def test_picture_on_nova(run_script: RunScript, expected: Expected, folder: Path, pictures: dict[str, str]) -> None:
    printed = run_script(NOVA_IMAGE, cwd=folder)

    assert ast.literal_eval(printed) == expected(NOVA, [pictures["jpeg"]], 1024)[0][:10]


def test_function_for_pictures_of_each_format(
    run_script: RunScript, expected: Expected, folder: Path, pictures: dict[str, str]
) -> None:
    printed = run_script(IMAGE_FUNCTION, cwd=folder)

    files = [pictures[form] for form in ("png", "jpeg", "gif", "webp")]
    assert list(map(ast.literal_eval, printed.splitlines())) == expected(NOVA, files, 1024)


def test_keys_and_region_from_the_environment(run_script: RunScript, emulator: Emulator, expected: Expected) -> None:
    shown, vector = run_script(ENVIRONMENT).splitlines()

    (row,) = emulator.journal()
    assert ast.literal_eval(vector) == expected(TITAN_V1, ["a morning's greeting"])[0]
    assert whose(row) == ("AKIAFROMPROGRAM", "us-west-2")
    assert shown.startswith(f"EmbeddingResponse(model='{TITAN_V1}', data=[Embedding(index=0, embedding=[")
    assert f"usage=Usage(prompt_tokens={row['tokens']}," in shown
    assert len(shown) < 300


def test_errors_are_told_apart_as_the_page_does(run_script: RunScript, emulator: Emulator) -> None:
    emulator.bucket("your-bucket")

    printed = run_script(ERRORS, AWS_ENDPOINT_URL_S3=emulator.url)

    assert printed.split("\n") == ["submitted", "no place", "no type", "route", ""]
    assert [row["op"] for row in emulator.journal()] == ["StartAsyncInvoke", "GetAsyncInvoke"]


def test_each_model_of_the_table(run_script: RunScript, emulator: Emulator, expected: Expected) -> None:
    calls = "".join(
        f'print(embedding(model="bedrock/{model}", input=["one", "two"]).data[1].embedding)\n' for model in MODELS
    )

    printed = run_script(f"from embedrock import embedding\n{calls}", AWS_REGION="us-east-1")

    bases = [model.removeprefix("us.") for model in MODELS]
    assert [ast.literal_eval(line) for line in printed.splitlines()] == [
        expected(model, ["one", "two"])[1] for model in bases
    ]
    assert {row["model"] for row in emulator.journal()} == set(bases)


def test_gateway_with_the_pages_file(
    run_script: RunScript, emulator: Emulator, start_gateway: StartGateway, expected: Expected, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    entries = [("titan-embed-v1", TITAN_V1), ("titan-embed-v2", TITAN_V2)]
    file.write_text(
        "model_list:\n"
        + "".join(
            f"  - model_name: {name}\n    litellm_params:\n      model: bedrock/{model}\n"
            "      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID\n"
            "      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY\n"
            "      aws_region_name: us-east-1\n"
            for name, model in entries
        )
    )
    gateway = start_gateway("--config", str(file), AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    printed = run_script(OF_A_GATEWAY.replace("http://0.0.0.0:4000", gateway.url))

    assert ast.literal_eval(printed) == expected(TITAN_V1, ["a morning's greeting"])[0]
