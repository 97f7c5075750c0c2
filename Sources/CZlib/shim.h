// zlib as Swift sees it. What zlib offers only as macros is repeated here as inline functions.
#ifndef CZLIB_SHIM_H
#define CZLIB_SHIM_H

#include <zlib.h>

// Negative window bits: raw DEFLATE data without zlib's header, as RFC 7692 has it.
static inline int CZlib_deflate_init_raw(z_streamp stream, int level, int window_bits, int strategy) {
    return deflateInit2(stream, level, Z_DEFLATED, -window_bits, 8, strategy);
}

static inline int CZlib_inflate_init_raw(z_streamp stream, int window_bits) {
    return inflateInit2(stream, -window_bits);
}

#endif
