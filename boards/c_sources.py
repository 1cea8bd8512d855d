"""The C driver's files, which the package carries."""

from dtqatten.files.packages import carried

__all__ = ["DRIVER", "FOLDER", "SOURCES"]

(FOLDER,) = carried("dtqatten.boards", "c")
#: Files of the driver, and of what calls it, by name.
SOURCES = {path.name: path for path in carried("dtqatten.boards", "c/*.[ch]")}
#: Those that every system takes, beside the generated `dtqatten.h`.
DRIVER = ("dtqatten_driver.h", "dtqatten_driver.c", "dtqatten_layout.c")
