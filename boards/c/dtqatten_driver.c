/* Driver of the DTQAtten machine: chains of layers; SPDX-License-Identifier: Apache-2.0 */
#include "dtqatten_driver.h"

#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "descriptors are little endian, as the host has to be"
#endif

DTQATTEN_ASSERT(DTQATTEN_CACHE_LINE % DTQATTEN_ALIGNMENT == 0, "cache line");
DTQATTEN_ASSERT(DTQATTEN_PAGE_BYTES % DTQATTEN_CACHE_LINE == 0, "cache line");

static uint32_t get(const struct dtqatten *machine, uint32_t offset)
{
    return machine->port->read(machine->port->context, offset);
}

static void put(const struct dtqatten *machine, uint32_t offset, uint32_t value)
{
    machine->port->write(machine->port->context, offset, value);
}

static void put64(const struct dtqatten *machine, uint32_t offset, uint64_t value)
{
    put(machine, offset, (uint32_t)value);
    put(machine, offset + 4, (uint32_t)(value >> 32));
}

uint64_t dtqatten_read64(const struct dtqatten *machine, uint32_t offset)
{
    uint64_t low = get(machine, offset);
    return low | (uint64_t)get(machine, offset + 4) << 32;
}

static void clean(const struct dtqatten *machine, const void *start, size_t bytes)
{
    if (machine->port->clean)
        machine->port->clean(machine->port->context, start, bytes);
}

static void invalidate(const struct dtqatten *machine, const void *start, size_t bytes)
{
    if (machine->port->invalidate)
        machine->port->invalidate(machine->port->context, start, bytes);
}

/* Time: since a restart, in ticks or in looks. */

static void restart(struct dtqatten *machine)
{
    machine->since = machine->port->now ? machine->port->now(machine->port->context) : 0;
}

static bool late(struct dtqatten *machine)
{
    uint32_t ticks;
    if (machine->port->now)
        ticks = machine->port->now(machine->port->context) - machine->since;
    else
        ticks = machine->since++;
    return ticks >= machine->port->timeout;
}

static uint64_t last_byte(const struct dtqatten_memory *memory)
{
    return memory->address + memory->size - 1;
}

enum dtqatten_outcome dtqatten_open(struct dtqatten *machine, const struct dtqatten_port *port,
                                    struct dtqatten_memory *inputs,
                                    struct dtqatten_memory *outputs)
{
    const struct dtqatten_memory *memories[] = {inputs, outputs};
    uint32_t address_bits;
    memset(machine, 0, sizeof *machine);
    machine->port = port;
    machine->inputs = inputs;
    machine->outputs = outputs;
    if (get(machine, DTQATTEN_REG_ID) != DTQATTEN_ID)
        return DTQATTEN_NO_MACHINE;
    if (get(machine, DTQATTEN_REG_VERSION) != DTQATTEN_VERSION)
        return DTQATTEN_OTHER_VERSION;
    machine->d_head = get(machine, DTQATTEN_REG_D_HEAD);
    address_bits = get(machine, DTQATTEN_REG_ADDRESS_BITS);
    for (size_t i = 0; i < 2; ++i) {
        const struct dtqatten_memory *memory = memories[i];
        if (memory->size == 0 || memory->size % DTQATTEN_PAGE_BYTES ||
            memory->address % DTQATTEN_PAGE_BYTES ||
            (uintptr_t)memory->start % DTQATTEN_CACHE_LINE ||
            last_byte(memory) < memory->address ||
            (address_bits < 64 && last_byte(memory) >> address_bits))
            return DTQATTEN_BAD_MEMORY;
    }
    if (inputs->address <= last_byte(outputs) && outputs->address <= last_byte(inputs))
        return DTQATTEN_BAD_MEMORY;
    return DTQATTEN_OK;
}

/* The chain. */

enum dtqatten_outcome dtqatten_stop(struct dtqatten *machine)
{
    machine->begun = false;
    put(machine, DTQATTEN_REG_INTERRUPT_ENABLE, 0);
    if (get(machine, DTQATTEN_REG_STATUS) & DTQATTEN_STATUS_BUSY) {
        put(machine, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_ABORT);
        restart(machine);
        while (get(machine, DTQATTEN_REG_STATUS) & DTQATTEN_STATUS_BUSY)
            if (late(machine))
                return DTQATTEN_NOT_IDLE;
    }
    put(machine, DTQATTEN_REG_INTERRUPT, DTQATTEN_INTERRUPT_MASK);
    return DTQATTEN_OK;
}

/* End a chain that has failed. */
static enum dtqatten_outcome failed(struct dtqatten *machine, enum dtqatten_outcome why)
{
    enum dtqatten_outcome stopped = dtqatten_stop(machine);
    return stopped == DTQATTEN_OK ? why : stopped;
}

