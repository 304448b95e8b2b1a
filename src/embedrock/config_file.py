"""The configuration file: YAML, ours or LiteLLM's, as plain values. What is wrong in it is told with its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from embedrock import model_list

_QUOTA = ("requests_per_minute", "tokens_per_minute")

Parse = Callable[[str, str], Any]  # a setting's text, and where it stands


class SettingsError(ValueError):
    """A setting is wrong; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class AliasSettings:
    """One alias of the file: a name, or a name and what holds when a caller uses the alias."""

    model: str
    params: Mapping[str, Any] = field(default_factory=dict)
    drop_params: bool | None = None
    token_encoding: Literal["cl100k_base", "o200k_base"] | None = None


def read(path: Path, parsers: Mapping[str, Parse], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the values in the file at `path`: settings by their parsers, and what only the file holds.

    Raises SettingsError.
    """
    import yaml  # most users have no file

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror or 'cannot be read'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        mark = getattr(exc, "problem_mark", None)
        raise SettingsError(f"{path}{f':{mark.line + 1}' if mark else ''}: not valid YAML") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(f"{path}: the file must be a mapping of settings")
    values: dict[str, Any] = {}
    unknown: list[str] = []
    theirs: dict[str, tuple[Any, Any]] = {}  # sections of LiteLLM's
    for key_node, value_node in root.value:
        name, where = str(key_node.value), f"{path}:{key_node.start_mark.line + 1}"
        if name in values or name in theirs:
            raise SettingsError(f"{where}: {name} is there twice")
        if name in model_list.SECTIONS:
            theirs[name] = key_node, value_node
        elif name == "arns":
            values[name] = _read_mapping(value_node, f"{where}: {name}")
        elif name == "aliases":
            values[name] = _read_aliases(value_node, path)
        elif name == "default_model_params":
            values[name] = read_defaults(_plain(value_node, f"{where}: {name}"), f"{where}: {name}")
        elif name == "quotas":
            values[name] = read_quotas(_plain(value_node, f"{where}: {name}"), f"{where}: {name}")
        elif name in parsers:
            values[name] = parsers[name](_scalar_or_list(value_node, f"{where}: {name}"), f"{where}: {name}")
        else:
            unknown.append(f"{where}: unknown setting {name[:60]!r}")
    if unknown and "model_list" not in theirs:
        raise SettingsError(unknown[0])
    if not theirs:
        return values
    found = _from_litellm(theirs, environ, path) | values
    return found | {"notes": (*found["notes"], *unknown)}  # LiteLLM lets any key stand at the top


def _from_litellm(sections: Mapping[str, tuple[Any, Any]], environ: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        found = model_list.read(
            sections, lambda node: _plain(node, f"{path}:{node.start_mark.line + 1}"), environ, str(path)
        )
    except model_list.ModelListError as exc:
        raise SettingsError(str(exc)) from None
    values: dict[str, Any] = {"entries": tuple(found.entries), "notes": tuple(found.notes)}
    if found.master_key is not None:
        values["api_key"] = (found.master_key,)
    if found.drop_params is not None:
        values["drop_params"] = found.drop_params
    return values


def _scalar_or_list(node: Any, where: str) -> str:
    match node.id:
        case "scalar":
            return cast("str", node.value)
        case "sequence" if all(item.id == "scalar" for item in node.value):
            return ",".join(item.value for item in node.value)
    raise SettingsError(f"{where} must be one value, or a list of values")


def _plain(node: Any, where: str) -> Any:
    """Return what a YAML node stands for, as plain Python. Raises SettingsError."""
    import yaml

    try:
        return yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):  # a tag nobody knows; a date that is none
        raise SettingsError(f"{where} holds a value that is not plain YAML") from None


def _read_aliases(node: Any, path: Path) -> dict[str, AliasSettings]:
    if node.id != "mapping":
        raise SettingsError(f"{path}:{node.start_mark.line + 1}: aliases must be a mapping of names")
    aliases = {}
    for key_node, value_node in node.value:
        where = f"{path}:{key_node.start_mark.line + 1}: alias {str(key_node.value)[:60]!r}"
        if key_node.id != "scalar" or key_node.value in aliases:
            raise SettingsError(f"{where} is no name, or is there twice")
        aliases[key_node.value] = _read_alias(value_node, where)
    return aliases


def _read_alias(node: Any, where: str) -> AliasSettings:
    if node.id == "scalar":
        return AliasSettings(node.value)
    value = _plain(node, where)
    known = {f.name for f in fields(AliasSettings)}
    if not isinstance(value, dict) or not isinstance(value.get("model"), str):
        raise SettingsError(f"{where} must be a name, or hold a model")
    if unknown := [name for name in value if name not in known]:
        raise SettingsError(f"{where}: unknown member {str(unknown[0])[:60]!r}; there are {', '.join(sorted(known))}")
    if not _is_named(value.get("params", {})):
        raise SettingsError(f"{where}: params must be a mapping of names")
    if not isinstance(value.get("drop_params", False), bool):
        raise SettingsError(f"{where}: drop_params must be true or false")
    if value.get("token_encoding", "cl100k_base") not in ("cl100k_base", "o200k_base"):
        raise SettingsError(f"{where}: token_encoding must be cl100k_base or o200k_base")
    return AliasSettings(**value)


def _read_mapping(node: Any, where: str) -> dict[str, str]:
    if node.id != "mapping" or any(k.id != "scalar" or v.id != "scalar" for k, v in node.value):
        raise SettingsError(f"{where} must be a mapping of names")
    return {k.value: v.value for k, v in node.value}


def read_quotas(value: object, where: str) -> dict[str, tuple[float | None, float | None]]:
    """Return requests and tokens a minute by names of models. Raises SettingsError unless `value` is that."""
    quotas = {}
    for name, limits in read_defaults(value, where).items():
        if unknown := limits.keys() - set(_QUOTA):
            raise SettingsError(f"{where}: {name[:60]}: unknown member {sorted(unknown)[0][:60]!r}")
        for limit in limits.values():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < 1e9:
                raise SettingsError(f"{where}: {name[:60]}: limits must be numbers above 0")
        quotas[name] = (limits.get(_QUOTA[0]), limits.get(_QUOTA[1]))
    return quotas


def read_defaults(value: object, where: str) -> dict[str, dict[str, Any]]:
    """Return parameters by names of models. Raises SettingsError unless `value` is that."""
    if not isinstance(value, dict) or not all(map(_is_named, value.values())):
        raise SettingsError(f"{where} must map names of models to their parameters")
    return {str(name): members for name, members in value.items()}


def _is_named(value: object) -> bool:
    """Return whether `value` maps names; YAML has keys of other kinds, `on` among them."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)
