"""``python -m fedpatchcore.cli`` is the ``fedpatchcore`` command."""

from fedpatchcore.cli.app import main

main()
