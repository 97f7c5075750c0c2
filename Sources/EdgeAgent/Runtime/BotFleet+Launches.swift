import Dispatch
import FoundationEssentials
import Glibc
import Logging
import WireFormat

/// What happens to a bot's launches: starting them, following their logs, and deciding what comes after their end.
extension BotFleet {
    // MARK: Starting

    func startExclusively(_ specification: WireBotSpecification, _ profile: RuntimeProfile) async throws {
        let botID = specification.botID
        let overrides = try ProfileOverrides(specification)
        let highest = try await journal.highestEpoch(botID)
        guard specification.placementEpoch >= highest else {
            throw RuntimeError(
                .olderEpoch,
                "bot \(botID) was placed here or elsewhere under epoch \(highest) since; epoch "
                    + "\(specification.placementEpoch) is refused"
            )
        }
        guard bots[botID] != nil || bots.count < Self.maximumBots else {
            throw RuntimeError(.launchFailed, "this node already holds \(Self.maximumBots) bots")
        }
        let lease = specification.leaseMs > 0 ? UInt64(clamping: specification.leaseMs) : nil
        try requireContact(lease, botID)
        let configuration = try admit(specification, overrides)
        if let bot = bots[botID], bot.record.backend ?? .native != profile.backend {
            // The launch belongs to the backend that started it.
            try await endLaunch(bot, stopSequence(bot))
        }
        let hasChanged = try await backends.require(profile.backend).prepare(
            botID: botID,
            configuration: configuration,
            profile: profile
        )
        let bot = bots[botID] ?? Bot(botID: botID, record: BotRecord())
        bots[botID] = bot
        let isSame =
            !hasChanged && bot.record.isFound != true && bot.record.name == specification.name
            && bot.record.profile == profile.name
            && bot.record.overrides ?? .init() == overrides
            // A launch that was begun for good has nobody who would end it with a lease.
            && (lease == nil || bot.record.leaseMilliseconds != nil)
        bot.record.name = specification.name
        bot.record.overrides = overrides
        bot.record.profile = profile.name
        bot.record.backend = profile.backend
        bot.record.placementEpoch = specification.placementEpoch
        bot.record.shouldRun = true
        bot.record.isFound = nil
        bot.record.leaseMilliseconds = lease
        bot.record.clearOutcome()
        bot.generation += 1
        try await save(bot)
        if bot.handle != nil {
            if isSame, !bot.isStopping {
                try writeLease(bot)
                changed.wake()
                return
            }
            try await endLaunch(bot, profile.stop)
        }
        bot.record.quickFailures = 0
        do {
            try await launch(bot, overrides.applied(to: profile), logBegin: specification.logBeginsAt)
        } catch {
            // Whoever asked is told, and decides.
            if !Task.isCancelled, bot.handle == nil { await giveUp(bot, .wrapping(error)) }
            throw error
        }
    }

