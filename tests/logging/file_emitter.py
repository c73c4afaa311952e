"""Write numbered lines to a shared file: ``python file_emitter.py DIRECTORY WRITER COUNT``."""

from __future__ import annotations

import sys

from scalekit_logging.rotating_file import RotatingFile

MAX_SIZE = 20_000
BACKUP_COUNT = 1000


def main(directory: str, writer: str, number: int) -> None:
    file = RotatingFile(directory, "combined.log", MAX_SIZE, BACKUP_COUNT)
    file.open()
    for first in range(0, number, 10):
        lines = [
            b'{"writer":"%s","number":%d,"more":"%s"}\n' % (writer.encode(), each, b"x" * (each % 200))
            for each in range(first, first + 10)
        ]
        loss = file.write(b"".join(lines))
        if loss is not None:
            raise RuntimeError(loss)
    file.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
