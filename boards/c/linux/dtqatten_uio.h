/* The C driver's port to Linux, from user space; SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's uio_pdrv_genirq has the machine's node of the device tree, dtqatten,machine.yaml: its
 * first `reg` are the registers, its second one reserved memory, its interrupt the machine's. A
 * process at a time may use it.
 */
#ifndef DTQATTEN_UIO_H
#define DTQATTEN_UIO_H

#include "dtqatten_driver.h"

struct dtqatten_uio {
    struct dtqatten_port port;
    struct dtqatten_memory inputs, outputs;
    /* The port's. */
    volatile uint32_t *registers;
    void *memory;
    size_t registers_size, memory_size;
    int device;
};

/* Open a device, such as "/dev/uio0", described in `sysfs`, such as "/sys/class/uio/uio0", and share
 * its memory out: three quarters for inputs. `timeout` is in milliseconds. 0, or -1 with errno. */
int dtqatten_uio_open(struct dtqatten_uio *uio, const char *device, const char *sysfs,
                      uint32_t timeout);
void dtqatten_uio_close(struct dtqatten_uio *uio);

#endif
