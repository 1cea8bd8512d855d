/* The C driver's port to a LiteX SoC of dtqatten.boards.litex; SPDX-License-Identifier: Apache-2.0
 *
 * The machine is on LiteDRAM, behind all caches. The CPU's data cache writes through and is dropped
 * as a whole; the SoC's L2 writes back and has no command: what is in a line of it goes when the
 * line is read of another address that maps to it. Compile with LiteX's headers of the SoC and, as
 * these want, for GNU C.
 */
#include "dtqatten_litex.h"

#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>
#include <irq.h>
#include <system.h>

/* The L2's lines have at least so many bytes. */
#define L2_LINE 16u
/* Looks at the interrupt line in a wait. */
#define LOOKS 100u

static uint32_t read_register(void *context, uint32_t offset)
{
    (void)context;
    return *(volatile uint32_t *)(DTQATTEN_BASE + offset);
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    (void)context;
    *(volatile uint32_t *)(DTQATTEN_BASE + offset) = value;
}

/* Have memory hold what the CPU has written, and caches nothing of it. */
static void flush(void *context, const void *start, size_t bytes)
{
    (void)context;
    /* Lines of the L2 are read only if the data cache has them not. */
    flush_cpu_dcache();
#ifdef CONFIG_L2_SIZE
    _Static_assert(MAIN_RAM_SIZE >= 2 * CONFIG_L2_SIZE, "main_ram has no second line for each of L2");
    const uintptr_t first = ((uintptr_t)start - MAIN_RAM_BASE) & ~(uintptr_t)(L2_LINE - 1);
    const uintptr_t end = (uintptr_t)start - MAIN_RAM_BASE + bytes;
    for (uintptr_t at = first; at < end && at - first < CONFIG_L2_SIZE; at += L2_LINE)
        (void)*(volatile const uint32_t *)(MAIN_RAM_BASE + (at ^ CONFIG_L2_SIZE));
    flush_cpu_dcache();
#else
    (void)start;
    (void)bytes;
#endif
}

static uint32_t now(void *context)
{
    (void)context;
    timer0_update_value_write(1);
    return ~timer0_value_read();
}

static void idle(void *context)
{
    (void)context;
    for (unsigned int look = 0; look < LOOKS; ++look)
        if (irq_pending() & 1u << DTQATTEN_INTERRUPT)
            return;
}

void dtqatten_litex_port(struct dtqatten_port *port, uint32_t timeout)
{
    timer0_en_write(0);
    timer0_load_write(0xffffffffu);
    timer0_reload_write(0xffffffffu);
    timer0_en_write(1);
    irq_setmask(irq_getmask() | 1u << DTQATTEN_INTERRUPT);
    *port = (struct dtqatten_port){
        .read = read_register,
        .write = write_register,
        .clean = flush,
        .invalidate = flush,
        .now = now,
        .idle = idle,
        .timeout = timeout,
    };
}
