// Opens many WebSocket connections, has one message echoed on each, and holds them until its stdin closes. Prints
// "ready SECONDS" once all are open.
//
// usage: loader --url ws[s]://127.0.0.1:P/ --count N [--ca F] [--deflate]
#define _GNU_SOURCE
#include "peer.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int fd;
    SSL *ssl;
} stream;

static void put(stream *s, const void *bytes, size_t size) {
    ssize_t n = s->ssl ? SSL_write(s->ssl, bytes, (int)size) : write(s->fd, bytes, size);
    if (n != (ssize_t)size) peer_fail("write");
}

static size_t get(stream *s, void *bytes, size_t size) {
    ssize_t n = s->ssl ? SSL_read(s->ssl, bytes, (int)size) : read(s->fd, bytes, size);
    if (n <= 0) peer_fail("the server closed a connection");
    return (size_t)n;
}

static void upgrade(stream *s, const peer_options *o) {
    char text[2048];
    size_t size = 0;
    int length = snprintf(text, sizeof text,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                          o->path, o->port,
                          o->deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    put(s, text, (size_t)length);
    do {
        if (size == sizeof text - 1) peer_fail("the answer's head is too long");
        size += get(s, text + size, sizeof text - 1 - size);
        text[size] = 0;
    } while (!strstr(text, "\r\n\r\n"));
    if (strncmp(text, "HTTP/1.1 101", 12)) peer_fail("the server did not upgrade");
    if (!strcasestr(text, "permessage-deflate") != !o->deflate) peer_fail("the server has another opinion of deflate");
}

// A frame with a payload of 100 bytes that compress well, masked with zero.
static void echo(stream *s) {
    unsigned char frame[6 + 100] = {0x82, 0x80 | 100}, answer[256];
    size_t have = 0;
    memset(frame + 6, 'x', 100);
    put(s, frame, sizeof frame);
    while (have < 2 || have < 2u + (answer[1] & 0x7F)) have += get(s, answer + have, sizeof answer - have);
}

int main(int argc, char **argv) {
    char *arguments[32] = {argv[0], "client"};
    for (int i = 1; i < argc && i < 30; i++) arguments[i + 1] = argv[i];
    peer_options o = peer_parse(argc + 1, arguments);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    SSL_CTX *context = NULL;
    if (o.tls) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_load_verify_locations(context, o.ca, NULL) != 1) peer_fail("cannot load --ca");
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stream *streams = calloc(o.count, sizeof *streams);
    uint64_t start = peer_now();
    for (size_t i = 0; i < o.count; i++) {
        stream *s = &streams[i];
        s->fd = socket(AF_INET, SOCK_STREAM, 0);
        int one = 1;
        if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address)) peer_fail("cannot connect");
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (context) {
            s->ssl = SSL_new(context);
            SSL_set_fd(s->ssl, s->fd);
            if (SSL_connect(s->ssl) != 1) {
                ERR_print_errors_fp(stderr);
                peer_fail("TLS handshake");
            }
        }
        upgrade(s, &o);
        echo(s);
    }
    printf("ready %.1f\n", (double)(peer_now() - start) / 1e9);
    fflush(stdout);
    char rest[64];
    while (read(0, rest, sizeof rest) > 0) {}
    return 0;
}
