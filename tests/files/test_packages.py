from pathlib import Path

import numpy as np

from dtqatten.files.packages import carried


def test_files_and_folders_of_a_package_are_found_in_order():
    folder = Path(np.__file__).parent
    assert carried("numpy", "__init__.py") == [folder / "__init__.py"]
    assert carried("numpy", "linalg") == [folder / "linalg"]
    found = carried("numpy", "linalg/*.py")
    assert len(found) > 1
    assert found == sorted(found)


def test_what_is_absent_is_an_empty_list():
    assert carried("no_such_package", "*") == []
    assert carried("numpy", "no-such-file") == []
    assert carried("json.decoder", "*") == []  # a module has no folder
