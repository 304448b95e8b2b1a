"""Pages of PDFs and pictures as inputs, in Python and on the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import embedrock
from bedrock_emulator import expected_vectors
from embedrock.faces import documents

if TYPE_CHECKING:
    from tests.conftest import Emulator, RunEmbedrock

V4 = "cohere.embed-v4:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
COLOURS = ("red", "blue", "white")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A PDF of three pages of US letter, each of one colour."""
    first, *more = (Image.new("RGB", (612, 792), colour) for colour in COLOURS)
    first.save(tmp_path / "report.pdf", save_all=True, append_images=more, resolution=72)
    return tmp_path / "report.pdf"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), "green").save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


@pytest.fixture
def aws(emulator: Emulator) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
    }


def opened(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(b64decode(data)))


def body_of(values: list[Any], dimensions: int | None = None) -> dict[str, Any]:
    """Return the body of one call of Cohere's v4 with these inputs, all of them lists of parts."""
    size = {"output_dimension": dimensions} if dimensions else {}
    inputs = [{"content": value} for value in values]
    return {"inputs": inputs, "input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]} | size


def test_page_is_its_picture_beside_its_file_and_number(report: Path) -> None:
    found = embedrock.pages(report)

    assert [page[0] for page in found] == [
        {"type": "text", "text": f"file_name: report.pdf, page: {number}"} for number in (1, 2, 3)
    ]
    for page, colour in zip(found, ((255, 0, 0), (0, 0, 255), (255, 255, 255)), strict=True):
        assert page[1]["type"] == "image_url" and len(page) == 2
        image = opened(page[1]["image_url"]["url"])
        assert abs(image.width - 1275) <= 1 and abs(image.height - 1650) <= 1  # 8.5 by 11 inches at 150 dots
        assert all(abs(a - b) < 4 for a, b in zip(image.getpixel((600, 800)) or (), colour, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "largest"),
    [({"dpi": 72}, 612 * 792), ({"dpi": 600}, documents.MAX_PIXELS), ({"max_pixels": 10_000}, 10_000)],
)
def test_page_has_no_more_pixels_than_asked_for(report: Path, asked: dict[str, int], largest: int) -> None:
    image = opened(embedrock.pages(report, **asked)[0][1]["image_url"]["url"])

    assert largest * 0.95 < image.width * image.height <= largest * 1.01
    assert abs(image.width / image.height - 612 / 792) < 0.02


def test_page_of_any_shape_is_painted_small(tmp_path: Path) -> None:
    """A page can be 200 inches long, and a line of a file can say so."""
    Image.new("RGB", (14_000, 10), "red").save(tmp_path / "long.pdf", resolution=72)

    (page,) = embedrock.pages(tmp_path / "long.pdf")

    image = opened(page[1]["image_url"]["url"])
    assert image.width <= 2048 and image.height <= 3


def test_more_pages_than_asked_for_are_refused(report: Path) -> None:
    with pytest.raises(ValueError, match="it has 3 pages, and at most 2 are taken"):
        embedrock.pages(report, max_pages=2)
    assert len(embedrock.pages(report, max_pages=3)) == 3


@pytest.mark.parametrize("content", [b"", b"no PDF", b"%PDF-1.4\n%%EOF"])
def test_file_that_is_no_pdf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pdf").write_bytes(content)

    with pytest.raises(ValueError, match=r"a\.pdf: it is no PDF that can be read, or needs a password"):
        embedrock.pages(tmp_path / "a.pdf")


@pytest.mark.parametrize("asked", [{"dpi": 0}, {"dpi": 1201}, {"max_pages": 0}, {"max_pixels": 0}])
def test_limits_that_make_no_sense_are_refused(report: Path, asked: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="'dpi' is from 1 to 1200"):
        embedrock.pages(report, **asked)


def test_small_picture_is_sent_as_it_is(photo: Path) -> None:
    assert b64decode(embedrock.picture(photo).partition(",")[2]) == photo.read_bytes()


@pytest.mark.parametrize("size", [(3000, 2000), (4000, 10), (2048, 2048)])
def test_large_picture_is_made_smaller(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "green").save(tmp_path / "large.png")

    image = opened(embedrock.picture(tmp_path / "large.png"))

    assert max(image.size) <= 2048 and image.width * image.height <= documents.MAX_PIXELS
    assert abs(image.width * size[1] - image.height * size[0]) <= 2 * max(size)  # the same shape


def test_picture_that_is_made_smaller_stays_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (3000, 1500), "green")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)

    found = opened(embedrock.picture(tmp_path / "turned.jpg"))

    assert found.height > found.width


