/* The C driver's port to a LiteX SoC of dtqatten.boards.litex; SPDX-License-Identifier: Apache-2.0 */
#ifndef DTQATTEN_LITEX_H
#define DTQATTEN_LITEX_H

#include "dtqatten_driver.h"

/* Fill a port: registers at DTQATTEN_BASE, the CPU's data cache and the SoC's L2 maintained, time
 * from timer0, which then counts all the time, and waits on the interrupt line, whose handler may
 * stay off. A tick is a cycle. */
void dtqatten_litex_port(struct dtqatten_port *port, uint32_t timeout);

#endif
