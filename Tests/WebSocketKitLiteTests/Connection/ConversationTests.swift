import TestSupport
import Testing

@testable import WebSocketKitLite

private let start = ContinuousClock.now

/// Two machines joined by a random link: bytes go over in random pieces, taken and given in every way there is.
private struct Conversation: ~Copyable {
    var random: SeededRandom
    var client: ConnectionMachine
    var server: ConnectionMachine

    init(seed: UInt64, deflate: PerMessageDeflate.Agreement? = nil) {
        random = SeededRandom(seed: seed)
        client = ConnectionMachine(role: .client, deflate: deflate, maskingKeys: SeededRandom(seed: seed), now: start)
        server = ConnectionMachine(role: .server, deflate: deflate, now: start)
    }

    mutating func message() -> WebSocketMessage {
        let length = [0, 5, 100, 130, 3000, 5000, 70_000].randomElement(using: &random) ?? 0
        switch Int.random(in: 0..<3, using: &random) {
        case 0: return .text(String(repeating: "ü€𝄞", count: length / 9))
        case 1: return .binary([UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: length))
        default: return .binary((0..<length).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }

    /// What `from` has to write, taken as one piece or as many.
    static func written(by from: inout ConnectionMachine, using random: inout SeededRandom) -> [UInt8] {
        if Bool.random(using: &random) {
            var bytes: [UInt8] = []
            while let more = from.takeWrite() { bytes += more }
            #expect(from.queuedWriteBytes == 0)
            return bytes
        }
        var bytes: [UInt8] = []
        while true {
            var piece = [UInt8](repeating: 0, count: Int.random(in: 1...9000, using: &random))
            let before = from.queuedWriteBytes
            let count = piece.withUnsafeMutableBytes { from.takeWrite(into: $0) }
            #expect(count == min(before, piece.count))
            guard count > 0 else { return bytes }
            bytes += piece[..<count]
        }
    }

    /// Carries bytes over and returns the messages and the outcome they bring.
    static func move(
        _ from: inout ConnectionMachine,
        _ to: inout ConnectionMachine,
        using random: inout SeededRandom
    ) -> [ConnectionMachine.Action] {
        var rest = written(by: &from, using: &random)[...]
        while !rest.isEmpty {
            let inPlace = to.missingBytesInPlace
            if inPlace > 0, Bool.random(using: &random) {
                let piece = rest.prefix(Int.random(in: 1...inPlace, using: &random))
                to.receiveInPlace(maxBytes: inPlace, now: start) { room in
                    room.copyBytes(from: piece)
                    return piece.count
                }
                rest = rest.dropFirst(piece.count)
            } else {
                let piece = rest.prefix(Int.random(in: 1...5000, using: &random))
                to.receive(piece, now: start)
                rest = rest.dropFirst(piece.count)
            }
        }
        var actions: [ConnectionMachine.Action] = []
        while let action = to.nextEvent() { actions.append(action) }
        #expect(to.undeliveredBytes == 0)
        return actions
    }

    mutating func run(rounds: Int) throws {
        for round in 0..<rounds {
            var sent: (toServer: [WebSocketMessage], toClient: [WebSocketMessage]) = ([], [])
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                sent.toServer.append(message())
                try client.send(sent.toServer[sent.toServer.count - 1])
            }
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                sent.toClient.append(message())
                try server.send(sent.toClient[sent.toClient.count - 1])
            }
            #expect(Self.move(&client, &server, using: &random) == sent.toServer.map { .deliver($0) })
            #expect(Self.move(&server, &client, using: &random) == sent.toClient.map { .deliver($0) })
            if round == rounds / 2 {
                // A quiet interval on both sides: what can be given back is, and nothing changes by it.
                client.tick(now: start + .seconds(25))
                server.tick(now: start + .seconds(25))
                _ = Self.move(&client, &server, using: &random)
                _ = Self.move(&server, &client, using: &random)
                _ = Self.move(&client, &server, using: &random)
                client.tick(now: start + .seconds(50))
                server.tick(now: start + .seconds(50))
                _ = Self.move(&client, &server, using: &random)
                _ = Self.move(&server, &client, using: &random)
                _ = Self.move(&client, &server, using: &random)
            }
        }
    }

    mutating func end() throws {
        try server.close(code: .goingAway, reason: "restart", now: start)
        let toClient = Self.move(&server, &client, using: &random)
        #expect(toClient == [.closed(CloseStatus(code: .goingAway, reason: "restart", initiator: .remote))])
        let toServer = Self.move(&client, &server, using: &random)
        #expect(
            toServer == [.closed(CloseStatus(code: .goingAway, reason: "", initiator: .local)), .closeTransport]
        )
        client.receiveEOF(now: start)
        #expect(client.nextAction() == .closeTransport)
    }
}

@Suite("Two connection machines in conversation")
struct ConversationTests {
    @Test("lose nothing and keep the order, whatever the pieces, and end cleanly", arguments: 0..<20)
    func plain(seed: UInt64) throws {
        var conversation = Conversation(seed: seed)
        try conversation.run(rounds: 20)
        try conversation.end()
    }