def test_picture_of_noise_has_no_more_bytes_than_models_take(tmp_path: Path) -> None:
    Image.effect_noise((1800, 1300), 100).convert("RGB").save(tmp_path / "noise.png")

    assert len(b64decode(embedrock.picture(tmp_path / "noise.png").partition(",")[2])) <= 4_900_000


def test_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.png", b"text"), ("b.mp3", b"ID3" + bytes(100))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            embedrock.picture(tmp_path / name)


def test_what_is_missing_is_named_where_the_extra_is_not_installed(report: Path) -> None:
    code = (
        "import importlib.util, sys, embedrock\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'pypdfium2' else real(name, *more)\n"
        f"try:\n    embedrock.pages({str(report)!r})\nexcept ValueError as exc:\n    print(exc)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "To read a PDF, install 'embedrock[media]'.\n"


def test_command_embeds_pages_pictures_and_texts(
    run_embedrock: RunEmbedrock, aws: dict[str, str], report: Path, photo: Path
) -> None:
    ended = run_embedrock("embed", str(report), str(photo), "sales", "--format", "jsonl", "--dimensions", "256", **aws)

    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stderr
    assert [{key: row[key] for key in row if key != "embedding"} for row in rows] == [
        *({"index": page - 1, "file": str(report), "page": page} for page in (1, 2, 3)),
        {"index": 3, "file": str(photo)},
        {"index": 4},
    ]
    picture = {"type": "image_url", "image_url": {"url": embedrock.picture(photo)}}
    values = [*embedrock.pages(report), [picture], [{"type": "text", "text": "sales"}]]
    assert [row["embedding"] for row in rows] == expected_vectors(V4, body_of(values, 256))


def test_model_that_does_not_fuse_gets_the_pages_alone(
    run_embedrock: RunEmbedrock, aws: dict[str, str], emulator: Emulator, report: Path
) -> None:
    ended = run_embedrock("embed", str(report), "--model", NOVA, "--dimensions", "256", **aws)

    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)["embeddings"]
    bodies = emulator.bodies()
    assert sorted(found) == sorted(vector for body in bodies for vector in expected_vectors(NOVA, body))
    assert len(found) == 3
    assert all(body["singleEmbeddingParams"].keys() >= {"image"} for body in bodies)


def test_command_tells_how_near_pages_are(run_embedrock: RunEmbedrock, aws: dict[str, str], report: Path) -> None:
    ended = run_embedrock("embed", str(report), "red", "--similarity", **aws)

    assert ended.returncode == 0, ended.stderr
    assert "report.pdf, page 3" in ended.stdout.decode()


def test_command_fails_in_one_line_on_a_file_it_cannot_read(
    run_embedrock: RunEmbedrock, aws: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"no PDF")

    ended = run_embedrock("embed", str(tmp_path / "a.pdf"), **aws)

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().startswith("embedrock: a.pdf: it is no PDF") and ended.stderr.count(b"\n") == 1


def test_sentence_that_ends_as_a_name_does_is_a_text(
    run_embedrock: RunEmbedrock, aws: dict[str, str], emulator: Emulator
) -> None:
    assert run_embedrock("embed", "read none.pdf", **aws).returncode == 0
    assert emulator.bodies() == [{"inputText": "read none.pdf"}]


def test_pages_are_inputs_of_the_client(aws: dict[str, str], report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)

    with embedrock.Client(V4) as client:
        found = client.embed(embedrock.pages(report), dimensions=256)

    expected = np.array(expected_vectors(V4, body_of(embedrock.pages(report), 256)), np.float32)
    assert np.array_equal(found.vectors, expected)
