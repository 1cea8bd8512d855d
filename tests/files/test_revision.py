"""The commit that the program is of."""

import subprocess

from dtqatten.files.revision import revision


def test_a_commit_is_named_and_changes_are_told(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    package = tmp_path / "dtqatten"
    for folder in ("dtqatten", "algorithm/report", "golden"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("")
    look = revision.__wrapped__
    assert look(package) is None
    git("init", "-q")
    assert look(package) is None, "a package that its repository does not know"
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "--short", "HEAD")
    assert look(package) == commit
    (tmp_path / "algorithm" / "report" / "__init__.py").write_text("page = 1\n")
    assert look(package) == commit, "how a page looks changes no figure"
    (tmp_path / "golden" / "__init__.py").write_text("x = 1\n")
    assert look(package) == f"{commit}+"
