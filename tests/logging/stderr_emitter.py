"""Write lines of all lengths to standard error, which others write to as well: ``python shouting.py NAME NUMBER``."""

from __future__ import annotations

import sys
import time

from scalekit_logging.console_formatter import as_they_are
from scalekit_logging.stream_sink import Stream


def main(name: str, number: int) -> None:
    stream = Stream("console", 2, as_they_are, 1 << 20)
    stream.open()
    for first in range(0, number, 10):
        lines = [
            b'{"writer":"%s","number":%d,"more":"%s"}\n' % (name.encode(), each, b"x" * (each * 37 % 9000))
            for each in range(first, first + 10)
        ]
        loss = stream.write(b"".join(lines))
        while loss is None and stream.waiting():
            time.sleep(0.001)  # the reader is slow
            loss = stream.write(b"")
        if loss is not None:
            raise RuntimeError(loss)
    stream.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
