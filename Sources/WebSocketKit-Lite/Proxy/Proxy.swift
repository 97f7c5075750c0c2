/// A proxy between this machine and the server: its kind, where it is, and what to log in with.
///
/// The user information never shows in a description, an error or a log.
public struct Proxy: Hashable, Sendable, CustomStringConvertible {
    /// How the proxy is spoken to.
    public enum Kind: String, Hashable, Sendable {
        /// HTTP with the method CONNECT (RFC 9110 §9.3.6), for encrypted and for plain connections.
        case http
        /// SOCKS version 5 (RFC 1928); names are always resolved by the proxy.
        case socks5
    }

    /// A user name and password; both as bytes, for neither protocol knows about characters.
    struct Credentials: Hashable, Sendable {
        let user: [UInt8]
        let password: [UInt8]
    }

    /// How the proxy is spoken to.
    public let kind: Kind
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    public let host: String
    /// The TCP port.
    public let port: Int
    let credentials: Credentials?

    /// Parses `http://user:password@host:port`, `socks5://…` or `socks5h://…`. Without a scheme it is `http`, without
    /// a port 80 for `http` and 1080 for SOCKS. User and password are percent-decoded.
    ///
    /// Throws `WebSocketError.Code.invalidProxy`; the message holds nothing of the text, which may be a password.
    public init(_ url: String) throws(WebSocketError) {
        func invalid(_ why: String) -> WebSocketError {
            WebSocketError(
                .invalidProxy,
                "the proxy cannot be used: \(why); write it like http://user:password@proxy.example:3128 or "
                    + "socks5://proxy.example:1080"
            )
        }
        let bytes = Array(url.utf8)
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw invalid("it holds blanks or characters that need percent-encoding")
        }
        var rest = bytes[...]
        kind = try Self.takeScheme(&rest, invalid)
        let end = rest.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        guard rest[end...].isEmpty || rest[end...].elementsEqual("/".utf8) else {
            throw invalid("it has a path; a proxy has none")
        }
        rest = rest[..<end]
        if let at = rest.lastIndex(of: UInt8(ascii: "@")) {
            credentials = try Self.credentials(rest[..<at], kind, invalid)
            rest = rest[(at + 1)...]
        } else {
            credentials = nil
        }
        do throws(Authority.SyntaxError) {
            let authority = try Authority(parsing: rest)
            host = authority.host
            port = authority.port ?? (kind == .http ? 80 : 1080)
        } catch {
            throw invalid(error.reason)
        }
    }

    /// Scheme, host and port; never the user information.
    public var description: String { "\(kind.rawValue)://\(authority)" }

    /// `host:port`.
    var authority: String { Authority.text(host: host, port: port) }

    private static func takeScheme(
        _ rest: inout ArraySlice<UInt8>,
        _ invalid: (String) -> WebSocketError
    ) throws(WebSocketError) -> Kind {
        let separator = Array("://".utf8)
        let length = rest.prefix { ASCII.isAlphanumeric($0) || "+-.".utf8.contains($0) }.count
        guard rest.dropFirst(length).starts(with: separator) else { return .http }
        let scheme = String(decoding: rest.prefix(length).map(ASCII.lowercased), as: UTF8.self)
        rest = rest.dropFirst(length + separator.count)
        switch scheme {
        case "http": return .http
        case "socks5", "socks5h": return .socks5
        case "https":
            throw invalid(
                "https:// means a proxy that itself speaks TLS, which is not supported (the connection to the hub is "
                    + "encrypted through an http:// proxy too)"
            )
        case "socks", "socks4", "socks4a":
            throw invalid("only version 5 of SOCKS is spoken, as socks5://")
        default:
            throw invalid("its scheme is none of http, socks5 and socks5h")
        }
    }

    private static func credentials(
        _ bytes: ArraySlice<UInt8>,
        _ kind: Kind,
        _ invalid: (String) -> WebSocketError
    ) throws(WebSocketError) -> Credentials {
        let colon = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
        guard let user = percentDecoded(bytes[..<colon]), let password = percentDecoded(bytes[colon...].dropFirst())
        else { throw invalid("a \"%\" in user or password is not followed by two hexadecimal digits") }
        let isControl: (UInt8) -> Bool = { $0 < 0x20 || $0 == 0x7F }
        guard !user.contains(where: isControl), !password.contains(where: isControl) else {
            throw invalid("user or password has control characters")
        }
        switch kind {
        case .http:
            // Basic authentication ends the user name at the first colon (RFC 7617 §2).
            guard !user.contains(UInt8(ascii: ":")) else { throw invalid("the user name has a colon") }
        case .socks5:
            // One byte tells each length, and an empty user name says nothing (RFC 1929 §2).
            guard (1...255).contains(user.count), password.count <= 255 else {
                throw invalid("user and password may have 255 bytes each, and the user at least one")
            }
        }
        return Credentials(user: user, password: password)
    }

    private static func percentDecoded(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                output.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal)
            else { return nil }
            output.append(high << 4 | low)
        }
        return output
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension Proxy: CustomDebugStringConvertible, CustomReflectable {
    /// The same as `description`.
    public var debugDescription: String { description }
    /// Empty, so that `dump` shows no password either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
