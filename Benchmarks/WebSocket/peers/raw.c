// The limit: OpenSSL (or a bare TCP socket) with as little WebSocket as the other end accepts. One blocking thread a
// connection.
//
// The client sends frames that were made, and masked, beforehand, and does not look into what it receives: what is
// measured is one SSL_write a message out, and SSL_read in. With --burst it sends many frames with one SSL_write, for
// measuring servers that are faster than one call a message. The server is what all clients are measured against: it is
// never the slower end, because it does not unmask what it swallows and sends ready-made frames in large pieces.
#define _GNU_SOURCE
#include "peer.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT = 0x81, BINARY = 0x82, CLOSE = 0x88, PING = 0x89, PONG = 0x8A, LONGEST_HEADER = 14, LEAST_ROOM = 256 * 1024, BURST = 256 * 1024 };

typedef struct {
    int fd;
    SSL *ssl;
    unsigned char *input;  // received and not yet taken: input[begin..<end]
    size_t begin, end, capacity;
} stream;

typedef struct {
    unsigned char first, key[4];
    size_t size;
} header;

static void stream_init(stream *s, int fd, SSL_CTX *context) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(s, 0, sizeof *s);
    s->fd = fd;
    s->capacity = LEAST_ROOM;
    s->input = malloc(s->capacity);
    if (context) {
        s->ssl = SSL_new(context);
        SSL_set_fd(s->ssl, fd);
    }
}

static void stream_free(stream *s) {
    if (s->ssl) SSL_free(s->ssl);
    free(s->input);
    close(s->fd);
}

