import COpenSSL

/// Trust settings in OpenSSL's form, made once and used for any number of connections.
///
/// `@unchecked Sendable`: an `SSL_CTX` that nobody changes any more may be used from several threads at once; this one
/// is changed only in `init`. It also keeps the sessions its connections may resume.
public final class TLSContext: @unchecked Sendable {
    let pointer: OpaquePointer
    let pins: Set<PublicKeyPin>
    let trustsPinAlone: Bool
    let serverName: String?
    /// Room for two records, so that a stream of full ones costs a system call for every second. OpenSSL gives it back
    /// when it is empty.
    private static let readBufferBytes = 36 * 1024
    private static let cipherSuites =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

    /// What later connections resume.
    let tickets = TLSTicketCache()

    /// Reads certificates and key. Throws `WebSocketError.Code.tlsConfiguration`.
    ///
    /// Reads files, so it may take a moment; do it once, not per connection.
    public init(_ configuration: TLSConfiguration) throws(WebSocketError) {
        var pins: Set<PublicKeyPin> = []
        for text in configuration.pinSHA256 {
            guard let pin = PublicKeyPin(text) else {
                throw WebSocketError(
                    .tlsConfiguration,
                    "the pin \(text.debugDescription) is no SHA-256; give 64 hexadecimal digits, or Base64 like sha256/…="
                )
            }
            pins.insert(pin)
        }
        let hasAuthority = configuration.systemRoots || configuration.caFile != nil || configuration.caPEM != nil
        guard hasAuthority || !pins.isEmpty else {
            throw WebSocketError(
                .tlsConfiguration,
                "nothing is trusted: neither the system's authorities nor a CA file nor a pin; give one of them"
            )
        }
        guard let pointer = SSL_CTX_new(TLS_client_method()) else {
            throw WebSocketError(.tlsConfiguration, "OpenSSL cannot be set up: \(OpenSSLError.take()?.reason ?? "?")")
        }
        self.pointer = pointer
        self.pins = pins
        trustsPinAlone = !hasAuthority
        serverName = configuration.serverName

        COpenSSL_set_nonblocking_modes(pointer)
        COpenSSL_set_read_ahead(pointer, Self.readBufferBytes)
        // OpenSSL would put AES-256 first. AES-128 is as good as unbreakable and a quarter faster; BoringSSL and Go
        // prefer it, too. Without this the order stays OpenSSL's, which is no reason to fail.
        SSL_CTX_set_ciphersuites(pointer, Self.cipherSuites)
        COpenSSL_set_safe_options(pointer)
        COpenSSL_report_sessions(pointer, TLSSession.takeSession)
        SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, TLSSession.verify)
        guard COpenSSL_set_minimum_version_tls12(pointer) == 1 else {
            throw WebSocketError(.tlsConfiguration, "this OpenSSL does not offer TLS 1.2")
        }
        OpenSSLError.clear()
        if configuration.systemRoots, SSL_CTX_set_default_verify_paths(pointer) != 1 {
            throw WebSocketError(
                .tlsConfiguration,
                "the system's certificate authorities cannot be read; install ca-certificates or pass --ca-file"
            )
        }
        if let file = configuration.caFile, SSL_CTX_load_verify_file(pointer, file) != 1 {
            throw WebSocketError(
                .tlsConfiguration,
                "no certificate could be read from \(file) (\(OpenSSLError.take()?.reason ?? "?")); it must be a "
                    + "readable PEM file"
            )
        }
        if let pem = configuration.caPEM {
            try Self.trust(pem: pem, in: pointer)
        }
        if let certificate = configuration.clientCertificateFile {
            try ClientCertificate.load(certificate, keyFile: configuration.clientKeyFile, into: pointer)
        } else if configuration.clientKeyFile != nil {
            throw WebSocketError(
                .tlsConfiguration,
                "a client key was given and no certificate; give that with --client-cert"
            )
        }
    }

    deinit {
        SSL_CTX_free(pointer)
    }

    private static func trust(pem: String, in context: OpaquePointer) throws(WebSocketError) {
        let bytes = Array(pem.utf8)
        guard let memory = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count)),
            let store = SSL_CTX_get_cert_store(context)
        else {
            throw WebSocketError(.tlsConfiguration, "OpenSSL is out of memory")
        }
        defer { BIO_free(memory) }
        var count = 0
        while let certificate = PEM_read_bio_X509(memory, nil, nil, nil) {
            X509_STORE_add_cert(store, certificate)
            X509_free(certificate)
            count += 1
        }
        // Reading past the last certificate leaves an error behind.
        OpenSSLError.clear()
        guard count > 0 else {
            throw WebSocketError(.tlsConfiguration, "the given CA certificate is no PEM certificate")
        }
    }
}
