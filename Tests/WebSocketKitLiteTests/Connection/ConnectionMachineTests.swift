import TestSupport
import Testing

@testable import WebSocketKitLite

private let start = ContinuousClock.now
private let key: UInt32 = 0xA1B2_C3D4

/// A machine, and everything it has asked for.
private struct Bench: ~Copyable {
    var machine: ConnectionMachine
    var written: [UInt8] = []
    var delivered: [WebSocketMessage] = []
    var closed: [CloseStatus] = []
    var transportCloses = 0

    init(_ role: ConnectionMachine.Role, configure: (inout ConnectionConfiguration) -> Void = { _ in }) {
        var configuration = ConnectionConfiguration()
        configure(&configuration)
        machine = ConnectionMachine(
            role: role,
            configuration: configuration,
            maskingKeys: SeededRandom(seed: 5),
            now: start
        )
    }

    mutating func run() {
        while let action = machine.nextAction() {
            switch action {
            case .write(let bytes): written += bytes
            case .deliver(let message):
                #expect(closed.isEmpty)
                delivered.append(message)
            case .closed(let status): closed.append(status)
            case .closeTransport: transportCloses += 1
            }
        }
    }

    mutating func receive(_ bytes: [UInt8], at time: Duration = .zero) {
        machine.receive(bytes[...], now: start + time)
        run()
    }

    mutating func tick(at time: Duration) {
        machine.tick(now: start + time)
        run()
    }

    /// The frames written so far, unmasked, as (opcode, payload).
    func frames(from role: ConnectionMachine.Role) throws -> [FrameParserTests.Frame] {
        try FrameParserTests.parse([written[...]], expectsMask: role == .client)
    }
}

private func closePayload(_ code: UInt16, _ reason: String = "") -> [UInt8] {
    [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8)
}

@Suite("Connection machine")
struct ConnectionMachineTests {
    @Test("a server refuses unmasked frames and a client masked ones")
    func masks() {
        var server = Bench(.server)
        server.receive(frame(.text, [0x61]))
        #expect(server.closed.map(\.code) == [.protocolError])
        var client = Bench(.client)
        client.receive(frame(.text, [0x61], key: key))
        #expect(client.closed.map(\.code) == [.protocolError])
    }

    @Test("delivers whole messages from fragments with control frames between them, however they are cut")
    func fragments() throws {
        let bytes =
            frame(.text, Array("Gr".utf8), isFinal: false, key: key)
            + frame(.ping, [9], key: key)
            + frame(.continuation, hex("c3"), isFinal: false, key: key)
            + frame(.continuation, [], isFinal: false, key: key)
            + frame(.continuation, hex("bc c3 9f"), isFinal: true, key: key)
            + frame(.binary, [], key: key)
            + frame(.binary, [UInt8](0..<200), key: key)
        for pieces in splits(of: bytes) {
            var server = Bench(.server)
            for piece in pieces {
                server.receive(Array(piece))
            }
            #expect(server.delivered == [.text("Grüß"), .binary([]), .binary([UInt8](0..<200))])
            #expect(server.written == frame(.pong, [9]))
            #expect(server.closed.isEmpty)
        }
    }

    @Test(
        "answers what breaks the protocol with the right code",
        arguments: [
            ("reserved bit", frame(.text, [], reserved: 0x40), 1002),
            ("reserved opcode", frame(Opcode(rawValue: 3)), 1002),
            ("reserved control opcode", frame(Opcode(rawValue: 11)), 1002),
            ("stray continuation", frame(.continuation, [1]), 1002),
            ("stray final continuation after a message", frame(.text) + frame(.continuation), 1002),
            ("message within a message", frame(.text, isFinal: false) + frame(.text), 1002),
            ("fragmented ping", frame(.ping, isFinal: false), 1002),
            ("text that is not UTF-8", frame(.text, [0xFF]), 1007),
            ("text that ends within a character", frame(.text, [0xC3]), 1007),
            ("bad UTF-8 in a message not yet complete", frame(.text, [0xC0], isFinal: false), 1007),
            ("message beyond the limit", frame(.binary, [UInt8](repeating: 0, count: 1001)), 1009),
            (
                "fragments beyond the limit together",
                frame(.binary, [UInt8](repeating: 0, count: 600), isFinal: false)
                    + frame(.continuation, [UInt8](repeating: 0, count: 401)), 1009
            ),
            ("announcement beyond the limit", hex("82 7f 00 00 00 7f ff ff ff ff"), 1009),
            ("one-byte close", frame(.close, [3]), 1002),
            ("close code 0", frame(.close, closePayload(0)), 1002),
            ("close code 999", frame(.close, closePayload(999)), 1002),
            ("close code 1004", frame(.close, closePayload(1004)), 1002),
            ("close code 1005", frame(.close, closePayload(1005)), 1002),
            ("close code 1006", frame(.close, closePayload(1006)), 1002),
            ("close code 1015", frame(.close, closePayload(1015)), 1002),
            ("close code 1016", frame(.close, closePayload(1016)), 1002),
            ("close code 2999", frame(.close, closePayload(2999)), 1002),
            ("close code 5000", frame(.close, closePayload(5000)), 1002),
            ("close reason that is not UTF-8", frame(.close, closePayload(1000) + [0xFF]), 1007),
        ] as [(String, [UInt8], UInt16)]
    )
    func violations(name: String, bytes: [UInt8], code: UInt16) throws {
        for pieces in bytes.count > 200 ? [[bytes[...]]] : splits(of: bytes) {
            var client = Bench(.client) { $0.maxMessageBytes = 1000 }
            for piece in pieces {
                client.receive(Array(piece))
            }
            let status = try #require(client.closed.first, "\(name)")
            #expect(client.closed.count == 1)
            #expect(status.code.rawValue == code, "\(name)")
            #expect(!status.isClean)
            #expect(status.initiator == .local)
            let sent = try client.frames(from: .client)
            #expect(sent.last?.header.opcode == .close)
            #expect(sent.last?.payload.prefix(2) == closePayload(code)[...])
            // A client leaves ending the TCP connection to the server, but not for ever.
            #expect(client.transportCloses == 0)
            client.tick(at: .seconds(5))
            #expect(client.transportCloses == 1)
        }
    }

