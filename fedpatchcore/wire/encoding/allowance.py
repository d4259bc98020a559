"""How much one message may become in memory, all of its parts together.

Each part alone may stand for more than came (`fedpatchcore.wire.encoding.frame.fits`); a thousand
parts that each stay within that bound do not. So a message has one purse, and every part
pays from it before memory is spent.
"""

from __future__ import annotations

from fedpatchcore.wire.encoding.frame import EXPANSION, FREE_BYTES

__all__ = ["Allowance"]


class Allowance:
    """Bytes that a message may take: `FREE_BYTES`, or ``times`` as many as it is made of.

    Args:
        made_of: bytes that came, or that are here already.
    """

    def __init__(self, made_of: int = 0, *, times: int = EXPANSION) -> None:
        self._times = times
        self._made_of = made_of
        self._spent = 0

    def more(self, nbytes: int) -> None:
        """So many bytes more are here that the message is made of."""
        self._made_of += nbytes

    def spend(self, nbytes: int) -> None:
        """Take so many bytes. Raises ValueError if all together are too many."""
        self._spent += nbytes
        limit = max(FREE_BYTES, self._times * self._made_of)
        if self._spent > limit:
            raise ValueError(
                f"the message would take {self._spent:,} bytes of memory and is made of "
                f"{self._made_of:,}: at most {limit:,} are taken"
            )
