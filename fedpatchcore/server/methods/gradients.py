"""The models of a run at the server: one a section, moved by the optimiser's rule each round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, RunError, TrainingError
from fedpatchcore.files import read_arrays, to_bytes, write_atomically
from fedpatchcore.learned.answers import Update, check_update
from fedpatchcore.learned.carried import Losses, check_mark, is_carried, read_carried
from fedpatchcore.learned.masked import shaped
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.patience import Patience
from fedpatchcore.learned.rules import Remembered, Rule, Scaffold
from fedpatchcore.robustness.moves import length
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.server.methods.arriving import Arriving, Sent
from fedpatchcore.site.methods.gradients import ACCEPTED, CONTROL
from fedpatchcore.wire.messages import TrainReply

__all__ = ["MakeRule", "Models"]

RULE, LIKE = "rule/", "like/"  # of arrays in a state's file
TOGETHER = "all sites"  # whose mean update is known
MakeRule = Callable[..., Rule]  # (config, *, sites, tolerated, weighted)


@dataclass
class _Model:
    """A section's model while a round goes on."""

    rule: Rule
    updates: dict[str, tuple[Update, Losses]] = field(default_factory=dict)
    trained: dict[str, int] = field(default_factory=dict)  # by site, of updates under masks
    mean: tuple[Update, dict[str, Any]] | None = None  # of those, once their sum is open


