// Times round trips and prints them as one JSON line, in the form that all programs of this benchmark use.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static inline double quantile(const double *sorted, long count, double share) {
    long index = (long)(share * (double)count);
    return sorted[index < count ? index : count - 1];
}

static inline void report(const char *name, int request_bytes, double *times, long count) {
    double sum = 0;
    for (long index = 0; index < count; index++) sum += times[index];
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("{\"peer\":\"%s\",\"request_bytes\":%d,\"count\":%ld,\"min_us\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,"
           "\"p99_us\":%.1f,\"p999_us\":%.1f,\"mean_us\":%.1f}\n",
        name, request_bytes, count, times[0], quantile(times, count, 0.5), quantile(times, count, 0.9),
        quantile(times, count, 0.99), quantile(times, count, 0.999), sum / (double)count);
    fflush(stdout);
}
