import Foundation
import SwiftProtobuf
import WireFormat

/// Takes up bots that this hub does not know, with what their node says of them.
extension DeploymentOperations {
    private static let answerLimit = Duration.seconds(20)

    /// Makes a record of a bot that the node holds, under its id and placement. It goes on as it is, running or not.
    ///
    /// - Parameters:
    ///   - name: nil for the one it had.
    ///   - profile: nil for the one it was started by.
    /// Throws `notFound`, `conflict` for a bot that is known or being discarded, `nameTaken`, `nodeOffline`, `agentRefused`.
    func adopt(
        _ id: BotID,
        on node: NodeID,
        name: String?,
        runtimeProfile profile: String?,
        by actor: Actor
    ) async throws -> BotID {
        let action = "stray.adopt \(id)"
        if let done = try await context.database.past(BotID.self, named: action) { return done }
        try await context.database.read { db in try StrayStore.requireAdoptable(db, id, on: node) }
        let answer = try await describe(id, on: node)
        let specification = answer.botSpecification
        let wanted = try NamePolicy.checked(
            name ?? (specification.name.isEmpty ? Self.name(for: id) : specification.name)
        )
        let runtime = profile ?? specification.runtimeProfile
        guard !runtime.isEmpty else {
            throw HubError(
                .invalidRequest,
                "The node does not know by which runtime profile it ran the bot, because its record was lost. Give `runtime_profile`."
            )
        }
        if profile != nil { try await context.bots.requireOffered(runtime, on: node) }
        let written = String(decoding: specification.configJson, as: UTF8.self)
        let config = try BotOperations.checked(written.isEmpty ? .emptyObject : WrittenJSON(written))
        let date = context.clock.date()
        let isWanted = Self.isWantedRunning(answer.botStatus)
        let (adopted, commands) = try await context.database.once(action) { db in
            try StrayStore.requireAdoptable(db, id, on: node)
            let others = try StrayStore.list(db, of: id).filter { $0.node != node }
            let highest = max(
                try BotStore.believed(db, answer.highestPlacementEpoch, of: id),
                try BotStore.highestEpoch(db, of: id)
            )
            // Under an epoch that another copy has, or that its node takes for over, it could not be told apart or started.
            let own = specification.placementEpoch
            let isCurrent = own > 0 && own >= highest && !others.contains { $0.epoch >= own }
            let epoch = isCurrent ? own : highest.clampedAdding(1)
            try BotStore.insert(
                db,
                id,
                name: wanted,
                at: Placement(
                    node: node,
                    runtimeProfile: try NamePolicy.checked(runtime, field: "runtime_profile"),
                    image: specification.image.isEmpty ? nil : specification.image,
                    config: config
                ),
                epoch: epoch,
                desired: isWanted ? .running : .stopped,
                at: date
            )
            try StrayStore.forget(db, id, on: node)
            var status = answer.botStatus
            (status.botID, status.placementEpoch) = (id.rawValue, epoch)
            _ = try BotStore.apply(db, status, from: node, at: date)
            let bot = try BotStore.required(db, id)
            var commands: [NewCommand] = []
            if isWanted, !isCurrent {
                // It runs on as it is, under the new placement.
                commands.append(Self.command(try CommandOperations.startBody(bot), bot, on: node, by: actor, at: date))
            }
            for other in others {
                try StrayStore.setReason(
                    db,
                    id,
                    on: other.node,
                    "The bot was adopted from another node; this is another copy of it."
                )
                let stop = CommandOperations.stopBody(id, below: epoch)
                commands.append(Self.command(stop, bot, on: other.node, by: actor, at: date))
            }
            for command in commands { try CommandStore.insert(db, command, at: date) }
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "stray.adopt",
                target: id.rawValue,
                detail: "\(wanted) on \(node)"
            )
            return (id, commands)
        }
        if let commands {
            context.bots.publish(id, change: "created", at: date)
            for command in commands { context.commands.announce(command, at: date) }
        }
        return adopted
    }

    private static func command(
        _ body: WireCommand.OneOf_Body,
        _ bot: Bot,
        on node: NodeID,
        by actor: Actor,
        at date: Date
    ) -> NewCommand {
        NewCommand(
            id: .make(at: date),
            node: node,
            bot: bot.id,
            messageID: nil,
            body: body,
            isRepeatable: true,
            timeToLive: CommandOperations.TimeToLive.control,
            actor: actor
        )
    }

    /// Of a bot whose name is not known: told apart from its id, which is no name.
    private static func name(for id: BotID) -> String { "bot \(id.rawValue.suffix(8))" }

    /// As its node says.
    private func describe(_ bot: BotID, on node: NodeID) async throws -> WireCommandResult {
        var command = WireCommand()
        command.commandID = CommandID.make(at: context.clock.date()).rawValue
        command.repeatable = true
        command.describeBot.botID = bot.rawValue
        let result = try await context.channel.ask(command, on: node, within: Self.answerLimit)
        guard result.outcome == .done, result.hasBotSpecification, result.botSpecification.botID == bot.rawValue else {
            throw HubError(
                .agentRefused,
                result.errorCode == "command_unknown"
                    ? "The node's agent cannot tell what the bot is; upgrade it, and adopt the bot then."
                    : "The node does not tell what the bot is: \(result.message)"
            )
        }
        return result
    }

    private static func isWantedRunning(_ status: WireBotStatus) -> Bool {
        !status.phase.isDown || status.phase == .backoff
    }
}
