import Foundation
import HTTPTypes
import Testing
import WireFormat

@testable import ControlHub

@Suite("Why a command has not ended yet")
struct CommandWaitingTests {
    private static let date = TestHub.start

    private func command(_ state: CommandState, _ id: String = "cmd_1") -> Command {
        Command(
            position: 1,
            id: CommandID(rawValue: id),
            nodeID: NodeID(rawValue: "node_1"),
            botID: nil,
            messageID: nil,
            kind: "start_bot",
            state: state,
            isRepeatable: true,
            actor: "ada",
            createdAt: Self.date,
            expiresAt: Self.date.addingTimeInterval(60),
            deliveredAt: nil,
            runningAt: nil,
            finishedAt: nil,
            errorCode: nil,
            message: nil
        )
    }

    @Test(
        "is told by its state and by whether its node is there",
        arguments: [
            (
                CommandState.queued, false,
                "is not connected. It is sent once the node is back, until 2026-01-01T00:01:00.000Z. Why."
            ),
            (.queued, true, "About to be sent"), (.delivered, false, "Sent, but node node_1 went away"),
            (.running, false, "Sent, but node node_1 went away"), (.delivered, true, "has it and has not answered yet"),
            (.running, true, "has it and has not answered yet"),
        ]
    )
    func reasons(state: CommandState, isConnected: Bool, expected: String) {
        let reason = CommandWaiting.reason(
            command(state),
            node: nil,
            isConnected: isConnected,
            healthReason: "Why.",
            before: nil
        )
        #expect(reason.contains(expected), "\(reason)")
    }

    @Test("names what goes before it, and a node that was revoked")
    func others() async throws {
        let waiting = CommandWaiting.reason(
            command(.queued),
            node: nil,
            isConnected: true,
            healthReason: "",
            before: command(.running, "cmd_0")
        )
        #expect(waiting.contains("start_bot (cmd_0)") && waiting.contains("running"))
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let token = try await hub.token(.operator)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        _ = try await hub.parts.nodes.revoke(node, by: .hub, channel: hub.channel)
        try await hub.api { api in
            let shown = try await api.send(.get, "/api/commands/\(start)", token: token)
            #expect(shown["waiting_reason"]?.stringValue?.contains("was revoked") == true, "\(shown.json)")
        }
    }

    @Test("stands in the list and in the command, and no longer when that has ended")
    func shown() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let token = try await hub.token(.operator)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        try await hub.api { api in
            let listed = try await api.send(.get, "/api/commands?open=true", token: token).items
            #expect(listed.count == 2)
            #expect(listed.allSatisfy { $0["waiting_reason"]?.stringValue?.contains("is not connected") == true })
            let cancelled = try await api.send(.delete, "/api/commands/\(sent.command)", token: token)
            #expect(cancelled["state"] == .string("cancelled") && cancelled["waiting_reason"] == nil)
            let ended = try await api.send(.get, "/api/commands/\(sent.command)", token: token)
            #expect(ended["waiting_reason"] == nil)
            let open = try await api.send(.get, "/api/commands/\(start)", token: token)
            #expect(open["waiting_reason"] != nil)
        }
    }
}
