"""A testbench in plain Verilog of a block with streams: beats in, beats out, compared."""

from collections.abc import Mapping, Sequence

from dtqatten.integration.stream_vectors import StreamVectors

__all__ = ["hex_lines", "stream_testbench"]


def hex_lines(words: Sequence[int], width: int) -> str:
    """Return words for ``$readmemh``, of at least one line."""
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words or (0,))


def stream_testbench(
    top: str, streams: Sequence[StreamVectors], deadline: int, unused: Sequence[str] = ()
) -> Mapping[str, str]:
    """Return a testbench and its data, by the names of their files.

    Module ``<top>_tb`` pauses streams at random, but alike in every simulator. It compares every
    beat that comes out, and that none is missing or too many; it ends with a line ``PASS`` or
    ``FAIL``. Payloads without ``valid`` are unknown.

    Parameters
    ----------
    top : str
        The block's module.
    streams : sequence of StreamVectors
    deadline : int
        Cycles after which it gives up.
    unused : sequence of str
        Outputs that belong to no stream.
    """
    ports = ["    .clk(clk), .rst(rst)"]
    parts, ended, wrong = [], [], []
    for number, stream in enumerate(streams):
        name = stream.name
        ports.append(
            f"    .{name}__valid({name}_valid), .{name}__ready({name}_ready), "
            f".{name}__payload({name}_payload)"
        )
        parts.append((_source if stream.into else _sink)(top, stream, number))
        ended.append(f"{name}_next == {len(stream.beats)}")
        if not stream.into:
            wrong.append(f"{name}_wrong")
    ports += [f"    .{name}()" for name in unused]
    listed, all_ended, any_wrong = ",\n".join(ports), " && ".join(ended), " || ".join(wrong)
    text = f"""\
// Testbench of {top}, by `dtqatten verilog --testbench`; SPDX-License-Identifier: Apache-2.0
// Run it in the folder of its .hex files. Its last line is PASS or FAIL; +waves writes a VCD.
module {top}_tb;
  // Of 128 cycles, those in which a stream pauses.
  parameter PAUSES = 40;
  localparam DEADLINE = {deadline};

  reg clk = 1'b0, rst = 1'b1;
  integer cycle = 0, quiet = 0;
  always #5 clk = ~clk;

{"".join(parts)}
  {top} dut (
{listed}
  );

  wire ended = {all_ended};
  wire wrong = {any_wrong};
  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 2;
    // A while longer: there may be more than was expected.
    quiet <= ended ? quiet + 1 : 0;
  end
  // Between edges, so that it is the last line.
  always @(negedge clk)
    if (wrong || quiet == 100 || cycle == DEADLINE) begin
      if (!wrong && ended) $display("PASS: {top}, all beats equal, %0d cycles", cycle);
      else if (wrong) $display("FAIL: {top}, cycle %0d", cycle);
      else $display("FAIL: {top}, beats are missing after %0d cycles", cycle);
      $finish;
    end
  initial if ($test$plusargs("waves")) begin
    $dumpfile("{top}_tb.vcd");
    $dumpvars;
  end
endmodule
"""
    data = {f"{top}_tb_{each.name}.hex": hex_lines(each.beats, each.width) for each in streams}
    return {f"{top}_tb.v": text, **data}


def _memory(top: str, stream: StreamVectors, number: int) -> str:
    """Return a stream's beats, and the register that pauses it."""
    name, last = stream.name, max(len(stream.beats), 1) - 1
    return f"""\
  reg [{stream.width - 1}:0] {name}_beats [0:{last}];
  initial $readmemh("{top}_tb_{name}.hex", {name}_beats);
  integer {name}_next = 0;
  reg [15:0] {name}_random = 16'd{1 + 7919 * number % 65535};
  wire {name}_pauses = {name}_random[6:0] < PAUSES;
  always @(posedge clk) {name}_random <= {step(f"{name}_random")};
"""


def step(register: str) -> str:
    """Return the next state of a linear-feedback shift register of 16 bits, seven steps on."""
    taps = (15, 13, 12, 10)
    bits = ", ".join(" ^ ".join(f"{register}[{tap - shift}]" for tap in taps) for shift in range(7))
    return f"{{{register}[8:0], {bits}}}"


def _source(top: str, stream: StreamVectors, number: int) -> str:
    name, wide = stream.name, stream.width
    return f"""{_memory(top, stream, number)}\
  reg {name}_valid = 1'b0;
  reg [{wide - 1}:0] {name}_payload;
  wire {name}_ready;
  always @(posedge clk)
    if (rst) {name}_valid <= 1'b0;
    else if (!{name}_valid || {name}_ready)
      if ({name}_next < {len(stream.beats)} && !{name}_pauses) begin
        {name}_valid <= 1'b1;
        {name}_payload <= {name}_beats[{name}_next];
        {name}_next <= {name}_next + 1;
      end else begin
        {name}_valid <= 1'b0;
        {name}_payload <= {{{wide}{{1'bx}}}};
      end

"""


def _sink(top: str, stream: StreamVectors, number: int) -> str:
    name, wide = stream.name, stream.width
    return f"""{_memory(top, stream, number)}\
  wire {name}_valid;
  wire [{wide - 1}:0] {name}_payload;
  reg {name}_ready = 1'b0, {name}_wrong = 1'b0;
  always @(posedge clk)
    if (!rst) begin
      {name}_ready <= !{name}_pauses;
      if ({name}_valid !== 1'b0 && {name}_ready) begin
        {name}_next <= {name}_next + 1;
        if ({name}_next >= {len(stream.beats)} || {name}_valid !== 1'b1
            || {name}_payload !== {name}_beats[{name}_next]) begin
          {name}_wrong <= 1'b1;
          $display("{name}, beat %0d of {len(stream.beats)}: %h, not %h",
                   {name}_next, {name}_payload, {name}_beats[{name}_next]);
        end
      end
    end

"""
