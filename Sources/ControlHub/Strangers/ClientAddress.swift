import Foundation
import NIOCore

/// Where a request comes from, as far as it can be believed.
///
/// `X-Forwarded-For` is believed only where the peer is a proxy that was named, or this machine, and then only as far
/// as the proxies are ours: the last address in it that is none of them is the client's.
struct ClientAddress: Sendable, Equatable {
    /// For people; `unknown` where the system does not tell.
    let text: String
    /// What limits are counted by: the address, for IPv6 its /64 network, which is what one customer has. Nil where the
    /// address stands for many: a proxy that does not say whom it speaks for.
    let limitKey: String?
    /// For IPv6 the /48 network around it, which is what one site may have; nil elsewhere.
    let widerKey: String?

    /// - Parameters:
    ///   - peer: the connection's other end.
    ///   - forwarded: the values of `X-Forwarded-For`, in order.
    ///   - proxies: addresses of proxies to believe, besides this machine's.
    init(peer: String?, forwarded: [String], proxies: Set<String>) {
        let peer = peer ?? "unknown"
        guard Self.isProxy(peer, proxies) else {
            self.init(peer, isProxy: false)
            return
        }
        let chain = forwarded.flatMap { $0.split(separator: ",") }
            .map { Self.withoutPort($0.trimmingCharacters(in: .whitespaces)) }
        let client = chain.last { !Self.isProxy($0, proxies) }
        guard let client, Self.network(client) != nil else {
            self.init(peer, isProxy: true)
            return
        }
        self.init(client, isProxy: false)
    }

    private init(_ text: String, isProxy: Bool) {
        self.text = text
        limitKey = isProxy ? nil : Self.network(text) ?? text
        widerKey = isProxy ? nil : Self.network(text, words: 3)
    }

    private static func isProxy(_ address: String, _ proxies: Set<String>) -> Bool {
        address.hasPrefix("127.") || address == "::1" || address.hasPrefix("::ffff:127.") || proxies.contains(address)
    }

    /// Some proxies write `1.2.3.4:5678` or `[2001:db8::1]:5678`.
    private static func withoutPort(_ text: String) -> String {
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            return String(text[text.index(after: text.startIndex)..<end])
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 2 ? String(parts[0]) : text
    }

    /// What tries are counted by where even a proxy must not try for ever: the address as it is, then.
    var tryKey: String { limitKey ?? text }

    /// The network an address is counted as; nil where the text is no address, and for IPv4 with fewer than four words.
    ///
    /// - Parameter words: of an IPv6 address, 16 bits each.
    private static func network(_ text: String, words count: Int = 4) -> String? {
        // `try?`: what cannot be read is no address.
        switch try? SocketAddress(ipAddress: text, port: 0) {
        case .v4: return count == 4 ? text : nil
        case .v6(let address):
            let bytes = withUnsafeBytes(of: address.address.sin6_addr) { Array($0) }
            if bytes.prefix(10).allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF {
                return count == 4 ? bytes[12...].map(String.init).joined(separator: ".") : nil
            }
            let words = stride(from: 0, to: count * 2, by: 2).map {
                String(Int(clamping: bytes[$0]) << 8 | Int(clamping: bytes[$0 + 1]), radix: 16)
            }
            return words.joined(separator: ":") + "/\(count * 16)"
        default: return nil
        }
    }
}
