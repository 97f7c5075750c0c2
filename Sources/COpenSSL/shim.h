// OpenSSL as Swift sees it. Functions that OpenSSL offers only as macros are repeated here as inline functions.
#ifndef COPENSSL_SHIM_H
#define COPENSSL_SHIM_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

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
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                  | SSL_MODE_RELEASE_BUFFERS);
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

// Chain and dates are not judged: used when a pinned key alone is the trust, and that key is compared afterwards.
static inline int COpenSSL_accept_for_pinning(int preverified, X509_STORE_CTX *context) {
    (void)preverified;
    (void)context;
    return 1;
}

static inline void COpenSSL_verify_by_pin_only(SSL *ssl) {
    SSL_set_verify(ssl, SSL_VERIFY_PEER, COpenSSL_accept_for_pinning);
}

static inline int COpenSSL_reason_of_error(unsigned long error) { return ERR_GET_REASON(error); }

#endif
