import Foundation
import WireFormat

/// What a bot is: made, named, configured, and what its node says of it.
struct BotOperations: Sendable {
    let database: HubDatabase
    let events: EventFeed
    let clock: HubClock
    let registry: NodeRegistry
    let moves = BotMoves()

    /// The profile of a node that has only one.
    static let defaultProfile = "default"
    /// A config.json larger than this does not belong there.
    static let maximumConfigBytes = 256 << 10
    /// It stands one level down in what carries it.
    static let maximumConfigDepth = JSONScanner.maximumDepth - 1

    var store: BotStore { BotStore(database: database) }

    /// Makes a stopped bot on a node.
    ///
    /// Without a profile the node's only usable one is taken, or the one called `default`.
    func create(
        name: String,
        node: NodeID,
        runtimeProfile: String?,
        config: WrittenJSON?,
        by actor: Actor
    ) async throws -> BotID {
        let name = try NamePolicy.checked(name)
        let date = clock.date()
        let profile = try await profile(runtimeProfile, on: node)
        let text = try Self.checked(config ?? .emptyObject)
        let (id, isNew) = try await store.create(
            id: .make(at: date),
            name: name,
            node: node,
            runtimeProfile: profile,
            config: text,
            at: date,
            by: actor
        )
        if isNew { publish(id, change: "created", at: date) }
        return id
    }

    func update(_ id: BotID, name: String?, config: WrittenJSON?, by actor: Actor) async throws {
        let date = clock.date()
        try await store.update(
            id,
            name: try name.map { try NamePolicy.checked($0) },
            config: try config.map(Self.checked),
            at: date,
            by: actor
        )
        publish(id, change: "configuration", at: date)
    }

    /// Takes what a node says of its bots; what it says of others' is ignored.
    ///
    /// - Parameter epoch: the session it was said in; throws `staleSession` where that is not the node's newest.
    func apply(_ statuses: [WireBotStatus], from node: NodeID, epoch: UInt64? = nil) async throws {
        guard !statuses.isEmpty else { return }
        let date = clock.date()
        let (changed, messages) = try await database.write { db in
            if let epoch { try NodeStore.requireCurrent(db, node, epoch: epoch) }
            return try BotStore.apply(db, statuses, from: node, at: date)
        }
        for status in changed { publish(status, at: date) }
        publish(messages, at: date)
    }

    /// Takes note of the bots that a node should hold and does not: what it has said of them before is over.
    ///
    /// - Parameter statuses: all that the node holds.
    func reconcile(_ statuses: [WireBotStatus], from node: NodeID, epoch: UInt64) async throws {
        let date = clock.date()
        let (changed, messages) = try await database.write { db in
            try NodeStore.requireCurrent(db, node, epoch: epoch)
            let missing = try BotStore.missing(db, on: node, among: Set(statuses.map(\.botID)), at: date)
            return try BotStore.apply(db, missing, from: node, at: date)
        }
        for status in changed { publish(status, at: date) }
        publish(messages, at: date)
    }

    /// Ends the turns that are over without a last word; see `TurnStore.endOverdue`.
    func endOverdueTurns() async throws {
        let date = clock.date()
        guard try await database.read({ db in try TurnStore.hasOverdue(db, at: date) }) else { return }
        let caughtUp = date - TimeInterval(TurnStore.catchUpTime.milliseconds) / 1000
        let changes = try await database.write { [registry] db in
            try TurnStore.endOverdue(db, at: date) { node in
                guard let live = registry.live(node), live.isConnected, let since = live.linkSince else { return false }
                return since <= caughtUp
            }
        }
        publish(changes, at: date)
    }

    // MARK: Events

    func publish(_ id: BotID, change: String, at date: Date) {
        events.publish(
            "bot.updated",
            at: date,
            .object(["change": .string(change), "bot_id": .string(id.rawValue)])
        )
    }

    func publish(_ status: WireBotStatus, at date: Date) {
        events.publish(
            "bot.updated",
            at: date,
            .object([
                "change": .string("status"), "bot_id": .string(status.botID), "phase": .string(status.phase.name),
                "reason": .string(status.reason), "launch_id": .string(status.launchID),
            ])
        )
    }

    func publish(_ messages: [MessageChange], at date: Date) {
        for message in messages {
            events.publish(
                "message.updated",
                at: date,
                .object([
                    "message_id": .string(message.message.rawValue), "bot_id": .string(message.bot.rawValue),
                    "conversation_id": .string(message.conversation.rawValue), "state": .string(message.state.rawValue),
                    "reason": message.reason.map(JSONValue.string) ?? .null,
                ])
            )
        }
    }

    // MARK: Rules

    /// Throws `invalidRequest` for a profile that the node does not offer.
    func requireOffered(_ profile: String, on node: NodeID) async throws {
        let offered = try await offered(on: node)
        // A node that was never here has not said what it offers.
        guard offered.isEmpty || offered.contains(where: { $0.name == profile }) else {
            throw HubError(
                .invalidRequest,
                "The node offers no runtime profile \(profile). Choose one of these: "
                    + offered.map(\.name).sorted().joined(separator: ", ") + "."
            )
        }
    }

    private func offered(on node: NodeID) async throws -> [WireRuntimeProfile] {
        try await NodeStore(database: database).node(node)?.hello?.runtimeProfiles ?? []
    }

    private func profile(_ wanted: String?, on node: NodeID) async throws -> String {
        if let wanted {
            let name = try NamePolicy.checked(wanted, field: "runtime_profile")
            try await requireOffered(name, on: node)
            return name
        }
        let offered = try await offered(on: node)
        let usable = offered.filter(\.usable)
        if usable.count == 1, let only = usable.first { return only.name }
        return Self.defaultProfile
    }

    static func checked(_ config: WrittenJSON) throws -> String {
        if let fault = JSONFault.ofObject(Array(config.text.utf8), deepest: maximumConfigDepth) {
            throw HubError(
                .invalidRequest,
                "`config` must be a JSON object, because it becomes the bot's config.json: \(fault)."
            )
        }
        guard config.text.utf8.count <= maximumConfigBytes else {
            throw HubError(
                .payloadTooLarge,
                "`config` is \(config.text.utf8.count) bytes; at most \(maximumConfigBytes) are possible."
            )
        }
        return config.text
    }
}
