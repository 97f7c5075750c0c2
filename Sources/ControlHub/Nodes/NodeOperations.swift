import Foundation
import Logging
import WireFormat

/// What can be done with nodes: made, named, withdrawn, and followed while they are connected.
struct NodeOperations: Sendable {
    let store: NodeStore
    let registry: NodeRegistry
    let history: ResourceHistory
    let events: EventFeed
    let clock: HubClock
    let logger: Logger
    /// Between two samples of a node's figures; zero: one with each heartbeat.
    var telemetryInterval = Duration.zero

    /// Woken whenever a session was opened.
    let sessionsOpened = Signal()

    /// Every token of a node starts with this.
    static let tokenPrefix = "edge_"

    // MARK: For operators

    /// Makes a node with a token that is ready to use; this is the only time the token is seen.
    ///
    /// - Parameter lifetime: after which the token is not accepted any more; nil for one that stays good.
    func create(name: String, lifetime: Duration? = nil, by actor: Actor) async throws -> CreatedNode {
        let name = try NamePolicy.checked(name)
        let date = clock.date()
        let (node, isNew) = try await store.create(
            CreatedNode(id: .make(at: date), name: name, token: SecretBytes.token(prefix: Self.tokenPrefix)),
            expiresAt: lifetime.map { date.addingTimeInterval($0.seconds) },
            at: date,
            by: actor
        )
        if isNew { announceCreated(node.id, name: node.name, at: date) }
        return node
    }