class Models:
    """Checks the sites' updates, and makes the next model of each section of them.

    Args:
        make_rule: makes the optimiser's half at the server; Flower's strategies are not the
            library's to know.
    """

    def __init__(self, config: RunConfig, make_rule: MakeRule | None) -> None:
        self.config = config
        self._make_rule = make_rule
        self._models: dict[str, _Model] = {}
        self._saved: dict[str, Remembered] = {}
        self._accepted: dict[str, int] = {}
        self._like: dict[str, Arrays] = {}
        self._patience: dict[str, Patience] = {}
        self._done: set[str] = set()
        self.arriving = Arriving() if config.flows else None

    @property
    def enough(self) -> str:
        """Why no further round is worth it: no section's held-out loss falls any more."""
        if not self._done or self._done < set(self._models):
            return ""
        told = {n: f"best in round {self._patience[n].best_round}" for n in sorted(self._done)}
        best = ", ".join(f"{name} {when}" for name, when in told.items())
        return f"held-out loss has not fallen for early-stop={self.config.early_stop} ({best})"

    def taken(
        self, site: str, section: str, part: Part, x: Arrays, version: int, *, images: int
    ) -> None:
        """A site's update of a section, which started from x. Raises CoresetError.

        Without rounds it started from what the site was sent, and x is the model of now.
        """
        if self.config.secure_sums:
            return self._trained(site, section, part, x, version)
        if self.arriving is not None:
            version = self.arriving.sent[site].version
        plan = self.config.plan(version + 1, self.config.num_rounds)
        try:
            arrays = {name: one for name, one in part.read_beside().items() if is_carried(name)}
            update, losses = read_carried(arrays, site, self.config.update_wire, x)
            check_update(update, x, version, plan=plan, control=self.config.rule.control)
            if update.examples > images:
                raise TrainingError(
                    f"the update of site '{site}' claims {update.examples:,} images of {images:,}"
                )
            if self.arriving is not None:
                self.arriving.staleness(site, section, self._model(section).rule)
        except TrainingError as error:
            raise CoresetError(f"section '{section}': {error}") from None
        self._model(section).updates[site] = update, losses
        self._like[section] = x

    def _trained(self, site: str, section: str, part: Part, x: Arrays, version: int) -> None:
        """A site has an update of a section that it will add under masks."""
        try:
            check_mark(part.read_beside(), site, x)
        except TrainingError as error:
            raise CoresetError(f"section '{section}': {error}") from None
        self._model(section).trained[site] = version
        self._like[section] = x

    def trained(self, present: Set[str]) -> dict[str, tuple[Arrays, list[str]]]:
        """By section the model that sites started from, and those that hold an update of it."""
        found = {name: sorted(set(model.trained) & present) for name, model in self._models.items()}
        return {name: (self._like[name], sites) for name, sites in found.items() if sites}

    def summed(
        self, section: str, mean: np.ndarray, sites: Sequence[str], facts: dict[str, Any]
    ) -> None:
        """The mean of these sites' updates, ``[P]``, is known, and none of them."""
        model, x = self._model(section), self._like[section]
        version = model.trained[sites[0]]
        plan = self.config.plan(version + 1, self.config.num_rounds)
        steps = plan.steps(1)
        change = shaped(mean, x)
        update = Update(TOGETHER, version, change, 1, steps, plan.weight(steps))
        model.mean = update, {"updates": len(sites), "masked": list(sites), **facts}

    def stepped(
        self, section: str, x: Arrays, version: int, present: Set[str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """The next model of a section, and the facts that the round's record shows of it.

        Args:
            present: sites whose answers counted; what others sent in this round does not.
        """
        number = version + 1
        if self.arriving is not None:
            following, came = self.arriving.moved(section)
            told = self._told(section, [(one.update, one.losses) for one in came], number)
            told |= {"arrivals": [one.told() for one in came]} if came else {}
            return self._moved(x, x if following is None else following, told)
        model = self._model(section)
        if self.config.secure_sums:
            return self._by_mean(model, section, x, number)
        taken = {site: one for site, one in model.updates.items() if site in present}
        model.updates = {}
        if not taken:
            return x, {"updates": 0}
        try:
            found = model.rule.step(number, x, [update for update, _ in taken.values()])
        except TrainingError as error:
            raise CoresetError(f"section '{section}' learns nothing: {error}") from None
        self._accepted |= dict.fromkeys(taken, number)
        return self._moved(x, found, self._told(section, list(taken.values()), number))

    def _by_mean(
        self, model: _Model, section: str, x: Arrays, number: int
    ) -> tuple[Arrays, dict[str, Any]]:
        mean, model.mean, model.trained = model.mean, None, {}
        if mean is None:
            return x, {"updates": 0}
        update, facts = mean
        try:
            check_update(update, x, number - 1)
            found = model.rule.step(number, x, [update])
        except TrainingError as error:
            raise CoresetError(f"section '{section}' learns nothing: {error}") from None
        return self._moved(x, found, facts | {"optimiser": self.config.optimiser})

    @staticmethod
    def _moved(x: Arrays, found: Arrays, told: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
        squares = (float(np.square(found[name] - x[name], dtype=float).sum()) for name in x)
        return found, told | ({"moved": sum(squares) ** 0.5} if told["updates"] else {})

    def _told(
        self, section: str, taken: Sequence[tuple[Update, Losses]], number: int
    ) -> dict[str, Any]:
        """What the record of round ``number`` shows of a section's updates."""
        facts: dict[str, Any] = {"updates": len(taken)}
        if not taken:
            return facts
        facts |= {"optimiser": self.config.optimiser}
        facts |= {"steps": dict(sorted((update.site, update.steps) for update, _ in taken))}
        for key in ("train", "held_out"):
            told = [getattr(losses, key) for _, losses in taken]
            if known := [one for one in told if math.isfinite(one)]:
                facts[f"{key}_loss"] = sum(known) / len(known)
        if "held_out_loss" in facts:
            patience = self._patience.setdefault(section, Patience(self.config.early_stop))
            if patience.enough(number, facts["held_out_loss"]):
                self._done.add(section)
        return facts

    def ask(self, site: str, version: int) -> Sent:
        """Without rounds: a site is sent the bank of this version (0: none yet)."""
        return self.arriving.ask(site, version)

    def arrived(self, reply: TrainReply) -> bool:
        """Without rounds: let a reply's updates count; whether a bank is due.

        Raises CoresetError; what counted before stays.
        """
        for section in reply.contribution.parts if reply.contribution else ():
            model = self._model(section)
            update, losses = model.updates.pop(reply.site)
            try:
                self.arriving.step(section, model.rule, self._like[section], update, losses)
            except TrainingError as error:
                raise CoresetError(f"section '{section}': {error}") from None
        self._accepted[reply.site] = self.arriving.sent[reply.site].turn + 1
        self.arriving.turns += 1
        return self.arriving.due

    def made(self, version: int) -> None:
        """Without rounds: a bank was made."""
        self.arriving.made(version, {name: one.rule for name, one in self._models.items()})

    def moves(self, present: Set[str]) -> dict[str, dict[str, float]]:
        """Lengths of this round's updates a local step, by section and site."""
        return {
            section: {
                site: length(update.change, update.weight)
                for site, (update, _) in sorted(model.updates.items())
                if site in present
            }
            for section, model in self._models.items()
        }

    def beside(self) -> dict[str, np.ndarray]:
        """What sites need beside the models: whose answer was taken last, and SCAFFOLD's c."""
        flowing = {} if self.arriving is None else self.arriving.beside()
        if not (self.config.rule.control or self.config.update_wire != "float32"):
            return flowing
        found = flowing | {
            f"{ACCEPTED}{site}": np.array([number], np.float32)
            for site, number in sorted(self._accepted.items())
        }
        for section, model in sorted(self._models.items()):
            if isinstance(model.rule, Scaffold) and section in self._like:
                control = model.rule.control(self._like[section])
                found |= {f"{CONTROL}{section}/{name}": one for name, one in control.items()}
        return found

    def save(self, folder: Path) -> None:
        """Rules' states, and whose answer was taken last."""
        folder.mkdir(parents=True, exist_ok=True)
        told: dict[str, Any] = {"accepted": self._accepted, "sections": {}}
        if self.arriving is not None:
            told["arriving"] = self.arriving.told()
        for at, (section, model) in enumerate(sorted(self._models.items())):
            state = model.rule.state()
            told["sections"][section] = {"file": at, "facts": state.facts}
            if section in self._patience:
                told["sections"][section]["patience"] = self._patience[section].facts()
            arrays = {f"{RULE}{name}": one for name, one in state.arrays.items()}
            arrays |= {f"{LIKE}{name}": one for name, one in self._like.get(section, {}).items()}
            write_atomically(folder / f"{at:04d}.safetensors", to_bytes(arrays, {}))
        write_atomically(folder / "models.json", sealed(told))

    def load(self, folder: Path) -> None:
        """Go on from `save`. Raises RunError."""
        told = read_sealed(folder / "models.json", error=RunError)
        try:
            self._accepted = {str(k): int(v) for k, v in told["accepted"].items()}
            if self.arriving is not None:
                self.arriving.restore(told["arriving"])
            for section, one in told["sections"].items():
                path = folder / f"{int(one['file']):04d}.safetensors"
                _, arrays = read_arrays(path, kind="training state", error=RunError)
                self._like[section] = _named(arrays, LIKE)
                if "patience" in one:
                    self._patience[section] = Patience(self.config.early_stop)
                    self._patience[section].restore(one["patience"])
                self._model(section).rule.restore(Remembered(_named(arrays, RULE), one["facts"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"cannot resume: {folder} holds no training state ({error})") from None

    def _model(self, section: str) -> _Model:
        if section not in self._models:
            if self._make_rule is None:
                raise ConfigError(
                    "methods that train need the optimisers' half at the server: make the "
                    "Federation with rules=server_app.optimisers.rule_of"
                )
            rule = self._make_rule(
                self.config,
                sites=self.config.min_sites,
                tolerated=self.config.tolerated_sites,
                weighted=self.config.weighted_by_samples,
            )
            self._models[section] = _Model(rule)
        return self._models[section]


def _named(arrays: Arrays, kind: str) -> Arrays:
    return {k.removeprefix(kind): one for k, one in arrays.items() if k.startswith(kind)}
