"""What the setting ``group-by`` may say; `fedpatchcore.data.groups` does it."""

from __future__ import annotations

import re

from fedpatchcore.errors import ConfigError

__all__ = ["AUTOMATIC", "BY_FOLDER", "SINGLE", "compiled"]

AUTOMATIC, SINGLE, BY_FOLDER = "auto", "none", "folder"


def compiled(group_by: str) -> re.Pattern[str] | None:
    """The pattern that ``group_by`` is, None if it is a word. Raises ConfigError if it is none."""
    if group_by in ("", AUTOMATIC, SINGLE, BY_FOLDER):
        return None
    try:
        return re.compile(group_by)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"group-by='{group_by}' is neither {AUTOMATIC}, {SINGLE} nor {BY_FOLDER}, and no "
            f"regular expression ({error}); for example '^([^_]+)_' groups by what stands before _"
        ) from None
