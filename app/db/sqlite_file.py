"""A SQLite file that is deleted lives on for those who have it open, and is lost when they close it."""

from pathlib import Path


class SqliteFile:
    """Notices that the file at a path is no longer the one that connections have open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, int] | None = None

    def problem(self) -> tuple[str, str] | None:
        """Say why the database cannot be used and what to do, or None. Takes a microsecond: ask before and after uses.

        A file in place of the opened one is not adopted: SQLite would apply the old file's write-ahead log to it.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            return f"the database file is missing ({error.strerror})", "put it back, or restart the service"
        found = (status.st_dev, status.st_ino)
        self._opened = self._opened or found
        if found == self._opened:
            return None
        advice = "put the old one back, or stop the service, delete the -wal and -shm files beside it, and start again"
        return "the database file was replaced while the service was running", advice
