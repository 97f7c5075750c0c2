import COpenSSL
import Glibc

/// One TLS connection over a socket that somebody else owns and keeps open for as long as this lives.
///
/// Not `Sendable`: an `SSL` belongs to one actor. Every call here is one try that never blocks; the answer says what
/// to wait for, and that may be room to write while reading, or something to read while writing.
final class TLSSession {
    /// The outcome of one try.
    enum Step<Value> {
        case done(Value)
        case wantsRead
        case wantsWrite
        case failed(StreamError)
    }

    private let pointer: OpaquePointer
    private let context: TLSContext
    private let name: String

    /// Prepares a client's handshake with `host` over `descriptor`.
    init(context: TLSContext, host: String, descriptor: Int32) throws(WebSocketError) {
        guard let pointer = SSL_new(context.pointer) else {
            throw WebSocketError(.system, "OpenSSL is out of memory")
        }
        self.pointer = pointer
        self.context = context
        name = context.serverName ?? host
        let isAddress = IPAddress.isLiteral(name)
        var isReady = SSL_set_fd(pointer, descriptor) == 1
        if !isAddress {
            // Server name indication is for names only (RFC 6066 §3).
            isReady = isReady && COpenSSL_set_server_name_indication(pointer, name) == 1
        }
        if context.trustsPinAlone {
            COpenSSL_verify_by_pin_only(pointer)
        } else {
            let parameters = SSL_get0_param(pointer)
            X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            isReady =
                isReady
                && (isAddress
                    ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name)
                    : X509_VERIFY_PARAM_set1_host(parameters, name, 0)) == 1
        }
        guard isReady else {
            throw WebSocketError(.tlsConfiguration, "the server name \(name.debugDescription) cannot be used with TLS")
        }
        SSL_set_connect_state(pointer)
    }

    deinit {
        SSL_free(pointer)
    }

    /// Goes on with the handshake. A certificate that is not trusted throws; so does a peer that cannot be talked to.
    func handshake() throws(WebSocketError) -> Step<Void> {
        OpenSSLError.clear()
        let result = SSL_do_handshake(pointer)
        if result == 1 {
            try checkPins()
            return .done(())
        }
        let failure: StreamError
        switch step(after: result, call: "TLS handshake") as Step<Void> {
        case .failed(let error): failure = error
        case let step: return step
        }
        try checkVerification()
        throw handshakeError(failure)
    }

    /// Decrypts up to `buffer.count` bytes; zero at the peer's orderly end.
    func read(into buffer: UnsafeMutableRawBufferPointer) -> Step<Int> {
        OpenSSLError.clear()
        var count = 0
        let result = SSL_read_ex(pointer, buffer.baseAddress, buffer.count, &count)
        return result == 1 ? .done(count) : step(after: result, call: "recv", atEnd: 0)
    }

    /// Whether decrypted bytes wait inside, for which the socket will never become readable.
    var hasPending: Bool { SSL_has_pending(pointer) == 1 }

    /// Encrypts and sends some of `buffer`; how much is in the answer.
    func write(_ buffer: UnsafeRawBufferPointer) -> Step<Int> {
        OpenSSLError.clear()
        var count = 0
        let result = SSL_write_ex(pointer, buffer.baseAddress, buffer.count, &count)
        return result == 1 ? .done(count) : step(after: result, call: "send")
    }

    /// Tells the peer that no more will come, as far as there is room to say so.
    func sendClose() {
        OpenSSLError.clear()
        SSL_shutdown(pointer)
        OpenSSLError.clear()
    }

    private func step<Value>(after result: Int32, call: String, atEnd end: Value? = nil) -> Step<Value> {
        let number = errno
        switch SSL_get_error(pointer, result) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        case SSL_ERROR_ZERO_RETURN:
            return end.map { .done($0) } ?? .failed(.tls("the peer has ended the connection"))
        case SSL_ERROR_SYSCALL:
            return .failed(number == 0 ? .truncated : .system(call: call, number: number))
        default:
            let error = OpenSSLError.take()
            if error?.code == SSL_R_UNEXPECTED_EOF_WHILE_READING { return .failed(.truncated) }
            return .failed(.tls(error?.reason ?? "unknown failure"))
        }
    }

    // MARK: Trust

    private func checkVerification() throws(WebSocketError) {
        let result = Int32(truncatingIfNeeded: SSL_get_verify_result(pointer))
        switch result {
        case X509_V_OK:
            return
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            throw WebSocketError(
                .tlsUnknownAuthority,
                "the certificate of \(name) is signed by an authority this machine does not know; pass --ca-file "
                    + "with the hub's CA certificate"
            )
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            throw WebSocketError(
                .tlsNameMismatch,
                "the server's certificate is not for \(name); use the name the certificate was made for, or renew it "
                    + "with this one"
            )
        case X509_V_ERR_CERT_HAS_EXPIRED:
            throw WebSocketError(
                .tlsExpired,
                "the certificate of \(name) has expired; renew it, or set this machine's clock if that is wrong"
            )
        case X509_V_ERR_CERT_NOT_YET_VALID:
            throw WebSocketError(
                .tlsNotYetValid,
                "the certificate of \(name) is not valid yet; check this machine's clock"
            )
        default:
            let reason = X509_verify_cert_error_string(Int(result)).map { String(cString: $0) } ?? "error \(result)"
            throw WebSocketError(.tlsCertificateInvalid, "the certificate of \(name) was refused: \(reason)")
        }
    }

    private func checkPins() throws(WebSocketError) {
        guard !context.pins.isEmpty else { return }
        var seen: [PublicKeyPin] = []
        if let leaf = SSL_get0_peer_certificate(pointer), let pin = Self.pin(of: leaf) {
            seen.append(pin)
        }
        // Possession of the key is proven for the leaf; for the others only by the verified signatures.
        if !context.trustsPinAlone, let chain = SSL_get0_verified_chain(pointer) {
            for index in 0..<COpenSSL_certificate_count(chain) {
                if let certificate = COpenSSL_certificate_at(chain, index), let pin = Self.pin(of: certificate) {
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

    private static func pin(of certificate: OpaquePointer) -> PublicKeyPin? {
        var digest = [UInt8](repeating: 0, count: 32)
        return COpenSSL_public_key_sha256(certificate, &digest) == 1 ? PublicKeyPin(digest: digest) : nil
    }

    private func handshakeError(_ failure: StreamError) -> WebSocketError {
        let what: String
        switch failure {
        case .tls(let reason) where reason == "wrong version number" || reason == "http request":
            what = "the server does not speak TLS on this port; check scheme and port"
        case .truncated, .system:
            what = "the server ended the connection (\(failure)); check that the port speaks TLS"
        default:
            what = "\(failure)"
        }
        return WebSocketError(.tlsHandshake, "the TLS handshake with \(name) failed: \(what)", cause: failure)
    }
}