    /// Starts one launch and waits until its log says that it runs. What follows where it throws is the caller's to decide.
    ///
    /// - Parameter logBegin: how long the bot's log has become elsewhere.
    func launch(_ bot: Bot, _ profile: RuntimeProfile, logBegin: UInt64 = 0) async throws {
        try await provision(bot, profile)
        setPhase(bot, .starting, "waiting for other bots to finish starting", .waitingForStart)
        // In a loop, because another start may take the slot between the wake and our turn.
        while freeSlots <= 0 {
            guard await wait(nil, until: { self.freeSlots > 0 }) else {
                throw RuntimeError(.launchFailed, "the agent is stopping; the bot is started when it runs again")
            }
        }
        freeSlots -= 1
        bot.holdsSlot = true
        let launchID = RandomText.hex(bytes: 8)
        do {
            let taken = Set(bots.values.filter { $0 !== bot }.map(\.record.chatPort))
            bot.record.chatPort = try ports.reserve(preferred: bot.record.chatPort, avoiding: taken)
            bot.record.launch = BotRecord.Launch(launchID: launchID)
            try await save(bot)
            setPhase(bot, .starting, "")
            let backend = try backend(bot)
            try checkCode(bot.botID, profile)
            try writeLease(bot)
            try await continueLog(bot, from: logBegin)
            // Looked up anew: the files may have been removed since the last launch.
            bot.savedLogPosition = nil
            bot.logPosition = nil
            let handle = try await backend.start(
                LaunchRequest(
                    botID: bot.botID,
                    name: bot.record.name,
                    launchID: launchID,
                    profile: capped(profile),
                    chatPort: bot.record.chatPort,
                    isLeased: bot.record.leaseMilliseconds != nil,
                    placementEpoch: bot.record.placementEpoch
                )
            )
            attach(bot, handle)
        } catch {
            // No process came to be, so there is no end to learn about from the log.
            releaseSlot(bot)
            bot.record.launch?.hasEnded = true
            bot.record.launch?.isSettled = true
            throw error
        }
        let isKnown = await wait(timing.startLimit) {
            bot.record.launch?.bot != nil || bot.record.launch?.hasEnded == true || bot.handle == nil
        }
        if let exit = bot.record.lastExit, exit.launchID == launchID, let problem = exit.launchError {
            await wait(timing.startLimit) { bot.handle == nil }
            throw RuntimeError(.launchFailed, problem)
        }
        guard isKnown else {
            throw RuntimeError(
                .launchFailed,
                "bot \(bot.botID) gave no sign of life within \(timing.startLimit); see "
                    + "supervisor.err in its directory"
            )
        }
        bot.passingFailures = 0
    }

    /// Goes on with a running launch: follows its log and watches for readiness.
    func attach(_ bot: Bot, _ handle: LaunchHandle) {
        let botID = bot.botID
        bot.handle = handle
        bot.isStopping = false
        bot.isReady = false
        bot.livenessProblem = nil
        if bot.record.launch?.launchID != handle.launchID {
            bot.record.launch = BotRecord.Launch(launchID: handle.launchID)
        }
        setPhase(bot, .starting, "")
        perform { fleet in await fleet.follow(botID, handle) }
        perform { fleet in await fleet.watchReadiness(botID, handle) }
        if bot.record.launch?.ready != nil { perform { fleet in await fleet.checkHealth(botID, handle) } }
    }

    // MARK: Following

