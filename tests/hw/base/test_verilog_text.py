"""Verilog as text: plain names, sources, modules."""

from pathlib import Path

import numpy as np

from dtqatten import hw
from dtqatten.hw.base.verilog_text import plain_names, relative_sources, split_modules

TEXT = """// first
// second
/* by a tool */

module top(a, \\end );
  wire \\x$1 ;
  wire x_1;
  \\sub.one one (.\\x$1 (\\x$1 ), .a(x_1));
endmodule

(* keep = 1 *)
module \\sub.one (\\x$1 , a);
endmodule
"""


def test_names_become_plain_and_stay_apart() -> None:
    text = plain_names(TEXT, {"end"})
    assert text == TEXT.replace("\\x$1", "x_1_").replace("\\sub.one", "sub_one")
    # Reserved words are taken, too, and no name begins with a digit.
    assert plain_names("wire \\end ; wire \\1st ; wire \\a[0] ;") == (
        "wire end_ ; wire _1st ; wire a_0_ ;"
    )
    assert plain_names(text, {"end"}) == text


def test_modules_are_cut_out_with_their_attributes() -> None:
    found = split_modules(plain_names(TEXT, {"end"}))
    assert list(found) == ["top", "sub_one"]
    assert found["top"].startswith("// first\n// second\nmodule top(")
    assert found["sub_one"] == (
        "// first\n// second\n(* keep = 1 *)\nmodule sub_one (x_1_ , a);\nendmodule\n"
    )


def test_sources_have_no_path_of_a_computer() -> None:
    package = Path(hw.__file__).parents[1]
    library = Path(np.__file__)
    text = f'\\src "{package}/hw/core.py:5|{library}:7|/usr/lib/python/abc.py:3"'
    assert relative_sources(text) == '\\src "hw/core.py:5|numpy/__init__.py:7|abc.py:3"'
