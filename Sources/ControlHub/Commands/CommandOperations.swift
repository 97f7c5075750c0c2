import Foundation
import SwiftProtobuf
import WireFormat

/// Durable commands: queued per node, sent once, and ended in one of the final states.
struct CommandOperations: Sendable {
    let database: HubDatabase
    let bots: BotOperations
    let arrivals: CommandArrivals
    let recoveries: TurnRecoveryRequests
    let events: EventFeed
    let clock: HubClock

    /// How long each kind of wish stays worth fulfilling while its node is away.
    enum TimeToLive {
        static let control = Duration.seconds(24 * 3600)
        static let message = Duration.seconds(24 * 3600)
        /// What was deleted must not come back with a node that was away for long.
        static let remove = Duration.seconds(365 * 24 * 3600)
    }

    /// The longest text of a message; with the rest it stays below the bots' limit of 1 MiB.
    static let maximumTextBytes = 512 << 10

    var store: CommandStore { CommandStore(database: database) }

    // MARK: For the Gateway

    /// Queues a command. Throws `notFound` for an unknown node, `queueFull`, or a storage error.
    func enqueue(
        _ body: WireCommand.OneOf_Body,
        for node: NodeID,
        bot: BotID?,
        timeToLive: Duration,
        repeatable: Bool,
        actor: Actor = .hub
    ) async throws -> CommandID {
        let date = clock.date()
        let new = NewCommand(
            id: .make(at: date),
            node: node,
            bot: bot,
            messageID: nil,
            body: body,
            isRepeatable: repeatable,
            timeToLive: timeToLive,
            actor: actor
        )
        try await database.write { db in
            guard try NodeStore.find(db, node) != nil else { throw NodeStore.notFound(node) }
            try CommandStore.insert(db, new, at: date)
        }
        queued(new, at: date)
        return new.id
    }

    /// What the node must still carry out or answer, as far as it can be its turn; see `CommandStore.next`.
    func next(for node: NodeID, limit: Int) async throws -> [PendingCommand] {
        try await store.next(node, limit: limit, at: clock.date())
    }

    /// To be called, and awaited, before a command is sent.
    ///
    /// - Returns: what is to be sent; nil where it was cancelled, has expired or has become another node's meanwhile and must not be.
    func take(_ id: CommandID, for node: NodeID? = nil) async throws -> WireCommand? {
        try await store.take(id, for: node, at: clock.date())
    }

    /// Takes a result. A repeated one, and one from a node the command was not for, changes nothing.
    ///
    /// - Parameter epoch: the session it came by; throws `staleSession` where that is not the node's newest. The hub
    ///   asks again over the newest, and is answered from the agent's receipt.
    func finish(_ result: WireCommandResult, from node: NodeID? = nil, epoch: UInt64? = nil) async throws {
        let date = clock.date()
        guard let outcome = try await store.finish(result, from: node, epoch: epoch, at: date) else { return }
        publish(outcome.command, at: date)
        if outcome.isBotChanged { bots.publish(result.botStatus, at: date) }
        if let bot = outcome.botRefused { bots.publish(bot, change: "start_refused", at: date) }
        bots.publish(outcome.messages, at: date)
        if outcome.isAnswerPerhapsLost { recoveries.add(outcome.command.nodeID, .gap, now: clock.now()) }
        if outcome.command.state == .queued { arrivals.notify(outcome.command.nodeID) }
    }

    /// Calls `tell` when something was queued for the node, until the listener is ended. It must return at once.
    func listen(for node: NodeID, _ tell: @escaping @Sendable () -> Void) -> CommandListener {
        arrivals.listen(for: node, tell)
    }

    // MARK: For operators

    /// Starts the bot, whatever waits for it now.
    func start(_ bot: BotID, by actor: Actor) async throws -> CommandID {
        try await control(bot, .running, action: "bot.start", by: actor) { bot in [try Self.startBody(bot)] }
    }

    func stop(_ bot: BotID, by actor: Actor) async throws -> CommandID {
        try await control(bot, .stopped, action: "bot.stop", by: actor) { bot in [Self.stopBody(bot.id)] }
    }

