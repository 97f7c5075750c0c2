/// Compression of whole messages (RFC 7692).
public enum PerMessageDeflate {
    /// The extension's name in `Sec-WebSocket-Extensions`.
    static let name = "permessage-deflate"

    /// The window sizes the RFC knows, as base-2 logarithms of bytes (RFC 7692 §7.1.2).
    public static let windowBitsRange = 8...15

    /// What an endpoint wants. A client offers it; a server agrees to what is in the offer and in this.
    public struct Configuration: Sendable, Hashable {
        /// The server compresses each message by itself, so the client keeps no window between messages.
        public var serverNoContextTakeover = false
        /// The client compresses each message by itself, so the server keeps no window between messages.
        public var clientNoContextTakeover = false
        /// The largest window the server may compress with, 8–15.
        public var serverMaxWindowBits = 15
        /// The largest window the client may compress with, 8–15. A server can ask for less than 15 only where the
        /// client's offer allows that.
        public var clientMaxWindowBits = 15
        /// zlib's level for what this side sends, 1 (fast) to 9 (small).
        public var compressionLevel = 6
        /// Shorter messages are sent as they are, in bytes.
        public var minimumBytes = 64

        /// The defaults named above: both sides take their windows over, of 32 KiB each.
        public init() {}

        /// No window is kept between messages on either side, so a connection that is idle costs nothing for being
        /// compressed. Long messages lose little by it.
        public static let stateless = {
            var configuration = Configuration()
            configuration.serverNoContextTakeover = true
            configuration.clientNoContextTakeover = true
            return configuration
        }()
    }

    /// What both sides agreed on in the opening handshake.
    public struct Agreement: Sendable, Hashable {
        /// The server compresses each message by itself.
        public var serverNoContextTakeover: Bool
        /// The client compresses each message by itself.
        public var clientNoContextTakeover: Bool
        /// The window the server may compress with.
        public var serverMaxWindowBits: Int
        /// The window the client may compress with.
        public var clientMaxWindowBits: Int
        /// zlib's level for what this side sends; this side's own affair.
        public var compressionLevel: Int
        /// Shorter messages are sent as they are; this side's own affair.
        public var minimumBytes: Int
    }
}

extension PerMessageDeflate.Configuration {
    /// Out-of-range settings are moved to the nearer end: they are this side's own, and none of them is worth failing a
    /// connection for.
    private var bounded: PerMessageDeflate.Configuration {
        func bound(_ bits: Int) -> Int {
            min(max(bits, PerMessageDeflate.windowBitsRange.lowerBound), PerMessageDeflate.windowBitsRange.upperBound)
        }
        var copy = self
        copy.serverMaxWindowBits = bound(serverMaxWindowBits)
        copy.clientMaxWindowBits = bound(clientMaxWindowBits)
        copy.compressionLevel = min(max(compressionLevel, 1), 9)
        return copy
    }

    /// A client's offer (RFC 7692 §7.1). `client_max_window_bits` is always in it, so that the server may ask for less.
    var offer: ExtensionHeader {
        let own = bounded
        var offer = ExtensionHeader(name: PerMessageDeflate.name)
        if own.serverNoContextTakeover { offer.parameters.append((Parameter.serverNoContextTakeover, nil)) }
        if own.clientNoContextTakeover { offer.parameters.append((Parameter.clientNoContextTakeover, nil)) }
        if own.serverMaxWindowBits < 15 {
            offer.parameters.append((Parameter.serverMaxWindowBits, String(own.serverMaxWindowBits)))
        }
        let limit = own.clientMaxWindowBits < 15 ? String(own.clientMaxWindowBits) : nil
        offer.parameters.append((Parameter.clientMaxWindowBits, limit))
        return offer
    }

