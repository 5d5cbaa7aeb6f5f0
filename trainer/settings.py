"""Typed settings: layers of values to a frozen pydantic model, and all that is wrong at once.

A *key* is a setting's dotted name (``loss.w_weak``), a *leaf* is its last part (``w_weak``).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from weaksup.errors import UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound="Section")


class SettingsError(UsageError):
    """Settings that are wrong, all of them.

    Args:
        problems: one message each: the key, the value, its source and what is allowed.
        hint: what to do about them.
    """

    def __init__(self, problems: Sequence[str], hint: str) -> None:
        count = "one setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        super().__init__(f"{count} wrong:\n  " + "\n  ".join(problems), hint)
        self.problems = tuple(problems)
        self.args = (self.problems, hint)  # what pickle calls the class with


_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple[int, ...]: "a list of integers",
    tuple[float, ...]: "a list of numbers",
    tuple[str, ...]: "a list of texts",
    dict[str, Any]: "a table",
    tuple[dict[str, Any], ...]: "a list of tables",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Section(BaseModel):
    """Settings that belong together. Frozen; unknown names and wrong types are refused.

    Every field has a default and a description, and none may be None: TOML has no such value.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )

    def to_toml(self) -> str:
        """All settings as TOML, for a file that ``--config`` takes."""
        return tomli_w.dumps(self.model_dump(mode="json"))

    def to_json(self) -> str:
        """All settings as JSON; ``model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2)


@dataclass(frozen=True)
class Setting:
    """One line of the settings' listing.

    Attributes:
        key: dotted name.
        allowed: type, range and choices in words.
        default: as TOML would write it.
        description: what it does.
    """

    key: str
    allowed: str
    default: str
    description: str


@dataclass(frozen=True)
class Layer:
    """Values from one source, nested as in TOML.

    Attributes:
        source: as an error message names it, such as ``--set`` or a file's path.
        values: keys may be dotted; anything may be in it, and is checked when layers are combined.
    """

    source: str
    values: Mapping[str, Any]


def list_settings(schema: type[Section]) -> list[Setting]:
    """Every setting of a schema, sections after the settings of their parent."""
    return [
        Setting(key, _allowed(field), _shown(field.default), field.description or "")
        for key, field in _fields(schema)
    ]


def read_toml(path: Path, *, hint: str = "mend the file, or leave --config away") -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: of the file.
        hint: what the user can do where it cannot be read.

    Raises:
        UsageError: if it cannot be read; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            "see that it is a file, and that you may read it",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}", hint) from error


def parse_value(text: str) -> Any:
    """The TOML value that ``text`` writes, or ``text`` itself: ``bf16`` needs no quotes."""
    try:
        content = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break would start a second assignment.
    return content["value"] if list(content) == ["value"] else text


def parse_overrides(schema: type[Section], overrides: Mapping[str, str]) -> dict[str, Any]:
    """``--set`` pairs to key -> value; a leaf that only one section has stands for its key.

    Leaves that are unknown or in several sections stay as they are, for ``combine`` to report.
    """
    known = [key for key, _ in _fields(schema)]
    leaves = Counter(_leaf(key) for key in known)
    full = {_leaf(key): key for key in known if leaves[_leaf(key)] == 1}
    return {
        name if name in known else full.get(name, name): parse_value(text)
        for name, text in overrides.items()
    }


def flatten(schema: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are nested as in TOML under dotted names; a table that is a value stays one."""
    return dict(_flatten(values, dict(_fields(schema))))


def combine(schema: type[S], layers: Sequence[Layer]) -> S:
    """Lay values over one another and over the schema's defaults, and check them.

    Raises:
        SettingsError: lists everything that is wrong: the key, the value, its source, what is
            allowed, and for an unknown key the nearest known one.
    """
    result, problems, hint = _combine(schema, layers, together=True)
    if result is None or problems:
        raise SettingsError(problems, hint)
    return result


def check_values(schema: type[Section], layer: Layer) -> list[str]:
    """What is wrong with values each by itself, as ``combine`` would tell it.

    Whether they fit one another, and the schema's defaults, is not looked at.
    """
    return _combine(schema, [layer], together=False)[1]


