// A memory behind the AXI ports of a verilated system, and a host on its registers.
//
// Compiled with the model, so that a cycle costs no Python. It delays, pauses, interleaves and
// reorders what AXI4 allows it to, injects errors on demand, and counts every rule that is broken.
// Included after the model's header and macros: MODEL, BUS_BYTES, and DUMP_WAVES where it does.
#include "verilated.h"
#ifdef DUMP_WAVES
#include "verilated_fst_c.h"
#endif
#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

namespace {

constexpr int IDS = 16;
enum { OKAY = 0, SLVERR = 2, DECERR = 3 };

struct Burst {
    uint64_t address;
    int beats, width;  // bytes of a beat
    uint64_t due;
    uint64_t at(int beat) const { return address + uint64_t(beat) * width; }
};

struct Issued {
    uint64_t address;
    uint32_t id, beats, width, written, cycle;
};

// What a channel must hold until it is accepted.
struct Held {
    bool waiting = false;
    std::vector<uint8_t> payload;
};

struct Bench {
    MODEL* top = new MODEL;
    std::vector<uint8_t> memory;
    uint64_t base = 0;
    uint64_t window[2][2] = {};  // read, write: first and last byte
    std::mt19937_64 random;
    uint32_t latency_min = 1, latency_max = 1;
    double pause = 0;
    bool reorder = false;
    uint64_t cycle = 0;

    std::deque<Burst> reads[IDS];
    int read_beat[IDS] = {};
    int current = -1;
    bool r_valid = false, b_valid = false;
    uint8_t r_resp = 0, b_resp = 0;
    std::deque<Burst> writes, answers;
    std::deque<std::vector<uint8_t>> write_words;  // data, strobes, last
    int write_beat = 0;
    Held held_ar, held_aw, held_w;
    std::vector<Issued> issued;
    bool record = false;

    // Beats until an error, negative: none.
    int64_t read_error_in = -1, write_error_in = -1;
    int error_kind = SLVERR;

    // Host side: one register access at a time.
    struct { bool active = false, write = false, address_done = false, data_done = false;
             uint32_t address = 0, data = 0, resp = 0; bool done = false; } lite;

    uint64_t violations = 0, stray_reads = 0, stray_writes = 0;
    uint64_t beats_read = 0, beats_written = 0;

    double uniform() { return double(random() >> 11) / double(1ull << 53); }
    bool pauses() { return pause > 0 && uniform() < pause; }
    uint64_t due() {
        return cycle + latency_min +
               (latency_max > latency_min ? random() % (latency_max - latency_min + 1) : 0);
    }
    bool inside(uint64_t address, int bytes) const {
        return address >= base && address - base + bytes <= memory.size();
    }
    bool allowed(int direction, uint64_t first, uint64_t bytes) const {
        return first >= window[direction][0] && first + bytes - 1 <= window[direction][1];
    }

    void holds(Held& held, bool valid, bool ready, std::vector<uint8_t> payload) {
        if (held.waiting && (!valid || payload != held.payload)) violations++;
        held.waiting = valid && !ready;
        held.payload = std::move(payload);
    }
    std::vector<uint8_t> address_payload(uint8_t id, uint64_t address, uint8_t len, uint8_t size) {
        std::vector<uint8_t> p(11);
        p[0] = id; p[1] = len; p[2] = size;
        std::memcpy(&p[3], &address, 8);
        return p;
    }
    // Only reads of one beat may be narrow: AXI4 allows more, the machine does not do more.
    void check_burst(uint64_t address, int beats, int width, int burst, bool may_be_narrow) {
        bool aligned = address % width == 0;
        bool one_page = address / 4096 == (address + uint64_t(beats) * width - 1) / 4096;
        bool fits = width == BUS_BYTES || (width < BUS_BYTES && beats == 1 && may_be_narrow);
        if (!aligned || !one_page || !fits || burst != 1) violations++;
    }

