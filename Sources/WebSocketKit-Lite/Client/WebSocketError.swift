/// Why something failed, in one line that says what to do next.
public struct WebSocketError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is. New codes may be added; compare with the ones you know.
    public struct Code: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
        /// A stable name, fit for logs and metrics.
        public let rawValue: String

        /// Names a code.
        public init(rawValue: String) {
            self.rawValue = rawValue
        }

        /// The stable name.
        public var description: String { rawValue }

        /// The URL cannot be used.
        public static let invalidURL = Code(rawValue: "invalid_url")
        /// An unencrypted URL to another machine.
        public static let insecureURL = Code(rawValue: "insecure_url")
        /// A parameter of the call is not allowed.
        public static let misuse = Code(rawValue: "misuse")
        /// The host name does not exist.
        public static let dnsNotFound = Code(rawValue: "dns_not_found")
        /// The name server could not be asked, or failed.
        public static let dnsFailed = Code(rawValue: "dns_failed")
        /// The host is there and nothing listens on the port.
        public static let tcpRefused = Code(rawValue: "tcp_refused")
        /// No route to the host or its network.
        public static let tcpUnreachable = Code(rawValue: "tcp_unreachable")
        /// The connection failed in some other way, before or after it was made.
        public static let tcpFailed = Code(rawValue: "tcp_failed")
        /// The text that names the proxy cannot be used, or names a kind that is not supported.
        public static let invalidProxy = Code(rawValue: "invalid_proxy")
        /// The proxy's name does not resolve, or it does not take connections; `phase` tells which.
        public static let proxyUnreachable = Code(rawValue: "proxy_unreachable")
        /// The proxy wants a login, or another one.
        public static let proxyAuthentication = Code(rawValue: "proxy_authentication")
        /// The proxy's rules forbid the connection.
        public static let proxyRefused = Code(rawValue: "proxy_refused")
        /// The proxy could not connect to the server.
        public static let proxyTargetUnreachable = Code(rawValue: "proxy_target_unreachable")
        /// The proxy does not speak its protocol, or not enough of it.
        public static let proxyProtocol = Code(rawValue: "proxy_protocol")
        /// The certificate's issuer is not trusted here.
        public static let tlsUnknownAuthority = Code(rawValue: "tls_unknown_authority")
        /// The certificate is for another name or address.
        public static let tlsNameMismatch = Code(rawValue: "tls_name_mismatch")
        /// The certificate is past its end.
        public static let tlsExpired = Code(rawValue: "tls_expired")
        /// The certificate's time has not begun.
        public static let tlsNotYetValid = Code(rawValue: "tls_not_yet_valid")
        /// The certificate's key is not the pinned one.
        public static let tlsPinMismatch = Code(rawValue: "tls_pin_mismatch")
        /// The certificate was refused for another reason.
        public static let tlsCertificateInvalid = Code(rawValue: "tls_certificate_invalid")
        /// The server wants a client certificate, or does not accept the one it was given.
        public static let tlsClientCertificate = Code(rawValue: "tls_client_certificate")
        /// The two sides could not agree, or the peer does not speak TLS.
        public static let tlsHandshake = Code(rawValue: "tls_handshake")
        /// Our own TLS settings cannot be used: a CA file that cannot be read, a pin that is no SHA-256.
        public static let tlsConfiguration = Code(rawValue: "tls_configuration")
        /// The server sends elsewhere; redirects are not followed.
        public static let redirected = Code(rawValue: "redirected")
        /// The server answered with a status other than the one wanted; see `httpFailure`.
        public static let httpStatus = Code(rawValue: "http_status")
        /// The peer broke HTTP or the WebSocket protocol.
        public static let protocolViolation = Code(rawValue: "protocol")
        /// An answer is larger than the limit.
        public static let tooLarge = Code(rawValue: "too_large")
        /// The connection is closed; see `closeStatus`.
        public static let closed = Code(rawValue: "closed")
        /// Something took too long; see `phase`.
        public static let timeout = Code(rawValue: "timeout")
        /// The caller's task was cancelled.
        public static let cancelled = Code(rawValue: "cancelled")
        /// The operating system refused a resource.
        public static let system = Code(rawValue: "system")
    }

    /// What was going on when it failed.
    public enum Phase: String, Hashable, Sendable {
        /// Resolving the name.
        case dns
        /// Connecting to an address, the server's or the proxy's.
        case tcp
        /// Choosing a proxy, and asking it for a connection.
        case proxy
        /// The TLS handshake.
        case tls
        /// The opening handshake, or waiting for an HTTP answer.
        case http
        /// Waiting for something to be received.
        case read
        /// Waiting for room to send.
        case write
        /// The closing handshake.
        case close
    }

    /// What a server answered instead of what was wanted.
    public struct HTTPFailure: Sendable {
        /// The status code.
        public let status: Int
        /// The first few hundred bytes of the body as text; for people.
        public let bodyPrefix: String
        /// How long `Retry-After` asks to wait, when it came as seconds.
        public let retryAfter: Duration?
    }

    /// The kind of failure.
    public let code: Code
    /// One line: what happened, to what, what to do next.
    public let message: String
    /// The error underneath, if there is one.
    public let cause: (any Error)?
    /// What was going on: always there with `timeout` and when a connection could not be made.
    public let phase: Phase?
    /// With `httpStatus`: what the server answered.
    public let httpFailure: HTTPFailure?
    /// With `closed`: how the connection ended, when it was a WebSocket connection that did.
    public let closeStatus: CloseStatus?
    /// With `tlsNotYetValid`: how far this machine's clock is before the certificate's beginning, that is how much it
    /// is behind at least if the certificate is right. With `tlsExpired`: how far it is past the end.
    public let clockGap: Duration?

    /// Describes a failure.
    public init(
        _ code: Code,
        _ message: String,
        cause: (any Error)? = nil,
        phase: Phase? = nil,
        httpFailure: HTTPFailure? = nil,
        closeStatus: CloseStatus? = nil,
        clockGap: Duration? = nil
    ) {
        self.code = code
        self.message = message
        self.cause = cause
        self.phase = phase ?? code.phase
        self.httpFailure = httpFailure
        self.closeStatus = closeStatus
        self.clockGap = clockGap
    }

    /// Whether the same attempt may succeed later without anybody changing a setting. An expired certificate counts:
    /// the server's may be renewed, or this machine's clock be set.
    public var isRetryable: Bool {
        switch code {
        case .invalidURL, .insecureURL, .misuse, .tlsUnknownAuthority, .tlsNameMismatch, .tlsPinMismatch,
            .tlsConfiguration, .tlsClientCertificate, .invalidProxy, .proxyAuthentication, .redirected, .tooLarge,
            .cancelled:
            false
        case .httpStatus:
            // 408 and 429 ask for another try; other 4xx will be the same next time.
            httpFailure.map { $0.status >= 500 || $0.status == 408 || $0.status == 429 } ?? true
        default:
            true
        }
    }

    /// The message.
    public var description: String { message }

    static func timeout(_ phase: Phase, _ message: String) -> WebSocketError {
        WebSocketError(.timeout, message, phase: phase)
    }

    static let cancelled = WebSocketError(.cancelled, "cancelled by the caller")
}

extension WebSocketError.Code {
    /// The phase that alone can fail with this code.
    fileprivate var phase: WebSocketError.Phase? {
        switch self {
        case .dnsNotFound, .dnsFailed:
            .dns
        case .invalidProxy, .proxyAuthentication, .proxyRefused, .proxyTargetUnreachable, .proxyProtocol:
            .proxy
        case .tlsUnknownAuthority, .tlsNameMismatch, .tlsExpired, .tlsNotYetValid, .tlsPinMismatch,
            .tlsCertificateInvalid, .tlsClientCertificate, .tlsHandshake, .tlsConfiguration:
            .tls
        case .httpStatus, .redirected:
            .http
        default:
            nil
        }
    }
}
