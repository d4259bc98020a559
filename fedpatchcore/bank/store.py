"""What every site has given, kept on disk, so that a server's memory does not grow with sites.

A contribution is written to the run's folder as soon as it is accepted; what stays in memory
is what decides about it (rows, images, radius of each section), and rows are read back one
site at a time when the bank is made. A checkpoint of a round holds the same files under a
second name (a hard link): nothing is written twice. Without a folder, contributions stay in
memory, which suits a federation in one process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.errors import RunError
from fedpatchcore.files import duplicate
from fedpatchcore.spelling import typed

__all__ = ["Contributions"]

SUFFIX = ".safetensors"


class Contributions(Mapping[str, Contribution]):
    """Contributions by site, in the order of the sites' names whatever order they came in.

    Args:
        folder: where they are kept; what an earlier run left there is removed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._held: dict[str, Contribution] = {}
        if folder is not None and folder.is_dir():
            for old in [*folder.glob(f"*{SUFFIX}"), *folder.glob(f".*{SUFFIX}.*.part")]:
                old.unlink(missing_ok=True)

    def __getitem__(self, site: str) -> Contribution:
        return self._held[site]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._held))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def sections(self) -> list[str]:
        """Names of all sections that any site gave."""
        return sorted({name for given in self._held.values() for name in given.parts})

    def put(self, given: Contribution) -> None:
        """Keep this instead of what the site gave before.

        Raises:
            RunError: the disk does not take it; what was kept before is still there.
        """
        if self.folder is None:
            self._held[given.site] = given
            return
        path = self._path(given.site)
        try:
            given.save(path, durable=False)  # a checkpoint waits for the disk
        except OSError as error:
            raise RunError(
                f"cannot keep the coreset of site '{given.site}' ({given.nbytes / 1e6:.1f} MB) in "
                f"{self.folder}: {error.strerror or error}; make room there and go on with "
                f"{typed('resume', str(self.folder.parent))} from the last complete round"
            ) from None
        self._held[given.site] = Contribution.open(path)

    def extend(self, later: Contribution, known: Container[str]) -> None:
        """Add a later round's rows to what the site gave before. Raises RunError as `put` does.

        Raises CoresetError if no site can have given both together; nothing was changed then.

        Args:
            known: sections that the site was given a bank of. It ships the others in full, in
                place of what it gave of them before.
        """
        old = self._held.get(later.site)
        both = later if old is None else old.extended(later, known)
        both.check_counts()  # what is kept must be such as can be loaded again
        self.put(both)

    def keep(self, sites: Iterable[str]) -> None:
        """Forget all sites but these."""
        for site in set(self._held) - set(sites):
            del self._held[site]
            if self.folder is not None:
                self._path(site).unlink(missing_ok=True)

    def save_into(self, folder: Path) -> None:
        """A checkpoint: every contribution as a file there. Raises OSError, RunError."""
        for at, site in enumerate(self):
            target = folder / f"{at:04d}{SUFFIX}"
            if self.folder is None:
                self._held[site].save(target)
            else:
                duplicate(self._path(site), target, link=True)

    def restore(self, folder: Path) -> None:
        """Take over a checkpoint; one contribution at a time is read and checked.

        Raises:
            CoresetError: a file there is damaged. RunError: it cannot be taken over.
        """
        for source in sorted(folder.glob(f"*{SUFFIX}")):
            given = Contribution.load(source)
            if self.folder is None:
                self.put(given)
                continue
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                duplicate(source, self._path(given.site), link=True)
            except OSError as error:
                raise RunError(f"cannot go on from {source}: {error.strerror or error}") from None
            self._held[given.site] = Contribution.open(self._path(given.site))

    def _path(self, site: str) -> Path:
        """A site's name may hold anything; its file's name may not."""
        return self.folder / f"{hashlib.sha256(site.encode()).hexdigest()[:32]}{SUFFIX}"
