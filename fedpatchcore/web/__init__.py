"""What every place with pages has: people, roles, the trail, the door, its data base and look.

The control room and the station stand on it; neither knows the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "application": ["assembled"],
        "asked": ["actor_of", "caller_of", "form_of", "numbers", "within"],
        "audit": ["Actor", "Trail", "verified"],
        "database": ["Database"],
        "door": ["LOOPBACK", "POLICY"],
        "guard": ["CERTIFICATE", "address_of"],
        "moments": ["DAY", "milliseconds", "now"],
        "pages.people": ["people_page"],
        "parts": ["Parts"],
        "passwords": ["check_name", "digest", "new_key"],
        "people": ["Caller", "DAY", "LINK_LASTS", "LONGEST_TOKEN_DAYS", "People"],
        "refusals": ["Refused", "status_of"],
        "render": ["Look", "figure"],
        "roles": ["OF_PEOPLE", "OPEN", "PUBLIC", "Roles"],
        "serving": ["AT_HOME", "CONSOLE", "serve_pages", "tell_first_link"],
        "tables": ["Audit", "NAMES", "NUMBERS"],
    },
)
