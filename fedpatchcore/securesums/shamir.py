"""Secrets of 32 bytes in shares, of which any t tell it and t − 1 tell nothing (Shamir, 1979).

Over the integers modulo p = 2^256 + 297, the least prime above all 32-byte secrets, so that keys
and seeds fit as they are and a share always takes 33 bytes. Share x is the polynomial's value at
x = 1, 2, …; its value at 0 is the secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedpatchcore.errors import SecureSumError

__all__ = ["COIN_BYTES", "PRIME", "SECRET_BYTES", "SHARE_BYTES", "Opener", "share_at", "split"]

PRIME = 2**256 + 297
SECRET_BYTES, SHARE_BYTES = 32, 33
LAZY = 16  # steps between two reductions: a place has 14 bits at most, and numbers stay short
COIN_BYTES = 64  # of one coefficient: modulo p it is uniform but for less than 2^-255


def split(secret: bytes, shares: int, threshold: int, coins: bytes) -> list[bytes]:
    """Shares 1 … ``shares``, 33 bytes each.

    Args:
        coins: ``64·(threshold − 1)`` random bytes, the other coefficients.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= shares:
        raise SecureSumError(f"no {shares} shares of {len(secret)} bytes, {threshold} to open")
    if len(coins) != COIN_BYTES * (threshold - 1):
        raise SecureSumError(f"{len(coins)} random bytes for {threshold - 1} coefficients")
    numbers = _coefficients(coins)
    return [_at(secret, x, numbers) for x in range(1, shares + 1)]


def share_at(secret: bytes, place: int, coins: bytes) -> bytes:
    """The one share at a place; see `split`."""
    return _at(secret, place, _coefficients(coins))


def _coefficients(coins: bytes) -> list[int]:
    starts = range(0, len(coins), COIN_BYTES)
    return [int.from_bytes(coins[at : at + COIN_BYTES], "big") % PRIME for at in starts]


def _at(secret: bytes, place: int, coefficients: Sequence[int]) -> bytes:
    """The polynomial at a place, reduced now and then: numbers stay short all the while."""
    value = 0
    for count, one in enumerate(coefficients):
        value = (value + one) * place
        if count % LAZY == 0:
            value %= PRIME
    return ((value + int.from_bytes(secret, "big")) % PRIME).to_bytes(SHARE_BYTES, "big")


class Opener:
    """Opens secrets from the shares at one set of places, with Lagrange weights made once."""

    def __init__(self, places: Sequence[int]) -> None:
        if len(set(places)) != len(places) or not all(p > 0 for p in places):
            raise SecureSumError(f"shares at the places {sorted(places)} open nothing")
        self.places = tuple(places)
        self._weights = []
        for x in self.places:
            above = below = 1
            for other in self.places:
                if other != x:
                    above = above * other % PRIME
                    below = below * (other - x) % PRIME
            self._weights.append(above * pow(below, -1, PRIME) % PRIME)

    def secret(self, shares: Mapping[int, bytes]) -> bytes | None:
        """The secret; None if these shares are of none that has 32 bytes."""
        total = sum(
            weight * int.from_bytes(shares[x], "big")
            for weight, x in zip(self._weights, self.places, strict=True)
        )
        value = total % PRIME
        return value.to_bytes(SECRET_BYTES, "big") if value < 2**256 else None
