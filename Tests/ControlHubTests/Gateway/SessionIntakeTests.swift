import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

@Suite("What a session may send", .timeLimit(.minutes(1)))
struct SessionIntakeTests {
    @Test("Packets come over one stream; those of a bot that does not exist are acknowledged, and the node shows it")
    func oneStream() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            _ = try await hub.session(node.token) { event, session in
                guard case .welcomed = event else { return true }
                let first = try session.openPacketStream(.with { $0.journalID = "j" })
                let packet = WireMonitorPacket.with { ($0.botID, $0.sequence) = ("nobody", 3) }
                try await first.send(message: WirePacketBatch.with { $0.packets = [packet] })
                #expect(try await first.receive(WirePacketAck.self)?.cursors.map(\.throughSequence) == [3])
                let second = try session.openPacketStream(.with { $0.journalID = "k" })
                let error = await #expect(throws: WireFormatError.self) { try await second.receive() }
                #expect(error?.resetCode == .limitExceeded)
                first.finish()
                return false
            }
            guard case .array(let problems)? = try await hub.shown(node.id)["problems"] else {
                throw Missing(what: "problems")
            }
            #expect(problems.map { $0["code"] } == [.string("packets_refused")])
        }
    }

    @Test("What is no batch ends the session with the rule that was broken, not with a fault of the hub's")
    func malformed() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let ending = try await hub.session(node.token) { event, session in
                guard case .welcomed = event else { return true }
                let stream = try session.openPacketStream(.with { $0.journalID = "j" })
                try await stream.send([0xFF])
                _ = try? await stream.receive()  // throws: the session ends
                return true
            }
            #expect(ending.closeCode == .protocolError && ending.reason.hasPrefix("malformed-message"))
        }
    }
}
