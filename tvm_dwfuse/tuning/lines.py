"""Files of JSON lines that several processes append to, and that a kill or a full disk does not damage.

A line is on the disk when :meth:`JsonLines.append` returns. Whoever is killed before leaves at most the beginning of a
line at the end of the file; readers pass over it, and the next writer cuts it off.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tvm_dwfuse.errors import DwfuseError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JsonLines:
    """A file of lines, read from where the last reading ended.

    Whoever reads or writes holds :func:`locked`, so that no line is seen half written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reset()

    def reset(self) -> None:
        """Read from the first line again."""
        #: Lines read so far, good or bad.
        self.count = 0
        #: Whether the file ends with the beginning of a line, as a killed writer leaves it.
        self.torn = False
        self._offset = 0
        self._unended = False
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether the file is another one, or of another size, than when it was last read."""
        return self._state() != self._seen

    def replaced(self) -> bool:
        """Whether what was read is no longer there: another file, a shorter one, or none."""
        if self._seen is None:
            return False
        state = self._state()
        return state is None or state[:2] != self._seen[:2] or state[2] < self._offset

    def read(self) -> Iterator[bytes]:
        """The lines since the last reading, without their ends.

        Raises:
            DwfuseError: the file is there and cannot be read.
        """
        self.torn = False
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                self._seen = (status.st_dev, status.st_ino, status.st_size)
                file.seek(self._offset)
                if self._unended and file.read(1) == b"\n":
                    self._offset += 1
                    self._unended = False
                file.seek(self._offset)
                yield from self._lines(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DwfuseError(f"{self.path}: cannot be read ({error.strerror}); name another folder") from error

    def _lines(self, file: Iterator[bytes]) -> Iterator[bytes]:
        for line in file:
            self._unended = not line.endswith(b"\n")
            # An editor may leave out the last end of line; the beginning of an array or object is never JSON.
            if self._unended and not _is_json(line):
                self.torn = True
                self._unended = False
                return
            self._offset += len(line)
            self.count += 1
            yield line.rstrip(b"\r\n")

    def cut(self) -> None:
        """Cut off the beginning of a line at the end, if the last reading found one.

        Raises:
            DwfuseError: the file cannot be written.
        """
        if not self.torn:
            return
        try:
            os.truncate(self.path, self._offset)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self.torn = False

    def append(self, line: str) -> None:
        """Add a line; it is on the disk on return. All that was there has been read, and :meth:`cut`.

        Raises:
            DwfuseError: the file cannot be written, or the disk is full; the file is as it was before.
        """
        data = line.encode() + b"\n"
        try:
            created = not self.path.exists()
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _write_or_restore(handle, b"\n" + data if self._unended else data, self._offset)
            finally:
                os.close(handle)
            if created:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size


@contextmanager
def locked(path: Path, to_write: bool) -> Iterator[None]:
    """Hold the lock that ``path`` stands for, alone in order to write, or with other readers.

    The file is made in order to write. Without a file there is nothing to read, and no lock is taken.

    Raises:
        DwfuseError: the file cannot be opened, or its file system has no locks.
    """
    import fcntl  # not on Windows, where a network can be compiled all the same

    flags = os.O_RDWR | os.O_CREAT if to_write else os.O_RDONLY
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        if to_write:
            raise _cannot_write(path, error) from error
        if not isinstance(error, FileNotFoundError):
            raise DwfuseError(f"{path}: cannot be read ({error.strerror}); name another folder") from error
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if to_write else fcntl.LOCK_SH)
        except OSError as error:
            # A file system without locks, mounted to read from, is nobody's work folder.
            if to_write:
                raise _cannot_write(path, error) from error
        yield
    finally:
        os.close(handle)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _write_or_restore(handle: int, data: bytes, size: int) -> None:
    """Write and sync ``data``; if that fails, make the file ``size`` bytes long again."""
    try:
        left = memoryview(data)
        while left:  # one call, but on a disk that is about to be full
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(path: Path, error: OSError) -> DwfuseError:
    if error.errno in _NO_ROOM:
        return DwfuseError(
            f"{path}: cannot be written ({error.strerror}); what was there is kept: make room and run the same again"
        )
    return DwfuseError(f"{path}: cannot be written ({error.strerror}); name a folder that can be")
