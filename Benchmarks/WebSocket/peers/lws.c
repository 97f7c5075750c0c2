// libwebsockets: its event loop and callbacks, one lws_write a message, as many as the socket takes per turn.
#include "peer.h"
#include <libwebsockets.h>

enum { RX_BUFFER = 64 * 1024 };

// One end of one connection.
typedef struct {
    char behaviour;  // server: e(cho), s(ink), o(rigin); client: c
    unsigned char *message;  // what is sent; NULL before the first
    size_t message_size;
    int message_is_text;
    size_t left;             // how often it is still to be sent
    unsigned char *input;    // the message being received, where its content matters
    size_t input_size, input_capacity;
    size_t received;         // its length so far
    size_t messages, bytes;
} session;

static peer_options options;
static unsigned char *scratch;  // LWS_PRE bytes, then the message being written; masking happens in place
static size_t scratch_capacity;
static uint64_t *samples, start_time;
static size_t done;
static int finished;

static void set_message(session *s, const void *bytes, size_t size, int is_text, size_t times) {
    free(s->message);
    s->message = malloc(size + 1);
    memcpy(s->message, bytes, size);
    s->message_size = size;
    s->message_is_text = is_text;
    s->left = times;
    if (scratch_capacity < LWS_PRE + size) scratch = realloc(scratch, scratch_capacity = LWS_PRE + size);
}

static int write_some(struct lws *wsi, session *s) {
    while (s->left > 0) {
        memcpy(scratch + LWS_PRE, s->message, s->message_size);
        int n = lws_write(wsi, scratch + LWS_PRE, s->message_size, s->message_is_text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);
        if (n < (int)s->message_size) return -1;
        s->left--;
        if (lws_send_pipe_choked(wsi)) break;
    }
    if (s->left > 0) lws_callback_on_writable(wsi);
    return 0;
}

// Counts what arrives and keeps it where it is wanted; true at the end of a message.
static int receive(struct lws *wsi, session *s, const void *bytes, size_t size, int keep) {
    if (lws_is_first_fragment(wsi)) s->received = s->input_size = 0;
    s->received += size;
    if (keep) {
        if (s->input_capacity < s->input_size + size)
            s->input = realloc(s->input, s->input_capacity = 2 * (s->input_size + size) + 64);
        memcpy(s->input + s->input_size, bytes, size);
        s->input_size += size;
    }
    return lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
}

// MARK: Server

static int server_received(struct lws *wsi, session *s, const void *bytes, size_t size) {
    int is_text = !lws_frame_is_binary(wsi);
    if (!receive(wsi, s, bytes, size, s->behaviour == 'e' || is_text)) return 0;
    if (s->behaviour == 'e') {
        set_message(s, s->input, s->input_size, is_text, 1);
    } else if (s->behaviour == 's' && !is_text) {
        s->messages++;
        s->bytes += s->received;
        return 0;
    } else if (s->behaviour == 's') {
        char text[64];
        int length = snprintf(text, sizeof text, "%zu %zu", s->messages, s->bytes);
        s->messages = s->bytes = 0;
        set_message(s, text, (size_t)length, 1, 1);
    } else {
        size_t each, count;
        char order[64];
        snprintf(order, sizeof order, "%.*s", (int)s->input_size, (char *)s->input);
        if (sscanf(order, "%zu %zu", &each, &count) != 2) return -1;
        unsigned char *payload = malloc(each + 1);
        peer_fill(payload, each);
        set_message(s, payload, each, 0, count);
        free(payload);
    }
    // Within a callback about this connection, writing at once is allowed and saves a turn of the loop.
    return lws_send_pipe_choked(wsi) ? lws_callback_on_writable(wsi) < 0 : write_some(wsi, s);
}

static int server_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    session *s = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED: {
        char path[64] = "";
        lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI);
        memset(s, 0, sizeof *s);
        s->behaviour = !strcmp(path, "/sink") ? 's' : !strcmp(path, "/source") ? 'o' : 'e';
        return 0;
    }
    case LWS_CALLBACK_RECEIVE: return server_received(wsi, s, in, length);
    case LWS_CALLBACK_SERVER_WRITEABLE: return write_some(wsi, s);
    case LWS_CALLBACK_CLOSED:
        free(s->message);
        free(s->input);
        return 0;
    default: return 0;
    }
}

