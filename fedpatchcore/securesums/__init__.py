"""Sums over sites that only open as a whole: masked, dropout-tolerant, against a server that lies.

Integers modulo 2^b; where they come from, what noise is in them and what they cost is for
`fedpatchcore.privacy` and `fedpatchcore.site` to say. Nothing here knows of networks or disks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "afford": ["alone_clash"],
        "letters": ["EXCHANGES", "Letter", "framed"],
        "roster": ["Identity", "Roster"],
        "roster_file": ["SignedRoster", "read_identity", "read_roster", "roster_text"],
        "server_half": ["ServerHalf"],
        "site_half": ["Add", "Fits", "SiteHalf"],
        "terms": ["Terms"],
    },
)
