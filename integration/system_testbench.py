"""A testbench in plain Verilog of the machine on its bus: a host, a memory, and what it holds."""

from collections.abc import Iterator, Mapping

from dtqatten.configuration.system import SystemConfig
from dtqatten.integration.chain_vectors import ChainVectors
from dtqatten.integration.stream_testbench import hex_lines, step
from dtqatten.interface.registers import ADDRESS_BITS, Interrupt, Status, offset_of

__all__ = ["system_testbench"]


def system_testbench(
    system: SystemConfig, top: str, vectors: ChainVectors, *, lite_clock: bool = False
) -> Mapping[str, str]:
    """Return a testbench and its data, by the names of their files.

    Module ``<top>_tb`` is host and memory: it starts the chain as the driver does, waits for the
    interrupt, and compares registers and every word of memory, those included that nothing is
    written to. Memory answers one burst at a time, pauses at random, alike in every simulator, and
    takes a burst outside itself for a fault. The testbench ends with a line ``PASS`` or ``FAIL``.

    Parameters
    ----------
    system : SystemConfig
    top : str
        The machine's module.
    vectors : ChainVectors
    lite_clock : bool
        The host is on ``s_axil_clk``; the parameters ``HOST_HALF`` and ``HOST_LATE`` are half of
        its period and its first edge.
    """
    size = system.bus_bytes

    def words(image: bytes) -> list[int]:
        return [
            int.from_bytes(image[at : at + size], "little") for at in range(0, len(image), size)
        ]

    before, after = words(vectors.before), words(vectors.after)
    # A chain is far below this: a byte takes less than a cycle on a bus that pauses, and one row by
    # 128 columns, which compute longest for their operands, two.
    deadline = 10 * len(vectors.before) + 20_000
    last = len(before) - 1
    text = f"""\
// Testbench of {top}, by `dtqatten verilog --testbench`; SPDX-License-Identifier: Apache-2.0
// Run it in the folder of its .hex files. Its last line is PASS or FAIL; +waves writes a VCD.
module {top}_tb;
  // Of 128 cycles, those in which a channel pauses.
  parameter PAUSES = 40;
{_host_clock(deadline) if lite_clock else f"  localparam DEADLINE = {deadline};"}
  localparam [{system.address_bits - 1}:0] BASE = {system.address_bits}'h{vectors.base:x};

  reg clk = 1'b0, rst = 1'b1;
  integer cycle = 0, wrong = 0, number;
  wire irq;
  always #5 clk = ~clk;
  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= {"cycle < 10 || host_cycle < 10" if lite_clock else "cycle < 2"};
    if (cycle == DEADLINE) begin
      $display("FAIL: {top}, no interrupt after %0d cycles", cycle);
      $finish;
    end
  end

  reg [{system.bus_bits - 1}:0] memory [0:{last}];
  reg [{system.bus_bits - 1}:0] expected [0:{last}];
  initial $readmemh("{top}_tb_before.hex", memory);
  initial $readmemh("{top}_tb_after.hex", expected);

{_reads(system, last)}
{_writes(system, last)}
{_host(top, len(before), vectors, "s_axil_clk" if lite_clock else "clk")}
  {top} dut (
    .clk(clk), .rst(rst), .irq(irq),{HOST_PINS if lite_clock else ""}
    .s_axil_awvalid(s_axil_awvalid), .s_axil_awready(s_axil_awready),
    .s_axil_awaddr(s_axil_awaddr), .s_axil_awprot(3'b000),
    .s_axil_wvalid(s_axil_wvalid), .s_axil_wready(s_axil_wready),
    .s_axil_wdata(s_axil_wdata), .s_axil_wstrb(4'b1111),
    .s_axil_bvalid(s_axil_bvalid), .s_axil_bready(1'b1), .s_axil_bresp(s_axil_bresp),
    .s_axil_arvalid(s_axil_arvalid), .s_axil_arready(s_axil_arready),
    .s_axil_araddr(s_axil_araddr), .s_axil_arprot(3'b000),
    .s_axil_rvalid(s_axil_rvalid), .s_axil_rready(1'b1),
    .s_axil_rdata(s_axil_rdata), .s_axil_rresp(s_axil_rresp),
    .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_arid(arid), .m_axi_araddr(araddr),
    .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(), .m_axi_arcache(), .m_axi_arprot(),
    .m_axi_rvalid(rvalid), .m_axi_rready(rready), .m_axi_rid(rid), .m_axi_rdata(rdata),
    .m_axi_rresp(2'b00), .m_axi_rlast(rlast),
    .m_axi_awvalid(awvalid), .m_axi_awready(awready), .m_axi_awid(awid), .m_axi_awaddr(awaddr),
    .m_axi_awlen(), .m_axi_awsize(), .m_axi_awburst(), .m_axi_awcache(), .m_axi_awprot(),
    .m_axi_wvalid(wvalid), .m_axi_wready(wready), .m_axi_wdata(wdata), .m_axi_wstrb(wstrb),
    .m_axi_wlast(wlast),
    .m_axi_bvalid(bvalid), .m_axi_bready(bready), .m_axi_bid(bid), .m_axi_bresp(2'b00)
  );
  initial if ($test$plusargs("waves")) begin
    $dumpfile("{top}_tb.vcd");
    $dumpvars;
  end
endmodule
"""
    return {
        f"{top}_tb.v": text,
        f"{top}_tb_before.hex": hex_lines(before, system.bus_bits),
        f"{top}_tb_after.hex": hex_lines(after, system.bus_bits),
    }


