"""Print the dependencies that a pyproject.toml names, one a line, for ``pip install -r``.

Without FAISS: which build an image gets is the Dockerfile's argument.
"""

import sys
import tomllib
from pathlib import Path

wanted = tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"]
print("\n".join(one for one in wanted if not one.startswith("faiss")))
