from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tutorial.reader import Reader, WrongPageError

pytestmark = pytest.mark.process
SERVICE = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready on", sys.argv[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


def follow(reader: Reader, text: str) -> None:
    page = reader.box.directory / "page.md"
    page.write_text(text)
    reader.follow(page)


def console(*lines: str) -> str:
    return "\n".join(["```console", *lines, "```", ""])


def test_it_writes_files_and_keeps_variables(reader: Reader) -> None:
    write = "**a/b.txt**\n```\none\n```\n\n**a/b.txt** (add at the end)\n```\ntwo\n```\n"
    follow(reader, write + console("$ NAME=ada", "$ cat a/b.txt; echo $NAME", "one", "", "two", "ada"))


def test_it_writes_the_files_only(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("**b.txt**\n```\none\n```\n\n" + console("$ touch c.txt"))
    reader.follow(page, only_files=True)
    assert [path.name for path in reader.folder.iterdir()] == ["b.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (console("$ echo one", "two"), "page.md:2: echo one\nshown:\ntwo\nprinted:\none"),
        (console("$ false"), "page.md:2: false: exit status 1"),
        (console("$ echo broken >&2; exit 3"), "broken"),
    ],
)
def test_a_page_that_is_wrong_fails(reader: Reader, text: str, message: str) -> None:
    with pytest.raises(WrongPageError) as error:
        follow(reader, text)
    assert message in str(error.value)


def test_a_command_that_does_not_end_fails(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tutorial.reader.LIMIT", 0.2)
    with pytest.raises(WrongPageError, match=r"page.md:2: sleep 5: not within 0.2 s"):
        follow(reader, console("$ sleep 5"))


def test_a_fragment_must_be_python(reader: Reader) -> None:
    with pytest.raises(SyntaxError):
        follow(reader, "```python\ndef\n```\n")


def test_a_service_runs_until_the_next_one_in_its_terminal(reader: Reader) -> None:
    file = f"**run.py**\n```\n{SERVICE}```\n"
    start = console("$ python run.py 8000 # scalekit run", "ready on 8000")
    follow(reader, file + start)
    first = reader.terminals[1]
    follow(reader, start)  # the port is free again
    assert first.poll() is not None
    follow(reader, "**Terminal 2**\n" + console("$ python run.py 8001 # scalekit run"))
    assert [reader.terminals[number].poll() for number in (1, 2)] == [None, None]


def test_a_service_that_ends_is_a_mistake_of_the_page(reader: Reader) -> None:
    with pytest.raises(WrongPageError, match="cannot start"):
        follow(reader, console("$ python -c 'exit(\"cannot start\")' # scalekit run", "ready"))


def test_ports_of_the_page_are_ports_of_this_machine(reader: Reader) -> None:
    follow(reader, console("$ echo http://127.0.0.1:8000/ > address", "$ cat address", "http://127.0.0.1:8000/"))
    assert (reader.folder / "address").read_text() == f"http://127.0.0.1:{reader.ports[8000]}/\n"
