"""Imports point down, and never in a circle. Read from the source, so an import inside a function counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import bedrock_emulator
import embedrock

LONGEST_MODULE = 400
WHY_LONG = "one thing"  # a longer module says in its docstring why it is one thing

#: What each part of `embedrock` may import of the others. Siblings are not below one another.
_GROUND = {"errors", "telemetry", "accounts"}
_VALUES = _GROUND | {"tokens", "media", "catalog", "inputs", "vectors"}
_SERVICE = _VALUES | {"families", "upstream", "store", "service"}
ALLOWED: Mapping[str, set[str]] = {
    "": {"faces", "accounts", "errors"},  # the package itself: its version and its public names
    "errors": set(),
    "telemetry": set(),
    "model_list": {"accounts"},
    "config_file": {"model_list"},
    "parsers": set(),
    "settings": {"errors", "accounts", "model_list", "config_file", "parsers"},
    "database": {"settings", "store", "errors"},
    "tokens": set(),
    "accounts": set(),
    "media": {"errors"},
    "catalog": _GROUND | {"tokens"},
    "inputs": _GROUND | {"media", "tokens"},
    "vectors": _GROUND,
    "families": _VALUES,
    "upstream": _VALUES,
    "store": _VALUES,
    "service": _SERVICE,
    "entrance": _SERVICE | {"settings", "database"},
    "wiring": _SERVICE | {"settings", "model_list", "database", "entrance"},
    "wire": {"catalog", "inputs", "vectors", "errors"},
    "faces": _SERVICE | {"settings", "database", "entrance", "wiring", "wire"},
    "__main__": {"faces"},
}
PURE = ("families", "wire", "inputs", "media", "vectors", "errors")
DOES_IO = {
    "asyncio", "boto3", "botocore", "concurrent", "http", "httptools", "io", "logging", "multiprocessing", "os",
    "pathlib", "select", "selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading",
    "urllib", "uvicorn", "uvloop",
}  # fmt: skip


def source_files() -> dict[str, Path]:
    """Return the file of every module of both packages, by its dotted name."""
    files = {}
    for package in (embedrock, bedrock_emulator):
        top = Path(str(package.__file__)).parent
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top.parent).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported(name: str, path: Path, known: Mapping[str, object]) -> Iterator[str]:
    """Yield what module `name` imports, anywhere in it; a name taken from a package is the module where it is one."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base


FILES = source_files()
IMPORTS = {name: set(imported(name, path, FILES)) for name, path in FILES.items()}


def part(module: str) -> str:
    """Return the part of `embedrock` that `module` belongs to: the first name below the package."""
    return module.split(".")[1] if "." in module else ""


OURS = [name for name in FILES if name.split(".")[0] == "embedrock"]


def test_the_modules_are_found() -> None:
    assert {"embedrock.errors", "embedrock.faces.http.app", "bedrock_emulator.app"} <= FILES.keys()
    assert "embedrock.catalog.specs" in IMPORTS["embedrock.catalog.names"]
    assert "embedrock.wiring" in IMPORTS["embedrock.faces.cli"], "an import inside a function"
    assert "bedrock_emulator.catalog" in IMPORTS["bedrock_emulator.app"], "a relative import"


def test_every_part_has_a_place() -> None:
    assert {part(name) for name in OURS} <= ALLOWED.keys()


@pytest.mark.parametrize("module", OURS)
def test_module_imports_only_what_is_below_it(module: str) -> None:
    own = part(module)
    others = {name for name in IMPORTS[module] if name.split(".")[0] == "embedrock" and name != "embedrock"}

    assert {name for name in others if part(name) != own and part(name) not in ALLOWED[own]} == set()


@pytest.mark.parametrize(
    "used, users",
    [
        ("settings", {"database", "entrance", "wiring", "faces"}),
        ("wire", {"faces"}),
        ("wiring", {"faces"}),
        ("faces", {"__main__", ""}),
    ],
)
def test_part_is_imported_by_these_only(used: str, users: set[str]) -> None:
    found = {part(name) for name in OURS for target in IMPORTS[name] if target.startswith(f"embedrock.{used}")}

    assert found <= users | {used}


@pytest.mark.parametrize("module", [name for name in OURS if part(name) in PURE])
def test_pure_module_imports_nothing_that_does_io(module: str) -> None:
    assert {name for name in IMPORTS[module] if name.split(".")[0] in DOES_IO} == set()


@pytest.mark.parametrize("module", list(FILES))
def test_packages_do_not_import_each_other(module: str) -> None:
    other = {"embedrock": "bedrock_emulator", "bedrock_emulator": "embedrock"}[module.split(".")[0]]

    assert {name for name in IMPORTS[module] if name.split(".")[0] == other} == set()


def reachable(module: str, imports: Mapping[str, set[str]]) -> set[str]:
    """Return the modules of `imports` that `module` imports, and those they import, and so on."""
    found: set[str] = set()
    todo = [module]
    while todo:
        new = (imports[todo.pop()] & imports.keys()) - found
        found |= new
        todo += new
    return found


def test_reachable_follows_imports() -> None:
    imports = {"a": {"b", "os"}, "b": {"c"}, "c": {"b"}}

    assert [reachable(module, imports) for module in imports] == [{"b", "c"}, {"b", "c"}, {"b", "c"}]


@pytest.mark.parametrize("module", list(FILES))
def test_no_module_imports_itself_in_the_end(module: str) -> None:
    """An import hidden in a function, or only for the type checker, makes a circle like any other."""
    circle = {name for name in reachable(module, IMPORTS) if module in reachable(name, IMPORTS)}

    assert circle == set()


@pytest.mark.parametrize("module", list(FILES))
def test_long_module_says_why_it_is_one_thing(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")

    assert len(text.splitlines()) <= LONGEST_MODULE or WHY_LONG in (ast.get_docstring(ast.parse(text)) or "")
