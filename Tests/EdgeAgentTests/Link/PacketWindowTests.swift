import Testing
import WireFormat

@testable import EdgeAgent

@Suite("How many packets are under way")
struct PacketWindowTests {
    private func packet(_ bot: String, _ sequence: UInt64) -> WireMonitorPacket {
        var packet = WireMonitorPacket()
        packet.botID = bot
        packet.sequence = sequence
        return packet
    }

    private func cursor(_ bot: String, _ sequence: UInt64) -> WirePacketCursor {
        var cursor = WirePacketCursor()
        cursor.botID = bot
        cursor.throughSequence = sequence
        return cursor
    }

    @Test("what the hub has committed already is not counted and not sent again")
    func startsAtCursors() async throws {
        let window = PacketWindow(limit: 3, committed: [cursor("a", 40)])
        #expect(window.sent == ["a": 40])
        #expect(try await window.waitForRoom() == 3)
    }

    @Test("a bot the hub has never heard of starts where its journal starts, also in the middle")
    func unknownBot() async throws {
        let window = PacketWindow(limit: 3, committed: [])
        window.sending([packet("b", 812)])
        #expect(try await window.waitForRoom() == 2)
    }

    @Test("a full window waits for an acknowledgement")
    func waits() async throws {
        let window = PacketWindow(limit: 2, committed: [])
        window.sending([packet("a", 1), packet("b", 1)])
        async let room = window.waitForRoom()
        window.acknowledged([cursor("a", 1)])
        #expect(try await room == 1)
    }

    @Test("waiting ends when it is cancelled")
    func cancelled() async {
        let window = PacketWindow(limit: 1, committed: [])
        window.sending([packet("a", 1)])
        let waiting = Task { try await window.waitForRoom() }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
    }

    @Test("an old acknowledgement takes nothing back")
    func oldAcknowledgement() async throws {
        let window = PacketWindow(limit: 10, committed: [])
        window.sending((1...5).map { packet("a", $0) })
        window.acknowledged([cursor("a", 5)])
        window.acknowledged([cursor("a", 2)])
        #expect(try await window.waitForRoom() == 10)
    }

    @Test("packets of a bot that the hub asks to hold back wait, and no others")
    func held() {
        let window = PacketWindow(limit: 10, committed: [])
        let now = ContinuousClock.now
        #expect(window.held(now: now) == ([], nil))
        window.hold([hold("loud", 300), hold("louder", 900)], now: now)
        #expect(window.held(now: now) == (["loud", "louder"], now + .milliseconds(300)))
        #expect(window.held(now: now + .milliseconds(300)) == (["louder"], now + .milliseconds(900)))
        window.hold([hold("louder", 2000)], now: now + .milliseconds(500))
        #expect(window.held(now: now + .milliseconds(900)) == (["louder"], now + .milliseconds(2500)))
        #expect(window.held(now: now + .seconds(3)) == ([], nil))
    }

    private func hold(_ bot: String, _ milliseconds: UInt32) -> WirePacketHold {
        var hold = WirePacketHold()
        (hold.botID, hold.waitMs) = (bot, milliseconds)
        return hold
    }
}
