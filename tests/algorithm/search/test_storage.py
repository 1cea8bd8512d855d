"""Where studies are kept, and shared."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from sqlalchemy.exc import IntegrityError

from dtqatten.algorithm.search import storage
from dtqatten.algorithm.search.storage import storage_of


def test_databases_that_cannot_be_opened_say_why(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "OPENINGS", 1)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"cannot open postgresql storage.*dtqatten\[postgresql\]"):
        storage_of("postgresql://user@localhost/studies")
    with pytest.raises(ValueError, match=r"cannot open sqlite storage: unable.*check the address"):
        storage_of(f"sqlite:///{tmp_path}/no/such/folder/study.db")


def test_the_path_of_a_file_is_its_name_and_nothing_else(tmp_path, monkeypatch):
    """Not a URL's query, escape or fragment: each name is a file and a study of its own."""
    names = ["s.db", "s.db?1", "s.db?timeout=1", "a%41.db", "aA.db", "a%2541.db", "a#b.db"]
    names += ["a b.db", "{SCHEMA_VERSION}.db", "%s.db", "a@b:1.db", ":memory:", "s.db\\"]
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(names):
        place = name if number % 2 else str(tmp_path / name)
        study = optuna.create_study(storage=storage_of(place), study_name="s")
        study.set_user_attr("name", name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        again = optuna.load_study(study_name="s", storage=storage_of(str(tmp_path / name)))
        assert again.user_attrs["name"] == name


def test_a_database_that_others_are_making_is_tried_again(monkeypatch, tmp_path):
    made = optuna.storages.RDBStorage
    failures = [IntegrityError("CREATE TYPE", None, Exception("exists")) for _ in range(2)]

    def failing(*args, **kwargs):
        if failures:
            raise failures.pop()
        return made(*args, **kwargs)

    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(optuna.storages, "RDBStorage", failing)
    assert isinstance(storage_of(str(tmp_path / "s.db")), made)
    assert not failures


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.parametrize("place", ["study.db", "study.journal"])
def test_no_two_workers_take_the_same_trial(tmp_path, place):
    path = str(tmp_path / place)
    study = optuna.create_study(storage=storage_of(path), study_name="s")
    for x in range(24):
        study.enqueue_trial({"x": x})
    workers = [optuna.load_study(study_name="s", storage=storage_of(path)) for _ in range(4)]
    together = threading.Barrier(len(workers))

    def take(worker):
        together.wait()
        return [worker.ask().number for _ in range(6)]

    with ThreadPoolExecutor(len(workers)) as pool:
        taken = [number for numbers in pool.map(take, workers) for number in numbers]
    assert sorted(taken) == list(range(24))
