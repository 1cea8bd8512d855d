"""Where studies are kept: files, and databases that workers on many machines share."""

import itertools
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from dtqatten.files.errors import UsageError

__all__ = ["storage_of"]

#: Times that a database is tried, a second apart.
OPENINGS = 4


def storage_of(where: str) -> Any:
    """Return an Optuna storage: a URL, or a file (``*.journal`` or SQLite).

    A journal file and a PostgreSQL URL serve workers on many machines; SQLite those of one.

    Raises
    ------
    UsageError
        If the driver of a database is not installed or the database cannot be opened.
    """
    if "://" in where:
        return _database(where)
    if where.endswith(".journal"):
        return optuna.storages.JournalStorage(JournalFileBackend(where))
    # A path is data, not a part of a URL's syntax: ``?``, ``%`` and ``#`` mean themselves.
    url = URL.create("sqlite", database=str(Path(where).absolute())).render_as_string()
    made = _database(url, engine_kwargs={"connect_args": {"timeout": 60}})
    _serialize(made.engine)
    return made


def _serialize(engine: Engine) -> None:
    """Let each transaction of SQLite take the write lock as it begins.

    Optuna reads a waiting trial, then sets it running, and locks its row meanwhile. SQLite knows no
    such locks: two workers would take the same trial, and the second to finish would die of it.
    """

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        del record
        connection.isolation_level = None  # else the driver begins, and late

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    # Connections made so far know nothing of this.
    engine.dispose()


def _database(url: str, **options: Any) -> Any:
    kind = url.partition(":")[0]
    for attempt in itertools.count(1):
        # A worker that dies leaves its trial running: the heartbeat lets others give it up.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            try:
                return optuna.storages.RDBStorage(
                    url, heartbeat_interval=30, grace_period=120, **options
                )
            except ImportError as e:
                raise UsageError(
                    f"cannot open {kind} storage: {e}; install the driver of the database "
                    "(PostgreSQL: pip install 'dtqatten[postgresql]')"
                ) from None
            except DBAPIError as e:
                # Workers that start together make the same tables: all but one fail, once.
                if attempt == OPENINGS:
                    raise UsageError(
                        f"cannot open {kind} storage: {e.orig}; check the address and that the "
                        "server runs and has the database"
                    ) from None
        time.sleep(1)
