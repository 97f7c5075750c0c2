import Foundation
import GRDB
import WireFormat

extension CommandStore {
    /// Nodes on which a deleted bot was before still have its log from there.
    ///
    /// - Parameter body: that of the removal from the bot's own node: where the workspace is kept, so is what others hold of it.
    /// - Returns: what has to be announced to those nodes.
    static func insertLogRemovals(
        _ db: Database,
        _ bot: Bot,
        like body: WireCommand.OneOf_Body?,
        by actor: Actor,
        at date: Date
    ) throws -> [NewCommand] {
        var removal = WireRemoveBot()
        if case .removeBot(let own)? = body { removal.keepWorkspace = own.keepWorkspace }
        (removal.botID, removal.placementEpoch) = (bot.id.rawValue, bot.placementEpoch)
        var commands: [NewCommand] = []
        for node in Set(try LogPlaceStore.list(db, bot.id).map(\.node)) where node != bot.nodeID {
            guard try NodeStore.find(db, node) != nil else { continue }
            let command = NewCommand(
                id: .make(at: date),
                node: node,
                bot: bot.id,
                messageID: nil,
                body: .removeBot(removal),
                isRepeatable: true,
                timeToLive: CommandOperations.TimeToLive.remove,
                actor: actor
            )
            try insert(db, command, at: date)
            commands.append(command)
        }
        return commands
    }
}
