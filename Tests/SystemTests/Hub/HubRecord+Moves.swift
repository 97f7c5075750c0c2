import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// What operators and nodes bring about of where bots are, with the commands that follow from it in the same transaction.
extension HubRecord {
    /// Which nodes have something new to do.
    typealias Asked = [String]

    static func command(
        _ name: String,
        _ body: WireCommand.OneOf_Body,
        on node: NodeID,
        for bot: BotID,
        lasting timeToLive: Duration
    ) -> NewCommand {
        NewCommand(
            id: CommandID(rawValue: name),
            node: node,
            bot: bot,
            messageID: nil,
            body: body,
            isRepeatable: true,
            timeToLive: timeToLive,
            actor: .hub
        )
    }

    /// Starts a bot where the record has it; nil where that would be a second one.
    func start(_ bot: String, as name: String, lasting timeToLive: Duration, at date: Date) -> Asked? {
        transact { db in
            let bot = try StrayStore.startable(db, try BotStore.required(db, BotID(rawValue: bot)))
            let body = try CommandOperations.startBody(bot)
            try CommandStore.insert(
                db,
                Self.command(name, body, on: bot.nodeID, for: bot.id, lasting: timeToLive),
                at: date
            )
            return [bot.nodeID.rawValue]
        }
    }

    /// Stores a message with the command that delivers it. Both have the same name here.
    func send(
        _ text: String,
        to bot: String,
        as name: String,
        lasting timeToLive: Duration,
        at date: Date
    ) -> Asked? {
        transact { db in
            let bot = try BotStore.required(db, BotID(rawValue: bot))
            let message = MessageID(rawValue: name)
            let conversation = ConversationID(rawValue: "conversation-\(bot.id)")
            let body = WireDeliverMessage.with {
                ($0.botID, $0.messageID, $0.text) = (bot.id.rawValue, name, text)
                $0.conversationID = conversation.rawValue
            }
            let command = NewCommand(
                id: CommandID(rawValue: name),
                node: bot.nodeID,
                bot: bot.id,
                messageID: message,
                body: .deliverMessage(body),
                isRepeatable: false,
                timeToLive: timeToLive,
                actor: .hub
            )
            try MessageStore.insert(
                db,
                id: message,
                bot: bot.id,
                conversation: conversation,
                sender: "operator",
                text: text,
                at: date
            )
            try CommandStore.insert(db, command, at: date)
            return [bot.nodeID.rawValue]
        }
    }

    /// Places a bot elsewhere without asking the node that has it, as a deployment with force does.
    ///
    /// - Parameter number: of the move.
    func moveByForce(_ bot: String, to target: String, number: Int, at date: Date) -> Asked? {
        transact { db in
            let bot = try BotStore.required(db, BotID(rawValue: bot))
            let source = bot.nodeID
            let epoch = try Self.deploy(db, bot, to: target, number: number, at: date)
            try StrayStore.note(
                db,
                bot.id,
                on: source,
                reason: "force",
                deployment: DeploymentID(rawValue: "deployment-\(number)"),
                at: date
            )
            try CommandStore.insert(
                db,
                Self.command(
                    "stop-\(number)",
                    CommandOperations.stopBody(bot.id, below: epoch),
                    on: source,
                    for: bot.id,
                    lasting: .seconds(86_400)
                ),
                at: date
            )
            return [source.rawValue, target]
        }
    }

    /// - Returns: the epoch that the target starts the bot under.
    private static func deploy(
        _ db: Database,
        _ bot: Bot,
        to target: String,
        number: Int,
        at date: Date
    ) throws -> UInt64 {
        try DeploymentStore.requireNone(db, of: bot.id)
        try StrayStore.requireNoNewer(db, of: bot.id, except: NodeID(rawValue: target))
        var deployment = Deployment(
            id: DeploymentID(rawValue: "deployment-\(number)"),
            bot: bot.id,
            actor: "operator",
            createdAt: date,
            source: placement(bot.nodeID.rawValue),
            target: placement(target),
            isForced: true,
            origin: .target,
            snapshot: nil,
            wasRunning: true,
            state: .succeeded,
            step: .cleanUp,
            isCancelRequested: false,
            updatedAt: date,
            finishedAt: date
        )
        try DeploymentStore.insert(db, deployment)
        try DeploymentStore.withdrawStarts(db, of: bot.id, on: bot.nodeID, at: date)
        let epoch = try DeploymentStore.place(db, bot.id, deployment.target)
        deployment.targetEpoch = epoch
        try DeploymentStore.update(db, deployment)
        try StrayStore.forget(db, bot.id, on: deployment.target.node)
        let body = try CommandOperations.startBody(try BotStore.required(db, bot.id))
        try CommandStore.insert(
            db,
            command("start-\(number)", body, on: deployment.target.node, for: bot.id, lasting: .seconds(86_400)),
            at: date
        )
        return epoch
    }

    /// Notes what a node holds, as `StrayBots` does.
    ///
    /// - Parameter name: of the next command.
    /// - Returns: what the node is told in its Welcome.
    func settle(_ hello: WireHello, of node: String, naming name: () -> String, at date: Date) -> [WireSupersession] {
        transact { db in
            let node = NodeID(rawValue: node)
            let settlement = try StraySettlement.settle(
                db,
                hello.bots,
                kept: hello.keptWorkspaces,
                on: node,
                at: date
            )
            let starts = try settlement.overtaken.map { ($0.id, try CommandOperations.startBody($0)) }
            let stops = settlement.found.filter(\.isRunning).map {
                ($0.bot, CommandOperations.stopBody($0.bot, below: $0.epoch))
            }
            for (bot, body) in starts + stops {
                try CommandStore.insert(
                    db,
                    Self.command(name(), body, on: node, for: bot, lasting: .seconds(86_400)),
                    at: date
                )
            }
            return settlement.superseded
        } ?? []
    }
}
