// A verilated board whose serial line is served bit by bit: included after MODEL and DIVISOR.
#include <cstdint>
#include <deque>

struct Board {
    MODEL top;
    std::deque<uint8_t> to_board, to_host;
    // Frames under way: bits that are left, lowest first, and cycles of the current bit.
    uint32_t sending = 0, send_bits = 0, send_cycles = 0;
    uint32_t receiving = 0, receive_bits = 0, receive_cycles = 0;

    void step() {
        if (send_cycles == 0) {
            if (send_bits == 0 && !to_board.empty()) {
                sending = uint32_t(to_board.front()) << 1 | 1u << 9;
                to_board.pop_front();
                send_bits = 10;
            }
            top.rx = send_bits ? sending & 1 : 1;
            if (send_bits) {
                sending >>= 1;
                send_bits--;
                send_cycles = DIVISOR - 1;
            }
        } else {
            send_cycles--;
        }
        top.clk = 0;
        top.eval();
        if (receive_bits == 0) {
            if (!top.tx) {
                receive_bits = 9;
                receive_cycles = DIVISOR + DIVISOR / 2 - 1;
            }
        } else if (receive_cycles-- == 0) {
            receiving = receiving >> 1 | uint32_t(top.tx) << 8;
            receive_cycles = DIVISOR - 1;
            // After the stop bit.
            if (--receive_bits == 0) to_host.push_back(uint8_t(receiving));
        }
        top.clk = 1;
        top.eval();
    }
};

extern "C" {
void* create() {
    auto* board = new Board;
    board->top.rx = 1;
    board->top.rst = 1;
    board->step();
    board->top.rst = 0;
    return board;
}
void destroy(void* handle) { delete static_cast<Board*>(handle); }
void put(void* handle, const uint8_t* bytes, uint32_t count) {
    auto* board = static_cast<Board*>(handle);
    board->to_board.insert(board->to_board.end(), bytes, bytes + count);
}
// Runs so many cycles; returns the bytes that wait for the board.
uint32_t run(void* handle, uint32_t cycles) {
    auto* board = static_cast<Board*>(handle);
    while (cycles--) board->step();
    return uint32_t(board->to_board.size());
}
// Takes at most so many of the bytes that have come from the board; returns how many.
uint32_t get(void* handle, uint8_t* bytes, uint32_t most) {
    auto* board = static_cast<Board*>(handle);
    uint32_t count = 0;
    while (count < most && !board->to_host.empty()) {
        bytes[count++] = board->to_host.front();
        board->to_host.pop_front();
    }
    return count;
}
}
