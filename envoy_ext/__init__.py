"""The Envoy module: tables, generator, build and Python access to its engine."""

__version__ = "0.1.0"
