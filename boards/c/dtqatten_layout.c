/* Driver of the DTQAtten machine: what a layer has in memory, and names;
 * SPDX-License-Identifier: Apache-2.0 */
#include "dtqatten_driver.h"

#define TENSOR_AT(tensor) DTQATTEN_DESC_##tensor == DTQATTEN_DESC_Q + 8 * DTQATTEN_##tensor
DTQATTEN_ASSERT(TENSOR_AT(HEAD_TABLE) && TENSOR_AT(V_GAINS) && TENSOR_AT(HELD), "tensors");
DTQATTEN_ASSERT(TENSOR_AT(KEY_BIAS), "tensors");
DTQATTEN_ASSERT(TENSOR_AT(OUTPUT) && TENSOR_AT(HEAD_REPORT), "tensors");

static size_t whole_lines(size_t bytes)
{
    return (bytes + DTQATTEN_CACHE_LINE - 1) / DTQATTEN_CACHE_LINE * DTQATTEN_CACHE_LINE;
}

/* Whether there is room for so many bytes; all rooms, and the whole, are lines. */
static bool has_room(const struct dtqatten_memory *memory, uint64_t bytes)
{
    const size_t left = memory->size - memory->kept - memory->used;
    return bytes <= left && whole_lines((size_t)bytes) <= left;
}

void *dtqatten_take(struct dtqatten_memory *memory, uint64_t bytes)
{
    unsigned char *room = memory->start + memory->used;
    if (!has_room(memory, bytes))
        return NULL;
    memory->used += whole_lines((size_t)bytes);
    return room;
}

void *dtqatten_keep(struct dtqatten_memory *memory, uint64_t bytes)
{
    if (!has_room(memory, bytes))
        return NULL;
    memory->kept += whole_lines((size_t)bytes);
    return memory->start + memory->size - memory->kept;
}

uint64_t dtqatten_address(const struct dtqatten_memory *memory, const void *place)
{
    return memory->address + ((uintptr_t)place - (uintptr_t)memory->start);
}

bool dtqatten_inside(const struct dtqatten_memory *memory, const void *place)
{
    return (uintptr_t)place >= (uintptr_t)memory->start &&
           (uintptr_t)place - (uintptr_t)memory->start < memory->size;
}

size_t dtqatten_regions(const struct dtqatten_descriptor *layer, uint32_t d_head,
                        struct dtqatten_region regions[DTQATTEN_REGIONS])
{
    const uint32_t flags = layer->flags;
    const bool chained = flags & DTQATTEN_FLAG_HEADS_CHAINED;
    const uint64_t heads = chained ? layer->stored_heads : layer->heads;
    const uint64_t kv_heads = chained ? layer->stored_heads : layer->kv_heads;
    const uint64_t rows =
        flags & DTQATTEN_FLAG_QUERY_CHAINED ? layer->stored : layer->queries;
    const uint64_t places = layer->capacity;
    const uint64_t held = flags & DTQATTEN_FLAG_HELD ? 4 * places : 0;
    const uint64_t outputs = (uint64_t)layer->heads * layer->queries * d_head;
    const struct {
        bool used;
        struct dtqatten_region region;
    } all[DTQATTEN_REGIONS] = {
        {true, {DTQATTEN_Q, false, heads * rows * d_head}},
        {true, {DTQATTEN_K, false, kv_heads * places * d_head}},
        {true, {DTQATTEN_V, false, kv_heads * places * d_head}},
        {true, {DTQATTEN_HEAD_TABLE, false, heads * DTQATTEN_HEAD_BYTES}},
        {flags & DTQATTEN_FLAG_Q_GAINS, {DTQATTEN_Q_GAINS, false, heads * rows}},
        {flags & DTQATTEN_FLAG_K_GAINS, {DTQATTEN_K_GAINS, false, kv_heads * places}},
        {flags & DTQATTEN_FLAG_V_GAINS, {DTQATTEN_V_GAINS, false, kv_heads * places}},
        {flags & DTQATTEN_FLAG_QUERY_LIST, {DTQATTEN_QUERY_LIST, false, 2 * layer->queries}},
        {flags & DTQATTEN_FLAG_KEY_LIST, {DTQATTEN_KEY_LIST, false, 2 * layer->tokens}},
        {flags & DTQATTEN_FLAG_HELD, {DTQATTEN_HELD, false, held}},
        {flags & DTQATTEN_FLAG_KEY_BIAS, {DTQATTEN_KEY_BIAS, false, 2 * heads * places}},
        {!(flags & DTQATTEN_FLAG_HOLDS),
         {DTQATTEN_OUTPUT, true, flags & DTQATTEN_FLAG_CODES ? outputs : 2 * outputs}},
        {flags & DTQATTEN_FLAG_IDS, {DTQATTEN_IDS, true, 2 * layer->k0}},
        {flags & DTQATTEN_FLAG_REPORT, {DTQATTEN_IMPORTANCE, true, 4 * layer->tokens}},
        {flags & DTQATTEN_FLAG_HELD, {DTQATTEN_HELD, true, held}},
        {flags & DTQATTEN_FLAG_HEAD_REPORT,
         {DTQATTEN_HEAD_REPORT, true, heads * DTQATTEN_REPORT_BYTES}},
    };
    size_t count = 0;
    for (size_t i = 0; i < DTQATTEN_REGIONS; ++i)
        if (all[i].used)
            regions[count++] = all[i].region;
    return count;
}

void dtqatten_planes(void *planes, const int8_t *codes, size_t tokens, uint32_t d_head)
{
    const size_t bytes = tokens * d_head / 2;
    unsigned char *high = planes, *low = high + bytes;
    for (size_t i = 0; i < bytes; ++i) {
        /* A code is 16 high + low, both signed; the lower channel is the lower nibble of a byte. */
        const int even = codes[2 * i] + 8, odd = codes[2 * i + 1] + 8;
        high[i] = (unsigned char)((even + 256) / 16 % 16 | (odd + 256) / 16 % 16 << 4);
        low[i] = (unsigned char)(((even + 256) % 16 ^ 8) | ((odd + 256) % 16 ^ 8) << 4);
    }
}

const char *dtqatten_error_name(enum dtqatten_error error)
{
    switch (error) {
#define DTQATTEN_X(name, number)                                                                   \
    case DTQATTEN_ERROR_##name:                                                                    \
        return #name;
        DTQATTEN_ERRORS(DTQATTEN_X)
#undef DTQATTEN_X
    }
    return "unknown";
}

const char *dtqatten_outcome_name(enum dtqatten_outcome outcome)
{
    switch (outcome) {
#define DTQATTEN_X(name, meaning)                                                                  \
    case DTQATTEN_##name:                                                                          \
        return #name;
        DTQATTEN_OUTCOMES(DTQATTEN_X)
#undef DTQATTEN_X
    }
    return "unknown";
}

const char *dtqatten_outcome_meaning(enum dtqatten_outcome outcome)
{
    switch (outcome) {
#define DTQATTEN_X(name, meaning)                                                                  \
    case DTQATTEN_##name:                                                                          \
        return meaning;
        DTQATTEN_OUTCOMES(DTQATTEN_X)
#undef DTQATTEN_X
    }
    return "unknown";
}
