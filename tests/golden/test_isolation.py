"""The golden model stands alone: it can judge the gateware only if it shares nothing with it."""

import subprocess
import sys

PROBE = """
import importlib, pkgutil, sys
import dtqatten.algorithm, dtqatten.golden
names = [m.name for m in pkgutil.walk_packages(dtqatten.golden.__path__, "dtqatten.golden.")]
assert "dtqatten.golden.numerics.attention" in names, names
# What runs inside models needs their library; the policy files are for everyone.
names += ["dtqatten.algorithm.policy", "dtqatten.algorithm.spatten"]
for name in names:
    importlib.import_module(name)
print([m for m in sys.modules if m.split(".")[0] in ("amaranth", "torch", "transformers", "cocotb")
       or m.startswith(("dtqatten.hw", "dtqatten.sim"))])
"""


def test_golden_imports_neither_gateware_nor_heavy_libraries():
    """PyTorch and transformers are imported by the functions that need them only."""
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
