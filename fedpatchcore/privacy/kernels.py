"""What an image holds, as one function that is high on all its patches; image-level private.

A Gaussian kernel k(z, z') = exp(−‖z − z'‖²/2h²) measures how alike two patches are. Its random
Fourier features (Rahimi & Recht, "Random features for large-scale kernel machines", NIPS 2007)
make it an inner product of vectors φ(z) of length 1: M public waves, a cosine and a sine each.
A function over patches is then a vector f, f(z) = ⟨f, φ(z)⟩, and noise of standard deviation σ
in each of its 2M numbers moves f(z) by σ, however many waves there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fedpatchcore.detection.view import waved
from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.sums import KEEP, ImageSums, Readout

__all__ = ["KernelSums", "Normality", "with_waves"]

MOST = 2048  # patches an image is known by: its matrix has so many rows and columns
WAVES_AT_ONCE = 2048
RIDGE = 5.0  # λ; 0 asks for the same height on every patch, ∞ for their plain mean


@dataclass(frozen=True)
class Normality:
    """What a release says: where patches look as images' patches do.

    Attributes:
        amplitudes: float32 ``[2M]``, of each wave's cosine, then of each wave's sine; as long as
            the codebook's radius. The score is ‖φ(z) − amplitudes‖, φ(z) made as long.
        error: expected L2 error of `amplitudes` that comes from the noise.
        known: waves of which the cosine or the sine rises above the noise.
    """

    amplitudes: np.ndarray
    error: float
    known: int


class KernelSums(ImageSums):
    """Noisy sums over images of one function an image, high where its patches are.

    For an image with patches z_1..z_P in the codebook's slice and K_ij = k(z_i, z_j), the
    coefficients a = (K + λI)⁻¹ 1 give the function f = Σ a_i φ(z_i), the ridge regression of the
    constant 1: among all functions of a length it comes closest to being equally high on all
    patches, on rare ones as on the background (with λ = 0 it is the one-class machine of
    Schölkopf et al., Neural Computation 13, 2001, where its coefficients are not negative; with
    λ → ∞ the plain mean embedding). The contribution is u = f / ‖f‖.

    **Sensitivity.** u is a unit vector by division (or 0), so ‖u‖ ≤ 1 whatever the image,
    however many patches and wherever they are. The rest is `ImageSums`.

    Of an image with more than `MOST` patches only every second, or third, and so on, counts.

    The sum over images of u, at φ(z), counts images that hold a patch like z. The codebook's
    cells are the waves, see `with_waves`.
    """

    @classmethod
    def prepared(cls, book: Codebook, config: PrivacySettings, *, seed: int) -> Codebook:
        """Waves for cells, which the settings and the seed decide."""
        return with_waves(book, config.dp_waves, config.dp_bandwidth, seed=seed)

    @classmethod
    def misfit(cls, book: Codebook, config: PrivacySettings) -> str:
        """Another number of waves would cost a site other memory and time than was agreed."""
        if len(book) == config.dp_waves:
            return ""
        return f"the server sent {len(book):,} waves, the run's dp-waves is {config.dp_waves:,}"

    @property
    def shape(self) -> tuple[int, int]:
        """Of a release: a row of cosines, then sines."""
        return 1, 2 * len(self.codebook)

    def _share(self, points: np.ndarray) -> np.ndarray:
        waves = self.codebook.cells
        points = points[:: -(-len(points) // MOST)]
        with np.errstate(over="ignore", invalid="ignore"):  # `share` looks at what comes out
            inverse = np.square(waves, dtype=np.float64).mean()  # 1/h², as the waves have it
            squares = (points**2).sum(1)
            apart = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
            matrix = np.exp(-0.5 * inverse * apart)
            matrix[np.diag_indices(len(points))] += RIDGE
            weights = np.linalg.solve(matrix, np.ones(len(points)))
            u = np.empty((2, len(waves)))  # cosines, sines
            for at in range(0, len(waves), WAVES_AT_ONCE):
                some = slice(at, at + WAVES_AT_ONCE)
                phi = waved(points.astype(np.float32) @ waves[some].T)
                share = (len(waves[some]) / len(waves)) ** 0.5  # of φ's length
                u[:, some] = (weights @ phi.astype(np.float64)).reshape(2, -1) * share
        u = u.reshape(-1)
        return (u / max(np.linalg.norm(u), 1e-300))[None]

    def normality(self, released: np.ndarray, *, sigma: float | None = None) -> Normality:
        """Read a release, or a sum of releases whose noise has standard deviation ``sigma``."""
        noise = self.sigma if sigma is None else sigma
        values = released[0] * self.step
        length = float(np.linalg.norm(values))
        if not length:
            values, length = np.ones_like(values), float(len(values) ** 0.5)
        radius = self.codebook.radius
        heights = np.hypot(*values.reshape(2, -1))
        return Normality(
            (values * (radius / length)).astype(np.float32),
            radius * min(1.0, noise * len(values) ** 0.5 / length),
            int((heights > KEEP * noise).sum()),
        )

    def read(self, released: np.ndarray, *, sigma: float) -> Readout:
        """One row, the slice's origin, waves about it and their amplitudes; see `normality`."""
        found, book = self.normality(released, sigma=sigma), self.codebook
        return Readout(
            book.centre[None],
            found.error,
            found.error,
            found.known,
            len(book),
            "wave",
            metric=np.ascontiguousarray(book.basis @ book.cells.T),
            amplitudes=found.amplitudes,
        )


def with_waves(book: Codebook, waves: int, bandwidth: float, *, seed: int) -> Codebook:
    """The slice of a codebook with waves for cells: N(0, 1/h²) frequencies, float32 ``[M, d]``.

    Raises:
        PrivacyError: a bandwidth that is not above 0, or no waves.
    """
    if not (np.isfinite(bandwidth) and bandwidth > 0 and waves > 0):
        raise PrivacyError(f"{waves} waves of bandwidth {bandwidth}")
    rng = np.random.default_rng(seed)
    frequencies = rng.standard_normal((waves, book.cells.shape[1])) / bandwidth
    cells = frequencies.astype(np.float32)
    if not (cells.any() and np.isfinite(cells).all()):
        raise PrivacyError(f"waves of bandwidth {bandwidth:g} are all alike")
    return replace(book, cells=cells)
