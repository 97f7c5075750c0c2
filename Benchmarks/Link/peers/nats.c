// NATS request/reply over TLS through a nats-server.
//
//     nats respond PORT CA                        answers until it is ended; prints "ready"
//     nats request PORT CA COUNT REQUEST_BYTES    COUNT/10 requests to warm up, then COUNT measured
//
// Without SendAsap the client library gathers what it sends for about a millisecond.
#include <nats/nats.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static void check(natsStatus status, const char *what) {
    if (status == NATS_OK) return;
    fprintf(stderr, "nats: %s: %s (%s)\n", what, natsStatus_GetText(status), nats_GetLastError(NULL));
    exit(1);
}

static void answer(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure) {
    (void)subscription;
    (void)closure;
    static const char done[48] = "done";
    natsConnection_Publish(connection, natsMsg_GetReply(message), done, sizeof done);
    natsMsg_Destroy(message);
}

int main(int count_of_arguments, char **arguments) {
    if (count_of_arguments < 4) return 64;
    char url[64];
    snprintf(url, sizeof url, "tls://localhost:%s", arguments[2]);
    natsOptions *options = NULL;
    natsConnection *connection = NULL;
    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, url), "url");
    check(natsOptions_SetSecure(options, true), "secure");
    check(natsOptions_LoadCATrustedCertificates(options, arguments[3]), "CA");
    check(natsOptions_SetExpectedHostname(options, "localhost"), "host");
    check(natsOptions_SetSendAsap(options, true), "send asap");
    check(natsConnection_Connect(&connection, options), "connect");
    if (strcmp(arguments[1], "respond") == 0) {
        natsSubscription *subscription = NULL;
        check(natsConnection_Subscribe(&subscription, connection, "command", answer, NULL), "subscribe");
        check(natsConnection_Flush(connection), "flush");
        puts("ready");
        fflush(stdout);
        pause();
    }
    long count = atol(arguments[4]);
    int bytes = atoi(arguments[5]);
    char *request = malloc((size_t)bytes);
    double *times = calloc((size_t)count, sizeof *times);
    memset(request, 'x', (size_t)bytes);
    for (long index = -count / 10; index < count; index++) {
        natsMsg *reply = NULL;
        double began = now_us();
        check(natsConnection_Request(&reply, connection, "command", request, bytes, 5000), "request");
        if (index >= 0) times[index] = now_us() - began;
        natsMsg_Destroy(reply);
    }
    report("nats", bytes, times, count);
    return 0;
}