/* Take room for a descriptor that is not ready, and say so there. */
static bool reserve(struct dtqatten *machine)
{
    struct dtqatten_descriptor waiting = {.version = DTQATTEN_VERSION, .magic = DTQATTEN_MAGIC};
    machine->reserved = dtqatten_take(machine->inputs, sizeof waiting);
    if (!machine->reserved)
        return false;
    memcpy(machine->reserved, &waiting, sizeof waiting);
    clean(machine, machine->reserved, sizeof waiting);
    return true;
}

enum dtqatten_outcome dtqatten_begin(struct dtqatten *machine, uint32_t length)
{
    enum dtqatten_outcome stopped;
    if (length == 0)
        return DTQATTEN_BAD_CHAIN;
    /* Before memory changes that the machine may still use. */
    stopped = dtqatten_stop(machine);
    if (stopped != DTQATTEN_OK)
        return stopped;
    machine->inputs->used = machine->outputs->used = 0;
    machine->length = length;
    machine->placed = machine->done = 0;
    machine->error = DTQATTEN_ERROR_NONE;
    machine->error_address = 0;
    machine->started = machine->aborting = false;
    machine->pending = machine->last = NULL;
    if (!reserve(machine))
        return DTQATTEN_NO_ROOM;
    machine->begun = true;
    return DTQATTEN_OK;
}

static void set_address(struct dtqatten_layer *layer, enum dtqatten_tensor tensor, uint64_t value)
{
    unsigned char *fields = (unsigned char *)&layer->descriptor;
    memcpy(fields + DTQATTEN_DESC_Q + 8 * tensor, &value, sizeof value);
}

/* The shared memory that a tensor lies in; NULL: none. */
static const struct dtqatten_memory *home_of(const struct dtqatten *machine, const void *tensor)
{
    if (dtqatten_inside(machine->inputs, tensor))
        return machine->inputs;
    return dtqatten_inside(machine->outputs, tensor) ? machine->outputs : NULL;
}

/* Place a region, and make it the machine's. */
static enum dtqatten_outcome place(struct dtqatten *machine, struct dtqatten_layer *layer,
                                   const struct dtqatten_region *region)
{
    const void **tensor = &layer->tensors[region->tensor];
    const struct dtqatten_memory *home = home_of(machine, *tensor);
    uint64_t address;
    if (region->tensor >= DTQATTEN_OUTPUT) {
        *tensor = dtqatten_take(machine->outputs, region->bytes);
        if (!*tensor)
            return DTQATTEN_NO_ROOM;
        address = dtqatten_address(machine->outputs, *tensor);
        /* A line written back later would overwrite results. */
        invalidate(machine, *tensor, (size_t)region->bytes);
    } else if (!*tensor) {
        return DTQATTEN_NO_CONTENTS;
    } else if (home) {
        address = dtqatten_address(home, *tensor);
        clean(machine, *tensor, (size_t)region->bytes);
    } else {
        void *copy = dtqatten_take(machine->inputs, region->bytes);
        if (!copy)
            return DTQATTEN_NO_ROOM;
        address = dtqatten_address(machine->inputs, copy);
        memcpy(copy, *tensor, (size_t)region->bytes);
        clean(machine, copy, (size_t)region->bytes);
    }
    set_address(layer, region->tensor, address);
    return DTQATTEN_OK;
}

enum dtqatten_outcome dtqatten_add(struct dtqatten *machine, struct dtqatten_layer *layer)
{
    struct dtqatten_region regions[DTQATTEN_REGIONS];
    struct dtqatten_descriptor *fields = &layer->descriptor;
    unsigned char *slot = machine->reserved;
    size_t count;
    if (!machine->begun || machine->placed == machine->length)
        return DTQATTEN_BAD_CHAIN;
    count = dtqatten_regions(fields, machine->d_head, regions);
    for (size_t i = 0; i < count; ++i) {
        enum dtqatten_outcome outcome = place(machine, layer, &regions[i]);
        if (outcome != DTQATTEN_OK)
            return failed(machine, outcome);
    }
    layer->address = dtqatten_address(machine->inputs, slot);
    fields->version = DTQATTEN_VERSION;
    fields->magic = DTQATTEN_MAGIC;
    fields->ready = 1;
    fields->next = 0;
    if (machine->placed + 1 < machine->length) {
        if (!reserve(machine))
            return failed(machine, DTQATTEN_NO_ROOM);
        fields->next = dtqatten_address(machine->inputs, machine->reserved);
    }
    layer->complete = false;
    layer->following = NULL;
    if (machine->pending)
        machine->last->following = layer;
    else
        machine->pending = layer;
    machine->last = layer;
    ++machine->placed;
    /* The machine may read meanwhile: what says that the rest is valid comes last. */
    memcpy(slot + DTQATTEN_READY_BYTES, (const unsigned char *)fields + DTQATTEN_READY_BYTES,
           sizeof *fields - DTQATTEN_READY_BYTES);
    clean(machine, slot, sizeof *fields);
    ((volatile struct dtqatten_descriptor *)(void *)slot)->ready = fields->ready;
    clean(machine, slot, DTQATTEN_READY_BYTES);
    return DTQATTEN_OK;
}

