import FoundationEssentials
import Glibc
import Logging
import WireFormat

/// Bots on trial, and bots that the hub has placed elsewhere while this node was away.
extension BotFleet {
    /// A lease is moved on this often within its time.
    private static let renewalsPerLease: UInt64 = 8
    private static let shortestRenewal = Duration.milliseconds(200)

    // MARK: Leases

    /// Refuses to begin a trial that would be over at once, for instance because this machine slept on the command.
    func requireContact(_ lease: UInt64?, _ botID: String) throws(RuntimeError) {
        guard let lease, !contact.isHeard(within: lease) else { return }
        throw RuntimeError(
            .leaseOver,
            "bot \(botID) was to be started on trial, but the hub was not heard of for \(lease) ms"
        )
    }

    /// Writes down until when the bot may live, or that it may live on.
    func writeLease(_ bot: Bot) throws(RuntimeError) {
        let path = try leasePath(bot)
        guard let lease = bot.record.leaseMilliseconds else {
            unlink(path)
            return
        }
        do {
            try RuntimeLease.write(contact.leaseEnd(lease) ?? 0, to: path)
        } catch {
            throw .wrapping(error)
        }
    }

    private func leasePath(_ bot: Bot) throws(RuntimeError) -> String {
        PathText.normalized(try logDirectory(bot.botID) + "/../\(RuntimeLease.fileName)")
    }

    /// Moves leases on for as long as the hub is heard of, and ends what no supervisor ends. Until cancelled.
    func keepLeases() async {
        while !Task.isCancelled {
            let ticket = changed.ticket
            let onTrial = bots.values.filter { $0.handle != nil && $0.record.leaseMilliseconds != nil }
            guard let shortest = onTrial.compactMap(\.record.leaseMilliseconds).min() else {
                guard (try? await changed.wait(after: ticket)) != nil else { return }
                continue
            }
            for bot in onTrial { await keepLease(bot) }
            let pause = max(Self.shortestRenewal, .milliseconds(clamping: shortest / Self.renewalsPerLease))
            // Cancelled: the loop ends by its condition.
            try? await clock.sleep(for: pause)
        }
    }

    private func keepLease(_ bot: Bot) async {
        guard let lease = bot.record.leaseMilliseconds, let handle = bot.handle else { return }
        if contact.isHeard(within: lease) {
            // One that is to stop lives on until it has stopped, and no longer than it may.
            guard bot.record.shouldRun, !bot.isStopping else { return }
            do {
                try writeLease(bot)
            } catch {
                logger.error(
                    "A bot's lease cannot be moved on; it ends with the lease.",
                    metadata: ["bot_id": "\(bot.botID)", "reason": "\(error.message)"]
                )
            }
        } else if handle.supervisor == nil {
            logger.warning(
                "A bot on trial is ended, because the hub is not heard of.",
                metadata: ["bot_id": "\(bot.botID)"]
            )
            await (try? backend(bot))?.kill(handle)
        }
    }

    // MARK: Placed elsewhere

    /// Keeps starts under lower epochs out from here on.
    ///
    /// - Returns: whether that could be noted.
    func fence(_ botID: String, below epoch: UInt64) async -> Bool {
        guard epoch > 0, BotDirectory.isValid(botID) else { return true }
        do {
            try await journal.raiseEpoch(botID, to: epoch)
            return true
        } catch {
            logger.error(
                "It cannot be noted that a bot is placed elsewhere.",
                metadata: ["bot_id": "\(botID)", "reason": "\(error)"]
            )
            return false
        }
    }

    /// The highest epoch that was seen of the bot, placed here or elsewhere; 0 where there was none, or it cannot be read.
    func highestEpoch(_ botID: String) async -> UInt64 { (try? await journal.highestEpoch(botID)) ?? 0 }

    /// The hub has placed the bot here under this epoch without starting it.
    func notePlacement(_ botID: String, _ epoch: UInt64) async {
        await exclusively(botID) {
            _ = await fence(botID, below: epoch)
            guard let bot = bots[botID], bot.record.placementEpoch < epoch else { return }
            bot.record.placementEpoch = epoch
            // `try?`: a start says it again.
            try? await save(bot)
            changed.wake()
        }
    }

    /// Lets a log that has become longer on another node go on from there.
    func continueLog(_ bot: Bot, from begin: UInt64) async throws {
        let directory = try logDirectory(bot.botID)
        guard begin > LogSegments.endOffset(directory) else { return }
        // The place first: what lies between is no hole in this node's log, but lies elsewhere.
        try await journal.resetLogCursor(bot.botID, to: begin)
        let path = LogSegments.path(directory: directory, start: begin)
        let descriptor = RegularFile.open(path, O_WRONLY | O_CREAT)
        guard descriptor >= 0 else {
            throw RuntimeError(.storageFailed, "\(path) cannot be made: \(String(errno: errno))")
        }
        close(descriptor)
    }

    /// Takes what the hub says at the beginning of a session: these bots are not this node's any more.
    func supersede(_ list: [WireSupersession]) async {
        for item in list {
            do {
                try await journal.raiseEpoch(item.botID, to: item.placementEpoch)
            } catch {
                // The hub's command to stop, which follows, says it again.
                logger.error(
                    "It cannot be noted that a bot was placed elsewhere.",
                    metadata: ["bot_id": "\(item.botID)", "reason": "\(error)"]
                )
            }
        }
        await withDiscardingTaskGroup { group in
            for item in list {
                group.addTask {
                    // A failure is in the status; the hub's command to stop follows in any case.
                    _ = try? await self.stop(item.botID, graceMilliseconds: 0, below: item.placementEpoch)
                }
            }
        }
        // Only now: of two nodes with one epoch, as after a copied disk was paired anew, the epoch tells none apart.
        contact.markSpoken()
    }

    /// Whether the bot may be started without the hub asking; where not, its record says why.
    func mayRelaunch(_ bot: Bot) async -> Bool {
        if bot.record.leaseMilliseconds != nil {
            bot.record.fail(
                .trialEnded,
                "it ended before its deployment was committed, and only the hub starts it again"
            )
        } else if let highest = try? await journal.highestEpoch(bot.botID), highest > bot.record.placementEpoch {
            bot.record.shouldRun = false
            bot.record.clearOutcome()
        } else {
            return true
        }
        // The status tells it either way.
        try? await save(bot)
        settlePhase(bot)
        return false
    }
}
