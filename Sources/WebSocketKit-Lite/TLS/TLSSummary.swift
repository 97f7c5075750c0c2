import COpenSSL

/// What a TLS handshake came to, for people.
public struct TLSSummary: Sendable {
    /// The version, such as `TLSv1.3`.
    public let version: String
    /// OpenSSL's name of the cipher suite.
    public let cipher: String
    /// Whether an earlier session was resumed; its certificate was verified when it was made.
    public let isResumed: Bool
    /// The name the certificate was checked against.
    public let name: String
    /// Whether a pinned key was the only proof asked for: chain, dates and name were then not judged.
    public let isTrustedByPinAlone: Bool
    /// Whether one of the pinned keys was asked for and found.
    public let isPinned: Bool
    /// The server's certificate.
    public let certificate: CertificateSummary?
    /// The subjects of the verified chain, the server's first; empty when a session was resumed.
    public let chain: [String]
}

extension TLSSession {
    /// After a complete handshake.
    var summary: TLSSummary {
        var chain: [String] = []
        if let certificates = SSL_get0_verified_chain(pointer) {
            for index in 0..<COpenSSL_certificate_count(certificates) {
                if let certificate = COpenSSL_certificate_at(certificates, index) {
                    chain.append(CertificateSummary(certificate).subject)
                }
            }
        }
        return TLSSummary(
            version: SSL_get_version(pointer).map { String(cString: $0) } ?? "",
            cipher: COpenSSL_cipher_name(pointer).map { String(cString: $0) } ?? "",
            isResumed: SSL_session_reused(pointer) == 1,
            name: name,
            isTrustedByPinAlone: context.trustsPinAlone,
            isPinned: !context.pins.isEmpty,
            certificate: SSL_get0_peer_certificate(pointer).map(CertificateSummary.init),
            chain: chain
        )
    }
}