    /// Reads the bot's log for as long as the launch lasts, and decides what follows its end.
    func follow(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID], let backend = try? backend(bot) else { return }
        let ended = Signal()
        let start = ended.ticket
        let written: AsyncStream<Void>
        do {
            written = try notifier.changes(in: try backend.logs(botID: botID))
        } catch {
            logger.error("A bot's log cannot be followed.", metadata: ["bot_id": "\(botID)", "reason": "\(error)"])
            // The end of the launch is still noticed, and everything is read then.
            written = AsyncStream { _ in }
        }
        let wakes = Signal()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await backend.waitUntilEnded(handle)
                ended.wake()
                wakes.wake()
            }
            group.addTask { for await _ in written { wakes.wake() } }
            while !Task.isCancelled {
                let ticket = wakes.ticket
                let hasEnded = ended.ticket != start
                await ingestAll(bot)
                if hasEnded { break }
                guard (try? await wakes.wait(after: ticket)) != nil else { break }
            }
            group.cancelAll()
        }
        while bot.handle == handle, !Task.isCancelled {
            if let other = await backend.adopt(botID: botID) {
                // Another supervisor holds the lock: an earlier agent had started it just before it died.
                return attach(bot, other)
            }
            if await concludeLaunch(bot) { break }
            // Cancelled: the loop ends by its condition.
            try? await clock.sleep(for: timing.journalRetry)
        }
        guard bot.handle == handle, !Task.isCancelled else { return }
        bot.handle = nil
        bot.isReady = false
        releaseSlot(bot)
        changed.wake()
        // An operation that waits for this end decides itself.
        if !busy.contains(botID) { await settle(bot) }
    }

    /// A stretch of log without packets is gone past this far before the place is written down: looking at it again
    /// after a crash costs less than a transaction for every few lines.
    private static let unsavedBytes: UInt64 = 256 << 10

    /// Brings everything the log holds into the journal. Packets and position go together, so each goes in once.
    func ingestAll(_ bot: Bot) async {
        guard let directory = try? logDirectory(bot.botID) else { return }
        // Lines that are no packets cost no more here than a look at their beginning.
        var reader = LogReader(directory: directory, streams: [.packet, .supervisor])
        while !Task.isCancelled {
            do {
                let saved = try await savedPosition(bot, directory)
                let position = max(saved, bot.logPosition ?? 0)
                let batch = reader.read(from: position)
                guard batch.nextOffset != position else { return }
                try await writing(bot) {
                    var record = bot.record
                    let before = record
                    let packets = record.ingest(batch.records, missingBytes: batch.missingBytes, at: batch.nextOffset)
                    let unsavedBytes = batch.nextOffset.clampedSubtracting(saved)
                    if !packets.isEmpty || record != before || unsavedBytes >= Self.unsavedBytes {
                        try await journal.append(
                            packets,
                            bot: bot.botID,
                            logOffset: batch.nextOffset,
                            record: record == before ? nil : try record.encoded()
                        )
                        bot.savedLogPosition = batch.nextOffset
                    }
                    bot.logPosition = batch.nextOffset
                    tell(bot, storageProblem: nil)
                    merge(record, into: bot, before: before)
                }
                if batch.reachedEnd { return }
            } catch {
                logger.error(
                    "Packets cannot be stored; they stay in the bot's log until they can.",
                    metadata: ["bot_id": "\(bot.botID)", "reason": "\(error)"]
                )
                tell(bot, storageProblem: "\(error)")
                // Cancelled: the loop ends by its condition.
                try? await clock.sleep(for: timing.journalRetry)
            }
        }
    }

    private func tell(_ bot: Bot, storageProblem problem: String?) {
        guard bot.storageProblem != problem else { return }
        bot.storageProblem = problem
        changed.wake()
    }

    /// Where the journal says that reading goes on.
    ///
    /// A log can be shorter than what was read of it: the machine lost its power before the end was on the disk, or somebody
    /// removed the files. Who has read that end knows it by its offsets, so the log goes on behind them, unless something
    /// still writes where it was.
    private func savedPosition(_ bot: Bot, _ directory: String) async throws -> UInt64 {
        if let known = bot.savedLogPosition { return known }
        var cursor = try await journal.logCursor(bot.botID)
        let end = LogSegments.endOffset(directory)
        if cursor > end {
            // Readers may be further than the journal by what it has not noted yet.
            let behind = cursor + 2 * Self.unsavedBytes
            if bot.handle == nil, (try? await continueLog(bot, from: behind)) != nil {
                cursor = behind
            } else {
                cursor = end
                try await journal.resetLogCursor(bot.botID, to: end)
            }
        }
        bot.savedLogPosition = cursor
        return cursor
    }

    /// Takes over what the log told; what a command changed meanwhile stays.
    func merge(_ told: BotRecord, into bot: Bot, before: BotRecord) {
        let isSameLaunch = bot.record.launch?.launchID == before.launch?.launchID
        if isSameLaunch { bot.record.launch = told.launch }
        bot.record.lastExit = told.lastExit
        guard told != before else { return }
        changed.wake()
        if isSameLaunch, let handle = bot.handle, told.launch?.ready != before.launch?.ready {
            let botID = bot.botID
            if bot.isReady {
                bot.isReady = false
                setPhase(bot, .starting, "the bot restarted itself", .restartedItself)
                perform { fleet in await fleet.watchReadiness(botID, handle) }
            }
            perform { fleet in await fleet.checkHealth(botID, handle) }
        }
    }
}