    void drive() {
        top->m_axi_arready = !pauses();
        top->m_axi_awready = !pauses();
        top->m_axi_wready = !pauses();
        // R: a word stays until it is taken.
        if (!r_valid && !pauses()) {
            int candidates[IDS], count = 0;
            for (int id = 0; id < IDS; id++)
                if (!reads[id].empty() && reads[id].front().due <= cycle) candidates[count++] = id;
            bool keep = current >= 0 && !reorder;
            if (!keep && count) {
                current = candidates[0];
                if (reorder) current = candidates[random() % count];
                else
                    for (int i = 1; i < count; i++)
                        if (reads[candidates[i]].front().due < reads[current].front().due)
                            current = candidates[i];
            }
            if (count && current >= 0 && !reads[current].empty() &&
                reads[current].front().due <= cycle) {
                r_valid = true;
                r_resp = OKAY;
                const Burst& burst = reads[current].front();
                if (!inside(burst.at(read_beat[current]), burst.width)) r_resp = DECERR;
                if (read_error_in >= 0 && read_error_in-- == 0) r_resp = error_kind;
            }
        }
        top->m_axi_rvalid = r_valid;
        if (r_valid) {
            const Burst& burst = reads[current].front();
            uint64_t at = burst.at(read_beat[current]);
            top->m_axi_rid = current;
            top->m_axi_rresp = r_resp;
            top->m_axi_rlast = read_beat[current] == burst.beats - 1;
            // The lanes that a narrow beat does not use are noise.
            uint8_t word[BUS_BYTES];
            for (auto& lane : word) lane = uint8_t(cycle * 37 + 113);
            if (inside(at, burst.width))
                std::memcpy(&word[at % BUS_BYTES], &memory[at - base], burst.width);
            std::memcpy(&top->m_axi_rdata, word, BUS_BYTES);
        }
        if (!b_valid && !answers.empty() && answers.front().due <= cycle && !pauses()) {
            b_valid = true;
            b_resp = answers.front().beats;  // holds the response
        }
        top->m_axi_bvalid = b_valid;
        top->m_axi_bid = 0;
        top->m_axi_bresp = b_resp;
        top->s_axil_arvalid = lite.active && !lite.write && !lite.address_done;
        top->s_axil_araddr = lite.address;
        top->s_axil_rready = 1;
        top->s_axil_awvalid = lite.active && lite.write && !lite.address_done;
        top->s_axil_awaddr = lite.address;
        top->s_axil_wvalid = lite.active && lite.write && !lite.data_done;
        top->s_axil_wdata = lite.data;
        top->s_axil_wstrb = 15;
        top->s_axil_bready = 1;
    }

