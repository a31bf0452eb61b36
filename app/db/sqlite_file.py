"""A SQLite file that is deleted lives on for those who have it open, and is lost when they close it."""

from pathlib import Path


class SqliteFile:
    """Notices that the file at a path is no longer the one that connections have open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, int] | None = None

    def problem(self) -> str | None:
        """Say why the database cannot be used, or None. Takes a microsecond, so ask before and after each use.

        A file that takes the place of the opened one is not adopted: the write-ahead log beside it, which belongs to
        the old file, would be applied to it.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            return f"the database file is missing ({error.strerror})"
        found = (status.st_dev, status.st_ino)
        self._opened = self._opened or found
        return None if found == self._opened else "the database file was replaced while the service was running"
