"""A log handler that never blocks: a bounded queue, and a thread that writes."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TextIO

MAX_BYTES = 4 * 1024 * 1024  # of queued lines
FLUSH_SECONDS = 2.0  # the longest time that the end of the process waits for a reader
_AT_ONCE = 64 * 1024  # bytes of one write: the size of a pipe


@dataclass(frozen=True, slots=True)
class _Line:
    """A line to write. ``announces``: the number of dropped records, for a line that reports it."""

    data: bytes
    announces: int = 0


class QueuedHandler(logging.Handler):
    """Writes records to ``stream``, in their order, in a thread of its own.

    Records beyond ``max_bytes`` in the queue are dropped and counted; one line reports their number as soon as there is
    room again. ``flush``, which is called at the end of the process, waits for at most ``FLUSH_SECONDS``.
    """

    def __init__(self, stream: TextIO | None, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._stream = stream
        self._max_bytes = max_bytes
        self.dropped = 0
        self._torn = False  # whether the last line was written in part only
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record. It is formatted here, because its arguments may change later."""
        try:
            line = (self.format(record) + "\n").encode(errors="backslashreplace")
        except Exception as error:  # logging's own handling would print it, and block
            line = self._line(f"a record of {record.name} could not be formatted: {type(error).__name__}")
        with self._changed:
            if self._bytes + len(line) > self._max_bytes or not self._runs():
                self._drop(_Line(line))
                return
            self._announce()
            self._append(_Line(line))

    def flush(self) -> None:
        """Wait until all lines are written, for at most ``FLUSH_SECONDS``."""
        end = time.monotonic() + FLUSH_SECONDS
        with self._changed:
            while self._bytes and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _begin(self) -> None:
        """Start with an empty queue: also in the child of a fork, because the parent writes the queued lines."""
        self._changed = threading.Condition()  # its lock may be taken again by the same thread, in a signal handler
        self._lines: deque[_Line] = deque()
        self._bytes = 0  # of lines that are not written yet
        self._unannounced = 0  # dropped records that no line has reported yet
        self._thread: threading.Thread | None = None

    def _runs(self) -> bool:
        """Start the thread with the first record. False while the interpreter ends, when no thread can start."""
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
        """Queue a line with the number of dropped records, behind the last one that was not dropped."""
        count, self._unannounced = self._unannounced, 0
        if count:
            text = f"{count} log lines were dropped here: the reader was too slow"
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
        """Write all data, however long that takes. False where the reader is gone or the disk is full."""
        if self._stream is None:
            return True  # the process has no standard error
        try:
            descriptor = self._descriptor()
            if descriptor is None:
                self._stream.write(data.decode())
                self._stream.flush()
                return True
            data, self._torn = b"\n" * self._torn + data, False
            while data:
                # Not by the stream: it holds a lock while it blocks, which the end of the interpreter needs.
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
