"""Every error the product raises on purpose.

FedPatchCoreError
├── ConfigError       a setting is unknown, out of range or contradicts another
├── DataError         images or folders are missing, unreadable or too bad to use
│   └── ImageError    one image could not be decoded (skipped and counted by loaders)
├── WeightsError      backbone weights are missing, damaged or of another network
├── FingerprintError  features of two different feature extractors were about to be mixed
├── CoresetError      a coreset is malformed: shape, dtype, non-finite values, counts
├── BankError         a memory bank or its file is malformed, cut short or foreign
│   └── NeedsFullBank a site does not hold the bank that a shorter message builds on
├── TrainingError     training went astray, or an update to a model is malformed: shape, round,
│                     non-finite values
├── RunError          a run folder cannot be written, read or resumed
├── CertificateError  a certificate or key is missing, damaged, expired or would be overwritten
├── PrivacyError      a privacy budget is spent, a ledger is damaged, or a setting would void the
│                     guarantee
├── SecureSumError    a secure sum cannot go on: a site or the server said what it may not say
├── WorkerError       a site's worker refuses, or what it said is no message of this system
│   └── WorkerAway    it does not answer: not started, restarting, or its socket broke
├── NotNow            a site does not take part now, by its own word; it is asked again later
├── ControlError      the control room or a station refuses, or its data base cannot be used
├── StationError      a station refuses, or cannot keep what it was given
├── Halted            work was given up because nobody waits for it any longer
└── QuorumError       too few sites answered to go on

Messages are one line: what is wrong, where, and what fixes it.
"""

from fedpatchcore.texts import one_line

__all__ = [
    "BankError",
    "CertificateError",
    "ConfigError",
    "ControlError",
    "CoresetError",
    "DataError",
    "FedPatchCoreError",
    "FingerprintError",
    "Halted",
    "ImageError",
    "NeedsFullBank",
    "NotNow",
    "PrivacyError",
    "QuorumError",
    "RunError",
    "SecureSumError",
    "StationError",
    "TrainingError",
    "WeightsError",
    "WorkerAway",
    "WorkerError",
]


LONGEST = 2000  # characters of a message; what it quotes may come from anywhere


class FedPatchCoreError(Exception):
    """Base of all errors raised on purpose by this library.

    Its text is one line of printable characters, whatever it quotes.
    """

    def __str__(self) -> str:
        return one_line(super().__str__(), LONGEST)


class ConfigError(FedPatchCoreError, ValueError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(FedPatchCoreError):
    """Images or folders are missing, unreadable or too bad to use."""


class ImageError(DataError):
    """One image could not be decoded."""


class WeightsError(FedPatchCoreError):
    """Backbone weights are missing, damaged or belong to another network."""


class FingerprintError(FedPatchCoreError):
    """Features of two different feature extractors were about to be mixed."""


class CoresetError(FedPatchCoreError):
    """A coreset is malformed (shape, dtype, non-finite values, counts)."""


class BankError(FedPatchCoreError):
    """A memory bank or its file is malformed, cut short or foreign."""


class NeedsFullBank(BankError):
    """A site does not hold the bank that a shorter message builds on; the whole one is sent."""


class TrainingError(FedPatchCoreError):
    """Training went astray, or an update to a model is malformed (shape, round, values)."""


class RunError(FedPatchCoreError):
    """A run folder cannot be written, read or resumed."""


class CertificateError(FedPatchCoreError):
    """A certificate or key is missing, damaged, expired or would be overwritten."""


class PrivacyError(FedPatchCoreError):
    """A privacy budget is spent, a ledger is damaged, or a setting would void the guarantee."""


class SecureSumError(FedPatchCoreError):
    """A secure sum cannot go on: what a site or the server said is not what it may say."""


class QuorumError(FedPatchCoreError):
    """Too few sites answered to go on."""


class WorkerError(FedPatchCoreError):
    """A site's worker refuses, or what came over its socket is no message of this system."""


class WorkerAway(WorkerError):
    """A site's worker does not answer: not started, restarting, or its socket broke."""


class NotNow(FedPatchCoreError):
    """A site does not take part now, by its own word; it may be asked again later."""


class ControlError(FedPatchCoreError):
    """The control room or a station refuses, or its data base cannot be used."""


class StationError(FedPatchCoreError):
    """A station refuses what it was asked, or cannot keep what it was given."""


class Halted(FedPatchCoreError):
    """Work was given up in the middle because nobody waits for it any longer."""
