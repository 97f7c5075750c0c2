/// The hosts that `NO_PROXY` exempts.
///
/// A list with commas or blanks between entries, compared without regard to case:
///
///     *                      every host
///     example.com            the host and everything below it; so do .example.com and *.example.com
///     192.0.2.7, ::1         one address, when the URL names it as an address
///     10.0.0.0/8, fd00::/8   a network, likewise
///     example.com:8443       one of the above on one port; an IPv6 address then in brackets
///
/// Names are not resolved for the comparison. Entries that are none of this match nothing.
struct NoProxyList: Sendable {
    private enum Pattern: Sendable {
        case everything
        case domain(String)
        case network(address: [UInt8], prefixBits: Int)
    }

    private struct Entry: Sendable {
        let pattern: Pattern
        let port: Int?
    }

    private let entries: [Entry]

    init(_ text: String) {
        // By bytes: a combining character behind a comma would make one character of the two.
        entries = text.utf8.split { $0 == UInt8(ascii: ",") || $0 == 0x20 || (0x09...0x0D).contains($0) }
            .compactMap { Self.entry(String(decoding: $0, as: UTF8.self)) }
    }

    func covers(host: String, port: Int) -> Bool {
        let name = Self.normalized(host)
        let address = IPAddress.bytes(host)
        return entries.contains { entry in
            guard entry.port == nil || entry.port == port else { return false }
            switch entry.pattern {
            case .everything: return true
            case .domain(let domain): return address == nil && (name == domain || name.hasSuffix("." + domain))
            case .network(let network, let bits): return address.map { $0.hasPrefix(network, bits: bits) } ?? false
            }
        }
    }

    private static func entry(_ text: String) -> Entry? {
        if text == "*" { return Entry(pattern: .everything, port: nil) }
        if let network = network(text) { return Entry(pattern: network, port: nil) }
        var name = text
        while name.hasPrefix("*") || name.hasPrefix(".") { name.removeFirst() }
        guard let authority = try? Authority(parsing: Array(name.utf8)[...]) else { return nil }
        let pattern = network(authority.host) ?? .domain(normalized(authority.host))
        return Entry(pattern: pattern, port: authority.port)
    }

    private static func network(_ text: String) -> Pattern? {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress.bytes(String(parts[0])) else { return nil }
        guard parts.count == 2 else { return .network(address: address, prefixBits: address.count * 8) }
        guard !parts[1].isEmpty, let bits = ASCII.decimal(parts[1]), bits <= address.count * 8 else { return nil }
        return .network(address: address, prefixBits: bits)
    }

    /// In lower case and without the dot that ends a fully qualified name.
    private static func normalized(_ host: String) -> String {
        var bytes = host.utf8.map(ASCII.lowercased)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension [UInt8] {
    /// Whether both are addresses of one family that agree in the first `bits` bits.
    fileprivate func hasPrefix(_ other: [UInt8], bits: Int) -> Bool {
        guard count == other.count else { return false }
        let whole = bits / 8
        guard prefix(whole).elementsEqual(other.prefix(whole)) else { return false }
        let rest = bits % 8
        guard rest > 0 else { return true }
        return (self[whole] ^ other[whole]) >> UInt8(clamping: 8 - rest) == 0
    }
}
