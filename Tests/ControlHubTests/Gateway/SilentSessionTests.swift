import Foundation
import SwiftProtobuf
import Testing
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// Close code 4408, over real connections: an agent that is there and says nothing.
@Suite("A silent agent", .timeLimit(.minutes(2)))
struct SilentSessionTests {
    private static let pace: [HubConfiguration.Option: String] = [
        .heartbeatInterval: "1s", .degradedAfter: "1500ms", .offlineAfter: "2s",
    ]

    /// A message of the session in one mux frame, as docs/protocol.md draws it.
    private func frame(_ message: WireSessionMessage) throws -> WebSocketMessage {
        let payload: [UInt8] = try message.serializedBytes()
        return .binary([2, 0, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF), 0, 0, 0, 0] + payload)
    }

    /// Reads until the hub closes; what it sent before does not matter here.
    private func closing(_ connection: WebSocketConnection) async -> CloseStatus? {
        while let message = try? await connection.receive() { _ = message }
        return await connection.closeStatus
    }

    @Test("is closed with 4408 though its connection answers pings; the node says so, and comes back at once")
    func silentAfterWelcome() async throws {
        try await RunningHub.run(Self.pace) { hub in
            let node = try await hub.node()
            let begin = ContinuousClock.now
            let connection = try await hub.connect(node.token)
            var hello = WireHello()
            (hello.protocolMin, hello.protocolMax) = (1, 1)
            let greeting = hello
            try await connection.send(frame(.with { $0.hello = greeting }))
            guard case .binary(let welcome)? = try await connection.receive() else { throw Missing(what: "Welcome") }
            #expect(try WireSessionMessage(serializedBytes: Array(welcome.dropFirst(8))).welcome.sessionEpoch == 1)

            let status = try #require(await closing(connection))
            #expect(status.initiator == .remote && status.code.rawValue == 4408)
            #expect(status.reason == "nothing heard for 2.0 seconds")
            #expect(ContinuousClock.now - begin >= .seconds(2))
            let shown = try await hub.shown(node.id)
            #expect(shown["link"]?["state"] == .string("down"))
            #expect(
                shown["link"]?["reason"]?.stringValue?.contains("nothing heard for 2.0 seconds") == true,
                "\(shown)"
            )

            let next = try await hub.session(node.token) { event, _ in
                guard case .welcomed(let welcome) = event else { return true }
                #expect(welcome.sessionEpoch == 2)
                return false
            }
            #expect(next.closeCode == .normal)
        }
    }

    @Test("that never says Hello is closed with 4408 after ten seconds, and no session was opened")
    func silentFromTheStart() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let begin = ContinuousClock.now
            let connection = try await hub.connect(node.token)
            let status = try #require(await closing(connection))
            #expect(status.initiator == .remote && status.code.rawValue == 4408)
            #expect(status.reason == "no Hello within 10.0 seconds")
            #expect(ContinuousClock.now - begin >= .seconds(10))
            #expect(try await hub.shown(node.id)["session_epoch"] == .integer(0))
        }
    }

    @Test("is none while its heartbeats come, however little else it says")
    func heartbeatsAreEnough() async throws {
        // Ten times as long as it should take, so that a busy machine does not look like silence.
        let pace: [HubConfiguration.Option: String] = [
            .heartbeatInterval: "1s", .degradedAfter: "8s", .offlineAfter: "10s",
        ]
        try await RunningHub.run(pace) { hub in
            let node = try await hub.node()
            let begin = ContinuousClock.now
            let ending = try await hub.session(node.token) { event, _ in
                guard case .heartbeatAcknowledged = event else { return true }
                return ContinuousClock.now - begin < .seconds(12)
            }
            #expect(ending.closeCode == .normal)
        }
    }
}