static int stream_write(stream *s, const unsigned char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = s->ssl ? SSL_write(s->ssl, bytes, (int)size) : write(s->fd, bytes, size);
        if (n <= 0) return -1;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

// Makes room and reads once.
static int stream_fill(stream *s) {
    size_t have = s->end - s->begin;
    if (have == 0) s->begin = s->end = 0;
    if (s->capacity - s->end < LEAST_ROOM / 2) {
        memmove(s->input, s->input + s->begin, have);
        s->begin = 0;
        s->end = have;
        if (s->capacity - s->end < LEAST_ROOM / 2) s->input = realloc(s->input, s->capacity *= 2);
    }
    size_t room = s->capacity - s->end;
    ssize_t n = s->ssl ? SSL_read(s->ssl, s->input + s->end, (int)room) : read(s->fd, s->input + s->end, room);
    if (n <= 0) return -1;
    s->end += (size_t)n;
    return 0;
}

static int next_header(stream *s, header *h) {
    for (;;) {
        const unsigned char *b = s->input + s->begin;
        size_t have = s->end - s->begin;
        if (have >= 2) {
            size_t length = b[1] & 0x7F, used = 2;
            size_t extended = length == 126 ? 2 : length == 127 ? 8 : 0;
            if (have >= 2 + extended + (b[1] & 0x80 ? 4 : 0)) {
                if (extended) length = 0;
                while (used < 2 + extended) length = length << 8 | b[used++];
                h->first = b[0];
                h->size = length;
                if (b[1] & 0x80) {
                    memcpy(h->key, b + used, 4);
                    used += 4;
                }
                s->begin += used;
                return 0;
            }
        }
        if (stream_fill(s)) return -1;
    }
}

static int skip(stream *s, size_t size) {
    for (;;) {
        size_t step = s->end - s->begin < size ? s->end - s->begin : size;
        s->begin += step;
        if ((size -= step) == 0) return 0;
        if (stream_fill(s)) return -1;
    }
}

// The whole payload, in place and unmasked; valid until the next read. LONGEST_HEADER bytes in front of it may be used.
static unsigned char *take(stream *s, const header *h, int masked) {
    while (s->end - s->begin < h->size)
        if (stream_fill(s)) return NULL;
    unsigned char *payload = s->input + s->begin;
    s->begin += h->size;
    if (masked) {
        size_t i = 0;
        uint64_t key, word;
        memcpy(&key, h->key, 4);
        memcpy((char *)&key + 4, h->key, 4);
        for (; i + 8 <= h->size; i += 8) {
            memcpy(&word, payload + i, 8);
            word ^= key;
            memcpy(payload + i, &word, 8);
        }
        for (; i < h->size; i++) payload[i] ^= h->key[i & 3];
    }
    return payload;
}

// Writes a header that ends at `end`; returns its length.
static size_t put_header(unsigned char *end, unsigned char first, size_t size, const unsigned char *key) {
    size_t extended = size < 126 ? 0 : size < 65536 ? 2 : 8, length = 2 + extended + (key ? 4 : 0);
    unsigned char *b = end - length;
    b[0] = first;
    b[1] = (unsigned char)((key ? 0x80 : 0) | (extended == 0 ? size : extended == 2 ? 126 : 127));
    for (size_t i = 0; i < extended; i++) b[2 + i] = (unsigned char)(size >> 8 * (extended - 1 - i));
    if (key) memcpy(b + 2 + extended, key, 4);
    return length;
}

// A frame of its own, masked when there is a key.
static unsigned char *make_frame(unsigned char first, const void *payload, size_t size, const unsigned char *key,
                                 size_t *frame_size) {
    unsigned char scratch[LONGEST_HEADER];
    size_t length = put_header(scratch + sizeof scratch, first, size, key);
    unsigned char *frame = malloc(length + size);
    memcpy(frame, scratch + sizeof scratch - length, length);
    memcpy(frame + length, payload, size);
    for (size_t i = 0; key && i < size; i++) frame[length + i] ^= key[i & 3];
    *frame_size = length + size;
    return frame;
}

// Reads up to the blank line and returns the head as a string, in place.
static char *read_head(stream *s) {
    for (;;) {
        char *start = (char *)s->input + s->begin, *blank;
        if (s->end > s->begin && (blank = memmem(start, s->end - s->begin, "\r\n\r\n", 4))) {
            *blank = 0;
            s->begin += (size_t)(blank + 4 - start);
            return start;
        }
        if (stream_fill(s)) return NULL;
    }
}

// MARK: Server

static SSL_CTX *server_context;

static int upgrade(stream *s, char *behaviour) {
    char *head = read_head(s), *key = head ? strcasestr(head, "\r\nsec-websocket-key:") : NULL, text[128], answer[256];
    if (!key) return -1;
    *behaviour = strstr(head, " /sink ") ? 's' : strstr(head, " /source ") ? 'o' : 'e';
    key += strlen("\r\nsec-websocket-key:");
    key += strspn(key, " ");
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    unsigned char digest[20], accept[32];
    SHA1((unsigned char *)text, strlen(text), digest);
    EVP_EncodeBlock(accept, digest, sizeof digest);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    return stream_write(s, (unsigned char *)answer, strlen(answer));
}

static int answer_text(stream *s, const char *text) {
    size_t size;
    unsigned char *frame = make_frame(TEXT, text, strlen(text), NULL, &size);
    int failed = stream_write(s, frame, size);
    free(frame);
    return failed;
}

// The same frame many times, in large pieces.
static int write_bursts(stream *s, const unsigned char *frame, size_t frame_size, size_t count) {
    size_t together = frame_size < BURST ? BURST / frame_size : 1;
    unsigned char *burst = malloc(together * frame_size);
    for (size_t i = 0; i < together; i++) memcpy(burst + i * frame_size, frame, frame_size);
    int failed = 0;
    while (count > 0 && !failed) {
        size_t now = count < together ? count : together;
        failed = stream_write(s, burst, now * frame_size);
        count -= now;
    }
    free(burst);
    return failed;
}

static void *serve(void *argument) {
    stream s;
    stream_init(&s, (int)(intptr_t)argument, server_context);
    header h;
    char behaviour;
    size_t messages = 0, bytes = 0;
    if (s.ssl && SSL_accept(s.ssl) != 1) goto end;
    if (upgrade(&s, &behaviour)) goto end;
    while (!next_header(&s, &h)) {
        if (behaviour == 's' && h.first == BINARY) {
            if (skip(&s, h.size)) break;
            messages++;
            bytes += h.size;
            continue;
        }
        unsigned char *payload = take(&s, &h, 1);
        if (!payload) break;
        if (h.first == PONG) continue;
        if (h.first == CLOSE || h.first == PING || behaviour == 'e') {
            // The client's header was longer by its key, so there is room in front.
            size_t length = put_header(payload, h.first == PING ? PONG : h.first, h.size, NULL);
            if (stream_write(&s, payload - length, length + h.size) || h.first == CLOSE) break;
        } else if (behaviour == 's') {
            char text[64];
            snprintf(text, sizeof text, "%zu %zu", messages, bytes);
            messages = bytes = 0;
            if (answer_text(&s, text)) break;
        } else {
            char order[64];
            size_t each, count, frame_size;
            snprintf(order, sizeof order, "%.*s", (int)h.size, (char *)payload);
            if (sscanf(order, "%zu %zu", &each, &count) != 2) break;
            unsigned char *bytes = malloc(each + 1);
            peer_fill(bytes, each);
            unsigned char *frame = make_frame(BINARY, bytes, each, NULL, &frame_size);
            int failed = write_bursts(&s, frame, frame_size, count);
            free(frame);
            free(bytes);
            if (failed) break;
        }
    }
end:
    stream_free(&s);
    return NULL;
}

static void server(const peer_options *o) {
    if (o->tls) {
        server_context = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_min_proto_version(server_context, TLS1_3_VERSION);
        SSL_CTX_set_read_ahead(server_context, 1);
        if (SSL_CTX_use_certificate_chain_file(server_context, o->cert) != 1 ||
            SSL_CTX_use_PrivateKey_file(server_context, o->key, SSL_FILETYPE_PEM) != 1)
            peer_fail("certificate or key cannot be used");
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) peer_fail("cannot listen");
    for (;;) {
        int client = accept(fd, NULL, NULL);
        pthread_t thread;
        if (client < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)client)) peer_fail("cannot accept");
        pthread_detach(thread);
    }
}

