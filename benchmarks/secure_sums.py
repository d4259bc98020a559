"""What a secure sum costs a site and the server, beside plain sums: bytes and seconds.

    python benchmarks/secure_sums.py --sites 5 50 500 --numbers 4224

All sites in one process, one after the other; seconds are of CPU, a site's the median over sites.
A plain sum is one message of 8 bytes a number. Some sites leave before they send their masked
vectors, so that the server has masks to take off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.noise import rounded_gaussian
from fedpatchcore.privacy.shared_noise import share_steps
from fedpatchcore.privacy.sums import STEPS_A_SIGMA
from fedpatchcore.securesums.letters import EXCHANGES
from fedpatchcore.securesums.roster import Identity, Roster
from fedpatchcore.securesums.server_half import ServerHalf
from fedpatchcore.securesums.site_half import SiteHalf
from fedpatchcore.securesums.terms import Terms


def measured(sites: int, numbers: int, gone: int) -> dict[str, object]:
    """One sum of so many sites, of which ``gone`` leave before their masked vectors are sent."""
    rng = np.random.default_rng(0)
    names = tuple(f"site-{at:04d}" for at in range(sites))
    identities = {name: Identity(rng.bytes(32)) for name in names}
    roster = Roster({name: one.public for name, one in identities.items()})
    terms = Terms("benchmark", 1, "about", numbers)
    halves = {name: SiteHalf(terms, name, identities[name], roster) for name in names}
    vectors = {name: rng.integers(0, 2**40, numbers, np.uint64) for name in names}
    server, leavers = ServerHalf(terms, names, roster), set(names[:gone])
    seconds = dict.fromkeys(names, 0.0)
    up, down, at_server = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0.0
    by_exchange: dict[str, float] = {}
    while exchange := server.exchange:
        own = []
        for name in server.asked:
            if exchange == "masked" and name in leavers:
                continue
            started = time.process_time()
            question = server.question(name)
            at_server += time.process_time() - started
            started = time.process_time()
            answer = halves[name].answer(question, lambda mask, _, n=name: vectors[n] + mask)
            own.append(time.process_time() - started)
            seconds[name] += own[-1]
            down[name] += question.nbytes
            up[name] += answer.nbytes
            started = time.process_time()
            server.take(name, answer)
            at_server += time.process_time() - started
        by_exchange[exchange] = statistics.median(own)
        started = time.process_time()
        server.close()
        at_server += time.process_time() - started
    there = [name for name in names if name not in leavers]
    plain = np.sum([vectors[name] for name in there], axis=0, dtype=np.uint64)
    assert np.array_equal(server.total, plain), "the opened sum is not the plain one"
    share = share_steps(server.openers, terms.colluding)
    started = time.process_time()
    discrete_gaussian(share, numbers)
    noise = time.process_time() - started
    started = time.process_time()
    rounded_gaussian(float(STEPS_A_SIGMA), numbers)
    plain_noise = time.process_time() - started
    return {
        "sites": sites,
        "numbers": numbers,
        "gone": gone,
        "openers": server.openers,
        "up_bytes": statistics.median(up[name] for name in there),
        "down_bytes": statistics.median(down[name] for name in there),
        "plain_bytes": 8 * numbers,
        "site_seconds": statistics.median(seconds[name] for name in there),
        "site_seconds_by_exchange": {e: by_exchange[e] for e in EXCHANGES},
        "server_seconds": at_server,
        "noise_seconds": noise,
        "plain_noise_seconds": plain_noise,
        "noise_to_full": (len(there) * share**2) ** 0.5 / (len(there) ** 0.5 * STEPS_A_SIGMA),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="+", default=[5, 50, 500])
    parser.add_argument("--numbers", type=int, default=128 * 33, help="of a vector")
    parser.add_argument("--gone", type=float, default=0.1, help="share of sites that leave")
    words = parser.parse_args()
    for sites in words.sites:
        found = measured(sites, words.numbers, int(words.gone * sites))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
