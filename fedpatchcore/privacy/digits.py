"""Random numbers whose digits are drawn as far as a decision needs them: comparisons are exact."""

from __future__ import annotations

from collections.abc import Callable

import mpmath

from fedpatchcore.errors import PrivacyError

__all__ = ["DIGITS", "Uniform", "taken"]

DIGITS = 53  # of the uniform number at first: both ends of its interval are exact in float64
REFINE = 64  # more digits at a time


def taken(count: int, randbytes: Callable[[int], bytes]) -> bytes:
    """So many random bytes. Raises PrivacyError if the source gives another number."""
    drawn = randbytes(count)
    if len(drawn) != count:
        raise PrivacyError(f"the random source gave {len(drawn)} of {count} bytes")
    return drawn


class Uniform:
    """A number in (0, 1) of which the first `DIGITS` binary digits are known, more on demand."""

    def __init__(self, digits: int, randbytes: Callable[[int], bytes]) -> None:
        self.digits = digits
        self.count = DIGITS
        self._randbytes = randbytes

    def refine(self) -> None:
        """Draw more digits."""
        more = int.from_bytes(taken(REFINE // 8, self._randbytes), "little")
        self.digits = self.digits << REFINE | more
        self.count += REFINE

    def exceeds(self, context: mpmath.MPContext, bound: Callable[[], mpmath.mpf]) -> bool:
        """Is the number above ``bound()``? Ends with probability one.

        Args:
            bound: computed at the context's precision, which is 64 bits more than there are
                digits: its error is far below one last digit.
        """
        while True:
            with context.workprec(self.count + 64):
                known = context.ldexp(bound(), self.count)  # in units of a last digit
                if self.digits - known > 2.0**-16:
                    return True
                if known - (self.digits + 1) > 2.0**-16:
                    return False
            self.refine()
