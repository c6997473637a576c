/* Where a recorded program is cut, so that no submit occupies the device for long.
 *
 * A desktop stands still while a device computes, and systems reset a device that computes for some
 * seconds. So a program becomes several command buffers, each submitted by itself, none meant to
 * take more than `limit` seconds: as few as that allows. How long ops take is learned from the
 * runs; before the first one little is known, and segments are short. An op is never divided.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

struct vk_segments {
    uint32_t n_ops, n;
    double limit;   /* seconds of one segment; INFINITY: never cut */
    double *guess;  /* (n_ops) seconds, from what is known */
    bool *may_cut;  /* (n_ops) before this op: it begins a step */
    uint32_t *ends; /* (n) the op after the last of each segment */
};

/* n_ops >= 1. `many_tokens`: ops of a chunk take longer than those of one token. All of may_cut is
 * false; set it, then call vk_segments_cut. */
bool vk_segments_init(struct vk_segments *segments, uint32_t n_ops, double limit, bool many_tokens,
                      struct error *err);
void vk_segments_free(struct vk_segments *segments);
void vk_segments_cut(struct vk_segments *segments);
/* Takes what the segments of the last run took, seconds (n). True if the segments are others now:
 * when one took clearly too long, or clearly fewer will do. */
bool vk_segments_learn(struct vk_segments *segments, const double *seconds);