#: Pins of a host with a clock of its own.
HOST_PINS = """
    .s_axil_clk(s_axil_clk), .s_axil_rst(s_axil_rst),"""


def _host_clock(deadline: int) -> str:
    """Return a clock of the host, its reset, and a deadline in cycles of the machine."""
    return f"""\
  // Half of the period of the host's clock, and its first edge; clk has 5 and 5.
  parameter HOST_HALF = 7, HOST_LATE = 3;
  localparam DEADLINE = {deadline} + 4000 * HOST_HALF;

  reg s_axil_clk = 1'b0, s_axil_rst = 1'b1;
  integer host_cycle = 0;
  initial begin
    #HOST_LATE s_axil_clk = 1'b1;
    forever #HOST_HALF s_axil_clk = ~s_axil_clk;
  end
  always @(posedge s_axil_clk) begin
    host_cycle <= host_cycle + 1;
    s_axil_rst <= cycle < 10 || host_cycle < 10;
  end"""


def _pauses(channel: str, seed: int) -> str:
    """Return the register that pauses a channel."""
    return f"""\
  reg [15:0] {channel}_random = 16'd{seed};
  wire {channel}_pauses = {channel}_random[6:0] < PAUSES;
  always @(posedge clk) {channel}_random <= {step(f"{channel}_random")};
"""


def _place(system: SystemConfig, address: str) -> str:
    """Return the number of the memory's word at an address."""
    return f"(({address} - BASE) >> {system.bus_bytes.bit_length() - 1})"


def _reads(system: SystemConfig, last: int) -> str:
    address, wide = system.address_bits - 1, system.bus_bits - 1
    return f"""\
  // Reads.
{_pauses("read", 4711)}\
  wire arvalid, rready;
  wire [3:0] arid;
  wire [{address}:0] araddr;
  wire [7:0] arlen;
  wire [2:0] arsize;
  reg arready = 1'b0, rvalid = 1'b0, rlast = 1'b0, read_outside = 1'b0;
  reg [3:0] rid, read_id;
  reg [{wide}:0] rdata;
  reg [{address}:0] read_address;
  reg [2:0] read_size;
  reg [8:0] read_left = 9'd0;
  wire [{address}:0] read_place = {_place(system, "read_address")};
  always @(posedge clk)
    if (rst) begin
      arready <= 1'b0;
      rvalid <= 1'b0;
      read_left <= 9'd0;
    end else begin
      arready <= read_left == 0 && !arready && !read_pauses;
      if (arvalid && arready) begin
        read_id <= arid;
        read_address <= araddr;
        read_size <= arsize;
        read_left <= arlen + 9'd1;
      end
      if (!rvalid || rready) begin
        rvalid <= read_left != 0 && !read_pauses;
        rdata <= {{{wide + 1}{{1'bx}}}};
        if (read_left != 0 && !read_pauses) begin
          rid <= read_id;
          rdata <= memory[read_place];
          rlast <= read_left == 1;
          read_left <= read_left - 9'd1;
          read_address <= ((read_address >> read_size) + 1) << read_size;
          if (read_place > {last}) read_outside <= 1'b1;
        end
      end
    end
"""


def _writes(system: SystemConfig, last: int) -> str:
    address, wide, size = system.address_bits - 1, system.bus_bits - 1, system.bus_bytes
    return f"""\
  // Writes.
{_pauses("write", 12345)}\
  wire awvalid, wvalid, wlast, bready;
  wire [3:0] awid;
  wire [{address}:0] awaddr;
  wire [{wide}:0] wdata;
  wire [{size - 1}:0] wstrb;
  reg awready = 1'b0, wready = 1'b0, bvalid = 1'b0, writing = 1'b0, write_outside = 1'b0;
  reg [3:0] bid;
  reg [{address}:0] write_address;
  wire [{address}:0] write_place = {_place(system, "write_address")};
  integer lane;
  always @(posedge clk)
    if (rst) begin
      awready <= 1'b0;
      wready <= 1'b0;
      bvalid <= 1'b0;
      writing <= 1'b0;
    end else begin
      awready <= !writing && !awready && !bvalid && !write_pauses;
      if (awvalid && awready) begin
        bid <= awid;
        write_address <= awaddr;
        writing <= 1'b1;
      end
      wready <= writing && !(wvalid && wready && wlast) && !write_pauses;
      if (wvalid && wready) begin
        for (lane = 0; lane < {size}; lane = lane + 1)
          if (wstrb[lane]) memory[write_place][8 * lane +: 8] <= wdata[8 * lane +: 8];
        write_address <= write_address + {size};
        if (write_place > {last}) write_outside <= 1'b1;
        if (wlast) begin
          writing <= 1'b0;
          bvalid <= 1'b1;
        end
      end
      if (bvalid && bready) bvalid <= 1'b0;
    end
"""


