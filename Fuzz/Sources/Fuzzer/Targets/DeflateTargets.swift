@testable import WebSocketKitLite

/// An agreement about compression that a handshake can lead to.
func deflateAgreement(_ input: inout ByteReader) -> PerMessageDeflate.Agreement {
    let flags = input.byte()
    return PerMessageDeflate.Agreement(
        serverNoContextTakeover: flags & 1 != 0,
        clientNoContextTakeover: flags & 2 != 0,
        serverMaxWindowBits: input.int(in: PerMessageDeflate.windowBitsRange),
        clientMaxWindowBits: input.int(in: PerMessageDeflate.windowBitsRange),
        compressionLevel: input.int(in: 1...9),
        minimumBytes: flags & 4 != 0 ? 1 : 64
    )
}

extension FuzzTarget {
    /// Whatever it is told to inflate, an inflater keeps to its limit, and its output depends on the bytes and not on
    /// their pieces.
    static let inflate = FuzzTarget("inflate") { input in
        let windowBits = input.int(in: PerMessageDeflate.windowBitsRange)
        let takesOver = input.bool()
        let seed = input.uint16()
        // Two messages, of which the second may refer to the first.
        let first = input.bytes(input.int(in: 0...255))
        let second = input.rest()

        func inflate(cuts: Bool) throws -> [[UInt8]?] {
            let inflater = Inflater(windowBits: windowBits, takesOver: takesOver)
            var outputs: [[UInt8]?] = []
            for message in [first, second] {
                var output: [UInt8] = []
                do {
                    for piece in cuts ? message.pieces(seed: seed) : [message[...]] {
                        try piece.withUnsafeBytes { try inflater.inflate($0, into: &output, maxBytes: 5000) }
                    }
                    try inflater.finishMessage(into: &output, maxBytes: 5000)
                    outputs.append(output)
                } catch is Inflater.Failure {
                    outputs.append(nil)
                    // The connection ends here; nothing is inflated after a failure.
                    return outputs
                }
                if cuts { inflater.releaseIdleMemory() }
            }
            return outputs
        }
        let whole = try inflate(cuts: false)
        let split = try inflate(cuts: true)
        for (one, other) in zip(whole, split) where one != other {
            // zlib overlooks a reference beyond a small window while the text is still in the buffer it writes to.
            let isOverlooked = windowBits < 15 && (one == nil || other == nil)
            try check(isOverlooked, "at once \(whole), in pieces \(split)")
            break
        }
        for output in whole {
            try check((output?.count ?? 0) <= 5000, "\(output?.count ?? 0) bytes came out, 5000 are allowed")
        }
    }

    /// What one side compresses the other inflates to the same bytes, whatever was agreed on, and it has shrunk.
    static let deflate = FuzzTarget("deflate") { input in
        let agreement = deflateAgreement(&input)
        let sender: ConnectionMachine.Role = input.bool() ? .client : .server
        let deflater = agreement.deflater(for: sender)
        let inflater = agreement.inflater(for: sender == .client ? .server : .client)
        var messages = 0
        while !input.isAtEnd, messages < 20 {
            messages += 1
            let message = input.payload(sizes: [1, 63, 64, 300, 40_000])
            if let compressed = message.withUnsafeBytes({ deflater.compress($0) }) {
                try check(compressed.count < message.count, "\(message.count) bytes became \(compressed.count)")
                var output: [UInt8] = []
                try compressed.withUnsafeBytes { try inflater.inflate($0, into: &output, maxBytes: message.count) }
                try inflater.finishMessage(into: &output, maxBytes: message.count)
                try check(output == message, "\(message.count) bytes did not come back")
            }
            if input.bool() { deflater.releaseIdleMemory() }
            if input.bool() { inflater.releaseIdleMemory() }
        }
    }

    /// An offer is answered only with what the client that made it takes, and what is read from a header is written the
    /// same way.
    static let extensions = FuzzTarget("extensions") { input in
        var client = PerMessageDeflate.Configuration()
        client.serverNoContextTakeover = input.bool()
        client.clientNoContextTakeover = input.bool()
        client.serverMaxWindowBits = input.int(in: 7...16)
        client.clientMaxWindowBits = input.int(in: 7...16)
        var server = PerMessageDeflate.Configuration()
        server.serverNoContextTakeover = input.bool()
        server.clientNoContextTakeover = input.bool()
        server.serverMaxWindowBits = input.int(in: 7...16)
        server.clientMaxWindowBits = input.int(in: 7...16)

        let sent = ExtensionHeader.parse(["Sec-WebSocket-Extensions": client.offer.description]) ?? []
        try check(sent.map(\.description) == [client.offer.description], "\(client.offer) was read as \(sent)")
        if let (agreement, answer) = server.accept(sent) {
            guard let agreed = client.agree(to: answer) else {
                throw BrokenPromise(description: "\(client.offer) was answered \(answer), which the client refuses")
            }
            try check(agreement.canFeed(agreed, from: .server), "the server compresses more than fits: \(answer)")
            try check(agreed.canFeed(agreement, from: .client), "the client compresses more than fits: \(answer)")
        }

        let hostile = String(decoding: input.rest(), as: UTF8.self)
        guard let extensions = ExtensionHeader.parse(["Sec-WebSocket-Extensions": hostile]) else { return }
        let text = extensions.map(\.description).joined(separator: ", ")
        let again = ExtensionHeader.parse(["Sec-WebSocket-Extensions": text]) ?? []
        try check(again.map(\.description) == extensions.map(\.description), "\(hostile) became \(again)")
        var agreements = extensions.compactMap { client.agree(to: $0) }
        if let (agreement, _) = server.accept(extensions) { agreements.append(agreement) }
        for agreement in agreements {
            try check(PerMessageDeflate.windowBitsRange.contains(agreement.serverMaxWindowBits), "\(agreement)")
            try check(PerMessageDeflate.windowBitsRange.contains(agreement.clientMaxWindowBits), "\(agreement)")
        }
    }
}

extension PerMessageDeflate.Agreement {
    /// Whether `receiver` inflates what `sender` compresses: nobody refers to more than the other holds.
    fileprivate func canFeed(_ receiver: Self, from sender: ConnectionMachine.Role) -> Bool {
        switch sender {
        case .server:
            serverMaxWindowBits <= receiver.serverMaxWindowBits
                && (serverNoContextTakeover || !receiver.serverNoContextTakeover)
        case .client:
            clientMaxWindowBits <= receiver.clientMaxWindowBits
                && (clientNoContextTakeover || !receiver.clientNoContextTakeover)
        }
    }
}
