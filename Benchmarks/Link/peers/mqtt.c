// MQTT request/reply over TLS through a mosquitto broker, QoS 0.
//
//     mqtt respond PORT CA                        answers until it is ended; prints "ready"
//     mqtt request PORT CA COUNT REQUEST_BYTES    COUNT/10 requests to warm up, then COUNT measured
#include <mosquitto.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static char *request;
static int request_bytes;
static long count, sent;
static double *times, began;
static int is_over;

static void check(int status, const char *what) {
    if (status == MOSQ_ERR_SUCCESS) return;
    fprintf(stderr, "mqtt: %s: %s\n", what, mosquitto_strerror(status));
    exit(1);
}

static void ask(struct mosquitto *client) {
    began = now_us();
    check(mosquitto_publish(client, NULL, "command", request_bytes, request, 0, false), "publish");
}

static void answer(struct mosquitto *client, void *closure, const struct mosquitto_message *message) {
    (void)closure;
    (void)message;
    static const char done[48] = "done";
    check(mosquitto_publish(client, NULL, "result", sizeof done, done, 0, false), "publish");
}

static void answered(struct mosquitto *client, void *closure, const struct mosquitto_message *message) {
    (void)closure;
    (void)message;
    long index = sent++ - count / 10;
    if (index >= 0) times[index] = now_us() - began;
    if (index + 1 == count) {
        is_over = 1;
        return;
    }
    ask(client);
}

static void subscribed(struct mosquitto *client, void *closure, int id, int granted_count, const int *granted) {
    (void)closure;
    (void)id;
    (void)granted_count;
    (void)granted;
    if (request) {
        ask(client);
    } else {
        puts("ready");
        fflush(stdout);
    }
}

static void connected(struct mosquitto *client, void *closure, int status) {
    (void)closure;
    check(status, "connect");
    check(mosquitto_subscribe(client, NULL, request ? "result" : "command", 0), "subscribe");
}

int main(int count_of_arguments, char **arguments) {
    if (count_of_arguments < 4) return 64;
    if (strcmp(arguments[1], "request") == 0) {
        count = atol(arguments[4]);
        request_bytes = atoi(arguments[5]);
        request = malloc((size_t)request_bytes);
        memset(request, 'x', (size_t)request_bytes);
        times = calloc((size_t)count, sizeof *times);
    }
    mosquitto_lib_init();
    struct mosquitto *client = mosquitto_new(NULL, true, NULL);
    mosquitto_connect_callback_set(client, connected);
    mosquitto_subscribe_callback_set(client, subscribed);
    mosquitto_message_callback_set(client, request ? answered : answer);
    check(mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1), "nodelay");
    check(mosquitto_tls_set(client, arguments[3], NULL, NULL, NULL, NULL), "tls");
    check(mosquitto_connect(client, "localhost", atoi(arguments[2]), 60), "connect");
    // The library's own loop, on this thread: no hop between threads.
    while (!is_over) check(mosquitto_loop(client, 1000, 1), "loop");
    report("mqtt", request_bytes, times, count);
    return 0;
}