    /// A server's answer to the first acceptable offer, or nil to decline them all.
    func accept(
        _ offers: [ExtensionHeader]
    ) -> (agreement: PerMessageDeflate.Agreement, answer: ExtensionHeader)? {
        let own = bounded
        for offer in offers where offer.name == PerMessageDeflate.name {
            guard let asked = Parameters(offer, isOffer: true) else { continue }
            var answer = ExtensionHeader(name: PerMessageDeflate.name)
            let serverAlone = asked.serverNoContextTakeover || own.serverNoContextTakeover
            let clientAlone = asked.clientNoContextTakeover || own.clientNoContextTakeover
            if serverAlone { answer.parameters.append((Parameter.serverNoContextTakeover, nil)) }
            if clientAlone { answer.parameters.append((Parameter.clientNoContextTakeover, nil)) }
            let serverBits = min(asked.serverMaxWindowBits ?? 15, own.serverMaxWindowBits)
            if asked.serverMaxWindowBits != nil {
                answer.parameters.append((Parameter.serverMaxWindowBits, String(serverBits)))
            }
            // A client that does not mention its window cannot be asked to make it smaller (RFC 7692 §7.1.2.2).
            var clientBits = 15
            if asked.mentionsClientWindow {
                clientBits = min(asked.clientMaxWindowBits ?? 15, own.clientMaxWindowBits)
                if clientBits < 15 {
                    answer.parameters.append((Parameter.clientMaxWindowBits, String(clientBits)))
                }
            }
            let agreement = PerMessageDeflate.Agreement(
                serverNoContextTakeover: serverAlone,
                clientNoContextTakeover: clientAlone,
                serverMaxWindowBits: serverBits,
                clientMaxWindowBits: clientBits,
                compressionLevel: own.compressionLevel,
                minimumBytes: own.minimumBytes
            )
            return (agreement, answer)
        }
        return nil
    }

    /// A client's judgement of the server's answer to its offer; nil where the answer does not fit the offer, which
    /// fails the connection (RFC 7692 §5.1, §7.1).
    func agree(to answer: ExtensionHeader) -> PerMessageDeflate.Agreement? {
        let own = bounded
        guard answer.name == PerMessageDeflate.name, let chosen = Parameters(answer, isOffer: false),
            chosen.serverNoContextTakeover || !own.serverNoContextTakeover,
            own.serverMaxWindowBits == 15 || chosen.serverMaxWindowBits.map({ $0 <= own.serverMaxWindowBits }) ?? false,
            chosen.clientMaxWindowBits.map({ $0 <= own.clientMaxWindowBits }) ?? true
        else { return nil }
        return PerMessageDeflate.Agreement(
            serverNoContextTakeover: chosen.serverNoContextTakeover,
            clientNoContextTakeover: chosen.clientNoContextTakeover || own.clientNoContextTakeover,
            serverMaxWindowBits: chosen.serverMaxWindowBits ?? 15,
            clientMaxWindowBits: chosen.clientMaxWindowBits ?? own.clientMaxWindowBits,
            compressionLevel: own.compressionLevel,
            minimumBytes: own.minimumBytes
        )
    }

    private enum Parameter {
        static let serverNoContextTakeover = "server_no_context_takeover"
        static let clientNoContextTakeover = "client_no_context_takeover"
        static let serverMaxWindowBits = "server_max_window_bits"
        static let clientMaxWindowBits = "client_max_window_bits"
    }

    /// The four parameters as they stand in a header; nil for anything RFC 7692 §7.1 does not allow.
    private struct Parameters {
        var serverNoContextTakeover = false
        var clientNoContextTakeover = false
        var serverMaxWindowBits: Int?
        var clientMaxWindowBits: Int?
        var mentionsClientWindow = false

        init?(_ header: ExtensionHeader, isOffer: Bool) {
            var seen: Set<String> = []
            for (name, value) in header.parameters {
                guard seen.insert(name).inserted else { return nil }
                switch name {
                case Parameter.serverNoContextTakeover where value == nil:
                    serverNoContextTakeover = true
                case Parameter.clientNoContextTakeover where value == nil:
                    clientNoContextTakeover = true
                case Parameter.serverMaxWindowBits:
                    guard let bits = Self.windowBits(value) else { return nil }
                    serverMaxWindowBits = bits
                case Parameter.clientMaxWindowBits:
                    mentionsClientWindow = true
                    // Only an offer may leave the choice to the other side.
                    if value == nil, isOffer { continue }
                    guard let bits = Self.windowBits(value) else { return nil }
                    clientMaxWindowBits = bits
                default:
                    return nil
                }
            }
        }

        private static func windowBits(_ value: String?) -> Int? {
            guard let value, !value.hasPrefix("0"), let bits = ASCII.decimal(value),
                PerMessageDeflate.windowBitsRange.contains(bits)
            else { return nil }
            return bits
        }
    }
}