enum dtqatten_outcome dtqatten_start(struct dtqatten *machine)
{
    const struct dtqatten_memory *in = machine->inputs, *out = machine->outputs;
    if (!machine->begun || !machine->pending)
        return DTQATTEN_BAD_CHAIN;
    if (machine->aborting)
        return failed(machine, DTQATTEN_ABORTED);
    if (machine->started) {
        if (!(get(machine, DTQATTEN_REG_STATUS) & DTQATTEN_STATUS_WAITING) ||
            dtqatten_read64(machine, DTQATTEN_REG_CURRENT) != machine->pending->address)
            return failed(machine, DTQATTEN_STALE);
        put(machine, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_RESUME);
    } else {
        /* What is kept among the outputs is read, too: then all from the first byte to the last. */
        bool both = out->kept != 0;
        bool below = both && out->address < in->address, above = both && !below;
        put64(machine, DTQATTEN_REG_READ_BASE, below ? out->address : in->address);
        put64(machine, DTQATTEN_REG_READ_LIMIT, last_byte(above ? out : in));
        put64(machine, DTQATTEN_REG_WRITE_BASE, out->address);
        put64(machine, DTQATTEN_REG_WRITE_LIMIT, last_byte(out));
        put64(machine, DTQATTEN_REG_DESCRIPTOR, machine->pending->address);
        put(machine, DTQATTEN_REG_INTERRUPT_ENABLE,
            machine->port->idle ? DTQATTEN_INTERRUPT_MASK : 0);
        put(machine, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_START);
        machine->started = true;
    }
    /* An abort between the check and the command had nothing to abort. */
    if (machine->aborting)
        put(machine, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_ABORT);
    return DTQATTEN_OK;
}

/* A layer is complete: what it wrote is the CPU's. */
static void collect(struct dtqatten *machine)
{
    struct dtqatten_region regions[DTQATTEN_REGIONS];
    struct dtqatten_layer *layer = machine->pending;
    size_t count = dtqatten_regions(&layer->descriptor, machine->d_head, regions);
    for (size_t i = 0; i < count; ++i)
        if (regions[i].written)
            invalidate(machine, layer->tensors[regions[i].tensor], (size_t)regions[i].bytes);
    layer->complete = true;
    machine->pending = layer->following;
    ++machine->done;
}

enum dtqatten_outcome dtqatten_poll(struct dtqatten *machine)
{
    uint32_t status, done;
    if (!machine->begun || !machine->started)
        return DTQATTEN_BAD_CHAIN;
    /* Events after this raise the line again. */
    put(machine, DTQATTEN_REG_INTERRUPT, get(machine, DTQATTEN_REG_INTERRUPT));
    status = get(machine, DTQATTEN_REG_STATUS);
    done = get(machine, DTQATTEN_REG_LAYERS_DONE);
    if (done < machine->done || done > machine->placed)
        return failed(machine, DTQATTEN_STALE);
    while (machine->done < done)
        collect(machine);
    if (status & DTQATTEN_STATUS_BUSY) {
        bool waits = status & DTQATTEN_STATUS_WAITING && done == machine->placed;
        return waits ? DTQATTEN_OK : DTQATTEN_RUNNING;
    }
    if (status & DTQATTEN_STATUS_ERROR) {
        machine->error = (enum dtqatten_error)get(machine, DTQATTEN_REG_ERROR_CODE);
        machine->error_address = dtqatten_read64(machine, DTQATTEN_REG_ERROR_ADDRESS);
        return failed(machine, DTQATTEN_MACHINE_ERROR);
    }
    if (status & DTQATTEN_STATUS_ABORTED)
        return failed(machine, DTQATTEN_ABORTED);
    if (done < machine->length)
        return failed(machine, DTQATTEN_STALE);
    return dtqatten_stop(machine);
}

enum dtqatten_outcome dtqatten_wait(struct dtqatten *machine)
{
    restart(machine);
    for (;;) {
        uint32_t before = machine->done;
        enum dtqatten_outcome outcome = dtqatten_poll(machine);
        if (outcome != DTQATTEN_RUNNING)
            return outcome;
        if (machine->done != before)
            restart(machine);
        else if (late(machine))
            return failed(machine, DTQATTEN_TIMED_OUT);
        if (machine->port->idle)
            machine->port->idle(machine->port->context);
    }
}

enum dtqatten_outcome dtqatten_run(struct dtqatten *machine, struct dtqatten_layer *layers,
                                   uint32_t count)
{
    enum dtqatten_outcome outcome = dtqatten_begin(machine, count);
    for (uint32_t i = 0; outcome == DTQATTEN_OK && i < count; ++i)
        outcome = dtqatten_add(machine, &layers[i]);
    if (outcome == DTQATTEN_OK)
        outcome = dtqatten_start(machine);
    return outcome == DTQATTEN_OK ? dtqatten_wait(machine) : outcome;
}

void dtqatten_abort(struct dtqatten *machine)
{
    machine->aborting = true;
    put(machine, DTQATTEN_REG_CONTROL, DTQATTEN_CONTROL_ABORT);
}
