// The heap of the C library: what Swift's Glibc module does not show of it.
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <malloc.h>

// Gives the system what is free in the heap.
static inline void CLinux_trim_heap(void) { malloc_trim(0); }

// Keeps the heap in few pieces: each thread's own would hold on to what it once used.
static inline void CLinux_limit_heaps(int count) { mallopt(M_ARENA_MAX, count); }

#endif
