// OpenSSL as Swift sees it. Functions that OpenSSL offers only as macros are repeated here as inline functions.
#ifndef COPENSSL_SHIM_H
#define COPENSSL_SHIM_H

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "socket_bio.h"

static inline int COpenSSL_set_server_name_indication(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}

static inline int COpenSSL_set_minimum_version_tls12(SSL_CTX *context) {
    return (int)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}

// No renegotiation and no compression: nothing here needs them, and both have been ways to attack.
static inline void COpenSSL_set_safe_options(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

// Partial writes: a record written is progress reported. Moving buffer: a retried write may come from other memory.
// Release buffers: an idle connection gives its record buffers back.
static inline void COpenSSL_set_nonblocking_modes(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

// Reads as much as `buffer_bytes` at once instead of each record's five-byte header by itself.
static inline void COpenSSL_set_read_ahead(SSL_CTX *context, size_t buffer_bytes) {
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, buffer_bytes);
}

static inline int COpenSSL_certificate_count(const STACK_OF(X509) *chain) { return sk_X509_num(chain); }

static inline X509 *COpenSSL_certificate_at(const STACK_OF(X509) *chain, int index) {
    return sk_X509_value(chain, index);
}

// SHA-256 over the DER of the certificate's SubjectPublicKeyInfo. Returns 1 on success.
static inline int COpenSSL_public_key_sha256(const X509 *certificate, unsigned char *digest) {
    unsigned char *der = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (length <= 0) {
        return 0;
    }
    unsigned int digest_length = 0;
    int ok = EVP_Digest(der, (size_t)length, digest, &digest_length, EVP_sha256(), NULL);
    OPENSSL_free(der);
    return ok == 1 && digest_length == 32;
}

// The object that owns a connection, for callbacks.
static inline int COpenSSL_set_owner(SSL *ssl, void *owner) { return SSL_set_ex_data(ssl, 0, owner); }

static inline void *COpenSSL_owner(const SSL *ssl) { return SSL_get_ex_data(ssl, 0); }

static inline SSL *COpenSSL_connection_being_verified(X509_STORE_CTX *context) {
    return (SSL *)X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
}

// Sessions are handed to `on_session` and kept by nobody else.
static inline void COpenSSL_report_sessions(SSL_CTX *context, int (*on_session)(SSL *, SSL_SESSION *)) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
}

static inline const char *COpenSSL_cipher_name(const SSL *ssl) { return SSL_get_cipher_name(ssl); }

// A point in time of a certificate in seconds since 1970; -1 where it cannot be understood.
static inline long long COpenSSL_unix_seconds(const ASN1_TIME *time) {
    struct tm parts;
    memset(&parts, 0, sizeof parts);
    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) {
        return -1;
    }
    return (long long)timegm(&parts);
}

// A distinguished name as one line (RFC 2253, control characters escaped). Returns its length, at most `size` - 1.
static inline int COpenSSL_name_text(const X509_NAME *name, char *text, int size) {
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL) {
        return 0;
    }
    int length = 0;
    if (name != NULL && X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        length = BIO_read(memory, text, size - 1);
    }
    BIO_free(memory);
    return length > 0 ? length : 0;
}

// The names a certificate is for: DNS names and addresses of its subjectAltName, a line each. Those that do not fit,
// and those with bytes that no name has, are left out. Returns the length of the text.
static inline int COpenSSL_certificate_names(const X509 *certificate, char *text, int size) {
    GENERAL_NAMES *names = (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int length = 0;
    for (int index = 0; index < sk_GENERAL_NAME_num(names); index++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
        char address[INET6_ADDRSTRLEN];
        const char *item = NULL;
        int count = 0;
        if (name->type == GEN_DNS) {
            item = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
            count = ASN1_STRING_length(name->d.dNSName);
        } else if (name->type == GEN_IPADD) {
            int bytes = ASN1_STRING_length(name->d.iPAddress);
            int family = bytes == 4 ? AF_INET : AF_INET6;
            if ((bytes == 4 || bytes == 16)
                && inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), address, sizeof address) != NULL) {
                item = address;
                count = (int)strlen(address);
            }
        }
        int is_clean = item != NULL && count > 0 && length + count + 1 <= size;
        for (int at = 0; is_clean && at < count; at++) {
            is_clean = item[at] > 0x20 && item[at] < 0x7F;
        }
        if (is_clean) {
            memcpy(text + length, item, (size_t)count);
            length += count;
            text[length++] = '\n';
        }
    }
    GENERAL_NAMES_free(names);
    return length;
}

// Never asks a terminal for a key's password; notes in `*needs_password` that one is needed.
static inline int COpenSSL_refuse_password(char *buffer, int size, int is_writing, void *needs_password) {
    (void)buffer;
    (void)size;
    (void)is_writing;
    if (needs_password != NULL) {
        *(int *)needs_password = 1;
    }
    return -1;
}

// Loads a PEM private key into the context. Returns 1 on success.
static inline int COpenSSL_use_private_key(SSL_CTX *context, const char *file, int *needs_password) {
    *needs_password = 0;
    SSL_CTX_set_default_passwd_cb(context, COpenSSL_refuse_password);
    SSL_CTX_set_default_passwd_cb_userdata(context, needs_password);
    int result = SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    return result;
}

static inline int COpenSSL_reason_of_error(unsigned long error) { return ERR_GET_REASON(error); }

#endif
