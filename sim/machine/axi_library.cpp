// What Python calls of a bench: included after axi_memory.cpp. A handle is a Bench.
extern "C" {
// `seed`: of what has no initial value.
void* create(uint64_t base, uint64_t size, uint32_t seed) {
    Verilated::randReset(2);
    Verilated::randSeed(int(seed));
#ifdef DUMP_WAVES
    Verilated::traceEverOn(true);
#endif
    auto* bench = new Bench;
    bench->base = base;
    bench->memory.resize(size);
    return bench;
}
void destroy(void* handle) {
    auto* bench = static_cast<Bench*>(handle);
#ifdef DUMP_WAVES
    if (bench->waves) bench->waves->close();
    delete bench->waves;
#endif
    delete bench->top;
    delete bench;
}
// Opens a file for every signal in every cycle; returns whether that worked.
int dump(void* handle, const char* path) {
#ifdef DUMP_WAVES
    auto* bench = static_cast<Bench*>(handle);
    bench->waves = new VerilatedFstC;
    bench->top->trace(bench->waves, 99);
    bench->waves->open(path);
    return bench->waves->isOpen();
#else
    return 0;
#endif
}
uint8_t* memory(void* handle) { return static_cast<Bench*>(handle)->memory.data(); }
void configure(void* handle, uint64_t seed, uint32_t latency_min, uint32_t latency_max,
               double pause, int reorder) {
    auto* bench = static_cast<Bench*>(handle);
    bench->random.seed(seed);
    bench->latency_min = latency_min;
    bench->latency_max = latency_max;
    bench->pause = pause;
    bench->reorder = reorder;
}
void set_window(void* handle, int direction, uint64_t first, uint64_t last) {
    auto* bench = static_cast<Bench*>(handle);
    bench->window[direction][0] = first;
    bench->window[direction][1] = last;
}
void inject(void* handle, int64_t read_error_in, int64_t write_error_in, int kind) {
    auto* bench = static_cast<Bench*>(handle);
    bench->read_error_in = read_error_in;
    bench->write_error_in = write_error_in;
    bench->error_kind = kind;
}
void reset(void* handle, int cycles) { static_cast<Bench*>(handle)->reset(cycles); }
// Returns whether the access was answered with OKAY.
int access_register(void* handle, int write, uint32_t address, uint32_t* data) {
    return static_cast<Bench*>(handle)->access(write, address, *data);
}
// Runs until the interrupt is high, at most so many cycles; returns the cycles run.
uint64_t run(void* handle, uint64_t most, int until_interrupt) {
    auto* bench = static_cast<Bench*>(handle);
    uint64_t cycles = 0;
    while (cycles < most && !(until_interrupt && bench->top->irq)) {
        bench->step();
        cycles++;
    }
    return cycles;
}
int interrupt(void* handle) { return static_cast<Bench*>(handle)->top->irq; }
// Cycles, violations, stray reads and writes, beats read and written.
void counters(void* handle, uint64_t* to) {
    auto* bench = static_cast<Bench*>(handle);
    to[0] = bench->cycle; to[1] = bench->violations; to[2] = bench->stray_reads;
    to[3] = bench->stray_writes; to[4] = bench->beats_read; to[5] = bench->beats_written;
}
void record(void* handle, int on) {
    auto* bench = static_cast<Bench*>(handle);
    bench->record = on;
    bench->issued.clear();
}
uint64_t recorded(void* handle) { return static_cast<Bench*>(handle)->issued.size(); }
const void* records(void* handle) { return static_cast<Bench*>(handle)->issued.data(); }
}
