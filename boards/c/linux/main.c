/* Layers on the machine under Linux, compared with what the golden model gave;
 * SPDX-License-Identifier: Apache-2.0
 *
 *     dtqatten_uio_example /dev/uio0 /sys/class/uio/uio0
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dtqatten_uio.h"
#include "expected.h"

#define TIMEOUT_MS 1000

static int compare(void)
{
    int wrong = 0;
    for (size_t i = 0; i < expected_count; ++i) {
        const struct expected *each = &expected[i];
        const void *found = layers[each->layer].tensors[each->tensor];
        const int differs = memcmp(found, each->bytes, each->size) != 0;
        printf("layer %u, tensor %d, %zu bytes: %s\n", (unsigned)each->layer, (int)each->tensor,
               each->size, differs ? "WRONG" : "equal");
        wrong |= differs;
    }
    return wrong;
}

static int run(struct dtqatten_uio *uio)
{
    struct dtqatten machine;
    enum dtqatten_outcome outcome =
        dtqatten_open(&machine, &uio->port, &uio->inputs, &uio->outputs);
    if (outcome == DTQATTEN_OK)
        outcome = dtqatten_run(&machine, layers, layer_count);
    if (outcome == DTQATTEN_OK)
        return compare();
    fprintf(stderr, "%s: %s\n", dtqatten_outcome_name(outcome), dtqatten_outcome_meaning(outcome));
    if (outcome == DTQATTEN_MACHINE_ERROR)
        fprintf(stderr, "%s at 0x%llx, after %u layers\n", dtqatten_error_name(machine.error),
                (unsigned long long)machine.error_address, (unsigned)machine.done);
    return 1;
}

int main(int argc, char **argv)
{
    struct dtqatten_uio uio;
    int wrong;
    if (argc != 3) {
        fprintf(stderr, "usage: %s DEVICE SYSFS\n", argv[0]);
        return 2;
    }
    if (dtqatten_uio_open(&uio, argv[1], argv[2], TIMEOUT_MS)) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    wrong = run(&uio);
    dtqatten_uio_close(&uio);
    return wrong;
}
