"""Passwords and keys: kept so that whoever reads the data base can log in with none of them.

Passwords by Argon2id (pwdlib's recommended parameters), at least twelve characters (NIST SP
800-63B asks for length, not for kinds of characters). Keys that we make ourselves have 256 random
bits and need no slow hash: a SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from functools import cache

from pwdlib import PasswordHash

from fedpatchcore.errors import ControlError
from fedpatchcore.texts import is_name

__all__ = ["Attempts", "check_name", "check_password", "digest", "fits", "hashed", "new_key"]

SHORTEST, LONGEST = 12, 200


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe())


def new_key() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def hashed(password: str) -> str:
    """What is kept of a password."""
    return _hasher().hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether it is the password; takes as long where there is no such user."""
    ok = _hasher().verify(password[:LONGEST], kept or _nobody())
    return ok and kept is not None


def check_name(name: str) -> str:
    """A user's name. Raises ControlError for what is none."""
    if not is_name(name, 64):
        raise ControlError("a name is one line of up to 64 characters")
    return name


def check_password(password: str, name: str) -> str:
    """A password that may be set. Raises ControlError for what is too short, or the name itself."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ControlError(f"a password has {SHORTEST} to {LONGEST} characters: take a sentence")
    if len(set(password)) < 5 or (name and name.casefold() * 2 in password.casefold() * 2):
        raise ControlError("this password is guessed at once: take a sentence")
    return password


class Attempts:
    """Log-ins that failed, by name and by address: after a few, wait.

    Kept in memory, for the last so many names and addresses. One that was locked out is let in
    again by waiting alone; an address that tries many names waits as well.
    """

    def __init__(self, most: int = 5, seconds: float = 300.0, kept: int = 10_000) -> None:
        self.most, self.seconds, self.kept = most, seconds, kept
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, *who: str) -> float:
        """Seconds until one may try again; 0: now."""
        moment, longest = time.monotonic(), 0.0
        with self._lock:
            for one in who:
                times = self._failed.get(one, ())
                recent = [t for t in times if moment - t < self.seconds]
                if len(recent) >= self.most:
                    longest = max(longest, self.seconds - (moment - recent[-self.most]))
        return longest

    def failed(self, *who: str) -> None:
        """Count a failure."""
        with self._lock:
            for one in who:
                self._failed.setdefault(one, deque(maxlen=self.most)).append(time.monotonic())
                self._failed.move_to_end(one)
            while len(self._failed) > self.kept:
                self._failed.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name."""
        with self._lock:
            self._failed.pop(name, None)
