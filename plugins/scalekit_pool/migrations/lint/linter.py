"""Lint the SQL of migrations for PostgreSQL: with squawk if it is installed, else with rules of our own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot.errors import TokenError

from scalekit import ScalekitError
from scalekit_pool.migrations.lint.rules import RULES, find_problems
from scalekit_pool.migrations.lint.statements import SqlStatement, read_statements

SQUAWK_TIMEOUT = 30.0
"""Seconds that squawk may take for one file."""
MAX_SHOWN = 100
"""Characters of a statement in a warning."""


class LintError(ScalekitError):
    """Squawk, which is installed, cannot be used."""


@dataclass(frozen=True, slots=True)
class LintWarning:
    """A statement in *line* of a text that violates *rule*, one of RULES."""

    line: int
    rule: str
    statement: str

    def describe(self, place: str) -> str:
        """Return the warning as one line of text; *place* names the file."""
        rule = RULES[self.rule]
        shown = self.statement if len(self.statement) <= MAX_SHOWN else f"{self.statement[:MAX_SHOWN]}…"
        return f"{place}: {self.rule}: {shown}: {rule.reason}: {rule.remedy}"


@dataclass(frozen=True, slots=True)
class MigrationLinter:
    """Lints texts, each run *in_transaction* or not; *excluded* rules are not reported."""

    in_transaction: bool
    excluded: frozenset[str] = frozenset()

    async def lint(self, text: str) -> list[LintWarning]:
        """Return the warnings for *text* by line; raise LintError when squawk fails."""
        program = find_squawk()
        found = self._lint(text) if program is None else await self._run_squawk(program, text)
        return [each for each in found if each.rule in RULES and each.rule not in self.excluded]

    def _lint(self, text: str) -> list[LintWarning]:
        try:
            statements = read_statements(text)
        except TokenError:
            return []  # the database reports it, with the line
        problems = find_problems(statements, in_transaction=self.in_transaction)
        return [LintWarning(statement.line, rule, statement.text) for statement, rule in problems]

    async def _run_squawk(self, program: str, text: str) -> list[LintWarning]:
        options = ["--reporter", "json", *(["--assume-in-transaction"] if self.in_transaction else [])]
        output = await _communicate([program, *options], text)
        try:
            found: list[dict[str, Any]] = json.loads(output)
            lines = [(int(each["line"]) + 1, str(each["rule_name"])) for each in found]
        except (ValueError, KeyError, TypeError):
            reason = output.decode(errors="replace").strip()[:MAX_SHOWN]
            raise LintError(f"{program} failed: {reason}: update or uninstall squawk") from None
        statements = _statements(text)
        return list(dict.fromkeys(_warning(statements, line, rule) for line, rule in lines))


def find_squawk() -> str | None:
    """Return the path of squawk, on the search path or beside the interpreter, where pip puts it; or None."""
    folders = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    return shutil.which("squawk", path=folders)


def _statements(text: str) -> Sequence[SqlStatement]:
    try:
        return read_statements(text)
    except TokenError:
        return []


def _warning(statements: Sequence[SqlStatement], line: int, rule: str) -> LintWarning:
    statement = _statement_at(statements, line)
    return LintWarning(statement.line, rule, statement.text) if statement else LintWarning(line, rule, "")


def _statement_at(statements: Sequence[SqlStatement], line: int) -> SqlStatement | None:
    """Return the last statement that begins at or before *line*, or the first after it."""
    before = [each for each in statements if each.line <= line]
    return before[-1] if before else next(iter(statements), None)


async def _communicate(command: Sequence[str], text: str) -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(SQUAWK_TIMEOUT):
            output, _ = await process.communicate(text.encode())
    except TimeoutError:
        raise LintError(f"{command[0]} has not finished within {SQUAWK_TIMEOUT:g} s: uninstall it") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output
