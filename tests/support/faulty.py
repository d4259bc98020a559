"""Faults put into processes that run already: a file that `tests/faults/inject` looks at."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.places import ROOT

__all__ = ["Faults"]


class Faults:
    """One process's faults; to be started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._file = folder / "fault.json"

    @property
    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        path = [str(ROOT / "tests/faults/inject"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"FAULT_FILE": str(self._file), "PYTHONPATH": os.pathsep.join(path)}

    def put(self, **told: object) -> None:
        """This fault from now on."""
        self.clear()
        new = self._file.with_name("new")
        new.write_text(json.dumps(told))
        new.replace(self._file)

    def clear(self) -> None:
        """None any more."""
        for file in (self._file, self._mark):
            file.unlink(missing_ok=True)

    def reached(self) -> bool:
        """Whether it has come."""
        return self._mark.exists()

    @property
    def _mark(self) -> Path:
        return Path(f"{self._file}.reached")
