"""Which commit the program is of."""

import functools
import subprocess
from pathlib import Path

__all__ = ["revision"]

#: Folder of the package.
PACKAGE = Path(__file__).parents[1]
#: What figures of accuracy follow from.
ARITHMETIC = (":/algorithm", ":/golden", ":(exclude,top)algorithm/report")


@functools.cache
def revision(package: Path = PACKAGE) -> str | None:
    """Return the commit that the program runs from, with a plus if its arithmetic was changed.

    None where it runs from no repository of its own, as when it is installed.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A virtual environment may lie in a repository that knows nothing of it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *ARITHMETIC)
    return f"{commit}+" if changed else commit
