import Foundation
import SwiftProtobuf
import WireFormat

/// How a node answered when it was asked.
struct NodeTest: Sendable {
    let at: Date
    /// Of this question and its answer over the link, without the time the agent worked on it.
    let roundTrip: Duration
    let worked: Duration
    /// The node's wall clock minus the hub's; half the round trip is its uncertainty.
    let clockOffsetMilliseconds: Int64
    let report: WireNodeReport
}

/// What became of a new token.
struct TokenRotation: Sendable {
    /// When a session was opened with it and the older ones were withdrawn.
    let provedAt: Date
}

/// What is asked of a connected node at once, never queued.
extension NodeOperations {
    /// How long an agent may take to gather its figures, with a disk that does not answer.
    private static let inspectionLimit = Duration.seconds(20)
    private static let handoverLimit = Duration.seconds(15)
    /// From the handover to the session that proves the token: the agent redials at once, and may have to wait for its turn.
    private static let proofLimit = Duration.seconds(60)

    /// Asks a node how it is now, over its live session, and takes the figures it answers with.
    ///
    /// - Parameter probing: have it look again at each runtime profile.
    /// - Throws: `nodeOffline`, `agentTimeout`, `agentRefused`, `notFound`.
    func inspect(_ id: NodeID, probing: Bool, channel: any AgentChannel) async throws -> NodeTest {
        _ = try await node(id)
        let epoch = registry.live(id)?.epoch ?? 0
        var command = WireCommand()
        command.commandID = CommandID.make(at: clock.date()).rawValue
        command.inspectNode.probeRuntimes = probing
        let (began, beganAt) = (clock.now(), clock.date())
        let result = try await channel.ask(command, on: id, within: Self.inspectionLimit)
        let (ended, endedAt) = (clock.now(), clock.date())
        guard result.outcome == .done, result.hasNodeReport else { throw Self.refused(result) }
        let report = result.nodeReport
        let worked = min(Duration.microseconds(clamping: report.workedUs), ended - began)
        // Both ways count half, as NTP does.
        let ahead = Int64(clamping: report.receivedAtUnixMs).clampedSubtracting(beganAt.unixMilliseconds)
        let behind = Int64(clamping: report.sentAtUnixMs).clampedSubtracting(endedAt.unixMilliseconds)
        if report.hasResources {
            await telemetry(
                id,
                epoch: epoch,
                WireTelemetry.with {
                    $0.resources = report.resources
                    $0.bots = report.bots
                },
                at: endedAt
            )
        }
        return NodeTest(
            at: endedAt,
            roundTrip: ended - began - worked,
            worked: worked,
            clockOffsetMilliseconds: ahead.clampedAdding(behind) / 2,
            report: report
        )
    }

    /// What a node is told at the beginning of a session, and when it changes.
    func settings(_ node: Node) -> WireSessionSettings {
        WireSessionSettings.with {
            $0.telemetryIntervalMs = UInt32(clamping: Int64(saturating: telemetryInterval.seconds * 1000))
            $0.policyNarrowingJson = Data((node.policyNarrowing ?? "").utf8)
        }
    }

    /// Has the hub keep itself back on a node, from now on and without waiting for the node. Rules can only refuse what the
    /// node's own policy allows.
    ///
    /// - Throws: `invalidRequest` for what is no rule, `notFound`.
    func narrow(
        _ id: NodeID,
        by rules: [String: JSONValue],
        actor: Actor,
        channel: any AgentChannel
    ) async throws {
        try PolicyNarrowing.check(rules)
        let given = rules.filter { $0.value != .null }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let text = given.isEmpty ? nil : String(decoding: try encoder.encode(JSONValue.object(given)), as: UTF8.self)
        let date = clock.date()
        try await NodePolicyStore(database: store.database).narrow(id, by: text, at: date, actor: actor)
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("policy"), "node_id": .string(id.rawValue)])
        )
        await channel.apply(settings(try await node(id)), on: id)
    }

    /// Gives a connected node another token: hands it over, waits until the agent has opened a session with it, and by that
    /// withdraws the older ones. Where anything fails before, the older one stays good.
    ///
    /// - Throws: `nodeOffline`, `nodeRevoked`, `notFound`; `agentRefused` where the agent cannot keep it; `agentTimeout`
    ///   where no answer or no session came in time, the agent may then still prove it; `rotationFailed` where it came
    ///   back with the older one.
    func rotateToken(_ id: NodeID, by actor: Actor, channel: any AgentChannel) async throws -> TokenRotation {
        guard await channel.isConnected(id) else {
            throw HubError(
                .nodeOffline,
                "The node is not connected. Its token is rotated while it is: start its agent and try again."
            )
        }
        let token = SecretBytes.token(prefix: Self.tokenPrefix)
        let hash = SecretBytes.digest(token)
        let tokens = NodeTokenStore(database: store.database)
        let epoch = try await tokens.begin(id, tokenHash: hash, at: clock.date(), by: actor)
        var command = WireCommand()
        command.commandID = CommandID.make(at: clock.date()).rawValue
        command.rotateToken.token = token
        let result = try await channel.ask(command, on: id, within: Self.handoverLimit)
        guard result.outcome == .done else {
            try await tokens.abandon(id)
            throw Self.refused(result)
        }
        return try await proof(of: hash, node: id, after: epoch, tokens)
    }

    private func proof(
        of hash: Data,
        node id: NodeID,
        after epoch: UInt64,
        _ tokens: NodeTokenStore
    ) async throws -> TokenRotation {
        try await withThrowingTaskGroup(of: TokenRotation?.self) { group in
            group.addTask { [clock] in
                try await clock.sleep(clock.now() + Self.proofLimit)
                return nil
            }
            group.addTask {
                while true {
                    let ticket = sessionsOpened.ticket
                    // Read before the token's state: a session is counted only after its token was noted as used.
                    let present = registry.live(id)?.epoch ?? epoch
                    switch try await tokens.proof(tokenHash: hash) {
                    case .used(let date): return TokenRotation(provedAt: date)
                    case .gone:
                        throw HubError(
                            .rotationFailed,
                            "Another rotation of this node's token, or a new pairing, took its place."
                        )
                    case .unused where present > epoch:
                        try await tokens.abandon(id)
                        throw HubError(
                            .rotationFailed,
                            "The agent took the new token and came back with the old one, which stays good. Its log says why."
                        )
                    case .unused: try await sessionsOpened.wait(after: ticket)
                    }
                }
            }
            defer { group.cancelAll() }
            guard let rotation = try await group.next() ?? nil else {
                throw HubError(
                    .agentTimeout,
                    "The agent has stored the new token and not come back with it yet. Both are good until it does; look at the "
                        + "node again in a minute."
                )
            }
            return rotation
        }
    }

    private static func refused(_ result: WireCommandResult) -> HubError {
        let text = result.message.isEmpty ? "it gave no reason" : result.message
        return HubError(.agentRefused, "The agent did not do it (\(result.errorCode)): \(text)")
    }
}
