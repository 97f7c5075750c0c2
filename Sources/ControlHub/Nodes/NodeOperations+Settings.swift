import Foundation
import Logging

/// What operators say of nodes.
extension NodeOperations {
    var settings: NodeSettingsStore { NodeSettingsStore(database: store.database) }

    /// What may be changed of a node; nil leaves it as it is.
    struct Change: Sendable {
        var name: String?
        /// All labels together.
        var labels: [String: String]?
        /// `.some(nil)`: the hub's again.
        var thresholds: NodeThresholds??
    }

    /// Changes what is given, all of it or nothing. Throws `notFound`, `nameTaken`, `invalidRequest`.
    func update(_ id: NodeID, _ change: Change, by actor: Actor) async throws {
        if let thresholds = change.thresholds, let thresholds { try checked(thresholds) }
        let date = clock.date()
        let node = try await settings.update(
            id,
            name: try change.name.map { try NamePolicy.checked($0) },
            labels: try change.labels.map { try NodeLabels.checked($0) },
            thresholds: change.thresholds,
            at: date,
            by: actor
        )
        if change.name != nil { publish(id, "name", ["name": .string(node.name)], at: date) }
        if change.labels != nil {
            publish(id, "labels", ["labels": .object(node.labels.mapValues(JSONValue.string))], at: date)
        }
        if change.thresholds != nil {
            let transition = registry.setThresholds(node.thresholds, of: id, now: clock.now(), at: date)
            publish(id, "thresholds", [:], at: date)
            publish(transition)
        }
    }

    /// Says that nothing is to be placed or started on the node any more, or that it may again. Bots run on.
    func drain(_ id: NodeID, _ isDrained: Bool, by actor: Actor) async throws {
        let date = clock.date()
        try await settings.setDrained(id, isDrained, at: date, by: actor)
        publish(id, isDrained ? "drained" : "undrained", [:], at: date)
    }

    private func checked(_ thresholds: NodeThresholds) throws {
        let interval = registry.thresholds.heartbeatInterval
        guard thresholds.degradedAfter > interval, thresholds.offlineAfter > thresholds.degradedAfter,
            thresholds.offlineAfter <= .seconds(7 * 86_400)
        else {
            throw HubError(
                .invalidRequest,
                "A node is heard every \(interval.seconds) s: `degraded_after_seconds` must be longer, "
                    + "`offline_after_seconds` longer still, and at most a week."
            )
        }
        guard thresholds.closedGrace >= .zero, thresholds.closedGrace <= .seconds(86_400) else {
            throw HubError(.invalidRequest, "`closed_grace_seconds` must lie between 0 and 86400.")
        }
    }

    // MARK: Two machines with one identity

    /// What an operator makes of a machine that was turned away.
    enum QuarantineDecision: String, Codable, Sendable, CaseIterable {
        /// It is a copy, and needs an identity of its own.
        case clone
        /// It is the node, which has moved there; what holds the identity now is the copy.
        case moved
    }

    /// Decides about the machine that was turned away. Throws `nodeNotQuarantined` where none was.
    ///
    /// For `moved`, the session of the machine that holds the identity is closed, and the other one's next try gets in.
    func decide(
        _ id: NodeID,
        _ decision: QuarantineDecision,
        by actor: Actor,
        channel: any AgentChannel
    ) async throws {
        let isDecided = try await store.database.past(Bool.self, named: "\(NodeSettingsStore.decisionName) \(id)")
        guard isDecided == nil else { return }
        let node = try await node(id)
        guard let (present, newcomer) = registry.machines(of: id) else {
            throw HubError(
                .nodeNotQuarantined,
                "No machine was turned away from \(node.name), or somebody has decided about it already."
            )
        }
        let date = clock.date()
        let refused = decision == .clone ? newcomer : present
        let all = registry.refuse(refused, of: id, isHolderReplaced: decision == .moved, at: date)
        try await settings.saveMachines(
            id,
            quarantine: nil,
            refused: all,
            decision: ("\(decision.rawValue): \(newcomer.hostName) (\(newcomer.remoteAddress))", actor, date)
        )
        publish(id, "quarantine_decided", ["decision": .string(decision.rawValue)], at: date)
        if decision == .moved {
            await channel.disconnect(id, code: 4409, reason: "an operator has decided that the node has moved")
        }
    }

    /// Writes down a machine that was turned away, so that it is shown after a restart of the hub as well.
    func keepQuarantine(_ id: NodeID) async {
        guard let live = registry.live(id) else { return }
        do {
            try await settings.saveMachines(id, quarantine: live.quarantine, refused: live.refusedMachines)
        } catch {
            // Seen again with the machine's next try.
            logger.warning("quarantine not stored", metadata: ["node_id": "\(id)", "error": "\(error)"])
        }
    }

    func publish(_ id: NodeID, _ change: String, _ more: [String: JSONValue], at date: Date) {
        let members: [String: JSONValue] = ["change": .string(change), "node_id": .string(id.rawValue)]
        events.publish("node.updated", at: date, .object(members.merging(more) { $1 }))
    }
}
