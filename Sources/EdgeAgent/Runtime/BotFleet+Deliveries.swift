/// What `MessageDelivery` asks of the fleet.
extension BotFleet {
    /// The launch a message could go to.
    struct Recipient: Sendable {
        var handle: LaunchHandle
        var chatURL: String?
        var isReady: Bool
    }

    /// - Throws: `botNotFound`, or `botNotRunning` where it does not run and is not about to.
    func recipient(_ botID: String) throws(RuntimeError) -> Recipient? {
        guard let bot = bots[botID] else { throw Self.notFound(botID) }
        if let handle = bot.handle, !bot.isStopping {
            return Recipient(handle: handle, chatURL: bot.record.launch?.ready?.chatURL, isReady: bot.isReady)
        }
        guard bot.record.shouldRun, !bot.record.isOver else {
            throw RuntimeError(.botNotRunning, "The bot does not run. Start it, then send the message again.")
        }
        return nil
    }

    func post(_ recipient: Recipient, body: [UInt8], timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
        guard let bot = bots[recipient.handle.botID], let backend = try? backend(bot) else {
            throw .notConnected("the bot is not here any more")
        }
        return try await backend.deliver(recipient.handle, url: recipient.chatURL, body: body, timeout: timeout)
    }

    func logEnd(_ botID: String) throws(RuntimeError) -> UInt64 {
        LogSegments.endOffset(try logDirectory(botID))
    }

    /// Whether the bot's log holds a packet with this message id from `offset` on.
    func logMentions(_ botID: String, messageID: String, from offset: UInt64) throws(RuntimeError) -> Bool {
        var reader = LogReader(directory: try logDirectory(botID), streams: [.packet])
        var position = offset
        while true {
            let batch = reader.read(from: position)
            if batch.records.contains(where: { PacketFields($0.text)?.messageID == messageID }) { return true }
            if batch.reachedEnd || batch.nextOffset == position { return false }
            position = batch.nextOffset
        }
    }
}
