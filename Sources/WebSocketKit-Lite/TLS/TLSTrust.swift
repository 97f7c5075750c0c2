import COpenSSL

/// Why OpenSSL did not accept a certificate: taken down while it verifies, for afterwards the certificate is gone.
struct CertificateRefusal: Sendable {
    /// `X509_V_ERR_…`.
    let code: Int32
    /// The certificate that is the problem: the server's own or one of its authorities'.
    let certificate: CertificateSummary?
    /// 0 for the server's own.
    let depth: Int32

    /// Puts it into words.
    ///
    /// - Parameters:
    ///   - name: Whom the certificate should have been for.
    ///   - now: This machine's wall clock, in seconds since 1970.
    func error(name: String, now: Int64) -> WebSocketError {
        let whose = depth == 0 ? "the certificate of \(name)" : "an authority in the certificate chain of \(name)"
        switch code {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            let issuer = certificate.map { " (\($0.issuer))" } ?? ""
            return failure(
                .tlsUnknownAuthority,
                "the certificate of \(name) is signed by an authority this machine does not know\(issuer); pass "
                    + "--ca-file with the hub's CA certificate"
            )
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            let names = certificate.map { "is for \($0.namesText) and not for \(name)" } ?? "is not for \(name)"
            return failure(
                .tlsNameMismatch,
                "the server's certificate \(names); use a name the certificate was made for, or renew it with this one "
                    + "(as a subjectAltName)"
            )
        case X509_V_ERR_CERT_HAS_EXPIRED:
            let end = certificate?.notAfter ?? now
            // fits: years of four digits, of a certificate, and this machine's clock.
            let gap = Duration.seconds(max(0, now - end))
            return failure(
                .tlsExpired,
                "\(whose) expired on \(CertificateDate.text(end)), \(CertificateDate.text(gap)) ago by this machine's "
                    + "clock (\(CertificateDate.text(now))); renew it, or set this machine's clock if that is wrong",
                gap
            )
        case X509_V_ERR_CERT_NOT_YET_VALID:
            let begin = certificate?.notBefore ?? now
            let gap = Duration.seconds(max(0, begin - now))  // fits: as above
            return failure(
                .tlsNotYetValid,
                "\(whose) is valid from \(CertificateDate.text(begin)) on, and this machine's clock says "
                    + "\(CertificateDate.text(now)), \(CertificateDate.text(gap)) before that; set the clock "
                    + "(timedatectl, or an NTP service)",
                gap
            )
        default:
            let reason =
                X509_verify_cert_error_string(Int(clamping: code)).map { String(cString: $0) } ?? "error \(code)"
            return failure(
                .tlsCertificateInvalid,
                "\(whose) was refused: \(reason); have it renewed by the hub's operator"
            )
        }
    }

    private func failure(_ code: WebSocketError.Code, _ message: String, _ gap: Duration? = nil) -> WebSocketError {
        WebSocketError(code, message, clockGap: gap)
    }
}

extension TLSSession {
    /// Verifies as OpenSSL does and takes down the first refusal; accepts everything where a pin alone is the trust,
    /// because the key is compared after the handshake.
    static let verify: @convention(c) (Int32, OpaquePointer?) -> Int32 = { isGood, store in
        guard let connection = store.flatMap({ COpenSSL_connection_being_verified($0) }),
            let owner = COpenSSL_owner(connection)
        else { return 0 }
        let session = Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue()
        guard !session.context.trustsPinAlone else { return 1 }
        if isGood == 0, session.refusal == nil {
            session.refusal = CertificateRefusal(
                code: X509_STORE_CTX_get_error(store),
                certificate: X509_STORE_CTX_get_current_cert(store).map(CertificateSummary.init),
                depth: X509_STORE_CTX_get_error_depth(store)
            )
        }
        return isGood
    }

