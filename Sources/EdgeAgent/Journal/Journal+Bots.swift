/// The bots this node holds.
extension Journal {
    /// Saves a bot's record under the epoch it was placed with; the highest epoch seen stays.
    func saveBot(_ botID: String, placementEpoch: UInt64, record: [UInt8]) throws {
        try guarded {
            _ = try database.run(
                """
                INSERT INTO bots(bot_id, placement_epoch, record) VALUES(?,?,?)
                ON CONFLICT(bot_id) DO UPDATE SET
                    placement_epoch=max(placement_epoch, excluded.placement_epoch), record=excluded.record
                """,
                [.text(botID), .number(placementEpoch), .blob(record)]
            )
        }
    }

    /// The records of all bots held here.
    func bots() throws -> [String: [UInt8]] {
        try guarded {
            var records: [String: [UInt8]] = [:]
            try database.query("SELECT bot_id, record FROM bots WHERE record IS NOT NULL") { row in
                records[row.text(0)] = row.blob(1)
                return true
            }
            return records
        }
    }

    /// The highest placement epoch ever seen for this bot, also after it was removed; 0 where there was none.
    func highestEpoch(_ botID: String) throws -> UInt64 {
        try guarded {
            var epoch: UInt64 = 0
            try database.query("SELECT placement_epoch FROM bots WHERE bot_id=?", [.text(botID)]) { row in
                epoch = row.number(0)
                return false
            }
            return epoch
        }
    }

    /// Notes an epoch of a bot that is placed elsewhere; a lower one than is known changes nothing.
    func raiseEpoch(_ botID: String, to epoch: UInt64) throws {
        try guarded {
            _ = try database.run(
                """
                INSERT INTO bots(bot_id, placement_epoch, record) VALUES(?,?,NULL)
                ON CONFLICT(bot_id) DO UPDATE SET placement_epoch=max(placement_epoch, excluded.placement_epoch)
                """,
                [.text(botID), .number(epoch)]
            )
        }
    }

    /// Forgets the bot but not the highest epoch seen for it.
    ///
    /// - Parameter keepsLog: the log stays, and with it how far it was read: what it tells is told.
    func removeBot(_ botID: String, keepsLog: Bool = false) throws {
        try guarded {
            try database.transaction {
                try database.run("UPDATE bots SET record=NULL WHERE bot_id=?", [.text(botID)])
                try database.run("DELETE FROM deliveries WHERE bot_id=?", [.text(botID)])
                if keepsLog { return }
                try database.run("UPDATE log_cursors SET log_offset=0 WHERE bot_id=?", [.text(botID)])
            }
        }
    }
}
