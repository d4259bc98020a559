"""A deployed federation: certificates, proxy, the programs of server and site, and their doctor.

Each check says in a line what is wrong and which command mends it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "certs": ["make_authority", "make_key", "make_server", "make_site"],
        "doctor_server": ["ServerDoctor"],
        "doctor_site": ["SiteDoctor"],
        "supervise": ["Program", "Supervisor"],
    },
)
