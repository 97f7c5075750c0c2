import FoundationEssentials
import WireFormat

/// Hands one message to one bot, so that the bot runs it once.
///
/// Before the first attempt the journal notes which launch the message goes to and where the bot's log stands. A bot
/// drops a message id it has seen, so an attempt may be repeated until the bot ends or restarts itself. Where it has done so
/// since, the bot's packets tell whether the earlier launch took the message; where they tell nothing the
/// outcome is unknown, and the message is not sent again.
struct MessageDelivery: Sendable {
    enum Outcome: Sendable, Equatable {
        case done
        case failed(RuntimeError)
        /// The message may or may not have reached the bot; one sentence.
        case unknown(String)
    }

    let message: WireDeliverMessage
    let fleet: BotFleet
    let journal: Journal
    let timing: BotFleet.Timing
    let clock: any Clock<Duration>

    func run() async -> Outcome {
        do {
            return try await attemptUntilLimit()
        } catch is CancellationError {
            return .unknown("the agent was stopped while the message was being handed over")
        } catch {
            return .failed(.wrapping(error))
        }
    }

    private func attemptUntilLimit() async throws -> Outcome {
        let body = Array(try JSONEncoder().encode(Body(message)))
        let deadline = ContinuousClock.now + timing.deliveryLimit
        var problem = RuntimeError(.botNotReady, "bot \(message.botID) is not ready; try again when it is")
        while !Task.isCancelled {
            let recipient: BotFleet.Recipient?
            do throws(RuntimeError) {
                recipient = try await fleet.recipient(message.botID)
            } catch {
                return try await judgeEarlier(current: nil) ?? .failed(error)
            }
            if let settled = try await judgeEarlier(current: recipient) { return settled }
            if let recipient, recipient.isReady {
                let next = try await attempt(recipient, body)
                switch next {
                case .finished(let outcome): return outcome
                case .again(let error): problem = error
                }
            }
            guard ContinuousClock.now < deadline else { break }
            try await clock.sleep(for: timing.deliveryPause)
        }
        // Whether an attempt reached the bot is known only where none is noted.
        if try await journal.delivery(bot: message.botID, messageID: message.messageID) != nil {
            return .unknown("\(problem.message); an earlier attempt may have reached the bot")
        }
        return .failed(problem)
    }

    /// What is known from earlier attempts; nil where the message may be sent (again).
    ///
    /// - Parameter current: what runs now.
    private func judgeEarlier(current: BotFleet.Recipient?) async throws -> Outcome? {
        guard let earlier = try await journal.delivery(bot: message.botID, messageID: message.messageID) else {
            return nil
        }
        if earlier.isAccepted { return .done }
        // A bot that has restarted itself in place since, under the same launch, has forgotten what it had taken.
        if let current, current.dropsRepetitions, earlier.launchID == current.handle.launchID,
            earlier.logOffset >= current.readyOffset
        {
            return nil
        }
        // The bot is between two launches or about to be: which one comes next does not change the answer.
        let isInJournal = try await journal.hasPacket(bot: message.botID, messageID: message.messageID)
        let isInLog: Bool
        if isInJournal {
            isInLog = true
        } else {
            isInLog = try await fleet.logMentions(message.botID, messageID: message.messageID, from: earlier.logOffset)
        }
        guard isInLog else {
            return .unknown(
                "the bot ended or restarted while the message was being handed over, and wrote nothing about it"
            )
        }
        var accepted = earlier
        accepted.isAccepted = true
        try await journal.saveDelivery(bot: message.botID, messageID: message.messageID, accepted)
        return .done
    }

    private enum Attempt {
        case finished(Outcome)
        case again(RuntimeError)
    }

    private func attempt(_ recipient: BotFleet.Recipient, _ body: [UInt8]) async throws -> Attempt {
        let (botID, messageID) = (message.botID, message.messageID)
        let known = try await journal.delivery(bot: botID, messageID: messageID)
        var delivery: Journal.Delivery
        if let known {
            delivery = known
        } else {
            let end = try await fleet.logEnd(botID)
            delivery = Journal.Delivery(launchID: recipient.handle.launchID, logOffset: end, isAccepted: false)
            try await journal.saveDelivery(bot: botID, messageID: messageID, delivery)
        }
        do throws(BotChatError) {
            let answer = try await fleet.post(recipient, body: body, timeout: timing.deliveryAttempt)
            switch answer.status {
            case 200, 202:
                delivery.isAccepted = true
                try? await journal.saveDelivery(bot: botID, messageID: messageID, delivery)
                return .finished(.done)
            case 503:
                // The bot says it has not taken it.
                if known == nil { try? await journal.removeDelivery(bot: botID, messageID: messageID) }
                return .again(RuntimeError(.botNotReady, "bot \(botID) answers 503; try again later"))
            default:
                if known == nil { try? await journal.removeDelivery(bot: botID, messageID: messageID) }
                let text = String(decoding: answer.body.prefix(300), as: UTF8.self)
                return .finished(
                    .failed(
                        RuntimeError(
                            .messageRefused,
                            "bot \(botID) refused the message with status "
                                + "\(answer.status): \(text)"
                        )
                    )
                )
            }
        } catch {
            switch error {
            case .notLoopback(let url):
                if known == nil { try? await journal.removeDelivery(bot: botID, messageID: messageID) }
                return .finished(
                    .failed(
                        RuntimeError(
                            .deliveryFailed,
                            "bot \(botID) named a chat URL that is not on this "
                                + "machine: \(url)"
                        )
                    )
                )
            case .notConnected(let reason):
                if known == nil { try? await journal.removeDelivery(bot: botID, messageID: messageID) }
                return .again(RuntimeError(.deliveryFailed, "bot \(botID) does not take connections: \(reason)"))
            case .noAnswer(let reason):
                return .again(RuntimeError(.deliveryFailed, "bot \(botID) did not answer: \(reason)"))
            }
        }
    }

    /// The request as BOT-CONTRACT has it.
    private struct Body: Encodable {
        var message: String
        var conversationID: String
        var messageID: String
        var sender: String?

        enum CodingKeys: String, CodingKey {
            case message
            case conversationID = "conversation_id"
            case messageID = "message_id"
            case sender
        }

        init(_ wire: WireDeliverMessage) {
            message = wire.text
            conversationID = wire.conversationID
            messageID = wire.messageID
            sender = wire.sender.isEmpty ? nil : wire.sender
        }
    }
}
