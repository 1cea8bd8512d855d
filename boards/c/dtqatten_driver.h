/* Driver of the DTQAtten machine; SPDX-License-Identifier: Apache-2.0
 *
 * C11, freestanding but for memcpy and memset, without allocation. A system gives it a `struct
 * dtqatten_port` (registers, cache maintenance, time) and two pieces of memory that CPU and machine
 * share. Layers are descriptors as docs/registers.md has them, beside pointers to their tensors; the
 * driver places them, runs them as a chain, and says how it ended.
 *
 *     dtqatten_open(&machine, &port, inputs, outputs);
 *     dtqatten_run(&machine, layers, 2);          // or begin, add, start, wait, add, ...
 *     use(layers[1].tensors[DTQATTEN_OUTPUT]);
 *
 * A chain begins on an idle machine (one that another program left running is aborted) and leaves it
 * idle with its interrupts off, however it ends. One context at a time may use a machine; any may
 * call dtqatten_abort.
 */
#ifndef DTQATTEN_DRIVER_H
#define DTQATTEN_DRIVER_H

#include <stdbool.h>

#include "dtqatten.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a cache line, if those are more than the machine's alignment: what the driver places never
 * shares a line. */
#ifndef DTQATTEN_CACHE_LINE
#define DTQATTEN_CACHE_LINE DTQATTEN_ALIGNMENT
#endif

/* How a call ends: X(name, meaning). */
#define DTQATTEN_OUTCOMES(X)                                                                       \
    X(OK, "all layers given so far are complete")                                                  \
    X(RUNNING, "layers are not complete yet")                                                      \
    X(NO_MACHINE, "the register id is not the machine's")                                          \
    X(OTHER_VERSION, "the machine has another layout of registers and descriptors")                \
    X(BAD_MEMORY, "not whole pages, beyond the machine's address bits, or overlapping")            \
    X(BAD_CHAIN, "no layers, more than the chain has, or none begun")                              \
    X(NO_CONTENTS, "a tensor that the flags ask for is NULL")                                      \
    X(NO_ROOM, "the memory given is too small")                                                    \
    X(MACHINE_ERROR, "the machine ended the chain; error, error_address and done say why")         \
    X(ABORTED, "dtqatten_abort was called")                                                        \
    X(TIMED_OUT, "no layer was complete within the timeout")                                       \
    X(NOT_IDLE, "still busy after an abort: reset the machine and its side of the bus together")   \
    X(STALE, "the machine does not run this chain: it was reset, or has another user")

enum dtqatten_outcome {
#define DTQATTEN_X(name, meaning) DTQATTEN_##name,
    DTQATTEN_OUTCOMES(DTQATTEN_X)
#undef DTQATTEN_X
};

/* What a system gives the driver. */
struct dtqatten_port {
    void *context; /* first argument of all that follow */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* The machine sees what the CPU has written there, before the next call returns: write back
     * caches, then a barrier. NULL where memory is coherent and ordered. */
    void (*clean)(void *context, const void *start, size_t bytes);
    /* The CPU will see what the machine had written there when registers were read last: a barrier,
     * then drop lines of caches. Called before and after the machine writes. NULL as above. */
    void (*invalidate)(void *context, const void *start, size_t bytes);
    /* Time in ticks, which may wrap around. NULL: ticks are looks at the machine. */
    uint32_t (*now)(void *context);
    /* Return when the interrupt line is high, or after a while. NULL: the driver polls, and leaves
     * the machine's interrupts off. */
    void (*idle)(void *context);
    /* Ticks without a complete layer until the driver gives up, and for an abort. */
    uint32_t timeout;
};

/* Memory that CPU and machine share: whole pages. Rooms are given from below for one chain, by the
 * driver, and from above for good, by dtqatten_keep. */
struct dtqatten_memory {
    unsigned char *start; /* as the CPU sees it */
    uint64_t address;     /* as the machine sees it */
    size_t size;
    size_t used; /* 0 */
    size_t kept; /* 0 */
};

/* Tensors of a layer: the n-th address of a descriptor from DTQATTEN_DESC_Q on. */
enum dtqatten_tensor {
    DTQATTEN_Q,
    DTQATTEN_K,
    DTQATTEN_V,
    DTQATTEN_HEAD_TABLE,
    DTQATTEN_Q_GAINS,
    DTQATTEN_K_GAINS,
    DTQATTEN_V_GAINS,
    DTQATTEN_QUERY_LIST,
    DTQATTEN_KEY_LIST,
    DTQATTEN_HELD,
    DTQATTEN_KEY_BIAS = 11,
    DTQATTEN_OUTPUT,
    DTQATTEN_IDS,
    DTQATTEN_IMPORTANCE,
    DTQATTEN_HEAD_REPORT,
    DTQATTEN_TENSORS
};

