"""Alembic's command line, on the configured database and under the migration lock."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from alembic.config import CommandLine, Config

from scalekit_pool.migrations.alembic_connection import URLS
from scalekit_pool.migrations.alembic_environment import AlembicSession, translate_errors
from scalekit_pool.migrations.files import MigrationError, migrations_folder

PROGRAM = "scalekit pool alembic"
LOCKED = frozenset({"upgrade", "downgrade", "stamp", "ensure_version"})
"""Commands that change the database, which only one process may do at a time."""
CONNECTED = LOCKED | {"current", "check"}
"""Commands that always need a connection."""
DEFAULT_FOLDER = "migrations"
_STOCK_URL = "sqlalchemy.url = driver://user:pass@localhost/dbname"
_URL_HINT = (
    "# `scalekit pool alembic` uses the address in [plugins.pool]; `alembic` alone needs one here:\n"
    "# sqlalchemy.url = postgresql+psycopg://user@localhost/name"
)


class AlembicCommand:
    """One command of Alembic's, with the *arguments* of its command line; *migrations* is its default ``--config``."""

    def __init__(self, arguments: Sequence[str], migrations: str) -> None:
        line = CommandLine(prog=PROGRAM)
        self._options = line.parser.parse_args(_with_folder(arguments))
        if not hasattr(self._options, "cmd"):
            line.parser.error("too few arguments")
        self._config = _config(line, self._options, migrations)

    @property
    def name(self) -> str:
        """The name of the command, such as ``upgrade``."""
        return str(self._options.cmd[0].__name__)

    @property
    def needs_connection(self) -> bool:
        """Whether the command uses the database."""
        options = self._options
        if getattr(options, "sql", False):
            return False
        wants = any(getattr(options, name, False) for name in ("autogenerate", "indicate_current", "check_heads"))
        script_folder = self._config.get_alembic_option("script_location")
        runs_environment = script_folder and self._config.get_alembic_boolean_option("revision_environment")
        return bool(self.name in CONNECTED or wants or runs_environment)

    def run_offline(self, dialect: str) -> None:
        """Run the command without a connection, for *dialect*; raise MigrationError."""
        self._config.set_main_option("sqlalchemy.url", URLS[dialect])
        existed = Path(str(self._config.config_file_name)).exists()
        translate_errors(lambda: self._run(self._config))
        if self.name == "init" and self._options.template == "generic":
            self._adapt_environment(existed)

    async def run(self, session: AlembicSession) -> None:
        """Run the command on *session*, if it changes the database under the migration lock; raise MigrationError."""
        logger = logging.getLogger("alembic")
        logger.setLevel(logging.INFO)  # Alembic logs each revision that it applies
        if not logging.root.handlers:
            logger.addHandler(logging.StreamHandler())
        await session.run(self._config, self._run, exclusive=self.name in LOCKED)

    def _run(self, config: Config) -> None:
        function, positional, keywords = self._options.cmd
        arguments = [getattr(self._options, name, None) for name in positional]
        function(config, *arguments, **{name: getattr(self._options, name, None) for name in keywords})

    def _adapt_environment(self, had_config: bool) -> None:
        """Make the new environment one that uses the connection of its caller."""
        template = Path(__file__).with_name("env.template")
        (Path(self._options.directory) / "env.py").write_text(template.read_text())
        config = Path(str(self._config.config_file_name))
        if not had_config:
            config.write_text(config.read_text().replace(_STOCK_URL, _URL_HINT))
        self._config.print_stdout(f'Set migrations = "{config.name}" in [plugins.pool] to apply them at the start.')


def _with_folder(arguments: Sequence[str]) -> list[str]:
    return [*arguments, DEFAULT_FOLDER] if list(arguments) == ["init"] else list(arguments)


def _config(line: CommandLine, options: Namespace, migrations: str) -> Config:
    if not options.config and migrations and "ALEMBIC_CONFIG" not in os.environ:
        options.config = [str(migrations_folder(migrations))]
    find: Callable[[Namespace], tuple[str, str]] = line._inis_from_config
    toml, ini = translate_errors(lambda: find(options))
    config = Config(file_=ini, toml_file=toml, ini_section=options.name, cmd_opts=options)
    name = options.cmd[0].__name__
    if name not in ("init", "list_templates") and not any(Path(each).is_file() for each in (ini, toml)):
        raise MigrationError(f"{ini}: no such file: run `{PROGRAM} init`, or name one with --config")
    return config
