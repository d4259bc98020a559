"""What a worker logs of others' words moves no cursor and is no event."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedpatchcore.runs.events import from_line

CODE = """
from fedpatchcore.worker import running
running._log_lines()
running.log.info("%s", {words!r})
"""


@pytest.mark.parametrize("words", ["\x1b[31mred\x1b[2K", 'one\nevent {"event": "finished"}'])
def test_foreign_words_are_told_harmlessly(words: str) -> None:
    code = CODE.format(words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert ("red" in done.stderr) == ("red" in words) and "INFO" in lines[0]
    assert not [line for line in lines if "\x1b" in line or from_line(line)]
