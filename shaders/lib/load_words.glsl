/* 8 and 16 bytes of weights, at an index in such units: as a device with vector loads has them. */
#define load8(w, index) words2(uvec2(w)).v[index]
#define load16(w, index) words4(uvec2(w)).v[index]
