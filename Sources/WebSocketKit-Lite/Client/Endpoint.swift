/// Where to connect: the parts of a `ws`, `wss`, `http` or `https` URL (RFC 3986, RFC 6455 §3).
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    /// The schemes that can be dialed.
    public enum Scheme: String, Hashable, Sendable {
        /// WebSocket without TLS.
        case ws
        /// WebSocket over TLS.
        case wss
        /// HTTP without TLS.
        case http
        /// HTTP over TLS.
        case https
    }

    /// How to talk to the host.
    public var scheme: Scheme
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    public var host: String
    /// The TCP port, 1–65535.
    public var port: Int
    /// Path and query as they stand in the request line; begins with "/".
    public var target: String

    /// Names an endpoint by its parts.
    public init(scheme: Scheme, host: String, port: Int, target: String = "/") {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
    }

    /// Parses a URL. Throws `WebSocketError.Code.invalidURL` and says what is wrong with it.
    public init(_ url: String) throws(WebSocketError) {
        func invalid(_ why: String) -> WebSocketError {
            // The URL itself stays out of the message: it may hold a password.
            WebSocketError(.invalidURL, "the URL cannot be used: \(why); write it like wss://hub.example:8443/path")
        }
        let bytes = Array(url.utf8)
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw invalid("it holds blanks or characters that need percent-encoding")
        }
        guard let schemeEnd = Self.firstIndex(of: "://", in: bytes),
            let scheme = Scheme(rawValue: String(decoding: bytes[..<schemeEnd].map(ASCII.lowercased), as: UTF8.self))
        else { throw invalid("it does not begin with ws://, wss://, http:// or https://") }
        guard !bytes.contains(UInt8(ascii: "#")) else { throw invalid("it has a fragment (#…)") }

        let rest = bytes[(schemeEnd + 3)...]
        let authorityEnd = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
        let authority = rest[..<authorityEnd]
        guard !authority.contains(UInt8(ascii: "@")) else { throw invalid("it has a user name or password") }

        let place: Authority
        do throws(Authority.SyntaxError) {
            place = try Authority(parsing: authority)
        } catch {
            throw invalid(error.reason)
        }
        let target = String(decoding: rest[authorityEnd...], as: UTF8.self)
        self.init(
            scheme: scheme,
            host: place.host,
            port: place.port ?? (scheme == .ws || scheme == .http ? 80 : 443),
            target: target.hasPrefix("/") ? target : "/" + target
        )
    }

    /// Whether the connection is encrypted.
    public var isSecure: Bool { scheme == .wss || scheme == .https }

    /// Whether the host is this machine by name or address.
    public var isLoopback: Bool { Self.isLoopback(host) }

    static func isLoopback(_ host: String) -> Bool { host == "localhost" || IPAddress.isLoopback(host) }

    /// The value of a `Host` field: the host, and the port unless it is the scheme's own.
    public var authority: String {
        let name = IPAddress.isIPv6(host) ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// The URL.
    public var description: String { "\(scheme.rawValue)://\(authority)\(target)" }

    private static func firstIndex(of text: String, in bytes: [UInt8]) -> Int? {
        let pattern = Array(text.utf8)
        guard bytes.count >= pattern.count else { return nil }
        return (0...(bytes.count - pattern.count)).first { bytes[$0...].starts(with: pattern) }
    }
}
