// Plays many idle nodes against one hub: each dials, upgrades, says Hello, waits for Welcome, opens its packet stream
// and then sends heartbeats. Independent of our own code, and small enough that the hub's memory is what is measured.
//
//     nodes PORT TOKENS COUNT plain|tls|deflate HEARTBEAT_SECONDS [CA]
//
// TOKENS has one token a line. With BURST_KIB in the environment each node also sends so much at once, in the form of
// unasked Pongs (RFC 6455 section 5.5.3), to see whether the hub lets go of what it needed for that. Prints "connected COUNT SECONDS" when all sessions are established; stays until its stdin
// ends and then prints "alive COUNT heartbeats COUNT lost COUNT". Ends with 1 when a session cannot be established.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { workers = 16, longest_message = 4096, longest_head = 2048 };

struct node {
    int socket;
    SSL *tls;
    uint64_t sequence;
    // A frame that has begun and not ended; allocated only meanwhile.
    unsigned char *partial;
    size_t partial_bytes;
};

static int port, heartbeat_seconds;
static long count;
static bool use_tls, use_deflate;
static SSL_CTX *context;
static char **tokens;
static struct node *nodes;
static _Atomic long next_node, established;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("nodes: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// ---- Protocol Buffers, as much as is sent here.

struct bytes {
    unsigned char data[longest_message];
    size_t count;
};

static void put(struct bytes *to, const void *data, size_t length) {
    if (to->count + length > sizeof to->data) fail("a message is longer than %d bytes", longest_message);
    memcpy(to->data + to->count, data, length);
    to->count += length;
}

static void put_byte(struct bytes *to, unsigned value) {
    unsigned char byte = (unsigned char)value;
    put(to, &byte, 1);
}

static void put_varint(struct bytes *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_byte(to, (unsigned)(value & 0x7f) | 0x80);
    put_byte(to, (unsigned)value);
}

static void field_number(struct bytes *to, unsigned field, uint64_t value) {
    put_varint(to, field << 3);
    put_varint(to, value);
}

static void field_double(struct bytes *to, unsigned field, double value) {
    put_varint(to, field << 3 | 1);
    put(to, &value, sizeof value);
}

static void field_bytes(struct bytes *to, unsigned field, const void *data, size_t length) {
    put_varint(to, field << 3 | 2);
    put_varint(to, length);
    put(to, data, length);
}

static void field_text(struct bytes *to, unsigned field, const char *text) {
    field_bytes(to, field, text, strlen(text));
}

static void field_message(struct bytes *to, unsigned field, const struct bytes *message) {
    field_bytes(to, field, message->data, message->count);
}

static struct bytes hello(long number) {
    char text[80];
    struct bytes hello = {0}, session = {0};
    field_number(&hello, 1, 1);
    field_number(&hello, 2, 1);
    snprintf(text, sizeof text, "instance-%016lx-0123456789abcdef", number);
    field_text(&hello, 4, text);
    field_text(&hello, 5, "6e1fb1bc-5c3f-4b6f-9a51-0d7d1b1f2c3d");
    snprintf(text, sizeof text, "%064lx", number);
    field_text(&hello, 6, text);
    field_text(&hello, 7, "0.1.0");
    field_text(&hello, 8, "linux");
    field_text(&hello, 9, "Debian GNU/Linux 12 (bookworm)");
    field_text(&hello, 10, "x86_64");
    field_text(&hello, 11, "6.1.0-28-amd64");
    snprintf(text, sizeof text, "node-%05ld.example", number);
    field_text(&hello, 12, text);
    field_number(&hello, 13, 86400);
    for (int index = 0; index < 3; index++) {
        static const char *const names[] = {"runtime.native", "logs.follow", "workspace.sync"};
        struct bytes entry = {0};
        field_text(&entry, 1, names[index]);
        field_text(&entry, 2, "true");
        field_message(&hello, 14, &entry);
    }
    struct bytes profile = {0};
    field_text(&profile, 1, "default");
    field_text(&profile, 2, "native");
    field_text(&profile, 3, "/usr/bin/bot --config {config} --workspace {workspace}");
    field_number(&profile, 4, 1);
    field_message(&hello, 15, &profile);
    snprintf(text, sizeof text, "journal-%016lx", number);
    field_text(&hello, 16, text);
    field_number(&hello, 18, unix_ms());
    field_message(&session, 1, &hello);
    return session;
}

// Figures differ from node to node and move from beat to beat, as a fleet's do.
static struct bytes heartbeat(uint64_t sequence, uint64_t number) {
    struct bytes resources = {0}, beat = {0}, session = {0};
    field_number(&resources, 1, 4);
    field_double(&resources, 2, 2 + (double)((number * 37 + sequence * 11) % 530) / 10);
    for (unsigned field = 3; field <= 5; field++) field_double(&resources, field, 0.25);
    field_number(&resources, 6, 16ull << 30);
    field_number(&resources, 7, (4096 + (number * 2731 + sequence * 97) % 8192) << 20);
    field_number(&resources, 8, 2ull << 30);
    field_number(&resources, 9, 2ull << 30);
    struct bytes disk = {0};
    field_text(&disk, 1, "/");
    field_text(&disk, 2, "/dev/sda1");
    field_text(&disk, 3, "ext4");
    field_number(&disk, 4, 500ull << 30);
    field_number(&disk, 5, (60 + number * 53 % 400) << 30);
    field_message(&resources, 10, &disk);
    field_number(&resources, 11, 123456789 + sequence * (150000 + number % 7 * 90000));
    field_number(&resources, 12, 987654321 + sequence * 60000);
    field_number(&resources, 13, unix_ms() - 86400000);
    struct bytes times = {0};
    for (unsigned field = 1; field <= 8; field++) field_double(&times, field, 1234.5 * field);
    field_message(&resources, 14, &times);
    field_number(&resources, 15, 25ull << 20);
    field_number(&beat, 1, sequence);
    field_number(&beat, 2, unix_ms());
    field_number(&beat, 3, 86400);
    field_message(&beat, 4, &resources);
    field_number(&beat, 5, sequence > 1 ? 180 + number * 911 % 45000 + sequence * 137 % 900 : 0);
    field_message(&session, 3, &beat);
    return session;
}

// ---- Mux frames in WebSocket frames.

static void mux_frame(struct bytes *to, unsigned type, uint32_t stream, const struct bytes *payload) {
    put_byte(to, type);
    put_byte(to, 0);
    put_byte(to, (unsigned)(payload->count >> 8));
    put_byte(to, (unsigned)(payload->count & 0xff));
    for (int shift = 24; shift >= 0; shift -= 8) put_byte(to, stream >> shift & 0xff);
    put(to, payload->data, payload->count);
}

static void transmit(struct node *node, const unsigned char *data, size_t length) {
    size_t sent = 0;
    while (sent < length) {
        ssize_t done;
        if (node->tls) {
            size_t wrote = 0;
            int result = SSL_write_ex(node->tls, data + sent, length - sent, &wrote);
            done = result == 1 ? (ssize_t)wrote : -1;
            if (done < 0 && SSL_get_error(node->tls, result) != SSL_ERROR_WANT_WRITE) fail("a TLS write failed");
        } else {
            done = send(node->socket, data + sent, length - sent, MSG_NOSIGNAL);
            if (done < 0 && errno != EAGAIN) fail("a write failed: %s", strerror(errno));
        }
        if (done > 0) sent += (size_t)done;
    }
}

static size_t deflated(const unsigned char *data, size_t length, unsigned char *to, size_t room) {
    z_stream stream = {0};
    if (deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) fail("zlib cannot start");
    stream.next_in = (unsigned char *)data;
    stream.avail_in = (unsigned)length;
    stream.next_out = to;
    stream.avail_out = (unsigned)room;
    if (deflate(&stream, Z_SYNC_FLUSH) != Z_OK || stream.avail_out == 0) fail("zlib failed");
    size_t written = room - stream.avail_out - 4;  // without 00 00 ff ff (RFC 7692 section 7.2.1)
    deflateEnd(&stream);
    return written;
}

static void web_socket_frame(struct node *node, unsigned opcode, const unsigned char *data, size_t length) {
    unsigned char frame[longest_message + 16], packed[longest_message];
    unsigned first = 0x80 | opcode;
    if (use_deflate && opcode == 2) {
        length = deflated(data, length, packed, sizeof packed);
        data = packed;
        first |= 0x40;
    }
    size_t at = 0;
    frame[at++] = (unsigned char)first;
    if (length < 126) {
        frame[at++] = 0x80 | (unsigned char)length;
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(length >> 8);
        frame[at++] = (unsigned char)length;
    }
    unsigned char key[4];
    if (getrandom(key, sizeof key, 0) != sizeof key) fail("no random bytes");
    memcpy(frame + at, key, 4);
    at += 4;
    for (size_t index = 0; index < length; index++) frame[at + index] = data[index] ^ key[index & 3];
    transmit(node, frame, at + length);
}

static void send_mux(struct node *node, unsigned type, uint32_t stream, const struct bytes *payload) {
    struct bytes message = {0};
    mux_frame(&message, type, stream, payload);
    web_socket_frame(node, 2, message.data, message.count);
}

static void burst(struct node *node, long kib) {
    enum { payload_bytes = 122, frame_bytes = 128, frames = 64 * 1024 / frame_bytes };
    static const unsigned char header[] = {0x8a, 0x80 | payload_bytes, 0, 0, 0, 0};
    unsigned char block[frames * frame_bytes] = {0};
    for (size_t index = 0; index < frames; index++) memcpy(block + index * frame_bytes, header, sizeof header);
    for (size_t rest = (size_t)kib * 1024; rest > 0;) {
        size_t length = rest < sizeof block ? rest : sizeof block;
        transmit(node, block, length);
        rest -= length;
    }
}

static void beat(struct node *node) {
    struct bytes message = heartbeat(++node->sequence, (uint64_t)(node - nodes));
    send_mux(node, 2, 0, &message);
}

// ---- Receiving. Returns the bytes read, 0 at the end, -1 when there is nothing now.

static ssize_t receive(struct node *node, unsigned char *into, size_t room) {
    if (!node->tls) {
        ssize_t got = recv(node->socket, into, room, 0);
        return got < 0 && errno == EAGAIN ? -1 : got < 0 ? 0 : got;
    }
    size_t got = 0;
    int result = SSL_read_ex(node->tls, into, room, &got);
    if (result == 1) return (ssize_t)got;
    int error = SSL_get_error(node->tls, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ ? -1 : 0;
}

// Takes whole frames off the front. Returns the bytes used, or -1 when the hub has closed.
static long take_frames(struct node *node, const unsigned char *data, size_t length) {
    size_t at = 0;
    while (length - at >= 2) {
        size_t header = 2, payload = data[at + 1] & 0x7f;
        if (payload == 126) {
            if (length - at < 4) break;
            payload = (size_t)data[at + 2] << 8 | data[at + 3];
            header = 4;
        } else if (payload == 127) {
            fail("the hub sent a frame longer than is expected here");
        }
        if (length - at < header + payload) break;
        unsigned opcode = data[at] & 0x0f;
        if (opcode == 9) web_socket_frame(node, 10, data + at + header, payload);
        if (opcode == 8) {
            unsigned code = payload >= 2 ? (unsigned)data[at + header] << 8 | data[at + header + 1] : 1005;
            fprintf(stderr, "nodes: the hub closed a session with %u %.*s\n", code, payload > 2 ? (int)payload - 2 : 0,
                payload > 2 ? (const char *)data + at + header + 2 : "");
            return -1;
        }
        at += header + payload;
    }
    return (long)at;
}

// ---- Establishing.

static SSL *handshake(int socket) {
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, socket);
    SSL_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set1_host(tls, "localhost");
    SSL_set_tlsext_host_name(tls, "localhost");
    if (SSL_connect(tls) != 1) {
        ERR_print_errors_fp(stderr);
        fail("TLS handshake failed");
    }
    return tls;
}

static void establish(struct node *node, long number) {
    unsigned pause = 0;
    while (true) {
        if (pause) usleep(pause);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        node->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int on = 1;
        setsockopt(node->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(node->socket, (struct sockaddr *)&address, sizeof address) < 0) fail("connect: %s", strerror(errno));
        node->tls = use_tls ? handshake(node->socket) : NULL;
        char request[longest_head];
        int length = snprintf(request, sizeof request,
            "GET /edge/v1/connect HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: edge.v1\r\n%sAuthorization: Bearer %s\r\n\r\n",
            port, use_deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "",
            tokens[number]);
        transmit(node, (unsigned char *)request, (size_t)length);
        char head[longest_head] = {0};
        size_t got = 0;
        while (!strstr(head, "\r\n\r\n")) {
            if (got + 1 >= sizeof head) fail("the hub's answer is too long");
            ssize_t more = receive(node, (unsigned char *)head + got, 1);
            if (more <= 0) fail("the hub ended the connection during the upgrade");
            got += (size_t)more;
        }
        if (strncmp(head, "HTTP/1.1 101 ", 13) == 0) {
            if (use_deflate && !strcasestr(head, "permessage-deflate")) fail("the hub does not agree to permessage-deflate");
            break;
        }
        const char *wait = strcasestr(head, "\r\nretry-after:");
        if (strncmp(head, "HTTP/1.1 503 ", 13) != 0 || !wait) fail("the hub answered: %s", head);
        pause = (unsigned)(atof(wait + 14) * 1e6);
        if (node->tls) SSL_free(node->tls);
        close(node->socket);
    }
    struct bytes first = hello(number);
    send_mux(node, 2, 0, &first);
    unsigned char answer[longest_message];
    size_t got = 0;
    while (true) {
        ssize_t more = receive(node, answer + got, sizeof answer - got);
        if (more <= 0) fail("the hub ended the connection before Welcome");
        got += (size_t)more;
        long used = take_frames(node, answer, got);
        if (used < 0) fail("the hub refused node %ld", number);
        // The first message is Welcome; nothing else follows it at once.
        if (used > 0 && (size_t)used == got) break;
    }
    struct bytes journal = {0}, header = {0};
    char text[64];
    snprintf(text, sizeof text, "journal-%016lx", number);
    field_text(&journal, 1, text);
    field_message(&header, 2, &journal);
    send_mux(node, 1, 1, &header);
    beat(node);
    const char *kib = getenv("BURST_KIB");
    if (kib) burst(node, atol(kib));
    fcntl(node->socket, F_SETFL, O_NONBLOCK);
}

static void *work(void *unused) {
    (void)unused;
    for (long number; (number = next_node++) < count;) {
        establish(&nodes[number], number);
        established++;
    }
    return NULL;
}

int main(int argument_count, char **arguments) {
    if (argument_count < 6) fail("usage: nodes PORT TOKENS COUNT plain|tls|deflate HEARTBEAT_SECONDS [CA]");
    port = atoi(arguments[1]);
    count = atol(arguments[3]);
    use_deflate = strcmp(arguments[4], "deflate") == 0;
    use_tls = use_deflate || strcmp(arguments[4], "tls") == 0;
    heartbeat_seconds = atoi(arguments[5]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    tokens = calloc((size_t)count, sizeof *tokens);
    nodes = calloc((size_t)count, sizeof *nodes);
    FILE *file = fopen(arguments[2], "r");
    if (!file) fail("%s cannot be read", arguments[2]);
    for (long index = 0; index < count; index++) {
        size_t room = 0;
        ssize_t length = getline(&tokens[index], &room, file);
        if (length <= 0) fail("%s has fewer than %ld tokens", arguments[2], count);
        tokens[index][strcspn(tokens[index], "\n")] = 0;
    }
    fclose(file);
    if (use_tls) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        if (argument_count < 7 || SSL_CTX_load_verify_locations(context, arguments[6], NULL) != 1)
            fail("the hub's CA cannot be read");
    }

    double began = seconds();
    pthread_t threads[workers];
    for (int index = 0; index < workers; index++) pthread_create(&threads[index], NULL, work, NULL);
    // Sessions that are established already must not be silent while others are still being established.
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event watch = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    long watched = 0, alive = 0, beats = 0, beaten = 0;
    bool all = false, is_over = false;
    double lap = seconds();
    while (!is_over) {
        if (!all && established == count) {
            for (int index = 0; index < workers; index++) pthread_join(threads[index], NULL);
            for (; watched < count; watched++, alive++) {
                struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)watched};
                epoll_ctl(epoll, EPOLL_CTL_ADD, nodes[watched].socket, &event);
            }
            epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &watch);
            all = true;
            lap = seconds();
            beaten = 0;
            printf("connected %ld %.1f\n", count, seconds() - began);
            fflush(stdout);
        }
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 20);
        for (int index = 0; index < ready; index++) {
            if (events[index].data.u64 == UINT64_MAX) {
                is_over = true;
                break;
            }
            struct node *node = &nodes[events[index].data.u64];
            while (node->socket >= 0) {
                unsigned char data[2 * longest_message];
                size_t held = node->partial_bytes;
                if (held) memcpy(data, node->partial, held);
                free(node->partial);
                node->partial = NULL;
                node->partial_bytes = 0;
                ssize_t more = receive(node, data + held, longest_message);
                long used = more == 0 ? -1 : take_frames(node, data, held + (size_t)(more > 0 ? more : 0));
                if (used < 0) {
                    close(node->socket);
                    node->socket = -1;
                    alive--;
                    break;
                }
                size_t rest = held + (size_t)(more > 0 ? more : 0) - (size_t)used;
                if (rest > longest_message) fail("a frame is longer than is expected here");
                if (rest) {
                    node->partial = malloc(rest);
                    memcpy(node->partial, data + used, rest);
                    node->partial_bytes = rest;
                }
                if (more < 0) break;
            }
        }
        // Heartbeats are spread evenly over the interval.
        if (!all) continue;
        double share = (seconds() - lap) / heartbeat_seconds;
        long due = (long)(share * (double)count);
        for (; beaten < due && beaten < count; beaten++) {
            if (nodes[beaten].socket < 0) continue;
            beat(&nodes[beaten]);
            beats++;
        }
        if (beaten == count && share >= 1) {
            lap += heartbeat_seconds;
            beaten = 0;
        }
    }
    printf("alive %ld heartbeats %ld lost %ld\n", alive, beats, count - alive);
    return 0;
}
