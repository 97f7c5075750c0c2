import FoundationEssentials

/// What happens when the hub takes no packets for so long that the journal is full: the oldest go, and a packet says
/// so.
extension Journal {
    /// What a packet takes besides its JSON, roughly.
    static let overheadBytes = 128
    static let sizeSQL = "length(json)+\(overheadBytes)"

    /// Drops the oldest packets of the bot that has most, until a sixteenth of the budget is free, and puts one packet
    /// of type `gap` in place of the last of them. Within a transaction.
    ///
    /// - Returns: the bytes that became free.
    func makeRoom() throws -> Int {
        var largest: String?
        try database.query(
            "SELECT bot_id FROM packets GROUP BY bot_id ORDER BY sum(\(Self.sizeSQL)) DESC LIMIT 1"
        ) { row in
            largest = row.text(0)
            return false
        }
        guard let botID = largest else { return 0 }
        let wanted = packetBudgetBytes / 16
        var freed = 0
        var first: UInt64 = 0
        var last: UInt64 = 0
        var from: UInt64 = 0
        try database.query(
            "SELECT sequence, \(Self.sizeSQL), type, json FROM packets WHERE bot_id=? ORDER BY sequence",
            [.text(botID)]
        ) { row in
            if first == 0 {
                first = row.number(0)
                // Right after an earlier gap the two become one.
                from = row.text(2) == "gap" ? Gap(row.blob(3))?.fromSequence ?? first : first
            }
            last = row.number(0)
            freed += Int(row.integer(1))
            return freed < wanted
        }
        let text = #"{"v":1,"type":"gap","reason":"journal_full","from_sequence":\#(from),"to_sequence":\#(last)}"#
        try database.run(
            "DELETE FROM packets WHERE bot_id=? AND sequence<=?",
            [.text(botID), .number(last)]
        )
        try database.run(
            "INSERT INTO packets VALUES(?,?,'',0,'gap','','','',0,?,?)",
            [.text(botID), .number(last), .number(now()), .blob(Array(text.utf8))]
        )
        return freed - text.utf8.count - Self.overheadBytes
    }

    private struct Gap: Decodable {
        var fromSequence: UInt64?

        enum CodingKeys: String, CodingKey {
            case fromSequence = "from_sequence"
        }

        init?(_ json: [UInt8]) {
            guard let gap = try? JSONDecoder().decode(Self.self, from: Data(json)) else { return nil }
            self = gap
        }
    }
}