    /// Makes a node known that another slice has stored (an agent that redeemed a code).
    func announceCreated(_ id: NodeID, name: String, at date: Date) {
        registry.add(id, at: date)
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("created"), "node_id": .string(id.rawValue), "name": .string(name)])
        )
    }

    /// Withdraws every token of the node and ends its session.
    func revoke(_ id: NodeID, by actor: Actor, channel: any AgentChannel) async throws {
        let date = clock.date()
        guard try await store.revoke(id, at: date, by: actor) else { return }
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("revoked"), "node_id": .string(id.rawValue)])
        )
        await channel.disconnect(id, code: 4403, reason: "revoked by an operator")
    }

    /// Forgets the node. Throws `nodeInUse` while bots are placed on it.
    ///
    /// - Parameter forgetsStrays: also where it holds what may be the only copy of a bot's workspace.
    func delete(_ id: NodeID, forgetsStrays: Bool = false, by actor: Actor, channel: any AgentChannel) async throws {
        let date = clock.date()
        try await store.delete(id, forgetsStrays: forgetsStrays, at: date, by: actor)
        registry.remove(id)
        history.forget(id)
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("deleted"), "node_id": .string(id.rawValue)])
        )
        await channel.disconnect(id, code: 4401, reason: "the node was deleted")
    }

    func node(_ id: NodeID) async throws -> Node {
        guard let node = try await store.node(id) else { throw NodeStore.notFound(id) }
        return node
    }

    /// The node an operator means, by id or name.
    func find(_ idOrName: String) async throws -> Node {
        guard let node = try await store.find(idOrName: idOrName) else { throw NodeStore.notFound(idOrName) }
        return node
    }

    // MARK: For the Gateway

    /// Whose token this is. Throws only when the database cannot answer; then the agent must try again later.
    func authenticate(token: String) async throws -> NodeAuthentication {
        // Anything longer is none of ours and not worth a digest.
        guard token.utf8.count <= 256 else { return .unknown }
        let hash = SecretBytes.digest(token)
        let (authentication, isFirstUse) = try await store.authenticate(tokenHash: hash, at: clock.date())
        if isFirstUse {
            let tokens = NodeTokenStore(database: store.database)
            if let node = try await tokens.markUsed(tokenHash: hash, at: clock.date()) {
                events.publish(
                    "node.updated",
                    at: clock.date(),
                    .object(["change": .string("token_rotated"), "node_id": .string(node.rawValue)])
                )
            }
        }
        return authentication
    }

    /// Whose token this is, for who only asks: it does not count as used.
    func inspect(token: String) async throws -> NodeAuthentication {
        guard token.utf8.count <= 256 else { return .unknown }
        return try await store.authenticate(tokenHash: SecretBytes.digest(token), at: clock.date()).authentication
    }

    /// Whether the session is still the node's newest and the node is not revoked. Throws `staleSession`, `nodeRevoked`
    /// or `notFound` where not.
    func confirmSession(_ node: NodeID, epoch: UInt64) async throws {
        try await store.confirmSession(node, epoch: epoch)
    }

    /// Makes a paired node known that has new credentials: the old ones are withdrawn, and with them what was seen of
    /// the machines that held them.
    func announcePairedAgain(_ id: NodeID, at date: Date) {
        registry.forgetMachines(id)
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("paired_again"), "node_id": .string(id.rawValue)])
        )
    }

    /// Counts a new session, which at once replaces any other of this node.
    ///
    /// Throws `notFound`, `nodeRevoked`, or a storage error. See `OpenedSession.quarantineReason`.
    func openSession(
        _ node: NodeID,
        hello: WireHello,
        remoteAddress: String,
        at date: Date
    ) async throws -> OpenedSession {
        let thresholds = registry.thresholds(of: node)
        let newcomer = MachineWitness(hello, remoteAddress: remoteAddress)
        let (evidence, isNews) = registry.judge(node, newcomer, now: clock.now(), at: date)
        if let reason = evidence {
            let stored = try await self.node(node)
            if registry.live(node)?.quarantine != nil { await keepQuarantine(node) }
            if isNews {
                logger.error(
                    "a second machine with one identity was quarantined",
                    metadata: ["node_id": "\(node)", "reason": "\(reason)"]
                )
                events.publish(
                    "node.updated",
                    at: date,
                    .object([
                        "change": .string("quarantined"), "node_id": .string(node.rawValue), "reason": .string(reason),
                    ])
                )
            }
            return OpenedSession(
                epoch: stored.sessionEpoch,
                nodeName: stored.name,
                thresholds: thresholds,
                quarantineReason: reason
            )
        }
        let (epoch, name) = try await store.openSession(node, hello: hello, remoteAddress: remoteAddress, at: date)
        let hadQuarantine = registry.live(node)?.quarantine != nil
        let transition = registry.open(
            node,
            epoch: epoch,
            hello: hello,
            remoteAddress: remoteAddress,
            now: clock.now(),
            at: date
        )
        if hadQuarantine, registry.live(node)?.quarantine == nil { await keepQuarantine(node) }
        events.publish(
            "node.updated",
            at: date,
            .object([
                "change": .string("connected"), "node_id": .string(node.rawValue),
                "remote_address": .string(remoteAddress),
            ])
        )
        publish(transition)
        sessionsOpened.wake()
        return OpenedSession(
            epoch: epoch,
            nodeName: name,
            thresholds: thresholds,
            quarantineReason: nil
        )
    }

    /// Takes a heartbeat; one from a replaced session is ignored. Never waits for the disk.
    func heartbeat(_ node: NodeID, epoch: UInt64, _ heartbeat: WireHeartbeat, at date: Date) async {
        let (isCurrent, hasNews, transition) = registry.heartbeat(
            node,
            epoch: epoch,
            heartbeat,
            now: clock.now(),
            at: date
        )
        guard isCurrent else { return }
        publish(transition)
        if hasNews { publishProblems(node, heartbeat.resources, at: date) }
        guard heartbeat.hasResources else { return }
        publishResources(node, heartbeat.resources, roundTripMicroseconds: heartbeat.linkRttUs, at: date)
    }

    /// Takes figures that came between two heartbeats; from a replaced session they are ignored.
    func telemetry(_ node: NodeID, epoch: UInt64, _ telemetry: WireTelemetry, at date: Date) async {
        let (isCurrent, hasNews) = registry.telemetry(node, epoch: epoch, telemetry, at: date)
        guard isCurrent else { return }
        if hasNews { publishProblems(node, telemetry.resources, at: date) }
        let trip = UInt64(clamping: max(0, registry.live(node)?.linkRTTMicroseconds ?? 0))
        publishResources(node, telemetry.resources, roundTripMicroseconds: trip, at: date)
    }

    /// Tells listeners that the agent is troubled, or that it is no more.
    private func publishProblems(_ node: NodeID, _ resources: WireNodeResources, at date: Date) {
        let isTroubled = !resources.problems.isEmpty
        events.publish(
            "node.updated",
            at: date,
            .object([
                "change": .string("agent"), "node_id": .string(node.rawValue),
                "state": .string(isTroubled ? "impaired" : "running"),
                "reason": .string(resources.problems.map(\.message).joined(separator: " ")),
            ])
        )
    }

    private func publishResources(
        _ node: NodeID,
        _ resources: WireNodeResources,
        roundTripMicroseconds: UInt64,
        at date: Date
    ) {
        history.note(node, resources, linkRTTMicroseconds: roundTripMicroseconds, at: date)
        events.publish(
            "node.updated",
            at: date,
            Self.resourcesEvent(node, resources, roundTripMicroseconds: roundTripMicroseconds),
            supersedes: "resources of \(node)"
        )
    }

    /// Ends a session; one that has been replaced is ignored.
    func closeSession(_ node: NodeID, epoch: UInt64, reason: String, at date: Date) async {
        let (isCurrent, transition) = registry.close(node, epoch: epoch, reason: reason, now: clock.now(), at: date)
        guard isCurrent else { return }
        events.publish(
            "node.updated",
            at: date,
            .object(["change": .string("disconnected"), "node_id": .string(node.rawValue), "reason": .string(reason)])
        )
        publish(transition)
        do {
            // A session ends by being cancelled, too, and this task with it: the one short write is done all the same.
            try await Task { try await store.closeSession(node, epoch: epoch, reason: reason, at: date) }.value
        } catch {
            // Only the shown closing time is lost; health is decided by the registry.
            logger.warning("closing time not stored", metadata: ["node_id": "\(node)", "error": "\(error)"])
        }
    }

    /// Tells listeners of a health change.
    func publish(_ transition: NodeRegistry.Transition?) {
        guard let transition else { return }
        events.publish(
            "node.updated",
            at: transition.at,
            .object([
                "change": .string("health"),
                "node_id": .string(transition.node.rawValue), "from": .string(transition.from.rawValue),
                "health": .string(transition.to.rawValue), "reason": .string(transition.reason),
            ])
        )
    }

    private static func resourcesEvent(
        _ node: NodeID,
        _ resources: WireNodeResources,
        roundTripMicroseconds: UInt64
    ) -> JSONValue {
        .object([
            "change": .string("resources"),
            "node_id": .string(node.rawValue),
            "cpu_percent": resources.hasCpuPercent ? .number(resources.cpuPercent) : .null,
            "load_1m": .number(resources.load1M),
            "memory_total_bytes": .integer(Int64(clamping: resources.memoryTotalBytes)),
            "memory_available_bytes": .integer(Int64(clamping: resources.memoryAvailableBytes)),
            "network_received_bytes_total": .integer(Int64(clamping: resources.networkReceivedBytesTotal)),
            "network_transmitted_bytes_total": .integer(Int64(clamping: resources.networkTransmittedBytesTotal)),
            "link_rtt_ms": .number(Double(roundTripMicroseconds) / 1000),
        ])
    }
}
