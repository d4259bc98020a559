"""The server's half of every round: who takes part, what is accepted, the bank, the run's folder.

Flower's Strategy drives it (``server_app/``), and so does `fedpatchcore.federate`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conversation": ["Conversation"],
        "federation": ["Federation"],
        "flow": ["Flow"],
        "folders": ["new_folder", "unused"],
        "late": ["last_version", "note_late"],
        "limit": ["memory_limited", "told"],
        "names": ["Key"],
        "nodes": ["Nodes"],
        "results": ["write_results"],
        "rollcall": ["introduction", "too_few"],
        "runfolder": ["RunFolder"],
        "secure_figures": ["secure_sums"],
        "settings": ["FederationSettings", "ResultSettings", "TurnSettings"],
        "tuning": ["TuneRounds"],
        "turns": ["closing"],
        "waiting": ["Gone", "Late"],
    },
)
