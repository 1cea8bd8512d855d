"""Map the top-level folders, ``hw`` and so on, to subpackages of ``dtqatten``."""

from setuptools import find_packages, setup

FOLDERS = ("hw", "golden", "model", "sim", "synth", "driver")
# find_packages, not an explicit list: a list silently drops new subpackages from the wheel.
found = find_packages(include=[pattern for f in FOLDERS for pattern in (f, f"{f}.*")])

setup(
    packages=[
        *find_packages(include=["dtqatten", "dtqatten.*"]),
        *(f"dtqatten.{package}" for package in found),
    ],
    package_dir={"dtqatten": "dtqatten", **{f"dtqatten.{f}": f for f in FOLDERS}},
    # The committed trace, the policies that searches found, the memory compiled with models.
    package_data={
        "dtqatten.golden": ["data/*.npz"],
        "dtqatten.sim": ["*.cpp"],
        "dtqatten.golden.algorithm": ["policies/*.json"],
    },
)