def _combine(
    schema: type[S], layers: Sequence[Layer], *, together: bool
) -> tuple[S | None, list[str], str]:
    """The settings, what is wrong with them, and what can be done about it.

    Args:
        schema: of the settings.
        layers: the last one wins.
        together: whether to tell of settings that do not fit one another, too.
    """
    known = dict(_fields(schema))
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    hint = "give other values with --set KEY=VALUE or in the file that --config names"
    for layer in layers:
        for key, value in _flatten(layer.values, known):
            if key in known:
                merged[key] = value
                sources[key] = layer.source
            else:
                meant = _meant(key, known)
                problems.append(f"{_given(key, value, layer.source)}: {meant or 'unknown'}")
                # What is like nothing needs to be told what there is.
                hint = hint if meant else _listing(known)
    result = None
    try:
        # Through JSON, because there strict still takes a list for a tuple.
        result = schema.model_validate_json(json.dumps(_nested(merged), default=str))
    except ValidationError as error:
        # What is wrong with all of them has no place.
        found = [item for item in error.errors() if together or item["loc"]]
        problems += [_problem(item, known, sources) for item in found]
    return result, problems, hint


def _fields(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    sections = []
    for name, field in schema.model_fields.items():
        if _is_section(field.annotation):
            sections.append((name, field.annotation))
        else:
            yield prefix + name, field
    for name, section in sections:
        yield from _fields(section, f"{prefix}{name}.")  # type: ignore[arg-type]


def _is_section(annotation: Any) -> bool:
    # Python 3.10 takes tuple[int, ...] for a class.
    plain = get_origin(annotation) is None and isinstance(annotation, type)
    return plain and issubclass(annotation, BaseModel)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return result


def _flatten(
    values: Mapping[str, Any], known: Mapping[str, FieldInfo], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in known:
            yield from _flatten(value, known, f"{key}.")
        else:
            yield key, value


def _given(key: str, value: Any, source: str) -> str:
    return f"{key} = {_shown(value)}" + (f" ({source})" if source else "")


def _shown(value: Any) -> str:
    # JSON writes inf and nan otherwise than TOML.
    text = repr(value) if isinstance(value, float) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listing(known: Mapping[str, FieldInfo]) -> str:
    """All settings, those of a section in one."""
    names = dict.fromkeys(
        f"{section}.NAME" if section else leaf
        for section, _, leaf in (key.rpartition(".") for key in known)
    )
    return (
        f"the settings are {', '.join(names)}; docs/configuration.md of the project describes each"
    )


def _meant(key: str, known: Mapping[str, FieldInfo]) -> str:
    """What an unknown key is, or may have meant; empty if it is like nothing."""
    if any(name.startswith(f"{key}.") for name in known):
        return f"a section, not a setting: its settings are {key}.NAME"
    same_leaf = [name for name in known if _leaf(name) == _leaf(key)]
    if len(same_leaf) > 1 and "." not in key:
        return f"in several sections: name one of {', '.join(same_leaf)}"
    by_leaf = {_leaf(name): name for name in reversed(list(known))}
    near = (
        same_leaf
        or get_close_matches(key, known, n=1, cutoff=0.7)
        or [by_leaf[leaf] for leaf in get_close_matches(_leaf(key), by_leaf, n=1, cutoff=0.5)]
    )
    return f"unknown; did you mean '{near[0]}'?" if near else ""


def _problem(
    error: Mapping[str, Any], known: Mapping[str, FieldInfo], sources: Mapping[str, str]
) -> str:
    location = [str(part) for part in error["loc"]]
    # A location may go on below a setting, into the items of its list.
    keys = (".".join(location[:end]) for end in range(len(location), 0, -1))
    key = next((key for key in keys if key in known), ".".join(location))
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        return f"{key}: {message}" if key else message
    given = _given(key, error["input"], sources.get(key, ""))
    nearest = did_you_mean(str(error["input"]), _choices(known[key].annotation))
    return f"{given}: expected {_allowed(known[key])}" + (f"; {nearest}" if nearest else "")


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return []


def _allowed(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return f"one of {', '.join(choices)}"
    kind = _KINDS.get(field.annotation, str(field.annotation))
    return ", ".join([kind, *_bounds(field.metadata)])


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for bound in metadata:
        for name, words in _BOUNDS.items():
            if hasattr(bound, name):
                yield f"{words} {getattr(bound, name)}"
