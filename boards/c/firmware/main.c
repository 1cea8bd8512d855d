/* Firmware of a LiteX SoC: a chain of layers on the machine, and faults, by the C driver; what is
 * found goes to the UART, and a last line PASS or FAIL; SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <generated/csr.h>
#include <generated/mem.h>
#include <irq.h>

#include "dtqatten_litex.h"
#include "expected.h"

/* Both far from the first bytes of main_ram, and each larger than the L2. */
#define MEMORY_BYTES 0x20000u
#define INPUTS (MAIN_RAM_BASE + 0x100000u)
#define OUTPUTS (MAIN_RAM_BASE + 0x200000u)
/* Cycles: more than a layer takes; less than that. */
#define TIMEOUT 1000000u
#define SHORT 600u

static struct dtqatten_memory inputs = {
    .start = (unsigned char *)INPUTS, .address = INPUTS, .size = MEMORY_BYTES};
static struct dtqatten_memory outputs = {
    .start = (unsigned char *)OUTPUTS, .address = OUTPUTS, .size = MEMORY_BYTES};
static struct dtqatten_port port;
static struct dtqatten machine;
static int wrong;
static const char *const names[] = {"outputs", "ids", "importance", "head report"};

void isr(void);
int main(void);

void isr(void)
{
}

static void print(const char *text)
{
    for (; *text; ++text) {
        while (uart_txfull_read())
            ;
        uart_rxtx_write((unsigned char)*text);
    }
}

static void print_number(uint32_t value)
{
    char digits[11];
    char *at = digits + sizeof digits - 1;
    *at = 0;
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    print(at);
}

/* Leave lines in the caches, changed ones in the L2, where the first results will be. */
static void disturb(void)
{
    volatile uint32_t *words = (volatile uint32_t *)outputs.start;
    for (size_t i = 0; i < 0x1000; ++i)
        words[i] = ~words[i];
}

static void expect(const char *what, enum dtqatten_outcome outcome,
                   enum dtqatten_outcome wanted, enum dtqatten_error error)
{
    const int good = outcome == wanted && machine.error == error;
    wrong += !good;
    print(what);
    print(": ");
    print(dtqatten_outcome_name(outcome));
    if (outcome == DTQATTEN_MACHINE_ERROR) {
        print(" ");
        print(dtqatten_error_name(machine.error));
    }
    print(good ? "\n" : ", which is wrong\n");
}

static void run_chain(const char *what)
{
    disturb();
    port.write(port.context, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_CLEAR_COUNTERS);
    expect(what, dtqatten_run(&machine, layers, layer_count), DTQATTEN_OK, DTQATTEN_ERROR_NONE);
    for (size_t i = 0; i < expected_count; ++i) {
        const struct expected *each = &expected[i];
        const struct dtqatten_layer *layer = &layers[each->layer];
        const void *found = layer->tensors[each->tensor];
        const int good = layer->complete && memcmp(found, each->bytes, each->size) == 0;
        wrong += !good;
        print("  layer ");
        print_number(each->layer);
        print(", ");
        print_number((uint32_t)each->size);
        print(" bytes of ");
        print(names[each->tensor - DTQATTEN_OUTPUT]);
        print(good ? ": equal\n" : ": WRONG\n");
    }
    print("  cycles: ");
    print_number(port.read(port.context, DTQATTEN_REG_CYCLES));
    print("\n");
}

int main(void)
{
    uint16_t k0 = layers[0].descriptor.k0;
    dtqatten_litex_port(&port, TIMEOUT);
#ifdef NO_MAINTENANCE /* so that a test sees that caches matter */
    port.clean = NULL;
    port.invalidate = NULL;
#endif
    expect("open", dtqatten_open(&machine, &port, &inputs, &outputs), DTQATTEN_OK,
           DTQATTEN_ERROR_NONE);
    run_chain("chain");

    layers[0].descriptor.k0 = 0;
    expect("a bad descriptor", dtqatten_run(&machine, layers, layer_count),
           DTQATTEN_MACHINE_ERROR, DTQATTEN_ERROR_K0);
    layers[0].descriptor.k0 = k0;

    /* A look takes some hundred cycles, an abort on this bus less. */
    port.idle = NULL;
    port.timeout = SHORT;
    expect("a short timeout", dtqatten_run(&machine, layers, layer_count), DTQATTEN_TIMED_OUT,
           DTQATTEN_ERROR_NONE);
    port.timeout = TIMEOUT;
    run_chain("chain, polled");

    dtqatten_litex_port(&port, TIMEOUT);
    dtqatten_begin(&machine, layer_count);
    dtqatten_add(&machine, &layers[0]);
    dtqatten_start(&machine);
    dtqatten_abort(&machine);
    expect("an abort", dtqatten_wait(&machine), DTQATTEN_ABORTED, DTQATTEN_ERROR_NONE);
    run_chain("chain again");
    print(wrong ? "FAIL\n\004" : "PASS\n\004");
    return 0;
}
