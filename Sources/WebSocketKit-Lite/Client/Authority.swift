/// The host and port of a URL, without user information (RFC 3986 §3.2).
struct Authority: Hashable, Sendable {
    /// What is wrong with the text, fit for the end of "…cannot be used: ".
    struct SyntaxError: Error {
        let reason: String
    }

    /// A name or IPv4 address in lower case, or an IPv6 address without brackets.
    let host: String
    /// 1–65535; nil where the text names none.
    let port: Int?

    init(parsing bytes: ArraySlice<UInt8>) throws(SyntaxError) {
        let hostBytes: ArraySlice<UInt8>
        let portBytes: ArraySlice<UInt8>
        if bytes.first == UInt8(ascii: "[") {
            guard let close = bytes.firstIndex(of: UInt8(ascii: "]")) else {
                throw SyntaxError(reason: "\"]\" is missing")
            }
            hostBytes = bytes[(bytes.startIndex + 1)..<close]
            let afterHost = bytes[(close + 1)...]
            guard afterHost.isEmpty || afterHost.first == UInt8(ascii: ":") else {
                throw SyntaxError(reason: "text after \"]\"")
            }
            portBytes = afterHost.dropFirst()
            guard IPAddress.isIPv6(String(decoding: hostBytes, as: UTF8.self)) else {
                throw SyntaxError(reason: "what stands in brackets is no IPv6 address")
            }
        } else {
            let colon = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
            hostBytes = bytes[..<colon]
            portBytes = bytes[colon...].dropFirst()
            guard !portBytes.contains(UInt8(ascii: ":")) else {
                throw SyntaxError(reason: "an IPv6 address needs brackets")
            }
            guard hostBytes.count <= 253, hostBytes.allSatisfy(Self.isHostCharacter) else {
                throw SyntaxError(reason: "the host name has characters a host name cannot have")
            }
        }
        guard !hostBytes.isEmpty else { throw SyntaxError(reason: "the host is missing") }
        host = String(decoding: hostBytes.map(ASCII.lowercased), as: UTF8.self)
        guard !portBytes.isEmpty else {
            port = nil
            return
        }
        guard let number = ASCII.decimal(String(decoding: portBytes, as: UTF8.self)), (1...65535).contains(number)
        else { throw SyntaxError(reason: "the port is not a number from 1 to 65535") }
        port = number
    }

    private static func isHostCharacter(_ byte: UInt8) -> Bool {
        ASCII.isAlphanumeric(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
            || byte == UInt8(ascii: "_")
    }

    /// Whether a host taken from parts and not from a URL may stand in a request.
    static func isHost(_ text: String) -> Bool {
        IPAddress.isIPv6(text) || !text.isEmpty && text.utf8.count <= 253 && text.utf8.allSatisfy(isHostCharacter)
    }

    /// `host:port`, with brackets around an IPv6 address.
    static func text(host: String, port: Int) -> String {
        (IPAddress.isIPv6(host) ? "[\(host)]" : host) + ":\(port)"
    }
}