def _host(top: str, words: int, vectors: ChainVectors, clock: str) -> str:
    resets = {"rst", clock.replace("clk", "rst")}
    start = " || ".join(sorted(resets))
    top_bit = ADDRESS_BITS - 1
    calls = "".join(f"    {call};\n" for call in _calls(vectors, clock))
    return f"""\
  // The host.
  reg s_axil_awvalid = 1'b0, s_axil_wvalid = 1'b0, s_axil_arvalid = 1'b0;
  reg [{top_bit}:0] s_axil_awaddr, s_axil_araddr;
  reg [31:0] s_axil_wdata;
  wire s_axil_awready, s_axil_wready, s_axil_bvalid, s_axil_arready, s_axil_rvalid;
  wire [1:0] s_axil_bresp, s_axil_rresp;
  wire [31:0] s_axil_rdata;
  reg [31:0] found;
  reg answered;

  task write_register(input [{top_bit}:0] offset, input [31:0] value);
    begin
      s_axil_awaddr <= offset;
      s_axil_wdata <= value;
      s_axil_awvalid <= 1'b1;
      s_axil_wvalid <= 1'b1;
      answered = 1'b0;
      while (!answered) begin
        @(posedge {clock});
        if (s_axil_awready) s_axil_awvalid <= 1'b0;
        if (s_axil_wready) s_axil_wvalid <= 1'b0;
        answered = s_axil_bvalid;
      end
      if (s_axil_bresp !== 2'b00) wrong = wrong + 1;
      if (s_axil_bresp !== 2'b00) $display("register %h is not written: %b", offset, s_axil_bresp);
    end
  endtask

  task read_register(input [{top_bit}:0] offset);
    begin
      s_axil_araddr <= offset;
      s_axil_arvalid <= 1'b1;
      answered = 1'b0;
      while (!answered) begin
        @(posedge {clock});
        if (s_axil_arready) s_axil_arvalid <= 1'b0;
        answered = s_axil_rvalid;
      end
      found = s_axil_rdata;
      if (s_axil_rresp !== 2'b00) wrong = wrong + 1;
      if (s_axil_rresp !== 2'b00) $display("register %h is not read: %b", offset, s_axil_rresp);
    end
  endtask

  task expect_register(input [{top_bit}:0] offset, input [31:0] value);
    begin
      read_register(offset);
      if (found !== value) wrong = wrong + 1;
      if (found !== value) $display("register %h: %h, not %h", offset, found, value);
    end
  endtask

  initial begin
    @(posedge {clock});
    while ({start}) @(posedge {clock});
{calls}\
    for (number = 0; number < {words}; number = number + 1)
      if (memory[number] !== expected[number]) begin
        wrong = wrong + 1;
        if (wrong < 10) $display("memory at word %0d: %h, not %h", number,
                                 memory[number], expected[number]);
      end
    if (read_outside || write_outside) begin
      wrong = wrong + 1;
      $display("a burst leaves the memory");
    end
    if (wrong == 0) $display("PASS: {top}, memory and registers equal, %0d cycles", cycle);
    else $display("FAIL: {top}, %0d registers and words of memory differ", wrong);
    $finish;
  end
"""


def _calls(vectors: ChainVectors, clock: str) -> Iterator[str]:
    """Yield what the host does: what the driver did, a wait, and what it then finds."""
    for access in vectors.accesses:
        task = "write" if access.written else "expect"
        yield f"{task}_register({ADDRESS_BITS}'h{access.offset:03x}, 32'h{access.value:08x})"
    status = f"{ADDRESS_BITS}'h{offset_of('status'):03x}"
    yield f"while (irq !== 1'b1) @(posedge {clock})"
    # The first layer raises the interrupt, too.
    yield f"found = 32'h{Status.BUSY:08x}"
    yield f"while (found & 32'h{Status.BUSY:08x}) read_register({status})"
    for name, value in (
        ("status", 0),
        ("error_code", 0),
        ("layers_done", vectors.layers_done),
        ("interrupt", Interrupt.LAYER | Interrupt.DONE),
    ):
        yield f"expect_register({ADDRESS_BITS}'h{offset_of(name):03x}, 32'h{int(value):08x})"