    @Test("a server ends the transport itself after a violation")
    func serverViolation() {
        var server = Bench(.server)
        server.receive(frame(.continuation, key: key))
        #expect(server.closed.count == 1)
        #expect(server.transportCloses == 1)
    }

    @Test(
        "takes every legal close code, echoes it and tells who began",
        arguments: [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    )
    func closeFromPeer(code: UInt16) throws {
        var client = Bench(.client)
        client.receive(frame(.close, closePayload(code, "bye")))
        #expect(client.closed == [CloseStatus(code: CloseCode(rawValue: code), reason: "bye", initiator: .remote)])
        #expect(try client.frames(from: .client).map(\.payload) == [closePayload(code)])
        client.machine.receiveEOF(now: start)
        client.run()
        #expect(client.transportCloses == 1)
    }

    @Test("takes a close without a code, and sends none back")
    func closeWithoutCode() throws {
        var server = Bench(.server)
        server.receive(frame(.close, key: key))
        #expect(server.closed == [CloseStatus(code: .noStatusReceived, reason: "", initiator: .remote)])
        #expect(server.written == frame(.close))
        #expect(server.transportCloses == 1)
    }

    @Test("closes by handshake, drops messages that come after, and refuses to send")
    func localClose() throws {
        var client = Bench(.client)
        try client.machine.close(code: CloseCode(rawValue: 4001), reason: "done", now: start)
        client.run()
        #expect(try client.frames(from: .client).map(\.payload) == [closePayload(4001, "done")])
        client.receive(frame(.text, [0x61]) + frame(.ping, [1]))
        #expect(client.delivered.isEmpty)
        #expect(throws: LocalMisuse.notOpen) { try client.machine.send(.text("late")) }
        client.receive(frame(.close, closePayload(4001)))
        #expect(client.closed == [CloseStatus(code: CloseCode(rawValue: 4001), reason: "", initiator: .local)])
        #expect(client.transportCloses == 0)
        client.machine.receiveEOF(now: start)
        client.run()
        #expect(client.transportCloses == 1)
        #expect(client.machine.nextDeadline == nil)
    }

    @Test("gives up on a peer that does not answer Close")
    func closeTimeout() throws {
        var client = Bench(.client)
        try client.machine.close(now: start)
        client.run()
        #expect(client.machine.nextDeadline == start + .seconds(5))
        client.tick(at: .milliseconds(4999))
        #expect(client.closed.isEmpty)
        client.tick(at: .seconds(5))
        #expect(client.closed.map(\.failure) == [.closeTimeout])
        #expect(client.transportCloses == 1)
    }

    @Test("refuses our own wrong close codes and long reasons")
    func closeMisuse() {
        var client = Bench(.client)
        #expect(throws: LocalMisuse.invalidCloseCode(.abnormalClosure)) {
            try client.machine.close(code: .abnormalClosure, now: start)
        }
        #expect(throws: LocalMisuse.closeReasonTooLong) {
            try client.machine.close(reason: String(repeating: "x", count: 124), now: start)
        }
        let isOpen = client.machine.isOpen
        #expect(isOpen)
    }

    @Test("an end of the transport without Close is an abnormal closure by the peer")
    func eof() {
        var client = Bench(.client)
        client.machine.receiveEOF(now: start)
        client.machine.receiveEOF(now: start)
        client.run()
        #expect(client.closed.map(\.code) == [.abnormalClosure])
        #expect(client.closed.map(\.initiator) == [.remote])
        #expect(client.closed.map(\.failure) == [.transportEnded])
        #expect(client.transportCloses == 1)
    }

    @Test("pings on time, measures the round trip, and gives a silent peer up")
    func keepalive() throws {
        var client = Bench(.client)
        #expect(client.machine.nextDeadline == start + .seconds(25))
        client.tick(at: .seconds(24))
        #expect(client.written.isEmpty)
        client.tick(at: .seconds(25))
        let ping = try #require(try client.frames(from: .client).first)
        #expect(ping.header.opcode == .ping)
        client.receive(frame(.pong, ping.payload), at: .milliseconds(25_040))
        #expect(client.machine.roundTripTime == .milliseconds(40))
        client.receive(frame(.pong, [1, 2]), at: .seconds(26))
        #expect(client.machine.roundTripTime == .milliseconds(40))

        client.tick(at: .seconds(50))
        client.tick(at: .seconds(75))
        #expect(client.machine.nextDeadline == start + .milliseconds(88_500))
        client.tick(at: .milliseconds(88_499))
        #expect(client.closed.isEmpty)
        client.tick(at: .milliseconds(88_500))
        #expect(client.closed.map(\.failure) == [.readTimeout])
        #expect(client.transportCloses == 1)
    }

    @Test("does not hold silence against the peer while reading is stopped")
    func pausedReading() {
        var client = Bench(.client) { $0.pingInterval = nil }
        client.machine.setReadingPaused(true, now: start)
        #expect(client.machine.nextDeadline == nil)
        client.tick(at: .seconds(1000))
        #expect(client.closed.isEmpty)
        client.machine.setReadingPaused(false, now: start + .seconds(1000))
        #expect(client.machine.nextDeadline == start + .milliseconds(1_062_500))
    }

    @Test("answers ten pings in order, but keeps a bounded queue for a peer that pings without reading")
    func pongs() throws {
        var server = Bench(.server)
        server.receive((0..<10).flatMap { frame(.ping, [$0], key: key) })
        #expect(try server.frames(from: .server).map(\.payload) == (0..<10).map { [$0] })

        var flooded = Bench(.server)
        for number in 0..<100_000 {
            let payload = withUnsafeBytes(of: number.bigEndian) { Array($0) }
            flooded.machine.receive(frame(.ping, payload, key: key)[...], now: start)
        }
        #expect(flooded.machine.queuedWriteBytes <= 17 * 1024)
        flooded.run()
        let last = withUnsafeBytes(of: 99_999.bigEndian) { Array($0) }
        #expect(try flooded.frames(from: .server).last?.payload == last)
    }

    @Test("masks every frame with a new key, which the peer can undo")
    func clientMasks() throws {
        var client = Bench(.client)
        try client.machine.send(.text("Grüße"))
        try client.machine.send(.binary([1, 2, 3]))
        client.run()
        let frames = try client.frames(from: .client)
        #expect(frames.map(\.payload) == [Array("Grüße".utf8), [1, 2, 3]])
        #expect(Set(frames.compactMap(\.header.maskingKey)).count == 2)
    }

    @Test("whatever arrives, it ends in order and gives the same outcome in any pieces", arguments: 0..<300)
    func fuzz(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bytes: [UInt8] = []
        let opcodes: [UInt8] = [0, 0, 1, 2, 8, 9, 10, 3]
        for _ in 0..<Int.random(in: 1...30, using: &random) {
            let payload = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                UInt8.random(in: 0x20...0x90, using: &random)
            }
            bytes += frame(
                Opcode(rawValue: opcodes.randomElement(using: &random) ?? 1),
                payload,
                isFinal: Int.random(in: 0..<3, using: &random) > 0,
                key: UInt32.random(in: 0 ... .max, using: &random)
            )
        }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        var whole = Bench(.server) { $0.maxMessageBytes = 100 }
        whole.receive(bytes)
        whole.machine.receiveEOF(now: start)
        whole.run()
        #expect(whole.closed.count == 1)
        #expect(whole.transportCloses == 1)
        #expect(whole.machine.nextDeadline == nil)

        var dripped = Bench(.server) { $0.maxMessageBytes = 100 }
        for byte in bytes {
            dripped.receive([byte])
        }
        dripped.machine.receiveEOF(now: start)
        dripped.run()
        #expect(dripped.delivered == whole.delivered)
        #expect(dripped.closed == whole.closed)
        #expect(dripped.written == whole.written)
    }
}
