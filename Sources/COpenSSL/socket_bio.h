// How OpenSSL reaches the socket: a BIO that asks the kernel no more than it must.
//
// OpenSSL's own socket BIO makes two system calls for each record it reads and one for each it writes. This one
// remembers that a receive came back short, which on an edge-triggered socket means that nothing more is there, and
// collects the records of one write in a buffer that its owner sends as a whole.
#ifndef COPENSSL_SOCKET_BIO_H
#define COPENSSL_SOCKET_BIO_H

#include <errno.h>
#include <openssl/bio.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

typedef struct {
    int descriptor;
    // Whether receiving is worth a try; cleared here, set by the owner when the socket became readable.
    int is_readable;
    // A short receive says nothing once the peer has ended its direction: the end is still to be received.
    int has_peer_ended;
    // The error number of a receive that failed for good; 0 before.
    int failure;
    // Where written records gather. Without room a write is put off.
    unsigned char *output;
    size_t output_capacity;
    size_t output_count;
} COpenSSL_socket;

static inline int COpenSSL_socket_read(BIO *bio, char *buffer, size_t size, size_t *count) {
    COpenSSL_socket *socket = (COpenSSL_socket *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *count = 0;
    while (socket->is_readable) {
        ssize_t received = recv(socket->descriptor, buffer, size, 0);
        if (received > 0) {
            if ((size_t)received < size && !socket->has_peer_ended) {
                socket->is_readable = 0;
            }
            *count = (size_t)received;
            return 1;
        }
        if (received == 0) {
            BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
            return 0;
        }
        if (errno == EAGAIN) {
            socket->is_readable = 0;
        } else if (errno != EINTR) {
            socket->failure = errno;
            return 0;
        }
    }
    BIO_set_retry_read(bio);
    return 0;
}

static inline int COpenSSL_socket_write(BIO *bio, const char *bytes, size_t size, size_t *count) {
    COpenSSL_socket *socket = (COpenSSL_socket *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t room = socket->output_capacity - socket->output_count;
    *count = size < room ? size : room;
    if (*count == 0) {
        BIO_set_retry_write(bio);
        return 0;
    }
    memcpy(socket->output + socket->output_count, bytes, *count);
    socket->output_count += *count;
    return 1;
}

static inline long COpenSSL_socket_control(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

// Made once for each process that asks for it at its start; nil without memory.
static inline BIO_METHOD *COpenSSL_socket_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "edge socket");
    if (method != NULL) {
        BIO_meth_set_read_ex(method, COpenSSL_socket_read);
        BIO_meth_set_write_ex(method, COpenSSL_socket_write);
        BIO_meth_set_ctrl(method, COpenSSL_socket_control);
    }
    return method;
}

// Gives the connection a BIO over `socket`, which must live as long as it does. Returns 1 on success.
static inline int COpenSSL_use_socket(SSL *ssl, const BIO_METHOD *method, COpenSSL_socket *socket) {
    BIO *bio = BIO_new(method);
    if (bio == NULL) {
        return 0;
    }
    BIO_set_data(bio, socket);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return 1;
}

#endif
