/* A chain of layers and its results, as dtqatten.boards.c_layers writes them;
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPECTED_H
#define EXPECTED_H

#include "dtqatten_driver.h"

struct expected {
    uint32_t layer;
    enum dtqatten_tensor tensor;
    const unsigned char *bytes;
    size_t size;
};

extern const uint32_t layer_count;
extern struct dtqatten_layer layers[];
extern const size_t expected_count;
extern const struct expected expected[];

#endif
