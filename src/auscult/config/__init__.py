"""``audit.toml`` to an Audit and back. The only place that knows pydantic."""

from auscult.config.loading import Configuration, LoadedConfiguration, load, parse

__all__ = ["Configuration", "LoadedConfiguration", "load", "parse"]
