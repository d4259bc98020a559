"""A site's gradient steps in one round, whatever is trained: from the model that came to an update.

The model x of a section is in the bank (or is the start that its seed names); what the server has
of this site beyond that, SCAFFOLD's control variate and which answer it took last, comes beside it.
What must outlive the round is kept in the site's own folder (`ClientState`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update, change_of
from fedpatchcore.learned.carried import Losses, carried
from fedpatchcore.learned.local import LocalResult, train_locally
from fedpatchcore.learned.objective import Arrays, Objective
from fedpatchcore.learned.plan import seed_of
from fedpatchcore.learned.rules import control_after, correction
from fedpatchcore.learned.state import ClientState, Kept
from fedpatchcore.learned.updates import compress, decode, encode
from fedpatchcore.site.methods.registry import Asked

if TYPE_CHECKING:
    from fedpatchcore.learned.private import ImageNoise
    from fedpatchcore.site.site import Site

__all__ = ["ACCEPTED", "CONTROL", "TURN", "Quiet", "given_beside", "trained", "version_of"]

# names of what comes beside the bank: the server's half makes them (`server/methods/gradients.py`)
ACCEPTED = "accepted/"  # + site: the round whose answer of this site was taken last
CONTROL = "control/"  # + section/parameter: c of SCAFFOLD
TURN = (
    "turn"  # where no round tells two answers to one model apart: updates taken so far in the run
)


def version_of(bank: MemoryBank | None) -> int:
    """Of the models in a bank: the round that made it; 0 is the start."""
    return bank.round if bank is not None else 0


@dataclass(frozen=True)
class Quiet:
    """An update of private images: no count and no loss goes with it.

    Attributes:
        noise: of the local steps; None where others add it.
    """

    noise: ImageNoise | None = None


def given_beside(section: str, asked: Asked) -> Arrays:
    """What training a section starts from beside its model, of all that came."""
    return {k: one for k, one in asked.beside.items() if k.startswith(f"{CONTROL}{section}/")}


def trained(
    site: Site,
    section: str,
    objective: Objective,
    x: Arrays,
    asked: Asked,
    *,
    quiet: Quiet | None = None,
) -> tuple[Arrays, dict[str, np.ndarray]]:
    """y, and the arrays that carry y − x to the server.

    Args:
        quiet: for images that differential privacy protects.

    Raises TrainingError: nothing to train on, or numbers that are no longer finite.
    """
    config, version = site.config, version_of(asked.bank)
    turn = _number(asked, TURN, version)
    plan = config.plan(version + 1, config.num_rounds)
    state = _state(site, section, asked.run)
    kept = state.load(_accepted(site, asked), x) if state else Kept()
    c = _control(section, asked, x) if config.rule.control else None
    how = {
        "correction": correction(kept.control, c) if c is not None else None,
        "device": str(site.backbone.device),
    }
    if quiet and quiet.noise:
        from fedpatchcore.learned.private import train_privately

        result = train_privately(objective, x, plan, quiet.noise, **how)
    else:
        seed = seed_of(config.seed, "batches", site.name, section, turn)
        result = train_locally(objective, x, plan, seed=seed, **how)
    change = change_of(result.parameters, x)
    own = control = sent_control = None
    if c is not None:
        after = control_after(kept.control, c, change, steps=result.steps, rate=plan.rate)
        before = kept.control or {name: np.zeros_like(one) for name, one in after.items()}
        moved = {name: np.asarray(one - before[name]) for name, one in after.items()}
        words = (config.seed, "control", site.name, section, turn)
        sent_control = encode(
            moved, config.update_wire, seed=seed_of(*words), share=config.topk_share
        )
        control = decode(sent_control, moved)  # what the server will read is what counts here too
        own = {name: np.asarray(before[name] + one) for name, one in control.items()}
    sent, memory = compress(
        change,
        kept.memory,
        config.update_wire,
        seed=seed_of(config.seed, "wire", site.name, section, turn),
        share=config.topk_share,
    )
    if state:
        state.save(Kept(turn + 1, own, memory), x)
    steps = plan.steps(1) if quiet else result.steps  # what the settings say, whatever the images
    update = Update(
        site.name,
        version,
        change,
        1 if quiet else objective.examples,
        steps,
        plan.weight(steps),
        control,
        fresh=c is not None and kept.control is None,
    )
    site.say(f"{section}: {_told(result)}, {sent.nbytes / 1e6:.2f} MB of {config.update_wire}")
    losses = Losses()
    if not quiet:
        held_out = np.nan if result.held_out is None else result.held_out
        losses = Losses(result.losses[0], held_out)
    return result.parameters, carried(update, sent, sent_control, losses)


def _told(result: LocalResult) -> str:
    told = f"{result.steps:,} local steps"
    if np.isfinite(result.losses[0]):
        told += f", loss {result.losses[0]:.4g}"
    if len(result.losses) > 1:
        told += f" → {result.losses[-1]:.4g}"
    if result.held_out is not None:
        told += f", held out {result.held_out:.4g} → {result.held_out_after:.4g}"
    return told


def _accepted(site: Site, asked: Asked) -> int:
    return _number(asked, ACCEPTED + site.name, 0)


def _number(asked: Asked, name: str, silent: int) -> int:
    told = asked.beside.get(name)
    return int(told.ravel()[0]) if told is not None and told.size == 1 else silent


def _control(section: str, asked: Asked, like: Mapping[str, np.ndarray]) -> Arrays:
    """c as it came; 0 where the server has none yet."""
    found = {}
    for name, one in like.items():
        came = asked.beside.get(f"{CONTROL}{section}/{name}")
        if came is None:
            came = np.zeros_like(one)
        if came.shape != one.shape:
            raise TrainingError(f"the control variate that came is {came.shape}, not {one.shape}")
        found[name] = came
    return found


def _state(site: Site, section: str, run: str) -> ClientState | None:
    """Where this site keeps what outlives a round; None where nothing does."""
    if not (site.config.rule.control or site.config.update_wire != "float32"):
        return None
    root = site.cache.root if site.cache is not None else site.out
    name = hashlib.sha256(repr((site.name, section, run)).encode()).hexdigest()[:32]
    return ClientState(Path(root) / "training" / name, run, site.say)
