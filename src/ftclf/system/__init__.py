"""Errors, signals, console output (text, tables, progress bar), memory, versions and imports of libraries, the hub."""
