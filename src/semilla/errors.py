"""Errors a user can act on: what was found, where, and what mends it."""

from __future__ import annotations

from typing import ClassVar


class SemillaError(Exception):
    """A foreseeable condition, shown without a traceback.

    Args:
        code: stable identifier such as ``D050``, listed in the documentation.
        message: what was found and where, naming the file and the value.
        fix: what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix

    def __reduce__(self) -> tuple[type[SemillaError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.fix)  # so that it crosses from a worker process whole

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.message}" + (f"\n  fix: {self.fix}" if self.fix else "")


class UsageError(SemillaError):
    """A wrong command, setting or value."""

    exit_code = 2


class DataError(SemillaError):
    """Data that cannot be trained on as it is."""

    exit_code = 3


class StateError(SemillaError):
    """A checkpoint that is damaged or does not fit, or a run folder in use."""

    exit_code = 4


class TrainingError(SemillaError):
    """Training failed: a loss that is not finite, or a collapse under ``--strict``."""

    exit_code = 5


class ResourceError(SemillaError):
    """Out of disk, memory or file handles."""

    exit_code = 6


class SafetyError(SemillaError):
    """Refused because it would not be safe."""

    exit_code = 7


class WorseError(SemillaError):
    """The unlabeled data hurt, and the user asked to be told by the exit code."""

    exit_code = 8


class Interrupted(Exception):
    """SIGINT or SIGTERM arrived. The exit code is 128 plus the signal's number.

    Args:
        signal_number: which signal.
        saved: whether the run can be taken up again: it has a folder, and a checkpoint of the last step in it.
    """

    def __init__(self, signal_number: int, saved: bool = False) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number, self.saved, self.exit_code = signal_number, saved, 128 + signal_number

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, bool]]:
        return type(self), (self.signal_number, self.saved)
