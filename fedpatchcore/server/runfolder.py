"""The folder a run leaves behind, and how a run goes on from it.

    runs/<name>/
      config.json        every setting
      events.jsonl       what happened when, one JSON object a line
      bank.safetensors   the bank of the last complete round, with thresholds
      metrics.json       every round's figures
      report.html        for people; heatmaps/ beside it
      coresets/          each site's coreset, from the moment it was accepted
      rounds/0001/       checkpoint of a complete round: bank, each site's coreset, metrics

A checkpoint is built under another name and renamed when it is complete and on disk, so
a folder ``rounds/NNNN`` is whole or absent. The last two are kept. Coresets are written once:
the checkpoint gives the files in ``coresets/`` a second name (hard link).
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.store import Contributions
from fedpatchcore.errors import FedPatchCoreError, RunError
from fedpatchcore.files import duplicate, private_folder, sync, write_atomically
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.folders import unused

__all__ = ["RunFolder"]

KEEP = 2
IDENTITY = ".identity"


def plain(value: Any) -> Any:
    """NaN and infinity become null, so that the file is JSON for every reader."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


class RunFolder:
    """One run's folder; every write is all or nothing.

    Attributes:
        listeners: called with each event, after it was written: what follows a run from
            outside (the log, metrics) hears of it here and nowhere else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[dict[str, Any]], None]] = []

    @classmethod
    def create(
        cls, out_dir: Path, name: str, config: Mapping[str, Any], *, anew: bool = True
    ) -> RunFolder:
        """Make the folder. ``anew``: for another run than the one that may be there.

        Raises:
            RunError: it cannot be written, or holds what another run computed.
        """
        if name in ("", ".", "..") or name != Path(name).name or "\0" in name:
            raise RunError(f"a run is one folder of {out_dir}, and '{name}' is no plain name")
        run = cls(out_dir / name)
        if anew:
            unused(run.path)
        try:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            private_folder(run.path)
            run._write_json("config.json", config)
            if anew or not (run.path / IDENTITY).is_file():
                write_atomically(run.path / IDENTITY, secrets.token_hex(16).encode())
        except OSError as error:
            raise RunError(
                f"cannot write results to {run.path} ({error.strerror}): set out-dir to a folder "
                "this process may write"
            ) from None
        return run

    @classmethod
    def reopen(cls, path: Path, config: Mapping[str, Any]) -> RunFolder:
        """The folder of a run to go on with; RunError if there is no such run."""
        if not (path / "config.json").is_file():
            raise RunError(f"nothing to resume: {path} is no run's folder (it has no config.json)")
        read_sealed(path / "config.json", error=RunError)
        return cls.create(path.parent, path.name, config, anew=False)

    @property
    def identity(self) -> str:
        """Of this run and no other, however often its name is used; kept when it is resumed."""
        return f"{self.path.name}-{(self.path / IDENTITY).read_text()}"

    def event(self, what: str, **facts: Any) -> None:
        """Append one line to ``events.jsonl`` and tell the listeners."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = {"time": now, "event": what, **plain(facts)}
        try:
            with (self.path / "events.jsonl").open("a") as file:
                file.write(json.dumps(event) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self.path / 'events.jsonl'}: {error.strerror}") from None
        finally:
            for listener in self.listeners:
                listener(event)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file atomically. Raises RunError."""
        try:
            self._write_json(name, content)
        except OSError as error:
            raise RunError(f"cannot write {self.path / name}: {error.strerror}") from None

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, sealed(plain(content)))

    def contributions(self) -> Contributions:
        """An empty place in this folder for what the sites give."""
        return Contributions(self.path / "coresets")

    def checkpoint(self, number: int, federation: Federation) -> None:
        """Save a complete round. Raises RunError; then the previous checkpoint is intact."""
        final = self.path / "rounds" / f"{number:04d}"
        part = final.with_name(f".{final.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            (part / "coresets").mkdir(parents=True)
            federation.bank.save(part / "bank.safetensors")
            federation.contributions.save_into(part / "coresets")
            federation.method.save(part / "method")
            if federation.private is not None:
                federation.private.save(part / "codebooks", federation.fingerprint)
            told = {"rounds": federation.history, "names": federation.names.told()}
            RunFolder(part)._write_json("history.json", told)
            if final.exists():
                shutil.rmtree(final)
            part.rename(final)
            sync(final.parent)
            duplicate(final / "bank.safetensors", self.path / "bank.safetensors", link=False)
        except (OSError, FedPatchCoreError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise RunError(f"cannot write checkpoint {final}: {error}") from None
        for old in self.complete_rounds()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def complete_rounds(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(p for p in (self.path / "rounds").glob("[0-9]*") if p.is_dir())

    def restore(self, federation: Federation) -> int:
        """Load the last complete round into ``federation``; returns its number.

        A run that ended before its first round was complete goes on from the beginning: 0.

        Raises BankError / CoresetError / RunError if the round is damaged.
        """
        rounds = self.complete_rounds()
        if not rounds:
            return 0
        last = rounds[-1]
        bank = MemoryBank.load(last / "bank.safetensors")
        history, names = _history(last / "history.json")
        federation.contributions.restore(last / "coresets")
        federation.restore(bank, history)
        federation.names.restore(names)
        federation.method.load(last / "method")
        if federation.private is not None:
            federation.private.load(last / "codebooks")
        return int(last.name)


def _history(path: Path) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """The rounds of a checkpoint and whose name is whose. Raises RunError if damaged."""
    content = read_sealed(path, error=RunError)
    rounds = content.get("rounds") if isinstance(content, dict) else content
    if not isinstance(rounds, list) or not all(isinstance(one, dict) for one in rounds):
        raise RunError(f"cannot resume: {path} holds no list of rounds")
    return rounds, content.get("names", {}) if isinstance(content, dict) else {}
