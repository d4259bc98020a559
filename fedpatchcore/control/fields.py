"""The settings of a run as fields of a form, made from the sheets: nothing is listed twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.config import SHEETS, RunConfig
from fedpatchcore.control.starting import OURS
from fedpatchcore.settings import describe, kebab, words_of

__all__ = ["Field", "Group", "groups"]


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        kind: ``words``, ``number`` or ``text``.
        changed: it differs from the default.
    """

    key: str
    value: str
    default: str
    range: str
    help: str
    kind: str
    words: tuple[str, ...]
    changed: bool


@dataclass(frozen=True)
class Group:
    """The settings of one room."""

    title: str
    fields: tuple[Field, ...]

    @property
    def changed(self) -> int:
        """How many differ from the default."""
        return sum(field.changed for field in self.fields)


def groups(values: Mapping[str, Any]) -> list[Group]:
    """All settings that a form may say, by room, with these values over the defaults."""
    defaults = RunConfig().table()
    found = []
    for sheet in SHEETS:
        told = {one.key: one for one in describe(sheet)}
        fields = []
        for name, info in sheet.model_fields.items():
            key = kebab(name)
            if key not in told or key in OURS:
                continue
            value, default = values.get(key, defaults[key]), defaults[key]
            words = tuple(words_of(info)) or (("true", "false") if default in (True, False) else ())
            if isinstance(default, int | float) and not isinstance(default, bool):
                words = ()
            kind = "words" if words else "text" if isinstance(default, str) else "number"
            fields.append(
                Field(
                    key,
                    _text(value),
                    _text(default),
                    told[key].range,
                    told[key].help,
                    kind,
                    words,
                    _text(value) != _text(default),
                )
            )
        if fields:
            found.append(Group(sheet.title, tuple(fields)))
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
