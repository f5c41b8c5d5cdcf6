"""A log handler that never waits for its reader: a bounded queue, and a thread that writes."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TextIO

MAX_BYTES = 4 * 1024 * 1024  # of lines that wait to be written
FLUSH_SECONDS = 2.0  # that the end of the process may wait for a reader
_AT_ONCE = 64 * 1024  # bytes of one write, what a pipe holds


@dataclass(frozen=True, slots=True)
class _Line:
    """A line to write; ``announces`` is how many records were dropped, where it says so."""

    data: bytes
    announces: int = 0


class QueuedHandler(logging.Handler):
    """Writes records to ``stream``, in their order, in a thread of its own.

    Beyond ``max_bytes`` that wait, records are dropped and counted, and one line says how many as soon as there is room
    again. ``flush``, which the end of the process calls, waits for at most ``FLUSH_SECONDS``.
    """

    def __init__(self, stream: TextIO | None, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._stream = stream
        self._max_bytes = max_bytes
        self.dropped = 0
        self._torn = False  # whether a line was written in part, and then no more
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record, formatted here: what it names may change before it is written."""
        try:
            line = (self.format(record) + "\n").encode(errors="backslashreplace")
        except Exception as error:  # logging's own handling would print it, and wait for the reader
            line = self._line(f"a record of {record.name} could not be formatted: {type(error).__name__}")
        with self._changed:
            if self._bytes + len(line) > self._max_bytes or not self._runs():
                self._drop(_Line(line))
                return
            self._announce()
            self._append(_Line(line))

    def flush(self) -> None:
        """Wait until everything is written, or for ``FLUSH_SECONDS`` where nobody reads."""
        end = time.monotonic() + FLUSH_SECONDS
        with self._changed:
            while self._bytes and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _begin(self) -> None:
        """Start empty: at first, and in the child of a fork, whose parent writes what was waiting."""
        self._changed = threading.Condition()  # its lock may be taken again by the same thread, in a signal handler
        self._lines: deque[_Line] = deque()
        self._bytes = 0  # of lines that are not written yet
        self._unannounced = 0  # records that were dropped since a line last said so
        self._thread: threading.Thread | None = None

    def _runs(self) -> bool:
        """Whether the thread runs, which the first record starts. It cannot begin while the interpreter ends."""
        if self._thread is None:
            thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _line(self, text: str) -> bytes:
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        return (self.format(record) + "\n").encode()

    def _append(self, line: _Line) -> None:
        self._lines.append(line)
        self._bytes += len(line.data)
        self._changed.notify_all()

    def _drop(self, line: _Line) -> None:
        self.dropped += 0 if line.announces else 1
        self._unannounced += line.announces or 1

    def _announce(self) -> None:
        """Say how many records were dropped, behind the last one that was not."""
        count, self._unannounced = self._unannounced, 0
        if count:
            text = f"{count} lines of the log were dropped here: nobody took them"
            self._append(_Line(self._line(text), announces=count))

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                taken: list[_Line] = []
                size = 0
                while self._lines and (not taken or size + len(self._lines[0].data) <= _AT_ONCE):
                    taken.append(self._lines.popleft())
                    size += len(taken[-1].data)
            written = self._write(b"".join(line.data for line in taken))
            with self._changed:
                self._bytes -= size
                if not written:
                    for line in taken:
                        self._drop(line)
                elif not self._lines:
                    self._announce()
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        """Write all of it, however long that takes. False where the reader is gone or the disk full."""
        if self._stream is None:
            return True  # the process was started without one
        try:
            descriptor = self._descriptor()
            if descriptor is None:
                self._stream.write(data.decode())
                self._stream.flush()
                return True
            data, self._torn = b"\n" * self._torn + data, False
            while data:
                # Not by the stream: it would hold a lock while it waits, and the interpreter needs that to end.
                try:
                    written = os.write(descriptor, data)
                    self._torn = data[written - 1] != ord("\n")
                    data = data[written:]
                except BlockingIOError:
                    select.select((), (descriptor,), ())
        except (OSError, ValueError):
            return False
        return True

    def _descriptor(self) -> int | None:
        """The stream's file descriptor, None for a stream in memory."""
        try:
            return self._stream.fileno() if self._stream else None
        except OSError:
            return None
