"""What the command line reports without a traceback."""
from __future__ import annotations


class Refused(Exception):
    """A checkpoint, folder or machine that cannot give an export; `code` is the exit code."""

    def __init__(self, reason: str, hint: str = "", code: int = 3) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.code = reason, hint, code
