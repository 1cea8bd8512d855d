// A simulated SoC as a library: clock, reset, and what its UART sends. MODEL is the verilated SoC.
#include "verilated.h"
#include <cstdint>
#include <memory>

namespace {
struct Soc {
    VerilatedContext context;
    std::unique_ptr<MODEL> model{new MODEL(&context)};

    void cycle() {
        model->sys_clk = 0;
        model->eval();
        model->sys_clk = 1;
        model->eval();
    }
};
}  // namespace

extern "C" {
Soc* create() {
    Soc* soc = new Soc;
    soc->model->serial_source_ready = 1;
    soc->model->sys_rst = 1;
    for (int i = 0; i < 4; ++i) soc->cycle();
    soc->model->sys_rst = 0;
    return soc;
}

void destroy(Soc* soc) { delete soc; }

// Run so many cycles, or until so many bytes were sent; return how many there are.
uint32_t run(Soc* soc, uint64_t cycles, uint8_t* sent, uint32_t most) {
    uint32_t count = 0;
    while (cycles-- && count < most) {
        if (soc->model->serial_source_valid) sent[count++] = soc->model->serial_source_data;
        soc->cycle();
    }
    return count;
}
}