// MARK: Client

static void client_round_trip(struct lws *wsi, session *s) {
    (void)wsi;
    start_time = peer_now();
    s->left = 1;
}

static int client_received(struct lws *wsi, session *s, const void *bytes, size_t size) {
    if (!receive(wsi, s, bytes, size, options.mode == MODE_SEND)) return 0;
    uint64_t now = peer_now();
    if (options.mode == MODE_SEND) {
        char expected[64];
        snprintf(expected, sizeof expected, "%zu %zu", options.count, options.count * options.size);
        if (s->input_size != strlen(expected) || memcmp(s->input, expected, s->input_size))
            peer_fail("the server counted differently");
        peer_print_throughput(&options, now - start_time);
        finished = 1;
        return -1;
    }
    if (s->received != options.size) peer_fail("a message is not what was asked for");
    done++;
    if (options.mode == MODE_RECV) {
        if (done < options.count) return 0;
        peer_print_throughput(&options, now - start_time);
        finished = 1;
        return -1;
    }
    size_t warm_up = options.count / 10;
    if (done > warm_up) samples[done - warm_up - 1] = now - start_time;
    if (done == options.count + warm_up) {
        peer_print_rtt(&options, samples);
        finished = 1;
        return -1;
    }
    client_round_trip(wsi, s);
    return write_some(wsi, s);
}

static int client_established(struct lws *wsi, session *s) {
    memset(s, 0, sizeof *s);
    s->behaviour = 'c';
    if (options.mode == MODE_RECV) {
        char order[64];
        int length = snprintf(order, sizeof order, "%zu %zu", options.size, options.count);
        set_message(s, order, (size_t)length, 1, 1);
        start_time = peer_now();
    } else {
        unsigned char *payload = malloc(options.size + 1);
        peer_fill(payload, options.size);
        set_message(s, payload, options.size, 0, options.mode == MODE_SEND ? options.count : 0);
        free(payload);
        start_time = peer_now();
        if (options.mode == MODE_RTT) client_round_trip(wsi, s);
    }
    lws_callback_on_writable(wsi);
    return 0;
}

static int client_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    session *s = user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED: return client_established(wsi, s);
    case LWS_CALLBACK_CLIENT_RECEIVE: return client_received(wsi, s, in, length);
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        if (write_some(wsi, s)) return -1;
        if (options.mode == MODE_SEND && s->left == 0 && !s->message_is_text) {
            set_message(s, "?", 1, 1, 1);
            lws_callback_on_writable(wsi);
        }
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR: peer_fail(in ? in : "cannot connect");
    case LWS_CALLBACK_CLIENT_CLOSED:
        if (!finished) peer_fail("the connection was closed");
        return 0;
    default: return 0;
    }
}

static const struct lws_extension extensions[] = {
    {"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate; client_max_window_bits"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv) {
    options = peer_parse(argc, argv);
    struct lws_protocols protocols[] = {
        {"", options.is_server ? server_callback : client_callback, sizeof(session), RX_BUFFER, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
    };
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.protocols = protocols;
    info.pt_serv_buf_size = RX_BUFFER;  // what is read from the socket at once
    info.gid = info.uid = (gid_t)-1;
    if (options.deflate) info.extensions = extensions;
    info.port = options.is_server ? options.port : CONTEXT_PORT_NO_LISTEN;
    info.iface = options.is_server ? "127.0.0.1" : NULL;
    if (options.tls) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.ssl_cert_filepath = options.cert;
        info.ssl_private_key_filepath = options.key;
        info.client_ssl_ca_filepath = options.ca;
    }
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (!context) peer_fail("cannot start");
    if (!options.is_server) {
        samples = malloc((options.count + 1) * sizeof *samples);
        struct lws_client_connect_info connection;
        memset(&connection, 0, sizeof connection);
        connection.context = context;
        connection.address = connection.host = connection.origin = "127.0.0.1";
        connection.port = options.port;
        connection.path = options.path;
        connection.local_protocol_name = protocols[0].name;
        connection.ssl_connection = options.tls ? LCCSCF_USE_SSL : 0;
        if (!lws_client_connect_via_info(&connection)) peer_fail("cannot connect");
    }
    while (!finished && lws_service(context, 0) >= 0) {}
    return 0;
}
