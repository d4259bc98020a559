"""The optimisers there are, by run-config name: what each needs and what it refuses, and why.

An optimiser is a pair of halves: what a site does in its local steps, and what the server makes of
the sites' updates. Both are `docs/methods.md`'s to explain; the arithmetic is Flower's
(``server_app/optimisers.py``) or that of `fedpatchcore.learned.rules` and `.arrivals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["OPTIMISERS", "UPDATE_WIRES", "Optimiser", "refusals"]

UPDATE_WIRES = ("float32", "float16", "int8", "topk")

NO_SUM = "it compares the sites' updates one by one"
SPARSE = "where most sites leave a coordinate out, its median is 0 and nothing is learnt"
WHOLE = "one site's update can become the model, so noise for a mean hides nobody"
AFTER = "noise comes after its step, and its momentum would carry what noise should hide"
COUNTS = "it takes each site's update by itself, by its steps or its time of arrival"


@dataclass(frozen=True)
class Optimiser:
    """One optimiser.

    Attributes:
        paper: authors, venue, year and the section or algorithm that is followed.
        help: one line.
        server_rate: its customary server-learning-rate; None where it has none.
        control: a control variate travels beside each update and each model: twice the bytes, and
            the site keeps one from round to round.
        proximal: whether ``mu`` must be above 0, may be, or does nothing here.
        asynchronous: the model changes when an update arrives, not when a round ends.
        spare: honest sites needed beyond ``factor`` · tolerated-sites.
        no_momentum, no_topk, no_secure_sums, no_client_dp: why not; "" where it composes.
    """

    name: str
    paper: str
    help: str
    server_rate: float | None = None
    control: bool = False
    proximal: Literal["must", "may", "no"] = "no"
    asynchronous: bool = False
    robust: bool = False
    spare: int = 1
    no_momentum: str = ""
    no_topk: str = ""
    no_secure_sums: str = ""
    no_client_dp: str = ""

    def least_sites(self, tolerated: int) -> int:
        """How many updates a step needs if ``tolerated`` sites may be faulty."""
        return 2 * tolerated + self.spare if self.robust else 1


OPTIMISERS: Mapping[str, Optimiser] = {
    one.name: one
    for one in (
        Optimiser(
            "fedavg",
            "McMahan et al., AISTATS 2017, algorithm 1",
            "the mean of the sites' models",
        ),
        Optimiser(
            "fedavgm",
            "Hsu, Qi & Brown, 2019, FedAvgM",
            "the mean, taken as a gradient with momentum at the server",
            server_rate=1.0,
            no_client_dp=AFTER,
        ),
        Optimiser(
            "fedprox",
            "Li et al., MLSys 2020, algorithm 2",
            "the mean; local steps are held near the server's model by mu",
            proximal="must",
        ),
        Optimiser(
            "fedadam",
            "Reddi et al., ICLR 2021, algorithm 2",
            "the mean, taken as a gradient by Adam at the server",
            server_rate=0.01,
            no_client_dp=AFTER,
        ),
        Optimiser(
            "fedyogi",
            "Reddi et al., ICLR 2021, algorithm 2",
            "the mean, taken as a gradient by Yogi at the server",
            server_rate=0.01,
            no_client_dp=AFTER,
        ),
        Optimiser(
            "scaffold",
            "Karimireddy et al., ICML 2020, algorithm 1, option II",
            "local steps are corrected by control variates: no drift, twice the bytes",
            server_rate=1.0,
            control=True,
            no_momentum="its correction is proved for plain gradient steps; with momentum the "
            "control variate is no mean of gradients",
            no_secure_sums="the server keeps each site's control variate",
            no_client_dp="its control variates would leave without noise",
        ),
        Optimiser(
            "fednova",
            "Wang et al., NeurIPS 2020, FedNova",
            "updates count by their own steps: sites may take more or fewer",
            server_rate=1.0,
            proximal="may",
            no_secure_sums=COUNTS,
            no_client_dp="updates are scaled by each site's steps after they were clipped",
        ),
        Optimiser(
            "fedmedian",
            "Yin et al., ICML 2018, definition 1",
            "the median of the sites' models, coordinate by coordinate",
            robust=True,
            no_topk=SPARSE,
            no_secure_sums=NO_SUM,
            no_client_dp=WHOLE,
        ),
        Optimiser(
            "fedtrimmedavg",
            "Yin et al., ICML 2018, definition 2",
            "the mean without the tolerated-sites largest and smallest of each coordinate",
            robust=True,
            no_topk=SPARSE,
            no_secure_sums=NO_SUM,
            no_client_dp=WHOLE,
        ),
        Optimiser(
            "krum",
            "Blanchard et al., NeurIPS 2017, section 4",
            "the one update that is nearest to its neighbours",
            robust=True,
            spare=3,
            no_topk="updates that sent other coordinates lie far apart whoever is honest",
            no_secure_sums=NO_SUM,
            no_client_dp=WHOLE,
        ),
        Optimiser(
            "fedasync",
            "Xie, Koyejo & Gupta, 2019, algorithm 1",
            "each update is mixed in when it comes, the less the staler it is",
            proximal="may",
            asynchronous=True,
            no_secure_sums=COUNTS,
            no_client_dp="an update enters the model alone, not in a mean",
        ),
        Optimiser(
            "fedbuff",
            "Nguyen et al., AISTATS 2022, algorithm 1",
            "the mean of every so many updates as they come, the staler the less",
            server_rate=1.0,
            asynchronous=True,
            no_secure_sums=COUNTS,
            no_client_dp=COUNTS,
        ),
    )
}


def refusals(
    optimiser: Optimiser,
    *,
    momentum: float = 0.0,
    update_wire: str = "float32",
    secure_sums: bool = False,
    client_dp: bool = False,
) -> list[str]:
    """What does not compose with this optimiser, each in one line with its reason and its mend."""
    fitting = {
        f"momentum={momentum:g}": (momentum > 0, optimiser.no_momentum, "set momentum=0"),
        "update-wire='topk'": (
            update_wire == "topk",
            optimiser.no_topk,
            "take int8 or float16",
        ),
        "secure sums": (secure_sums, optimiser.no_secure_sums, "take fedavg"),
        "differential privacy of clients": (client_dp, optimiser.no_client_dp, "take fedavg"),
    }
    found = [
        f"optimiser='{optimiser.name}' and {what} do not go together: {why} ({mend})"
        for what, (asked, why, mend) in fitting.items()
        if asked and why
    ]
    if secure_sums and update_wire in ("int8", "topk"):
        found.append(
            f"update-wire='{update_wire}' and secure sums do not go together: sums of masked "
            "numbers need the same scale and the same coordinates of every site (take float32)"
        )
    return found
