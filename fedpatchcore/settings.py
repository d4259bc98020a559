"""What all settings have in common: flat kebab-case tables in, one frozen object out.

Each room has a sheet of its own, a subclass of `Settings` in its ``settings.py``, with the default,
the range and one line of help for each key and the checks that concern it alone;
`fedpatchcore.config` puts the sheets together.
"""

from __future__ import annotations

import math
import types
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from fedpatchcore.errors import ConfigError
from fedpatchcore.spelling import nearest

__all__ = [
    "Setting",
    "Settings",
    "as_file",
    "describe",
    "kebab",
    "listed",
    "setting",
    "words_of",
]


NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, half pairs, ends of lines and paragraphs


def kebab(name: str) -> str:
    """The key under which Flower knows a setting: ``image_size`` is ``image-size``."""
    return name.replace("_", "-")


def listed(text: str) -> tuple[str, ...]:
    """The names in a setting that lists them between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def setting(default: Any, help: str, *, words: Iterable[str] = (), **limits: Any) -> Any:
    """A field of a sheet: its default, one line of help, and limits as pydantic names them.

    Args:
        words: the only ones that may stand here, for a text whose words a registry lists.
    """
    return Field(default, description=help, json_schema_extra={"words": list(words)}, **limits)


class Settings(BaseModel):
    """A table of settings. Infinite and NaN numbers, and texts of several lines, are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=kebab,
        populate_by_name=True,
        allow_inf_nan=False,
    )
    title: ClassVar[str] = ""

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str) -> Self:
        """Validate a flat table. Raises ConfigError naming each bad key and its allowed range."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise ConfigError(f"{where}: {_explain(cls, error, table)}") from None

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            odd = [told for key, value in given.items() if (told := _unprintable(key, value))]
            if odd:
                raise ValueError("; ".join(odd))
        return given

    @model_validator(mode="after")
    def _known_words(self) -> Self:
        for name, field in type(self).model_fields.items():
            words, given = words_of(field), getattr(self, name)
            if words and given not in words:
                raise ValueError(_no_such_word(name, words, given))
        return self

    def table(self) -> dict[str, Any]:
        """The settings under their kebab-case keys, as plain values."""
        return self.model_dump(by_alias=True)


def _unprintable(key: object, value: object) -> str:
    """Why a key or a text cannot be meant, "" if it can: no setting has lines or NUL."""
    if not isinstance(key, str) or not _one_line(key):
        return f"key {key!r}: a key is one plain word"
    if isinstance(value, str) and not _one_line(value):
        return f"{kebab(key)}: a value is one line of plain text, got {value!r}"
    return ""


def _one_line(text: str) -> bool:
    return not any(unicodedata.category(letter) in NO_TEXT for letter in text)


def _no_such_word(name: str, words: Iterable[str], given: object) -> str:
    known = ", ".join(word or "''" for word in words)
    near = nearest(str(given), words)
    return f"{kebab(name)}: must be one of {known}, got {given!r}{near}"


def _explain(cls: type[Settings], error: ValidationError, table: Mapping[str, Any]) -> str:
    """All that is wrong, each once: pydantic does not come to the words where a number is bad."""
    known = [kebab(name) for name in cls.model_fields]
    parts = []
    for item in error.errors():
        key = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key '{key}'{nearest(key, known)}")
        elif item["type"] != "literal_error":
            text = item["msg"].removeprefix("Value error, ")
            parts.append(f"{key}: {text}, got {item['input']!r}" if key else text)
    for name, field in cls.model_fields.items():
        words, given = words_of(field), table.get(kebab(name), table.get(name, field.default))
        if words and given not in words and not any(p.startswith(f"{kebab(name)}:") for p in parts):
            parts.append(_no_such_word(name, words, given))
    return "; ".join(parts)


@dataclass(frozen=True)
class Setting:
    """One key as people read it.

    Attributes:
        default: as it is written in TOML.
        range: the words or the numbers that it may be; "" where any text may stand.
    """

    key: str
    default: str
    range: str
    help: str


def describe(sheet: type[Settings]) -> list[Setting]:
    """The keys of a sheet of its own, without those it takes from others, in order."""
    return [
        Setting(kebab(name), _toml(field.default), _range(field), field.description or "")
        for name, field in sheet.model_fields.items()
        if name in sheet.__annotations__
    ]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def words_of(field: FieldInfo) -> list[str]:
    """The only words that may stand for a setting; empty where any text or number may."""
    if get_origin(field.annotation) is Literal:
        return list(get_args(field.annotation))
    extra = field.json_schema_extra
    return extra["words"] if isinstance(extra, dict) else []


def _range(field: FieldInfo) -> str:
    """``"crop", "full"`` of words, ``32 to 2048`` or ``above 0, below 1`` of numbers."""
    kind = field.annotation
    if words := words_of(field):
        return ", ".join(f'"{word}"' for word in words)
    if kind is bool:
        return "true, false"
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    if set(limits) == {"ge", "le"}:
        return f"{_number(limits['ge'])} to {_number(limits['le'])}"
    words = types.MappingProxyType({"ge": "from", "gt": "above", "le": "up to", "lt": "below"})
    return ", ".join(f"{words[name]} {_number(limit)}" for name, limit in limits.items())


def _number(value: float) -> str:
    if isinstance(value, int) and value > 10**6 and math.log2(value).is_integer():
        return f"2^{int(math.log2(value))}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_file(sheets: Iterable[type[Settings]], given: Mapping[str, Any], header: str) -> str:
    """The text of a settings file (TOML): all keys of these sheets with what they mean.

    Args:
        given: by key; all others stand there as comments with their defaults.

    Raises:
        ConfigError: ``given`` holds a key that no sheet has.
    """
    lines, known = [header], set()
    for sheet in sheets:
        lines.append(f"# --- {sheet.title}\n")
        for one in describe(sheet):
            known.add(one.key)
            lines.append(f"# {one.help}" + (f" ({one.range})" if one.range else ""))
            if one.key in given:
                lines.append(f"{one.key} = {_toml_value(given[one.key])}\n")
            else:
                lines.append(f"# {one.key} = {one.default}\n")
    if unknown := set(given) - known:
        raise ConfigError(f"there is no setting {', '.join(sorted(unknown))}")
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