    @Test("do so compressed, too, in every mode and over quiet times", arguments: 0..<24)
    func compressed(seed: UInt64) throws {
        let agreement = PerMessageDeflate.Agreement(
            serverNoContextTakeover: seed & 1 == 0,
            clientNoContextTakeover: seed & 2 == 0,
            serverMaxWindowBits: 8 + Int(seed % 8),
            clientMaxWindowBits: 15 - Int(seed % 8),
            compressionLevel: 1 + Int(seed % 9),
            minimumBytes: 16
        )
        var conversation = Conversation(seed: seed, deflate: agreement)
        try conversation.run(rounds: 20)
        try conversation.end()
    }
}

@Suite("Compressed messages on a connection")
struct CompressedConnectionTests {
    private static let agreement = PerMessageDeflate.Agreement(
        serverNoContextTakeover: false,
        clientNoContextTakeover: false,
        serverMaxWindowBits: 15,
        clientMaxWindowBits: 15,
        compressionLevel: 6,
        minimumBytes: 16
    )

    private func server(maxMessageBytes: Int = 1 << 20) -> ConnectionMachine {
        var configuration = ConnectionConfiguration()
        configuration.maxMessageBytes = maxMessageBytes
        return ConnectionMachine(role: .server, configuration: configuration, deflate: Self.agreement, now: start)
    }

    private func outcome(_ machine: inout ConnectionMachine, _ bytes: [UInt8]) -> [ConnectionMachine.Action] {
        machine.receive(bytes[...], now: start)
        var actions: [ConnectionMachine.Action] = []
        while let action = machine.nextEvent() { actions.append(action) }
        return actions
    }

    /// RFC 7692 §7.2.3.1, cut into frames in every place, with a ping between.
    @Test("arrive in fragments, of which only the first says that it is compressed")
    func fragments() {
        let compressed = hex("f2 48 cd c9 c9 07 00")
        for cut in 0...compressed.count {
            var machine = server()
            let bytes =
                frame(.text, Array(compressed[..<cut]), isFinal: false, reserved: 0x40, key: 1)
                + frame(.ping, [9], key: 2)
                + frame(.continuation, Array(compressed[cut...]), key: 3)
            #expect(outcome(&machine, bytes) == [.deliver(.text("Hello"))])
        }
    }

    @Test(
        "that break a rule end the connection with its code",
        arguments: [
            (
                "RSV1 on a continuation",
                frame(.text, [0xF2], isFinal: false, reserved: 0x40, key: 1)
                    + frame(.continuation, [0x48], reserved: 0x40, key: 1), 1002
            ),
            ("RSV2", frame(.text, [], reserved: 0x20, key: 1), 1002),
            ("RSV1 on a ping", frame(.ping, [], reserved: 0x40, key: 1), 1002),
            ("no DEFLATE data", frame(.binary, [0xFF, 0xFF], reserved: 0x40, key: 1), 1007),
            ("text that is not UTF-8 when inflated", frame(.text, hex("fa ff 07 00"), reserved: 0x40, key: 1), 1007),
        ]
    )
    func violations(name: String, bytes: [UInt8], code: UInt16) {
        var machine = server()
        _ = outcome(&machine, bytes)
        #expect(machine.closeStatus?.code.rawValue == code, "\(name)")
    }

    @Test("that grow beyond the limit end the connection with 1009, before they have grown much further")
    func bomb() throws {
        var client = ConnectionMachine(role: .client, deflate: Self.agreement, now: start)
        try client.send(.binary([UInt8](repeating: 0, count: 32 << 20)))
        let written = client.takeWrite()
        let bytes = try #require(written)
        #expect(bytes.count < 64 << 10)
        var machine = server(maxMessageBytes: 64 << 10)
        _ = outcome(&machine, bytes)
        #expect(machine.closeStatus?.code == .messageTooBig)
    }

    @Test("are sent as they are where compression would not make them smaller")
    func incompressible() throws {
        var random = SeededRandom(seed: 3)
        let noise = (0..<1000).map { _ in UInt8.random(in: 0...255, using: &random) }
        var machine = server()
        try machine.send(.binary(noise))
        #expect(machine.takeWrite() == frame(.binary, noise))
        try machine.send(.text("short"))
        #expect(machine.takeWrite() == frame(.text, Array("short".utf8)))
    }

    @Test("are sent as they are where the sender says so, and the ones around them compressed")
    func asTheyAre() throws {
        let text = [UInt8](repeating: 65, count: 1000)
        var machine = server()
        var peer = ConnectionMachine(role: .client, deflate: Self.agreement, now: start)
        for compressing in [true, false, true] {
            try machine.send(.binary(text), compressing: compressing)
            let written = machine.takeWrite()
            let bytes = try #require(written)
            #expect((bytes == frame(.binary, text)) == !compressing)
            #expect(outcome(&peer, bytes) == [.deliver(.binary(text))])
        }
    }
}
