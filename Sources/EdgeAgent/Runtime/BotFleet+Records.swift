import WireFormat

/// What of a bot is in the journal.
extension BotFleet {
    func save(_ bot: Bot) async throws {
        try await writing(bot) {
            try await journal.saveBot(
                bot.botID,
                placementEpoch: bot.record.placementEpoch,
                record: try bot.record.encoded()
            )
        }
    }

    /// Has one write the bot's record at a time: otherwise a record from before what the log told comes into the journal behind
    /// it, and nobody reads that part of the log again.
    func writing<Value>(_ bot: Bot, _ body: () async throws -> Value) async rethrows -> Value {
        while bot.isBeingWritten {
            let ticket = bot.written.ticket
            // Cancelled: looked at again after the others.
            if bot.isBeingWritten, (try? await bot.written.wait(after: ticket)) == nil { await Task.yield() }
        }
        bot.isBeingWritten = true
        defer {
            bot.isBeingWritten = false
            bot.written.wake()
        }
        return try await body()
    }
}
