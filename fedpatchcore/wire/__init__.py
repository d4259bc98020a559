"""What travels between site and server: messages, packets, encodings, deltas of the bank.

Every message is checked where it is unpacked, for it came from another machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "messages": ["EvaluateReply", "SiteFacts", "TrainReply"],
        "packet": ["Packet", "SiteFailure"],
        "packing": ["pack"],
        "settings": ["WireSettings"],
        "train": ["unpack_train"],
    },
)
