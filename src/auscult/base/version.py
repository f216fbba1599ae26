"""The version, for those who write it into files; loads nothing."""

__version__ = "0.1.0"
