"""A site's own account of what left it under noise, and the only door it leaves through.

    <root>/ledger.jsonl, ledger.head   append-only, chained (`fedpatchcore.privacy.journal`)
    <root>/releases/<key>.safetensors  what was drawn, so that a retry returns the same
    <root>/lock                        held for the whole of a release

Order of a release: charge on disk, noise drawn, payload on disk, delivery noted, then returned.
Whatever dies in between, no noise is returned uncharged and none is drawn twice for one charge
once it could have been seen. ε is kept per image: releases that share an image compose, releases
over disjoint images do not. An image's history matters only through Σ 1/multiplier², so one
number an image is the whole state.

The chain finds damage and careless hands. It does not stop an owner of the machine who rewrites
it all, nor a folder that was set back to an older copy: keep the ledger out of such backups.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.files import private_folder, read_arrays, sync, to_bytes, write_atomically
from fedpatchcore.privacy.affording import afford
from fedpatchcore.privacy.balance import Balance
from fedpatchcore.privacy.journal import Tail, append, entries, head_path, note_end
from fedpatchcore.privacy.records import Charge, Delivery, Released, Request
from fedpatchcore.privacy.registry import MECHANISMS

__all__ = ["Charge", "Ledger", "Released", "Request"]

WEAKEST = ("none", *sorted(MECHANISMS, key=lambda name: MECHANISMS[name].per_image))


class Ledger:
    """The ledger in a folder, which is made when it is first written to.

    Every method reads it anew, so any number of processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "ledger.jsonl"
        self.releases = root / "releases"

    @property
    def in_use(self) -> bool:
        """Whether anything was ever written; also of a ledger that has lost files since."""
        return any(
            (self.path.exists(), head_path(self.path).exists(), any(self.releases.glob("*.*")))
        )

    def release(
        self,
        request: Request,
        draw: Callable[[], Mapping[str, np.ndarray]],
        *,
        budget_epsilon: float,
        delta: float,
    ) -> Released:
        """Charge, then draw, keep and return; or return again what this key was charged for.

        An error in ``draw`` passes through; its charge stands and covers the next attempt.

        Raises:
            PrivacyError: the budget does not suffice (nothing was drawn or charged), the ledger
                or the payload is damaged, or the disk refuses (nothing is returned).
        """
        if not budget_epsilon > 0:
            raise PrivacyError(f"a privacy budget must be above 0, got {budget_epsilon}")
        with self._locked():
            balance, charge = self._opened(request)
            if charge is None:
                afford(balance, request, budget_epsilon, delta)
                charge = self._charge(balance, request)
            elif not request.matches(charge):
                raise PrivacyError(
                    f"ledger {self.root} has charged {request.key} for another release (line "
                    f"{charge.sequence}); a release that differs needs a key of its own"
                )
            elif request.images != charge.images and request.key not in balance.delivered:
                raise PrivacyError(
                    f"ledger {self.root} has charged {request.key} for images that have changed "
                    "before anything left: start another run"
                )
            path = self._payload(request.key)
            again = os.path.lexists(path)
            if not again:
                self._keep(balance, request.key, draw)
            arrays = self._deliver(balance, request.key)
            spent = balance.epsilon(charge.images, delta)
            alone = balance.epsilon(charge.images, delta, alone=True)
        return Released(arrays=arrays, charge=charge, spent=spent, again=again, alone=alone)

    def note_unprotected(
        self, *, run: str, site: str, section: str, images: Iterable[str], label: str
    ) -> None:
        """These images leave without noise: ε is infinite for them from now on.

        To be called before they do; doing so again changes nothing.
        """
        images = sorted(set(images))
        told = "\n".join([run, site, section, *images])
        request = Request(
            key=hashlib.sha256(told.encode()).hexdigest(),
            run=run,
            site=site,
            section=section,
            mechanism="none",
            epsilon=math.inf,
            delta=0.0,
            multiplier=0.0,
            images=images,
            label=label,
        )
        with self._locked():
            balance, charge = self._opened(request)
            if charge is None:
                self._charge(balance, request)

    def charges(self) -> tuple[Charge, ...]:
        """All charges, the chain verified. Holds every image's hash: for the site alone."""
        with self._shared():
            return tuple(e for e in entries(self.path, Tail()) if isinstance(e, Charge))

    def spent(self, delta: float, images: Iterable[str] | None = None) -> float:
        """ε at ``delta`` of the most used image, or of the most used of these."""
        with self._shared():
            balance, _ = self._read()
        return balance.epsilon(balance.loads if images is None else images, delta)

    def summary(self, delta: float, budget: float) -> dict[str, Any]:
        """What may be told outside: no image, and no count of images."""
        with self._shared():
            balance, _ = self._read()
        spent = balance.epsilon(balance.loads, delta)
        shared = balance.alone != balance.loads
        unprotected = sum(mechanism == "none" for mechanism in balance.charged.values())
        return {
            "spent": spent,
            "left": max(0.0, budget - spent) if spent < math.inf else 0.0,
            "budget": budget,
            "delta": delta,
            "releases": len(balance.charged) - unprotected,
            "unprotected": unprotected,
            "protected": next((balance.labels[m] for m in WEAKEST if m in balance.labels), ""),
            "begun": balance.begun,
            "alone": balance.epsilon(balance.alone, delta, alone=True) if shared else None,
        }

    def _payload(self, key: str) -> Path:
        return self.releases / f"{key}.safetensors"

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PrivacyError(
                f"ledger {self.root} cannot be read or written ({error.strerror or error}): "
                "nothing was released; free space or make the folder writable"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock goes with the process, so one that dies leaves none behind."""
        with self._disk():
            for folder in (self.root, self.releases):
                private_folder(folder)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with self._disk():
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Nobody appends meanwhile; a ledger that was never written to has no lock."""
        with self._disk():
            try:
                lock = os.open(self.root / "lock", os.O_RDONLY)
            except FileNotFoundError:
                yield
                return
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                yield
            finally:
                os.close(lock)

    def _read(self, key: str | None = None, run: str = "") -> tuple[Balance, Charge | None]:
        """The ledger added up, this run's share apart, and the charge with this key."""
        balance, found = Balance(run), None
        with self._disk():
            payloads = sorted(self.releases.glob("*.safetensors"))  # before their charges
            for entry in entries(self.path, balance.tail):
                balance.add(entry)
                if isinstance(entry, Charge) and entry.id == key:
                    found = entry
        for path in payloads:
            if path.stem not in balance.charged:
                raise PrivacyError(
                    f"ledger {self.path} has lost lines: no charge for {path}; restore the folder "
                    "from a backup that holds every release, nothing is released until then"
                )
        return balance, found

    def _opened(self, request: Request) -> tuple[Balance, Charge | None]:
        """`_read` before something is written: the head counts every line from here on."""
        balance, charge = self._read(request.key, request.run)
        with self._disk():
            note_end(self.path, balance.tail)
        return balance, charge

    def _charge(self, balance: Balance, request: Request) -> Charge:
        charge = request.charge(balance.tail.lines + 1, _now(), balance.tail.digest)
        with self._disk():
            append(self.path, balance.tail, charge)
        balance.add(charge)
        return charge

    def _keep(
        self, balance: Balance, key: str, draw: Callable[[], Mapping[str, np.ndarray]]
    ) -> None:
        """Draw under a charge that was never delivered, and make the payload durable."""
        path = self._payload(key)
        if key in balance.delivered:
            raise PrivacyError(
                f"payload {path} is gone, but may have left the site: restore it from a backup, "
                "or ask for a new release with a charge of its own"
            )
        with self._disk():
            for part in self.releases.glob(".*.part"):  # drawn by one that died
                part.unlink()
        content = to_bytes(draw(), {"key": key})
        with self._disk():
            write_atomically(path, content)

    def _deliver(self, balance: Balance, key: str) -> dict[str, np.ndarray]:
        """The payload's arrays, once it is certain that they are still there tomorrow."""
        path = self._payload(key)
        text, arrays = read_arrays(path, kind="payload", error=PrivacyError)
        with self._disk():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if text != f'{{"key":"{key}"}}' or balance.delivered.get(key, digest) != digest:
            raise PrivacyError(
                f"payload {path} is not the one that was released: restore it from a backup, or "
                "ask for a new release with a charge of its own"
            )
        if key not in balance.delivered:
            with self._disk():
                path.chmod(0o600)
                sync(path)
                sync(self.releases)
                delivery = Delivery(
                    sequence=balance.tail.lines + 1,
                    time=_now(),
                    id=key,
                    previous=balance.tail.digest,
                    payload=digest,
                )
                append(self.path, balance.tail, delivery)
        return arrays


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