// MARK: Client

static void client_connect(const peer_options *o, stream *s) {
    SSL_CTX *context = NULL;
    if (o->tls) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_read_ahead(context, 1);
        if (SSL_CTX_load_verify_locations(context, o->ca, NULL) != 1) peer_fail("cannot load --ca");
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) peer_fail("cannot connect");
    stream_init(s, fd, context);
    if (s->ssl) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), "127.0.0.1");
        if (SSL_connect(s->ssl) != 1) {
            ERR_print_errors_fp(stderr);
            peer_fail("TLS handshake");
        }
    }
    char request[512];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", o->path, o->port);
    char *head;
    if (stream_write(s, (unsigned char *)request, strlen(request)) || !(head = read_head(s))) peer_fail("upgrade");
    if (strncmp(head, "HTTP/1.1 101", 12)) peer_fail("the server did not upgrade");
}

static void client(const peer_options *o) {
    static const unsigned char key[4] = {0x37, 0xFA, 0x21, 0x3D};
    stream s;
    client_connect(o, &s);
    unsigned char *payload = malloc(o->size + 1);
    peer_fill(payload, o->size);
    header h;
    size_t frame_size, order_size;
    unsigned char *frame = make_frame(BINARY, payload, o->size, key, &frame_size);
    if (o->mode == MODE_RTT) {
        uint64_t *samples = malloc(o->count * sizeof *samples);
        for (size_t i = 0; i < o->count + o->count / 10; i++) {
            uint64_t start = peer_now();
            if (stream_write(&s, frame, frame_size)) peer_fail("write");
            if (next_header(&s, &h) || h.size != o->size || skip(&s, h.size)) peer_fail("read");
            if (i >= o->count / 10) samples[i - o->count / 10] = peer_now() - start;
        }
        peer_print_rtt(o, samples);
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "%zu %zu", o->size, o->count);
    const char *order = o->mode == MODE_SEND ? "?" : text;
    unsigned char *order_frame = make_frame(TEXT, order, strlen(order), key, &order_size);
    uint64_t start = peer_now();
    if (o->mode == MODE_SEND) {
        if (o->burst && write_bursts(&s, frame, frame_size, o->count)) peer_fail("write");
        for (size_t i = 0; !o->burst && i < o->count; i++)
            if (stream_write(&s, frame, frame_size)) peer_fail("write");
        if (stream_write(&s, order_frame, order_size) || next_header(&s, &h)) peer_fail("read");
        unsigned char *answer = take(&s, &h, 0);
        uint64_t end = peer_now();
        snprintf(text, sizeof text, "%zu %zu", o->count, o->count * o->size);
        if (!answer || h.size != strlen(text) || memcmp(answer, text, h.size)) peer_fail("the server counted differently");
        peer_print_throughput(o, end - start);
    } else {
        if (stream_write(&s, order_frame, order_size)) peer_fail("write");
        for (size_t i = 0; i < o->count; i++)
            if (next_header(&s, &h) || h.size != o->size || skip(&s, h.size)) peer_fail("read");
        peer_print_throughput(o, peer_now() - start);
    }
}

int main(int argc, char **argv) {
    peer_options o = peer_parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    o.is_server ? server(&o) : client(&o);
    return 0;
}
