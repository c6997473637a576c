#include <math.h>

#include "engine/op/backend.h"

double backend_peaks_read(const struct backend_peaks *peaks, double bytes)
{
    if (peaks->n_read == 0) {
        return INFINITY;
    }
    uint32_t above = 0;
    while (above < peaks->n_read && (double)peaks->read[above].bytes < bytes) {
        above++;
    }
    if (above == 0 || above == peaks->n_read) {
        return peaks->read[above == 0 ? 0 : above - 1].bytes_per_second;
    }
    double low = (double)peaks->read[above - 1].bytes, high = (double)peaks->read[above].bytes;
    double part = log(bytes / low) / log(high / low);
    return peaks->read[above - 1].bytes_per_second * (1 - part) +
           peaks->read[above].bytes_per_second * part;
}

void backend_peaks_set_read(struct backend_peaks *peaks, double bytes, double bytes_per_second)
{
    double factor = bytes_per_second / backend_peaks_read(peaks, bytes);
    uint32_t first = 0;
    while (first + 1 < peaks->n_read && (double)peaks->read[first + 1].bytes <= bytes) {
        first++;
    }
    for (uint32_t i = first; i < peaks->n_read; i++) {
        peaks->read[i].bytes_per_second *= factor;
    }
}
