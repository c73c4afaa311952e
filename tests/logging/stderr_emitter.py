"""Write lines of many lengths to a shared stderr: ``python stderr_emitter.py NAME COUNT``."""

from __future__ import annotations

import sys
import time

from scalekit_logging.console_formatter import format_json
from scalekit_logging.stream_sink import StreamSink


def main(name: str, number: int) -> None:
    stream = StreamSink("console", 2, format_json, 1 << 20)
    stream.open()
    for first in range(0, number, 10):
        lines = [
            b'{"writer":"%s","number":%d,"more":"%s"}\n' % (name.encode(), each, b"x" * (each * 37 % 9000))
            for each in range(first, first + 10)
        ]
        loss = stream.write(b"".join(lines))
        while loss is None and stream.pending():
            time.sleep(0.001)  # until the reader has read
            loss = stream.write(b"")
        if loss is not None:
            raise RuntimeError(loss)
    stream.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
