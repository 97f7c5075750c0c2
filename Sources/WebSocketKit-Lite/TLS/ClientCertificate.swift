import COpenSSL

/// What this side shows when the server asks who it is (RFC 8446 §4.4.2).
enum ClientCertificate {
    /// Loads a chain and its key. Throws `WebSocketError.Code.tlsConfiguration` that names the file.
    ///
    /// - Parameter keyFile: Where nil, the key stands in the certificate's file.
    static func load(
        _ certificateFile: String,
        keyFile: String?,
        into context: OpaquePointer
    ) throws(WebSocketError) {
        OpenSSLError.clear()
        guard SSL_CTX_use_certificate_chain_file(context, certificateFile) == 1 else {
            throw WebSocketError(
                .tlsConfiguration,
                "no client certificate could be read from \(certificateFile) (\(OpenSSLError.take()?.reason ?? "?")); "
                    + "it must be a readable PEM file with the certificate first and its chain after it"
            )
        }
        let keyFile = keyFile ?? certificateFile
        var needsPassword: Int32 = 0
        // OpenSSL compares the key with the certificate as it loads it.
        if COpenSSL_use_private_key(context, keyFile, &needsPassword) != 1 {
            let error = OpenSSLError.take()
            guard needsPassword == 0 else {
                throw WebSocketError(
                    .tlsConfiguration,
                    "the client key in \(keyFile) is encrypted, and nobody is there to type its password; store it "
                        + "decrypted (openssl pkey -in FILE -out NEW) and readable by this user only"
                )
            }
            let isMismatch = error?.code == X509_R_KEY_VALUES_MISMATCH || error?.code == X509_R_KEY_TYPE_MISMATCH
            throw WebSocketError(
                .tlsConfiguration,
                isMismatch
                    ? "the client key in \(keyFile) does not belong to the certificate in \(certificateFile); give the "
                        + "two that were made together"
                    : "no client key could be read from \(keyFile) (\(error?.reason ?? "?")); it must be a readable "
                        + "PEM file with a private key"
            )
        }
        OpenSSLError.clear()
    }
}