    /// Keeps what the server sends for resumption, at any time while this connection lives.
    static let takeSession: @convention(c) (OpaquePointer?, OpaquePointer?) -> Int32 = { connection, session in
        if let owner = connection.flatMap({ COpenSSL_owner($0) }), let session {
            Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue().keep(session)
        }
        // Zero: the reference stays OpenSSL's.
        return 0
    }

    /// A session made before the pins were checked waits for that; a server that fails it is never resumed.
    private func keep(_ session: OpaquePointer) {
        guard let ticket = TLSTicket(copying: session) else { return }
        if isTrusted {
            context.tickets.insert(ticket, for: name)
        } else {
            untrustedTicket = ticket
        }
    }

    /// After the handshake: compares the pins, then lets tickets be kept.
    func completeTrust() throws(WebSocketError) {
        // A resumed session was checked when it was made, by this same context; its chain is not sent again.
        if SSL_session_reused(pointer) != 1 { try checkPins() }
        isTrusted = true
        if let ticket = untrustedTicket {
            context.tickets.insert(ticket, for: name)
            untrustedTicket = nil
        }
    }

    private func checkPins() throws(WebSocketError) {
        guard !context.pins.isEmpty else { return }
        var seen: [PublicKeyPin] = []
        if let leaf = SSL_get0_peer_certificate(pointer), let pin = PublicKeyPin(of: leaf) {
            seen.append(pin)
        }
        // Possession of the key is proven for the leaf; for the others only by the verified signatures.
        if !context.trustsPinAlone, let chain = SSL_get0_verified_chain(pointer) {
            for index in 0..<COpenSSL_certificate_count(chain) {
                if let certificate = COpenSSL_certificate_at(chain, index), let pin = PublicKeyPin(of: certificate) {
                    seen.append(pin)
                }
            }
        }
        guard seen.contains(where: context.pins.contains) else {
            let found = seen.first.map { "; its key is \($0)" } ?? ""
            throw WebSocketError(
                .tlsPinMismatch,
                "the certificate of \(name) does not have a pinned key\(found); pass that with --pin-sha256 only if "
                    + "the hub's operator confirms it"
            )
        }
    }

    /// Puts a handshake that failed into words.
    func handshakeError(_ failure: StreamError) -> WebSocketError {
        if let refusal { return refusal.error(name: name, now: CertificateDate.now) }
        let what: String
        switch failure {
        case .tls(let reason):
            if let refusal = TLSAlert.aboutClientCertificate(reason) {
                return WebSocketError(.tlsClientCertificate, refusal, cause: failure)
            }
            what =
                reason == "wrong version number" || reason == "http request" || reason == "packet length too long"
                ? "the server does not speak TLS on this port; check scheme and port"
                : "\(reason); check that both sides have a TLS version in common and that nothing in between filters it"
        case .truncated, .system:
            what = "the server ended the connection (\(failure)); check that the port speaks TLS"
        default:
            what = "\(failure)"
        }
        return WebSocketError(
            .tlsHandshake,
            "the TLS handshake with \(name) failed: \(what)",
            cause: failure
        )
    }
}

/// Alerts by which a server judges the client's certificate (RFC 8446 §6.2). With TLS 1.3 they come after the handshake,
/// with whatever is read first.
enum TLSAlert {
    /// - Parameter reason: OpenSSL's words for the alert, such as "tlsv13 alert certificate required".
    /// - Returns: What to do; nil for anything else.
    static func aboutClientCertificate(_ reason: String) -> String? {
        guard let range = reason.firstRange(of: "alert ") else { return nil }
        switch reason[range.upperBound...] {
        case "certificate required":
            return "the server asks for a client certificate; give one with --client-cert and --client-key"
        case "unknown ca", "bad certificate", "unsupported certificate", "certificate unknown", "certificate revoked",
            "certificate expired":
            return "the server does not accept the client certificate (\(reason)); check --client-cert, or have its "
                + "authority made known to the server"
        default:
            return nil
        }
    }
}
