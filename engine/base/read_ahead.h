/* Brings a mapped file into memory beside other work, front to back.
 *
 * Without it every page is read when a computation first touches it: in the order in which a router
 * happens to choose experts, which drives are slow at, with the computation waiting. Read in order,
 * and with the hint that it is used as a whole, systems that can (Linux on ext4 or XFS) also give
 * the file large pages, which its addresses are found faster in.
 */
#pragma once

#include <stdint.h>

struct read_ahead;

/* Begins with [memory, memory + bytes), which must stay mapped until read_ahead_end. NULL: there is
 * nothing to wait for and nothing lost; pages come as they are touched. */
struct read_ahead *read_ahead_begin(const void *memory, uint64_t bytes);
/* Stops within some megabytes. NULL is fine. Sets *ahead to NULL. */
void read_ahead_end(struct read_ahead **ahead);
