import TestSupport
import Testing

@testable import WebSocketKitLite

private let start = ContinuousClock.now

@Suite("A message before a violation")
struct HeldViolationTests {
    private static let message = frame(.text, Array("hello".utf8))
    private static let reserved = frame(Opcode(rawValue: 15), Array("!".utf8))

    private static func client() -> ConnectionMachine {
        var configuration = ConnectionConfiguration()
        configuration.closeTimeout = .seconds(5)
        configuration.pingInterval = .seconds(1)
        configuration.readTimeout = .seconds(2)
        return ConnectionMachine(
            role: .client,
            configuration: configuration,
            maskingKeys: SeededRandom(seed: 5),
            now: start
        )
    }

    /// A client that has delivered the message and then received the violation.
    private static func clientAnswering() -> ConnectionMachine {
        var client = client()
        client.receive(message[...], now: start)
        #expect(client.nextMessage() == .text("hello"))
        client.receive(reserved[...], now: start)
        return client
    }

    private static func written(by client: inout ConnectionMachine) throws -> [FrameParserTests.Frame] {
        try FrameParserTests.parse([(client.takeWrite() ?? [])[...]], expectsMask: true)
    }

    @Test("can be answered, however the bytes come and whenever it is taken", arguments: [true, false])
    func answered(takenAtOnce: Bool) throws {
        for pieces in splits(of: Self.message + Self.reserved) {
            var client = Self.client()
            var taken: WebSocketMessage?
            for piece in pieces {
                client.receive(piece, now: start)
                if takenAtOnce, client.hasUndeliveredMessages { taken = client.nextMessage() }
            }
            if !takenAtOnce { taken = client.nextMessage() }
            #expect(client.isAboutToFail == true)
            try client.send(try #require(taken))
            #expect(client.closeStatus == nil)

            #expect(client.nextMessage() == nil)
            #expect(client.closeStatus?.code == .protocolError)
            let frames = try Self.written(by: &client)
            #expect(frames.map(\.header.opcode) == [.text, .close])
            #expect(frames.first?.payload == Array("hello".utf8))
        }
    }

    @Test("no longer keeps the connection once the next one was asked for")
    func asked() {
        var client = Self.client()
        client.receive(Self.message[...], now: start)
        #expect(client.nextMessage() != nil)
        #expect(client.nextMessage() == nil)
        client.receive(Self.reserved[...], now: start)
        #expect(client.closeStatus?.code == .protocolError)
    }

    @Test("keeps the connection for no longer than closing may take")
    func unanswered() throws {
        var client = Self.clientAnswering()
        #expect(client.nextDeadline == start + .seconds(5))
        client.tick(now: start + .seconds(4))
        #expect(client.closeStatus == nil)
        client.tick(now: start + .seconds(5))
        #expect(client.closeStatus?.code == .protocolError)
        #expect(try Self.written(by: &client).map(\.header.opcode) == [.close])
    }

    @Test("does not hide the violation from who finds the connection ended")
    func ended() {
        var client = Self.clientAnswering()
        client.receiveEOF(now: start)
        #expect(client.closeStatus?.code == .protocolError)
        #expect(client.closeStatus?.initiator == .local)
        #expect(client.nextOutcome() == client.closeStatus.map(ConnectionMachine.Action.closed))
        _ = client.takeWrite()
        #expect(client.nextOutcome() == .closeTransport)
    }

    @Test("does not hide the violation from who closes")
    func closed() throws {
        var client = Self.clientAnswering()
        try client.close(now: start)
        #expect(client.closeStatus?.code == .protocolError)
        #expect(try Self.written(by: &client).first?.payload.prefix(2) == [0x03, 0xEA])
    }
}
