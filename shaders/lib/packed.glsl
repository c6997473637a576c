/* Vectors in other formats than f32, made by pack_<format>.comp once for all work-groups that read
 * them. Both are whole numbers of 32 columns; columns past the last are 0.
 *
 *   float16   a unit of 16 bytes whose first word is the scale, an f32; then the columns, f16, of
 *             which the largest is from 1/4 up to 1/2 (up to 4 if it exceeds 2^125). x = scale *
 *             column. Of every four columns the first and the third share a word, then the second
 *             and the fourth: bytes are cut out of words in that order.
 *   int8      of 32 columns each: two units of int8, and a unit of f32: the scale, the sums of the
 *             first and the last 16 columns, and of all, times the scale. x = scale * column.
 *
 * Lengths are in pack_args.h.
 */
#include "../pack_args.h"
