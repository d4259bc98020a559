"""Starting, following and telling a Flower run, by Flower's own programs.

Flower is called, never imported.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "events": ["Line", "from_line"],
        "flowercli": ["FlowerCli", "toml_value"],
        "launch": ["LocalFlower", "free_port"],
        "programs": [
            "QUIET",
            "app_command",
            "executor_words",
            "flower_program",
            "new_secret",
            "nginx_program",
        ],
        "siteview": ["SiteView"],
        "telling": ["listed", "outlook", "tell"],
        "watch": ["RunView"],
    },
)
