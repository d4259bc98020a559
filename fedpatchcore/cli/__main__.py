"""``python -m fedpatchcore.cli`` is the ``fedpatchcore`` command."""

from fedpatchcore.cli.app import main

if __name__ == "__main__":
    main()
