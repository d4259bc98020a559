"""What travels between site and server: messages, packets, encodings, deltas of the bank.

Every message is checked where it is unpacked, for it came from another machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "basis": ["basis_of", "is_of", "over"],
        "beside": ["with_beside", "without_beside"],
        "bounds": ["HEADS", "LARGEST", "LONGEST", "MESSAGE", "MOST", "PARTS", "SECTIONS"],
        "codebooks": ["pack_codebooks", "unpack_codebooks"],
        "delta": ["Broadcast"],
        "encoding.allowance": ["Allowance"],
        "evaluate": ["unpack_evaluate"],
        "facts": ["unpack_facts"],
        "held": ["HeldBank"],
        "messages": [
            "BINS",
            "COVERAGE_SITES",
            "EvaluateReply",
            "ProductResult",
            "ROC_POINTS",
            "SectionStats",
            "SiteFacts",
            "TrainReply",
            "Travelled",
        ],
        "packet": ["Packet", "claimed_name", "needs_full_bank", "pack_failure"],
        "packing": ["pack"],
        "results": ["check_result"],
        "settings": ["WireSettings"],
        "sums": [
            "FIGURES",
            "Layout",
            "Place",
            "SumsQuestion",
            "SumsReply",
            "few_makers",
            "least_makers",
            "pack_question",
            "terms_of",
            "unpack_question",
            "unpack_sums",
        ],
        "train": ["unpack_train"],
        "tuning": [
            "TriedOut",
            "TuneQuestion",
            "TuneReply",
            "pack_tune_question",
            "unpack_tune",
            "unpack_tune_question",
        ],
    },
)
