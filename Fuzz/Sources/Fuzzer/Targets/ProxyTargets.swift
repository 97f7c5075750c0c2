@testable import WebSocketKitLite

extension FuzzTarget {
    /// Whatever a proxy answers, the dialogue takes only its own bytes, and what comes of it does not depend on pieces.
    static let proxyDialogue = FuzzTarget("proxy-dialogue") { input in
        let isSOCKS = input.bool()
        let credentials = input.bool() ? Proxy.Credentials(user: [0x75], password: [0x70]) : nil
        let host = input.pick(["hub.example", "192.0.2.1", "2001:db8::1"])
        let seed = input.uint16()
        let bytes = input.rest()
        func log(_ pieces: [ArraySlice<UInt8>]) throws -> DialogueLog {
            isSOCKS
                ? try DialogueLog(SOCKS5Dialogue(host: host, port: 443, credentials: credentials), pieces)
                : try DialogueLog(ConnectDialogue(host: host, port: 443, credentials: credentials), pieces)
        }
        let whole = try log([bytes[...]])
        for pieces in [bytes.pieces(seed: 0), bytes.pieces(seed: seed)] {
            let split = try log(pieces)
            try check(split == whole, "in pieces \(split), all at once \(whole)")
        }
    }

    /// A proxy that can be used is the same when it is written out and read again, but for the login, which is never
    /// written; and every list of exemptions has an answer for its host.
    static let proxySettings = FuzzTarget("proxy-settings") { input in
        let text = String(decoding: input.bytes(input.int(in: 0...255)), as: UTF8.self)
        let exempt = String(decoding: input.rest(), as: UTF8.self)
        if let proxy = try? Proxy(text) {
            let again = try Proxy(proxy.description)
            try check(again.kind == proxy.kind && again.host == proxy.host && again.port == proxy.port, "\(again)")
            try check(again.credentials == nil, "the description holds a login")
            _ = NoProxyList(exempt).covers(host: proxy.host, port: proxy.port)
        }
        try check(NoProxyList(exempt + ",*").covers(host: "hub.example", port: 443), "* does not exempt every host")
        let own = NoProxyList("hub.example," + exempt)
        try check(own.covers(host: "HUB.example.", port: 443), "a name that was listed is not exempt")
        try check(own.covers(host: "a.hub.example", port: 1), "a name below one that was listed is not exempt")
    }
}

/// What a dialogue made of a proxy's answers.
private struct DialogueLog: Equatable {
    var sent: [UInt8] = []
    var isEstablished = false
    var failure: ProxyFailure?
    /// What belongs to the connection behind the proxy.
    var rest: [UInt8] = []

    init(_ start: some ProxyDialogue, _ pieces: [ArraySlice<UInt8>]) throws {
        var dialogue = start
        sent = dialogue.opening
        for piece in pieces where failure == nil {
            var input = piece
            do {
                try advance(&dialogue, &input)
            } catch let failure as ProxyFailure {
                self.failure = failure
            }
        }
    }

    private mutating func advance(_ dialogue: inout some ProxyDialogue, _ input: inout ArraySlice<UInt8>) throws {
        while !isEstablished {
            let before = input.count
            switch try dialogue.receive(&input) {
            case .needsMore:
                try check(input.isEmpty, "it wants more, and \(input.count) bytes are there")
                return
            case .send(let bytes):
                try check(input.count < before || before == 0, "it answers without having heard anything")
                sent += bytes
            case .established:
                isEstablished = true
            }
        }
        rest += input
    }
}
