"""Errors that end a command with one message and a documented exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_INPUT = 65
EXIT_FINDINGS = 79

EXIT_CODES_HELP = """\b
Exit codes:
  0   success
  1   the command failed
  2   wrong usage
  65  a file or value that was given is not acceptable
  79  findings (of commands that check something)
"""


class KitError(Exception):
    """A failure whose message says what went wrong, where, and how to mend it."""

    exit_code = EXIT_FAILED


class InputError(KitError):
    """A file or value given by the user is not acceptable."""

    exit_code = EXIT_BAD_INPUT
