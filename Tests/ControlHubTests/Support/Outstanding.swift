import Foundation
import GRDB
import WireFormat

@testable import ControlHub

extension CommandOperations {
    /// Everything the node must still carry out or answer, in the order it was asked for, held messages aside.
    func outstanding(for node: NodeID) async throws -> [QueuedCommand] {
        let now = clock.date().unixMilliseconds
        return try await database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT id, bot_id, body, state FROM commands WHERE node_id = ?
                        AND (state IN ('delivered', 'running') OR (state = 'queued' AND expires_at > ?))
                        AND NOT (message_id IS NOT NULL AND state = 'queued' AND EXISTS (
                            SELECT 1 FROM deployments d WHERE d.bot_id = commands.bot_id AND d.holds_messages))
                    ORDER BY position
                    """,
                arguments: [node.rawValue, now]
            ).map { row in
                QueuedCommand(
                    id: CommandID(rawValue: row["id"]),
                    botID: (row["bot_id"] as String?).map(BotID.init(rawValue:)),
                    wasDelivered: row["state"] != "queued",
                    command: try WireCommand(bounded: row["body"] as Data)
                )
            }
        }
    }

    /// As the pump does before it sends. False: it must not be sent.
    @discardableResult
    func markDelivered(_ id: CommandID) async throws -> Bool { try await take(id) != nil }
}
