/* The C driver's port to Linux, from user space; SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "dtqatten_uio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Milliseconds of a wait: then the driver looks at its timeout. */
#define LOOK 50

static uint32_t read_register(void *context, uint32_t offset)
{
    const struct dtqatten_uio *uio = context;
    return uio->registers[offset / 4];
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    const struct dtqatten_uio *uio = context;
    uio->registers[offset / 4] = value;
}

/* UIO maps memory uncached: what is left to do is order, between memory and registers too. */
static void barrier(void *context, const void *start, size_t bytes)
{
    (void)context;
    (void)start;
    (void)bytes;
#if defined(__riscv)
    __asm__ volatile("fence iorw, iorw" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("dsb sy" ::: "memory");
#else
    __sync_synchronize();
#endif
}

static uint32_t now(void *context)
{
    struct timespec time;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint32_t)((uint64_t)time.tv_sec * 1000u + (uint64_t)time.tv_nsec / 1000000u);
}

/* The kernel switches the interrupt off when it comes; a write switches it on. */
static void idle(void *context)
{
    const struct dtqatten_uio *uio = context;
    struct pollfd wait = {.fd = uio->device, .events = POLLIN};
    uint32_t word = 1;
    if (write(uio->device, &word, sizeof word) != sizeof word)
        return;
    if (poll(&wait, 1, LOOK) == 1 && wait.revents & POLLIN && read(uio->device, &word, 4) != 4)
        return;
}

/* A number that sysfs has of a map. */
static int map_value(const char *sysfs, int map, const char *name, uint64_t *value)
{
    char path[256];
    FILE *file;
    int found;
    const int length = snprintf(path, sizeof path, "%s/maps/map%d/%s", sysfs, map, name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    file = fopen(path, "r");
    if (!file)
        return -1;
    found = fscanf(file, "%" SCNx64, value);
    fclose(file);
    if (found != 1)
        errno = EINVAL;
    return found == 1 ? 0 : -1;
}

static void *map(const struct dtqatten_uio *uio, int number, size_t size)
{
    /* The offset chooses the map. */
    const off_t offset = (off_t)number * (off_t)sysconf(_SC_PAGESIZE);
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, uio->device, offset);
    return start == MAP_FAILED ? NULL : start;
}

int dtqatten_uio_open(struct dtqatten_uio *uio, const char *device, const char *sysfs,
                      uint32_t timeout)
{
    uint64_t address, size, registers_size;
    size_t inputs;
    int why;
    memset(uio, 0, sizeof *uio);
    if (map_value(sysfs, 0, "size", &registers_size) || map_value(sysfs, 1, "addr", &address) ||
        map_value(sysfs, 1, "size", &size))
        return -1;
    uio->device = open(device, O_RDWR | O_SYNC);
    if (uio->device < 0)
        return -1;
    uio->registers_size = (size_t)registers_size;
    uio->memory_size = (size_t)size;
    uio->registers = map(uio, 0, uio->registers_size);
    uio->memory = map(uio, 1, uio->memory_size);
    if (!uio->registers || !uio->memory) {
        why = errno;
        dtqatten_uio_close(uio);
        errno = why;
        return -1;
    }
    inputs = uio->memory_size / 4 * 3 / DTQATTEN_PAGE_BYTES * DTQATTEN_PAGE_BYTES;
    uio->inputs = (struct dtqatten_memory){
        .start = uio->memory, .address = address, .size = inputs};
    uio->outputs = (struct dtqatten_memory){.start = (unsigned char *)uio->memory + inputs,
                                            .address = address + inputs,
                                            .size = uio->memory_size - inputs};
    uio->port = (struct dtqatten_port){
        .context = uio,
        .read = read_register,
        .write = write_register,
        .clean = barrier,
        .invalidate = barrier,
        .now = now,
        .idle = idle,
        .timeout = timeout,
    };
    return 0;
}

void dtqatten_uio_close(struct dtqatten_uio *uio)
{
    if (uio->memory)
        munmap(uio->memory, uio->memory_size);
    if (uio->registers)
        munmap((void *)(uintptr_t)uio->registers, uio->registers_size);
    close(uio->device);
}
