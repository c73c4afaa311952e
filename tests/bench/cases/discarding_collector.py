"""A collector in a process of its own that accepts every request of OTLP and discards it; only the standard library."""

import asyncio
import subprocess
import sys

RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
_started: list[subprocess.Popen[bytes]] = []


def start_collector() -> str:
    """Start the collector, which ends with this process, and return its URL."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _started.append(process)
    assert process.stdout is not None
    return f"http://127.0.0.1:{int(process.stdout.readline())}"


async def discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(RESPONSE)


async def main() -> None:
    server = await asyncio.start_server(discard, "127.0.0.1", 0, limit=2**26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)  # until the parent ends


if __name__ == "__main__":
    asyncio.run(main())
