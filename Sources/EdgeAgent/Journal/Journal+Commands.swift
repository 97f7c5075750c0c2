import SwiftProtobuf
import WireFormat

/// Receipts: which commands were begun, what came of them, and which bot was given which message.
extension Journal {
    /// Notes that a command is about to be carried out, unless it was before.
    func beginCommand(_ command: WireCommand) throws -> CommandStart {
        try guarded { try beginUnguarded(command) }
    }

    private func beginUnguarded(_ command: WireCommand) throws -> CommandStart {
        var known: CommandStart?
        try database.query("SELECT result FROM receipts WHERE command_id=?", [.text(command.commandID)]) { row in
            let bytes = row.blob(0)
            if !bytes.isEmpty, var result = try? WireCommandResult(bounded: bytes) {
                result.fromReceipt = true
                // It was true then; what is true now the bot's status says.
                result.clearBotStatus()
                known = .finished(result)
            } else {
                known = .interrupted
            }
            return false
        }
        if let known { return known }
        try pruneSometimes()
        try database.run(
            "INSERT INTO receipts(command_id, begun_at_ms) VALUES(?,?)",
            [.text(command.commandID), .number(now)]
        )
        return .run
    }

    /// Keeps the result; a command that comes again is answered with it.
    func finishCommand(_ commandID: String, _ result: WireCommandResult) throws {
        let bytes: [UInt8] = try result.serializedBytes()
        try guarded {
            _ = try database.run(
                """
                INSERT INTO receipts(command_id, begun_at_ms, finished_at_ms, result) VALUES(?1,?2,?2,?3)
                ON CONFLICT(command_id) DO UPDATE SET finished_at_ms=excluded.finished_at_ms, result=excluded.result
                """,
                [.text(commandID), .number(now), .blob(bytes)]
            )
        }
    }

    /// The hub has the result and will not ask again.
    func confirmCommand(_ commandID: String) throws {
        try guarded {
            _ = try database.run("UPDATE receipts SET confirmed=1 WHERE command_id=?", [.text(commandID)])
        }
    }

    /// What is known about handing this message to this bot; nil where it was never tried.
    func delivery(bot botID: String, messageID: String) throws -> Delivery? {
        try guarded {
            var found: Delivery?
            try database.query(
                "SELECT launch_id, log_offset, accepted FROM deliveries WHERE bot_id=? AND message_id=?",
                [.text(botID), .text(messageID)]
            ) { row in
                found = Delivery(launchID: row.text(0), logOffset: row.number(1), isAccepted: row.integer(2) != 0)
                return false
            }
            return found
        }
    }

    func saveDelivery(bot botID: String, messageID: String, _ delivery: Delivery) throws {
        try guarded {
            _ = try database.run(
                """
                INSERT INTO deliveries(bot_id, message_id, launch_id, log_offset, begun_at_ms, accepted)
                VALUES(?,?,?,?,?,?)
                ON CONFLICT(bot_id, message_id) DO UPDATE SET
                    launch_id=excluded.launch_id, log_offset=excluded.log_offset, accepted=excluded.accepted
                """,
                [
                    .text(botID), .text(messageID), .text(delivery.launchID), .number(delivery.logOffset), .number(now),
                    .integer(delivery.isAccepted ? 1 : 0),
                ]
            )
        }
    }

    /// Forgets a delivery that certainly did not happen.
    func removeDelivery(bot botID: String, messageID: String) throws {
        try guarded {
            _ = try database.run(
                "DELETE FROM deliveries WHERE bot_id=? AND message_id=?",
                [.text(botID), .text(messageID)]
            )
        }
    }

    /// Forgets what is older or more than `Retention` allows.
    ///
    /// A receipt that the hub has not confirmed is the only thing that keeps its command from being run twice: it has
    /// no age, and goes only when there are too many, after all others.
    func prune() throws {
        let oldest = now > retention.milliseconds ? now - retention.milliseconds : 0
        let kept = Int64(retention.count)
        try guarded {
            try database.transaction {
                try database.run("DELETE FROM receipts WHERE confirmed=1 AND begun_at_ms<?", [.number(oldest)])
                try database.run("DELETE FROM deliveries WHERE begun_at_ms<?", [.number(oldest)])
                try database.run(
                    """
                    DELETE FROM receipts WHERE command_id IN (SELECT command_id FROM receipts
                        ORDER BY confirmed, result IS NOT NULL, begun_at_ms DESC LIMIT -1 OFFSET ?)
                    """,
                    [.integer(kept)]
                )
                try database.run(
                    """
                    DELETE FROM deliveries WHERE (bot_id, message_id) IN
                        (SELECT bot_id, message_id FROM deliveries ORDER BY begun_at_ms DESC LIMIT -1 OFFSET ?)
                    """,
                    [.integer(kept)]
                )
            }
        }
    }

    private func pruneSometimes() throws {
        receiptsSincePruning += 1
        guard receiptsSincePruning >= 256 else { return }
        receiptsSincePruning = 0
        try prune()
    }
}