    /// Stops and starts the bot; the start's command is returned. Where its node would refuse the start, it is not stopped.
    func restart(_ bot: BotID, by actor: Actor) async throws -> CommandID {
        try await control(bot, .running, action: "bot.restart", by: actor) { bot in
            let specification = try Self.specification(bot)
            var stop = WireStopBot()
            stop.botID = bot.id.rawValue
            stop.next = specification
            return [.stopBot(stop), .startBot(.with { $0.bot = specification })]
        }
    }

    /// Forgets the bot here and removes it from its node.
    func delete(_ bot: BotID, keepWorkspace: Bool, by actor: Actor) async throws -> CommandID {
        try await control(
            bot,
            .stopped,
            action: "bot.delete",
            timeToLive: TimeToLive.remove,
            isDeleting: true,
            by: actor
        ) { bot in
            var body = WireRemoveBot()
            body.botID = bot.id.rawValue
            body.keepWorkspace = keepWorkspace
            body.placementEpoch = bot.placementEpoch
            return [.removeBot(body)]
        }
    }

    /// A message that was accepted.
    struct SentMessage: Sendable, Codable {
        let message: MessageID
        let conversation: ConversationID
        let command: CommandID
    }

    /// Stores a message and the command that delivers it, in one transaction. A request that is repeated finds the one
    /// it has sent before.
    func send(_ text: String, to bot: BotID, in conversation: ConversationID?, by actor: Actor) async throws
        -> SentMessage
    {
        guard !text.isEmpty else { throw HubError(.invalidRequest, "`text` is empty. Say something.") }
        guard text.utf8.count <= Self.maximumTextBytes else {
            throw HubError(
                .payloadTooLarge,
                "`text` is \(text.utf8.count) bytes; at most \(Self.maximumTextBytes) are possible."
            )
        }
        if let conversation {
            guard (1...200).contains(conversation.rawValue.utf8.count) else {
                throw HubError(.invalidRequest, "`conversation_id` must have 1 to 200 bytes.")
            }
        }
        let date = clock.date()
        let message = MessageID.make(at: date)
        let conversation = conversation ?? .make(at: date)
        let (sent, new) = try await database.once("message.send") { db in
            let stored = try BotStore.required(db, bot)
            var body = WireDeliverMessage()
            body.botID = bot.rawValue
            body.messageID = message.rawValue
            body.conversationID = conversation.rawValue
            body.sender = actor.name
            body.text = text
            let new = NewCommand(
                id: .make(at: date),
                node: stored.nodeID,
                bot: bot,
                messageID: message,
                body: .deliverMessage(body),
                isRepeatable: false,
                timeToLive: TimeToLive.message,
                actor: actor
            )
            try MessageStore.insert(
                db,
                id: message,
                bot: bot,
                conversation: conversation,
                sender: actor.name,
                text: text,
                at: date
            )
            try CommandStore.insert(db, new, at: date)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "message.send",
                target: bot.rawValue,
                detail: message.rawValue
            )
            let sent = SentMessage(message: message, conversation: conversation, command: new.id)
            return (sent, new)
        }
        guard let new else { return sent }
        bots.publish(
            [MessageChange(message: message, bot: bot, conversation: conversation, state: .queued, reason: nil)],
            at: date
        )
        queued(new, at: date)
        return sent
    }

    /// Cancels a command that is still queued; `notCancellable` otherwise.
    func cancel(_ id: CommandID, by actor: Actor) async throws -> Command {
        let date = clock.date()
        let outcome = try await store.cancel(id, at: date, by: actor)
        publish(outcome.command, at: date)
        bots.publish(outcome.messages, at: date)
        return outcome.command
    }

    /// Ends what waited too long. What the clock says of the time in which the machine was off is believed after a while;
    /// until then nothing of before is sent or ended.
    func expire() async throws {
        guard clock.isSettled() else { return }
        let date = clock.date()
        while true {
            let ended = try await store.expire(at: date)
            for outcome in ended {
                publish(outcome.command, at: date)
                if let bot = outcome.botRefused { bots.publish(bot, change: "start_refused", at: date) }
                bots.publish(outcome.messages, at: date)
            }
            guard ended.count == CommandStore.expiredAtOnce else { return }
        }
    }

    // MARK: Parts

    private func control(
        _ id: BotID,
        _ desired: DesiredState,
        action: String,
        timeToLive: Duration = TimeToLive.control,
        isDeleting: Bool = false,
        by actor: Actor,
        _ bodies: @escaping @Sendable (Bot) throws -> [WireCommand.OneOf_Body]
    ) async throws -> CommandID {
        let date = clock.date()
        let (last, created) = try await database.once("\(action) \(id)") { db in
            var bot = try BotStore.required(db, id)
            if desired == .running { try NodeStore.requireTakingBots(db, bot.nodeID) }
            try DeploymentStore.requireNone(db, of: id)
            if desired == .running { bot = try StrayStore.startable(db, bot) }
            _ = try CommandStore.supersede(db, bot: id, at: date)
            let new = try bodies(bot).map { body in
                NewCommand(
                    id: .make(at: date),
                    node: bot.nodeID,
                    bot: id,
                    messageID: nil,
                    body: body,
                    isRepeatable: true,
                    timeToLive: timeToLive,
                    actor: actor
                )
            }
            for command in new { try CommandStore.insert(db, command, at: date) }
            var elsewhere: [NewCommand] = []
            if isDeleting {
                try CommandStore.withdrawAll(db, of: id, at: date)
                elsewhere = try CommandStore.insertLogRemovals(db, bot, like: new.last?.body, by: actor, at: date)
                try BotStore.markDeleted(db, id, at: date)
            } else {
                try BotStore.setDesired(db, id, desired)
            }
            try AuditStore.append(db, at: date, actor: actor, action: action, target: id.rawValue, detail: bot.name)
            guard let last = new.last else { throw HubError(.internalError, "No command was made.") }
            return (last.id, new + elsewhere)
        }
        guard let created else { return last }
        bots.publish(id, change: isDeleting ? "deleted" : "desired_state", at: date)
        for command in created { queued(command, at: date) }
        return last
    }

    /// Tells of a command that was inserted in a transaction of somebody else's.
    func announce(_ new: NewCommand, at date: Date) { queued(new, at: date) }

    private func queued(_ new: NewCommand, at date: Date) {
        events.publish(
            "command.updated",
            at: date,
            .object([
                "command_id": .string(new.id.rawValue), "node_id": .string(new.node.rawValue),
                "kind": .string(new.kind),
                "state": .string(CommandState.queued.rawValue),
            ])
        )
        arrivals.notify(new.node)
    }

    private func publish(_ command: Command, at date: Date) {
        events.publish(
            "command.updated",
            at: date,
            .object([
                "command_id": .string(command.id.rawValue), "node_id": .string(command.nodeID.rawValue),
                "kind": .string(command.kind), "state": .string(command.state.rawValue),
                "message": command.message.map(JSONValue.string) ?? .null,
            ])
        )
    }

    /// - Parameter lease: on trial: the longest time without a word from the hub; nil for good.
    static func startBody(_ bot: Bot, lease: Duration? = nil) throws -> WireCommand.OneOf_Body {
        .startBot(try .with { $0.bot = try specification(bot, lease: lease) })
    }

    private static func specification(_ bot: Bot, lease: Duration? = nil) throws -> WireBotSpecification {
        var specification = WireBotSpecification()
        specification.botID = bot.id.rawValue
        specification.name = bot.name
        specification.runtimeProfile = bot.runtimeProfile
        specification.placementEpoch = bot.placementEpoch
        specification.configJson = Data(bot.config.text.utf8)
        specification.logBeginsAt = bot.logBegin
        specification.image = bot.image ?? ""
        specification.leaseMs = lease.map { UInt32(clamping: $0.milliseconds) } ?? 0
        return specification
    }

    /// - Parameter epoch: no start under a lower one is carried out by the node any more; 0 says nothing about that.
    static func stopBody(_ bot: BotID, below epoch: UInt64 = 0) -> WireCommand.OneOf_Body {
        var body = WireStopBot()
        body.botID = bot.rawValue
        body.placementEpoch = epoch
        return .stopBot(body)
    }
}
