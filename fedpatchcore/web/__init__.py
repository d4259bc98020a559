"""What every place with pages has: people, roles, the trail, the door, its data base and look.

The control room and the station stand on it; neither knows the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "application": ["assembled"],
        "asked": ["actor_of", "caller_of", "form_of", "numbers"],
        "audit": ["Actor", "Trail", "verified"],
        "database": ["Database"],
        "door": ["LOOPBACK"],
        "moments": ["milliseconds", "now"],
        "parts": ["Parts"],
        "people": ["People"],
        "refusals": ["Refused", "status_of"],
        "render": ["Look"],
        "roles": ["PUBLIC", "Roles"],
        "serving": ["CONSOLE", "serve_pages", "tell_first_link"],
        "tables": ["Audit", "NAMES", "NUMBERS", "Token", "User"],
    },
)
