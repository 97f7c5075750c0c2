import COpenSSL
import Glibc

/// One TLS connection over a socket that somebody else owns and keeps open for as long as this lives.
///
/// It receives from the socket by itself; what it has to send gathers in the output given to `begin`, for the owner to
/// send after `end`. Not `Sendable`: an `SSL` belongs to one owner. Every call here is one try that
/// never blocks; the answer says what to wait for, and that may be room to write while reading.
final class TLSSession {
    /// The outcome of one try.
    enum Step<Value> {
        case done(Value)
        case wantsRead
        case wantsWrite
        case failed(StreamError)
    }

    /// How OpenSSL reaches sockets.
    ///
    /// `nonisolated(unsafe)`: made once, and nobody changes a method table after that.
    nonisolated(unsafe) private static let socketMethod = COpenSSL_socket_method()

    let pointer: OpaquePointer
    let context: TLSContext
    /// What OpenSSL sees of the socket.
    private let socket: UnsafeMutablePointer<COpenSSL_socket>
    /// Whom the certificate must be for.
    let name: String
    /// Why the certificate was not accepted, if it was not.
    var refusal: CertificateRefusal?
    /// Whether the handshake is done and everything about the server was found good.
    var isTrusted = false
    var untrustedTicket: TLSTicket?

    /// Prepares a client's handshake with `host` over `descriptor`.
    init(context: TLSContext, host: String, descriptor: Int32) throws(WebSocketError) {
        guard let pointer = SSL_new(context.pointer) else {
            throw WebSocketError(.system, "OpenSSL is out of memory")
        }
        self.pointer = pointer
        self.context = context
        socket = .allocate(capacity: 1)
        socket.initialize(to: COpenSSL_socket())
        socket.pointee.descriptor = descriptor
        socket.pointee.is_readable = 1
        name = context.serverName ?? host
        let isAddress = IPAddress.isLiteral(name)
        var isReady =
            COpenSSL_set_owner(pointer, Unmanaged.passUnretained(self).toOpaque()) == 1
            && COpenSSL_use_socket(pointer, Self.socketMethod, socket) == 1
        if !isAddress {
            // Server name indication is for names only (RFC 6066 §3).
            isReady = isReady && COpenSSL_set_server_name_indication(pointer, name) == 1
        }
        if !context.trustsPinAlone {
            let parameters = SSL_get0_param(pointer)
            // Names stand in the subject's alternative names and nowhere else (RFC 9525 §2): a common name is free text, for
            // which an authority need not have checked anything.
            X509_VERIFY_PARAM_set_hostflags(
                parameters,
                UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
            )
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
        if let ticket = context.tickets.take(for: name) {
            // A ticket that cannot be used only makes the handshake a full one.
            SSL_set_session(pointer, ticket.pointer)
        }
    }

    deinit {
        SSL_free(pointer)
        socket.deallocate()
    }

    /// To be called before the calls below: what is known of the socket, and where records to be sent are to gather.
    func begin(isReadable: Bool, hasPeerEnded: Bool, output: UnsafeMutableRawBufferPointer) {
        socket.pointee.is_readable = isReadable ? 1 : 0
        socket.pointee.has_peer_ended = hasPeerEnded ? 1 : 0
        socket.pointee.output = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        socket.pointee.output_capacity = output.count
        socket.pointee.output_count = 0
    }

    /// To be called after them: whether the socket may still have something to receive, and how many bytes have
    /// gathered.
    func end() -> (isReadable: Bool, outputCount: Int) {
        let outputCount = socket.pointee.output_count
        socket.pointee.output = nil
        socket.pointee.output_capacity = 0
        socket.pointee.output_count = 0
        return (socket.pointee.is_readable != 0, outputCount)
    }

    /// Goes on with the handshake. A certificate that is not trusted throws; so does a peer that cannot be talked to.
    func handshake() throws(WebSocketError) -> Step<Void> {
        OpenSSLError.clear()
        let result = SSL_do_handshake(pointer)
        if result == 1 {
            try completeTrust()
            return .done(())
        }
        let failure: StreamError
        switch step(after: result, call: "TLS handshake") as Step<Void> {
        case .failed(let error): failure = error
        case let step: return step
        }
        throw handshakeError(failure)
    }

    /// Decrypts up to `buffer.count` bytes; zero at the peer's orderly end.
    func read(into buffer: UnsafeMutableRawBufferPointer) -> Step<Int> {
        OpenSSLError.clear()
        var count = 0
        let result = SSL_read_ex(pointer, buffer.baseAddress, buffer.count, &count)
        return result == 1 ? .done(count) : step(after: result, call: "recv", atEnd: 0)
    }

    /// Whether something has been received and not yet been read.
    var hasPending: Bool { SSL_has_pending(pointer) == 1 }

    /// Encrypts some of `buffer`, at most one record; how much is in the answer.
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
        let number = socket.pointee.failure
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
}
