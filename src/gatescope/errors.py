"""Every error gatescope raises on purpose.

Each message names the argument, the value or shape seen, and what to do about it.
"""


class GatescopeError(Exception):
    """Base of all errors that gatescope raises on purpose."""


class ShapeError(GatescopeError, ValueError):
    """An array has the wrong rank or a size that does not fit the others."""


class DtypeError(GatescopeError, TypeError):
    """An argument is of the wrong type, or an array of a kind of number that the cells cannot compute with."""


class ValueRangeError(GatescopeError, ValueError):
    """An argument is of the right type, but its value is not allowed (NaN, T = 0, a negative length...)."""


class UnknownNameError(GatescopeError, KeyError):
    """A cell, device, initialisation scheme, gate or state has no such name."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message, quotes and escapes included.
        return str(self.args[0]) if self.args else ""


class DeviceError(GatescopeError, RuntimeError):
    """The device asked for is not there, or cannot run this."""


class FileFormatError(GatescopeError, ValueError):
    """A file cannot be read as what it should be: missing, torn, hostile, or of another kind."""


class WeightFormatError(FileFormatError):
    """A file or mapping of weights does not describe one of the cells."""


class OutputError(GatescopeError, OSError):
    """Results cannot be written where they should go."""


class MissingPackageError(GatescopeError, ImportError):
    """Something needs a package that does not come with gatescope itself."""


class AccuracyWarning(UserWarning):
    """A result is less accurate than it looks; the message says which part, and what to change."""
