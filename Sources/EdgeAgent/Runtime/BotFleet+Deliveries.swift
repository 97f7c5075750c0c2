/// What `MessageDelivery` asks of the fleet.
extension BotFleet {
    /// The launch a message could go to.
    struct Recipient: Sendable {
        var handle: LaunchHandle
        var chatURL: String?
        var isReady: Bool
        /// Where in the bot's log it said that it takes messages; what was given to it before, it has forgotten.
        var readyOffset: UInt64
        /// Whether a bot that got a message twice runs it once.
        var dropsRepetitions: Bool
    }

    /// - Throws: `botNotFound`, `takesNoMessages`, or `botNotRunning` where it does not run and is not about to.
    func recipient(_ botID: String) throws(RuntimeError) -> Recipient? {
        guard let bot = bots[botID] else { throw Self.notFound(botID) }
        // An unknown profile: the bot is still the one it was.
        let delivery = (try? effectiveProfile(bot))?.delivery ?? .http
        guard delivery == .stdin || (try? effectiveProfile(bot))?.speaksPackets != false else {
            throw RuntimeError(
                .takesNoMessages,
                "bot \(botID) takes no messages: its runtime profile \(bot.record.profile) says that it speaks no packets"
            )
        }
        if let handle = bot.handle, !bot.isStopping {
            let ready = bot.record.launch?.ready
            return Recipient(
                handle: handle,
                chatURL: ready?.chatURL,
                isReady: bot.isReady,
                readyOffset: ready?.logOffset ?? 0,
                dropsRepetitions: delivery == .http
            )
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
        if !recipient.dropsRepetitions {
            try await backend.write(body, to: recipient.handle, timeout: timeout)
            return BotChatAnswer(status: 202, body: [])
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
