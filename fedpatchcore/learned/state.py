"""What a site keeps from round to round of one run: its control variate and its error memory.

Both are only right if the server took the answer that they were made with. So a state is saved
under the round of that answer, beside the last one that the server is known to have taken, and the
next message says which that is: `ClientState.load` goes on from exactly there. An answer that was
lost on its way, or came too late, is thus undone at the site as well.

A state is made of images as much as an update is: its folder is the site's own (0700), and it
leaves with the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fedpatchcore.errors import TrainingError
from fedpatchcore.files import private_folder, read_arrays, read_header, to_bytes, write_atomically
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.updates import layout_of

__all__ = ["ClientState", "Kept"]

NAME = re.compile(r"round-(\d{1,9})\.safetensors")


class StateHeader(BaseModel):
    """Header of a state's file: whose it is and which answer it was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    round: int
    layout: str


@dataclass(frozen=True)
class Kept:
    """A state; what a site does not have is None.

    Attributes:
        round: of the answer that it was made with; 0: there is none.
        control: cᵢ of SCAFFOLD, float32 by name.
        memory: what compression left out so far, float32 by name.
    """

    round: int = 0
    control: Arrays | None = None
    memory: Arrays | None = None


class ClientState:
    """States of one site in one run.

    Args:
        folder: for this alone.
        run: names the run, the same after it was resumed.
        say: is told in one line what was dropped, and why.
    """

    def __init__(self, folder: Path, run: str, say: Callable[[str], None]) -> None:
        self.folder, self.run, self.say = folder, run, say

    def load(self, accepted: int, like: Mapping[str, np.ndarray]) -> Kept:
        """The state of the round whose answer the server took last; all others are dropped.

        Args:
            accepted: that round; 0: the server has taken none of this site in this run.
            like: the model, whose layout the state must have.
        """
        found = Kept()
        for round, path in self._files():
            try:
                state = self._read(path, like)
            except TrainingError as reason:
                self._drop(path, str(reason))
                continue
            if state.round == accepted:
                found = state
            else:
                taken = f"that of round {accepted}" if accepted else "none"
                last = round > accepted
                why = f"of the site's answers the server last took {taken}" if last else ""
                self._drop(path, why)
        if accepted and not found.round:
            self.say(
                f"nothing is kept of round {accepted}: control variate and error memory start anew"
            )
        return found

    def save(self, state: Kept, like: Mapping[str, np.ndarray]) -> None:
        """Keep what the answer of ``state.round`` was made with, before it is sent.

        The disk has it when this returns. Raises TrainingError if it cannot be written.
        """
        arrays = {
            f"{kind}/{name}": one
            for kind, given in (("control", state.control), ("memory", state.memory))
            for name, one in (given or {}).items()
        }
        header = StateHeader(run=self.run, round=state.round, layout=layout_of(like))
        try:
            private_folder(self.folder)
            path = self.folder / f"round-{state.round}.safetensors"
            write_atomically(path, to_bytes(arrays, header.model_dump()))
        except OSError as error:
            raise TrainingError(
                f"cannot keep the state of round {state.round} in {self.folder}: "
                f"{error.strerror or error}; make room there"
            ) from None

    def clear(self) -> None:
        """Remove all: the run is over."""
        for _, path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in sorted(self.folder.glob("*.safetensors")):
            if told := NAME.fullmatch(path.name):
                yield int(told[1]), path

    def _read(self, path: Path, like: Mapping[str, np.ndarray]) -> Kept:
        text, arrays = read_arrays(path, kind="training state", error=TrainingError)
        header = read_header(text, StateHeader, where=str(path), error=TrainingError)
        if header.run != self.run:
            raise TrainingError(f"it belongs to run {header.run}, this is {self.run}")
        if header.layout != layout_of(like):
            raise TrainingError("it belongs to a model of other parameters")
        parts: dict[str, Arrays] = {"control": {}, "memory": {}}
        for key, one in arrays.items():
            kind, _, name = key.partition("/")
            if kind not in parts or name not in like or one.shape != like[name].shape:
                raise TrainingError(f"it holds {key}, which this model has not")
            parts[kind][name] = one
        return Kept(header.round, parts["control"] or None, parts["memory"] or None)

    def _drop(self, path: Path, why: str) -> None:
        """``why`` is "" where nothing is lost by it."""
        path.unlink(missing_ok=True)
        if why:
            self.say(f"dropped the training state {path.name}: {why}")
