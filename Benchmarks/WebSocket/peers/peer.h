// What the peers in C and C++ have in common: the command line, the clock, and the result as one line of JSON.
#pragma once
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MODE_RTT, MODE_SEND, MODE_RECV };

typedef struct {
    int is_server, port, tls, deflate, burst, mode;
    const char *cert, *key, *ca, *path;
    size_t size, count;
} peer_options;

static inline uint64_t peer_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void peer_fill(unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(i * 31);
}

__attribute__((noreturn)) static inline void peer_fail(const char *what) {
    fprintf(stderr, "peer: %s\n", what);
    exit(1);
}

// server --port P [--cert F --key F] [--deflate]
// client --url ws[s]://127.0.0.1:P/PATH --mode rtt|send|recv --size S --count N [--ca F]
static inline peer_options peer_parse(int argc, char **argv) {
    peer_options o;
    memset(&o, 0, sizeof o);
    if (argc < 2) peer_fail("usage: server|client ...");
    o.is_server = !strcmp(argv[1], "server");
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--deflate")) { o.deflate = 1; continue; }
        if (!strcmp(argv[i], "--burst")) { o.burst = 1; continue; }
        if (i + 1 >= argc) peer_fail("an option lacks its value");
        const char *name = argv[i], *value = argv[++i];
        if (!strcmp(name, "--port")) o.port = atoi(value);
        else if (!strcmp(name, "--cert")) { o.cert = value; o.tls = 1; }
        else if (!strcmp(name, "--key")) o.key = value;
        else if (!strcmp(name, "--ca")) o.ca = value;
        else if (!strcmp(name, "--size")) o.size = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--count")) o.count = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--mode"))
            o.mode = !strcmp(value, "rtt") ? MODE_RTT : !strcmp(value, "send") ? MODE_SEND : MODE_RECV;
        else if (!strcmp(name, "--url")) {
            o.tls = !strncmp(value, "wss://", 6);
            const char *colon = strrchr(value, ':');
            o.port = atoi(colon + 1);
            o.path = strchr(colon, '/');
            if (!o.path) o.path = "/";
        } else peer_fail("unknown option");
    }
    return o;
}

static inline int peer_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static inline double peer_quantile(const uint64_t *sorted, size_t count, double share) {
    size_t index = (size_t)((double)count * share);
    return (double)sorted[index < count ? index : count - 1] / 1000;
}

// Sorts the samples, nanoseconds each.
static inline void peer_print_rtt(const peer_options *o, uint64_t *samples) {
    double sum = 0;
    qsort(samples, o->count, sizeof *samples, peer_compare);
    for (size_t i = 0; i < o->count; i++) sum += (double)samples[i];
    printf("{\"mode\":\"rtt\",\"size\":%zu,\"count\":%zu,\"min_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,"
           "\"p99_us\":%.3f,\"p999_us\":%.3f,\"mean_us\":%.3f}\n",
           o->size, o->count, peer_quantile(samples, o->count, 0), peer_quantile(samples, o->count, 0.5),
           peer_quantile(samples, o->count, 0.9), peer_quantile(samples, o->count, 0.99),
           peer_quantile(samples, o->count, 0.999), sum / (double)o->count / 1000);
    fflush(stdout);
}

static inline void peer_print_throughput(const peer_options *o, uint64_t nanoseconds) {
    double seconds = (double)nanoseconds / 1e9;
    printf("{\"mode\":\"%s\",\"size\":%zu,\"count\":%zu,\"secs\":%.6f,\"mb_s\":%.3f,\"msg_s\":%.3f}\n",
           o->mode == MODE_SEND ? "send" : "recv", o->size, o->count, seconds,
           (double)o->count * (double)o->size / 1e6 / seconds, (double)o->count / seconds);
    fflush(stdout);
}
