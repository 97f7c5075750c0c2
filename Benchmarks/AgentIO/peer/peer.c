// The other end of the comparison, and its limit: one file, blocking OpenSSL, one thread per connection.
//
//   peer serve CERT KEY                 prints the port it listens on (loopback), serves until stdin closes
//   peer echo|write|read PORT CA N      the same work as the Swift programs do, in plain C
//
// Wire: frames of a 4-byte big-endian length and that many bytes, over TLS 1.3. The first frame is one byte, the mode,
// and 8 bytes, a big-endian count of frames.
//   'E'  every frame is sent back              'W'  after `count` frames the server sends one frame of 8 bytes
//   'R'  the server sends `count` frames of 64 KiB
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { block = 64 * 1024, small = 128 };

static void fail(const char *what) {
    fprintf(stderr, "peer: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int write_all(SSL *ssl, const void *bytes, size_t count) {
    return SSL_write(ssl, bytes, (int)count) == (int)count;
}

static int read_all(SSL *ssl, unsigned char *bytes, size_t count) {
    size_t have = 0;
    while (have < count) {
        int n = SSL_read(ssl, bytes + have, (int)(count - have));
        if (n <= 0) return 0;
        have += (size_t)n;
    }
    return 1;
}

// Returns the payload's length, or -1 at the end. The payload must fit in one block.
static long read_frame(SSL *ssl, unsigned char *bytes) {
    unsigned char head[4];
    if (!read_all(ssl, head, 4)) return -1;
    uint32_t length = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    if (length > block || !read_all(ssl, bytes, length)) return -1;
    return (long)length;
}

static size_t put_frame(unsigned char *to, const void *payload, uint32_t length) {
    to[0] = (unsigned char)(length >> 24), to[1] = (unsigned char)(length >> 16);
    to[2] = (unsigned char)(length >> 8), to[3] = (unsigned char)length;
    memcpy(to + 4, payload, length);
    return length + 4u;
}

static void *serve(void *argument) {
    SSL *ssl = argument;
    unsigned char *in = calloc(1, block), *out = calloc(1, block + 4);
    if (SSL_accept(ssl) != 1 || read_frame(ssl, in) != 9) goto done;
    unsigned char mode = in[0];
    uint64_t count = 0;
    for (int i = 1; i < 9; i++) count = count << 8 | in[i];
    if (mode == 'E') {
        for (long n; (n = read_frame(ssl, in)) >= 0;)
            if (!write_all(ssl, out, put_frame(out, in, (uint32_t)n))) break;
    } else if (mode == 'W') {
        while (count > 0 && read_frame(ssl, in) >= 0) count--;
        write_all(ssl, out, put_frame(out, in, 8));
        read_frame(ssl, in);
    } else if (mode == 'R') {
        size_t n = put_frame(out, in, block);
        while (count-- > 0 && write_all(ssl, out, n)) {}
        read_frame(ssl, in);
    }
done:
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    free(in);
    free(out);
    return NULL;
}

static void *accept_all(void *argument) {
    void **pair = argument;
    int listener = (int)(intptr_t)pair[0];
    SSL_CTX *context = pair[1];
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, ssl) != 0) fail("cannot start a thread");
        pthread_detach(thread);
    }
    return NULL;
}

static int run_server(const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) fail("certificate");
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) fail("key");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    if (bind(listener, (struct sockaddr *)&at, size) != 0 || listen(listener, 16) != 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    void *pair[2] = { (void *)(intptr_t)listener, context };
    pthread_t thread;
    if (pthread_create(&thread, NULL, accept_all, pair) != 0) fail("cannot start a thread");
    char end;
    while (read(0, &end, 1) > 0) {}
    return 0;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int run_client(const char *scenario, const char *port, const char *authority, long count) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1) fail("authority file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)atoi(port)) };
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, "localhost");
    SSL_set1_host(ssl, "localhost");
    if (SSL_connect(ssl) != 1) fail("handshake");

    unsigned char *in = calloc(1, block), *out = calloc(1, block + 4), hello[9] = { 0 };
    int mode = strcmp(scenario, "echo") == 0 || strcmp(scenario, "idle") == 0 ? 'E' : strcmp(scenario, "write") == 0 ? 'W' : 'R';
    hello[0] = (unsigned char)mode;
    for (int i = 0; i < 8; i++) hello[1 + i] = (unsigned char)((uint64_t)count >> (56 - 8 * i));
    write_all(ssl, out, put_frame(out, hello, 9));
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (mode == 'E') {
        if (strcmp(scenario, "idle") == 0) count = 1;
        double *each = calloc((size_t)count, sizeof *each);
        size_t n = put_frame(out, in, small);
        for (long i = 0; i < count; i++) {
            double sent = seconds(CLOCK_MONOTONIC);
            if (!write_all(ssl, out, n) || read_frame(ssl, in) != small) fail("echo");
            each[i] = (seconds(CLOCK_MONOTONIC) - sent) * 1e6;
        }
        cpu = (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / (double)count;
        qsort(each, (size_t)count, sizeof *each, ascending);
        printf("p50_us=%.1f p99_us=%.1f cpu_us=%.1f\n", each[count / 2], each[count * 99 / 100], cpu);
        fflush(stdout);
        if (strcmp(scenario, "idle") == 0) pause();
        return 0;
    }
    size_t n = put_frame(out, in, block);
    for (long i = 0; i < count; i++)
        if (mode == 'W' ? !write_all(ssl, out, n) : read_frame(ssl, in) != block) fail("transfer");
    if (mode == 'W' && read_frame(ssl, in) != 8) fail("receipt");
    double gigabytes = (double)count * block / 1e9;
    printf("mb_per_s=%.0f cpu_ms=%.0f\n", gigabytes * 1000 / (seconds(CLOCK_MONOTONIC) - start),
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1000 / gigabytes);
    return 0;
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 4 && strcmp(arguments[1], "serve") == 0) return run_server(arguments[2], arguments[3]);
    if (count == 5) return run_client(arguments[1], arguments[2], arguments[3], atol(arguments[4]));
    fprintf(stderr, "usage: peer serve CERT KEY | peer echo|write|read|idle PORT CA COUNT\n");
    return 64;
}
