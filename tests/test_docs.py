"""The documents say what is: their examples run, and everything a user can meet is named in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs import generate

from embedrock import errors, settings, wiring
from embedrock.faces.http import headers
from embedrock.faces.http.error_table import DOCUMENTED
from embedrock.families import FAMILIES

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "bench" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
#: Pages whose commands build on each other: they run as one script, with a data directory of its own.
SCRIPTS = ["docs/how-to/give-out-keys.md"]
_FENCE = re.compile(r"(?P<mark><!-- needs AWS -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)
_RUN = re.compile(r"([A-Z_]+=('[^']*'|\S+) )*(\.venv/bin/embedrock|curl) ")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


@pytest.fixture
def gateway(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway with a bucket, as `embedrock serve --emulator` has one."""
    directory = tmp_path_factory.getbasetemp() / "shared-jobs"
    directory.mkdir(exist_ok=True)
    return gateway_with(
        AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}',
        EMBEDROCK_DATABASE_URL=f"sqlite:///{directory / 'jobs.db'}",
    )


def environ() -> dict[str, str]:
    """Return the environment of a reader without an AWS account."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EMBEDROCK_"))}


def examples(language: str) -> list[tuple[str, str]]:
    """Return page and code of each example that needs no AWS account."""
    return [
        (str(page.relative_to(ROOT)), match["code"])
        for page in PAGES
        for match in _FENCE.finditer(page.read_text(encoding="utf-8"))
        if match["language"] == language and not match["mark"]
    ]


def command_lines() -> list[tuple[str, str]]:
    """Return page and command of each shell example that is not a make target; continued lines are one."""
    joined = [(page, code.replace("\\\n", " ")) for page, code in examples("sh") if page not in SCRIPTS]
    return [(page, line) for page, code in joined for line in code.splitlines() if not line.startswith("make ")]


@pytest.mark.parametrize(("page", "code"), examples("python"))
def test_python_example_runs(gateway: Gateway, page: str, code: str) -> None:
    code = code.replace("http://127.0.0.1:4000", gateway.url)

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ(), check=False)

    assert ended.returncode == 0, f"{page}: {ended.stderr}"
    assert ended.stdout.strip(), page


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_of_a_page_runs(gateway: Gateway, page: str, line: str) -> None:
    assert _RUN.match(line), f"{page}: is this an example? {line}"
    scripts = str(Path(sys.executable).parent)
    line = line.replace("http://127.0.0.1:4000", gateway.url).replace(".venv/bin/", f"{scripts}/")

    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environ(), check=False)

    assert ended.returncode == 0, f"{page}: {ended.stderr}"
    assert ended.stdout.strip(), page


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_of_a_page_that_belong_together_run_in_order(script: str, tmp_path: Path) -> None:
    scripts = str(Path(sys.executable).parent)
    lines = "\n".join(code for page, code in examples("sh") if page == script).replace(".venv/bin/", f"{scripts}/")
    here = environ() | {"XDG_DATA_HOME": str(tmp_path)}

    ended = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, env=here, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


def test_configuration_file_of_the_page_is_good(tmp_path: Path) -> None:
    ((page, code),) = examples("yaml")
    file = tmp_path / "embedrock.yaml"
    file.write_text(code, encoding="utf-8")

    chosen = settings.load({"EMBEDROCK_CONFIG": str(file), "AWS_REGION": "us-east-1"})

    assert page == "docs/how-to/configure.md"
    names = wiring.check(chosen)
    assert chosen.aliases
    assert chosen.arns
    assert all(names.find(name).spec.family in FAMILIES for name in (*chosen.aliases, *chosen.arns))


def test_faults_of_the_page_are_taken(emulator: Emulator) -> None:
    bodies = [line.encode() for page, code in examples("json") if "emulator" in page for line in code.splitlines()]

    statuses = [emulator.request("POST", "/_emulator/faults", body).status for body in bodies]

    assert statuses == [200] * 3


def test_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.split()[1] for page in PAGES for line in page.read_text().splitlines() if line.startswith("make ")}

    assert named
    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", list(generate.PAGES))
def test_page_of_the_reference_is_what_the_code_says(page: str) -> None:
    assert (generate.REFERENCE / page).read_text(encoding="utf-8") == generate.text(page), "run `make docs`"


def test_every_error_is_documented() -> None:
    """By class and code; and nothing is documented that does not exist."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "embedrock").rglob("*.py"))
    finer_codes = set(re.findall(r'\bcode="(\w+)"', source))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__bases__ != (object,)]
    classes = [kind for kind in kinds if issubclass(kind, errors.EmbedrockError) and kind is not errors.EmbedrockError]
    rows = [(row.error, row.code) for row in DOCUMENTED]

    assert len(set(rows)) == len(rows)
    assert {(kind, kind.code) for kind in classes} <= set(rows)
    assert finer_codes <= {code for _, code in rows}
    assert {code for kind, code in rows if code != kind.code} <= finer_codes


def test_header_of_ours_is_written_in_the_table_and_nowhere_else() -> None:
    """So that the reference, which is made of the table, has it."""
    files = [path for path in (ROOT / "src" / "embedrock").rglob("*.py") if path.name != "headers.py"]
    found = {name for path in files for name in re.findall(r'b"(x-embedrock-[a-z-]+)"', path.read_text("utf-8"))}

    assert found == set()
    assert len(headers.ANSWERED) > 10


def test_every_setting_has_help() -> None:
    assert [field.name for field in settings.documented() if not field.metadata["help"]] == []


def test_demo_shows_what_belongs_together() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"], capture_output=True, text=True, env=environ(), check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert "6 texts, 6 vectors of 1024 numbers" in ended.stdout
    assert "2 texts and a picture in one list, 3 vectors of 1536 numbers" in ended.stdout
    assert "Nearest to \"my bicycle's brakes squeak\": 'Repairing the brakes of a bicycle'" in ended.stdout
    if os.path.exists("/proc"):  # noqa: PTH110
        cpu_s, memory_mb = re.findall(r"used ([\d.]+) s of CPU .* holds (\d+) MB", ended.stdout)[0]
        assert float(cpu_s) > 0
        assert 0 < int(memory_mb) <= 100
