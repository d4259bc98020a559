"""Every setting of the run."""

from __future__ import annotations

from dataclasses import dataclass

from fedpatchcore.config import RunConfig
from fedpatchcore.report.model import Section
from fedpatchcore.report.story import Story

__all__ = ["Configuration", "configuration"]


@dataclass(frozen=True)
class Setting:
    """A setting; ``changed`` if it differs from the default."""

    key: str
    value: str
    changed: bool


@dataclass(frozen=True)
class Configuration:
    """All settings, in the order of the file."""

    settings: list[Setting]


def configuration(story: Story) -> list[Section]:
    """Every setting; those that differ from the default stand out."""
    defaults = RunConfig().table()
    view = Configuration(
        [
            Setting(key, _shown(value), key in defaults and defaults[key] != value)
            for key, value in story.config.items()
        ]
    )
    return [Section("Configuration", "configuration", "configuration.html.j2", view)]


def _shown(value: object) -> str:
    if value in ("", None):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