/* A layer. It must stay where it is until its chain has ended. */
struct dtqatten_layer {
    /* Flags and counts are the caller's; the driver sets version, magic, ready, next, addresses. */
    struct dtqatten_descriptor descriptor;
    /* What is read: used in place where it lies in shared memory, otherwise copied there. HELD is
     * written, too: it lies in `outputs`, by dtqatten_keep. What is written only, from OUTPUT on, the
     * driver places, and points to here; valid until the next chain begins. */
    const void *tensors[DTQATTEN_TENSORS];
    bool complete; /* set by the driver */
    struct dtqatten_layer *following; /* the driver's */
    uint64_t address;                 /* the driver's: of the descriptor */
};

/* A region of memory that a layer uses. */
struct dtqatten_region {
    enum dtqatten_tensor tensor;
    bool written;
    uint64_t bytes;
};
/* Most regions of a layer: HELD is read and written. */
#define DTQATTEN_REGIONS 16

/* A machine. Members are to be read only. */
struct dtqatten {
    const struct dtqatten_port *port;
    struct dtqatten_memory *inputs, *outputs;
    uint32_t d_head;
    /* The chain: layers that it will have, that are placed, that are complete. */
    uint32_t length, placed, done;
    /* After MACHINE_ERROR. */
    enum dtqatten_error error;
    uint64_t error_address;
    /* The driver's. */
    bool begun, started;
    volatile bool aborting;
    uint32_t since;
    struct dtqatten_layer *pending, *last;
    unsigned char *reserved;
};

/* Take a machine; nothing is written to it. OK, NO_MACHINE, OTHER_VERSION or BAD_MEMORY.
 * `port` and the memories must stay where they are. */
enum dtqatten_outcome dtqatten_open(struct dtqatten *machine, const struct dtqatten_port *port,
                                    struct dtqatten_memory *inputs,
                                    struct dtqatten_memory *outputs);

/* Run a chain of layers that are all known: begin, add, start, wait. */
enum dtqatten_outcome dtqatten_run(struct dtqatten *machine, struct dtqatten_layer *layers,
                                   uint32_t count);

/* Begin a chain of so many layers: the machine is made idle, and the memories are cleared but for
 * what they keep. */
enum dtqatten_outcome dtqatten_begin(struct dtqatten *machine, uint32_t length);
/* Put the next layer into memory. */
enum dtqatten_outcome dtqatten_add(struct dtqatten *machine, struct dtqatten_layer *layer);
/* Start the machine on the layers added so far, or have it go on where it waits. OK: it runs. */
enum dtqatten_outcome dtqatten_start(struct dtqatten *machine);
/* Look how far it is: RUNNING, OK, or how the chain ended. For loops and interrupt handlers of one's
 * own, which know their timeout; end it by dtqatten_stop then. */
enum dtqatten_outcome dtqatten_poll(struct dtqatten *machine);
/* Wait until the layers added so far are complete. */
enum dtqatten_outcome dtqatten_wait(struct dtqatten *machine);
/* End the chain and make the machine idle, its interrupts off: OK or NOT_IDLE. */
enum dtqatten_outcome dtqatten_stop(struct dtqatten *machine);
/* End the chain that runs, from any context; dtqatten_wait returns ABORTED. */
void dtqatten_abort(struct dtqatten *machine);

/* A room in shared memory, of whole cache lines: for the chain that has begun, or, between chains,
 * for good. NULL if there is none. */
void *dtqatten_take(struct dtqatten_memory *memory, uint64_t bytes);
void *dtqatten_keep(struct dtqatten_memory *memory, uint64_t bytes);
/* Whether a place is in shared memory, and its address for the machine. */
bool dtqatten_inside(const struct dtqatten_memory *memory, const void *place);
uint64_t dtqatten_address(const struct dtqatten_memory *memory, const void *place);
/* Regions of a layer on a machine of so many channels a head; returns how many. */
size_t dtqatten_regions(const struct dtqatten_descriptor *layer, uint32_t d_head,
                        struct dtqatten_region regions[DTQATTEN_REGIONS]);
/* Lay out a head of 8-bit codes [tokens][d_head] as its planes [hi, lo][tokens][d_head / 2]. */
void dtqatten_planes(void *planes, const int8_t *codes, size_t tokens, uint32_t d_head);
/* A 64-bit register, such as DTQATTEN_REG_CURRENT. */
uint64_t dtqatten_read64(const struct dtqatten *machine, uint32_t offset);
/* Names, such as "READ_WINDOW" and "TIMED_OUT", and what an outcome means. */
const char *dtqatten_error_name(enum dtqatten_error error);
const char *dtqatten_outcome_name(enum dtqatten_outcome outcome);
const char *dtqatten_outcome_meaning(enum dtqatten_outcome outcome);

#ifdef __cplusplus
}
#endif

#endif