    void sample() {
        holds(held_ar, top->m_axi_arvalid, top->m_axi_arready,
              address_payload(top->m_axi_arid, top->m_axi_araddr, top->m_axi_arlen,
                              top->m_axi_arsize));
        holds(held_aw, top->m_axi_awvalid, top->m_axi_awready,
              address_payload(top->m_axi_awid, top->m_axi_awaddr, top->m_axi_awlen,
                              top->m_axi_awsize));
        std::vector<uint8_t> word(2 * BUS_BYTES + 1);
        std::memcpy(&word[0], &top->m_axi_wdata, BUS_BYTES);
        uint64_t strobes = top->m_axi_wstrb;
        for (int i = 0; i < BUS_BYTES; i++) word[BUS_BYTES + i] = strobes >> i & 1;
        word[2 * BUS_BYTES] = top->m_axi_wlast;
        holds(held_w, top->m_axi_wvalid, top->m_axi_wready, word);

        if (top->m_axi_arvalid && top->m_axi_arready) {
            int beats = top->m_axi_arlen + 1, width = 1 << top->m_axi_arsize;
            check_burst(top->m_axi_araddr, beats, width, top->m_axi_arburst, true);
            if (!allowed(0, top->m_axi_araddr, uint64_t(beats) * width)) stray_reads++;
            reads[top->m_axi_arid].push_back({top->m_axi_araddr, beats, width, due()});
            if (record)
                issued.push_back({top->m_axi_araddr, top->m_axi_arid, uint32_t(beats),
                                  uint32_t(width), 0, uint32_t(cycle)});
        }
        if (r_valid && top->m_axi_rready) {
            r_valid = false;
            beats_read++;
            if (++read_beat[current] == reads[current].front().beats) {
                read_beat[current] = 0;
                reads[current].pop_front();
                current = -1;
            }
        }
        if (top->m_axi_awvalid && top->m_axi_awready) {
            int beats = top->m_axi_awlen + 1, width = 1 << top->m_axi_awsize;
            check_burst(top->m_axi_awaddr, beats, width, top->m_axi_awburst, false);
            if (!allowed(1, top->m_axi_awaddr, uint64_t(beats) * width)) stray_writes++;
            writes.push_back({top->m_axi_awaddr, beats, width, 0});
            if (record)
                issued.push_back({top->m_axi_awaddr, top->m_axi_awid, uint32_t(beats),
                                  uint32_t(width), 1, uint32_t(cycle)});
        }
        if (top->m_axi_wvalid && top->m_axi_wready) write_words.push_back(std::move(word));
        while (!writes.empty() && !write_words.empty()) {
            Burst& burst = writes.front();
            const auto& front = write_words.front();
            uint64_t at = burst.at(write_beat);
            bool last = ++write_beat == burst.beats;
            if (front[2 * BUS_BYTES] != last) violations++;
            bool good = inside(at, BUS_BYTES);
            if (good)
                for (int i = 0; i < BUS_BYTES; i++)
                    if (front[BUS_BYTES + i]) memory[at - base + i] = front[i];
            beats_written++;
            write_words.pop_front();
            if (last) {
                int resp = good ? OKAY : DECERR;
                if (write_error_in >= 0 && write_error_in-- == 0) resp = error_kind;
                answers.push_back({0, resp, 0, due()});
                writes.pop_front();
                write_beat = 0;
            }
        }
        if (b_valid && top->m_axi_bready) {
            b_valid = false;
            answers.pop_front();
        }
        if (lite.active) {
            if (!lite.write) {
                if (top->s_axil_arvalid && top->s_axil_arready) lite.address_done = true;
                if (top->s_axil_rvalid) {
                    lite.data = top->s_axil_rdata;
                    lite.resp = top->s_axil_rresp;
                    lite.done = true;
                    lite.active = false;
                }
            } else {
                if (top->s_axil_awvalid && top->s_axil_awready) lite.address_done = true;
                if (top->s_axil_wvalid && top->s_axil_wready) lite.data_done = true;
                if (top->s_axil_bvalid) {
                    lite.resp = top->s_axil_bresp;
                    lite.done = true;
                    lite.active = false;
                }
            }
        }
    }

#ifdef DUMP_WAVES
    VerilatedFstC* waves = nullptr;
    void dump(int half) { if (waves) waves->dump(2 * cycle + half); }
#else
    void dump(int) {}
#endif

    // A clock cycle: what is driven is seen before the edge, and lasts until the next cycle.
    void edge() {
        top->eval();
        dump(0);
        if (!top->rst) sample();
        top->clk = 1;
        top->eval();
        dump(1);
        cycle++;
    }

    void step() {
        drive();
        top->clk = 0;
        edge();
    }

    // The bus is reset with the machine: nothing stays due.
    void reset(int cycles) {
        for (auto& queue : reads) queue.clear();
        std::memset(read_beat, 0, sizeof read_beat);
        writes.clear(); answers.clear(); write_words.clear();
        write_beat = 0; current = -1; r_valid = b_valid = false;
        held_ar = held_aw = held_w = Held();
        lite.active = false;
        read_error_in = write_error_in = -1;
        top->rst = 1;
        for (int i = 0; i < cycles; i++) {
            top->m_axi_arready = top->m_axi_awready = top->m_axi_wready = 0;
            top->m_axi_rvalid = top->m_axi_bvalid = 0;
            top->s_axil_arvalid = top->s_axil_awvalid = top->s_axil_wvalid = 0;
            top->clk = 0;
            edge();
        }
        top->rst = 0;
    }

    bool access(bool write, uint32_t address, uint32_t& data) {
        lite = {};
        lite.active = true;
        lite.write = write;
        lite.address = address;
        lite.data = data;
        for (int i = 0; i < 100 && !lite.done; i++) step();
        data = lite.data;
        return lite.done && lite.resp == OKAY;
    }
};

}  // namespace
