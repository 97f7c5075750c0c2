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
        let hasChanged = try await backend.prepare(botID: botID, configuration: Array(specification.configJson))
        let bot = bots[botID] ?? Bot(botID: botID, record: BotRecord())
        bots[botID] = bot
        let isSame = !hasChanged && bot.record.name == specification.name && bot.record.profile == profile.name
        bot.record.name = specification.name
        bot.record.profile = profile.name
        bot.record.placementEpoch = specification.placementEpoch
        bot.record.shouldRun = true
        bot.record.failure = nil
        bot.generation += 1
        try await save(bot)
        if bot.handle != nil {
            if isSame, !bot.isStopping { return }
            try await endLaunch(bot, grace: profile.grace)
        }
        bot.record.quickFailures = 0
        try await launch(bot, profile)
    }

    /// Starts one launch and waits until its log says that it runs.
    func launch(_ bot: Bot, _ profile: RuntimeProfile) async throws {
        setPhase(bot, .starting, "waiting for other bots to finish starting")
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
            bot.record.chatPort = try await backend.reservePort(preferred: bot.record.chatPort, avoiding: taken)
            bot.record.launch = BotRecord.Launch(launchID: launchID)
            try await save(bot)
            setPhase(bot, .starting, "")
            // A log that is shorter than what was read of it is another one: someone removed the files.
            let end = LogSegments.endOffset(try backend.logDirectory(botID: bot.botID))
            if try await journal.logCursor(bot.botID) > end { try await journal.resetLogCursor(bot.botID, to: end) }
            let handle = try await backend.start(
                LaunchRequest(
                    botID: bot.botID,
                    name: bot.record.name,
                    launchID: launchID,
                    profile: profile,
                    chatPort: bot.record.chatPort
                )
            )
            attach(bot, handle)
        } catch {
            // No process came to be, so there is no end to learn about from the log.
            releaseSlot(bot)
            bot.record.launch?.hasEnded = true
            bot.record.launch?.isSettled = true
            bot.record.failure = "\(RuntimeError.wrapping(error).message)"
            try? await save(bot)
            settlePhase(bot)
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
    }

    /// Goes on with a running launch: follows its log and watches for readiness.
    func attach(_ bot: Bot, _ handle: LaunchHandle) {
        let botID = bot.botID
        bot.handle = handle
        bot.isStopping = false
        bot.isReady = false
        if bot.record.launch?.launchID != handle.launchID {
            bot.record.launch = BotRecord.Launch(launchID: handle.launchID)
        }
        setPhase(bot, .starting, "")
        perform { fleet in await fleet.follow(botID, handle) }
        perform { fleet in await fleet.watchReadiness(botID, handle) }
        if bot.record.launch?.ready != nil { perform { fleet in await fleet.checkHealth(botID, handle) } }
    }

    func watchReadiness(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID], let profile = try? profile(bot.record.profile) else { return }
        let limit = profile.speaksPackets ? profile.readyTimeout : profile.settleTime
        let isOver = await wait(limit) { bot.handle != handle || bot.isReady }
        guard !isOver, !Task.isCancelled, bot.handle == handle else { return }
        releaseSlot(bot)
        guard !bot.isStopping else { return }
        if profile.speaksPackets {
            let missing =
                bot.record.launch?.ready == nil
                ? "it wrote no ready packet"
                : "its /healthz does not "
                    + "answer 200"
            setPhase(bot, .starting, "not ready after \(limit): \(missing); see its log")
        } else {
            bot.isReady = true
            setPhase(bot, .ready, "")
        }
    }

    /// The bot says that it is ready: believe it once its chat endpoint answers.
    func checkHealth(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID] else { return }
        while bot.handle == handle, !bot.isReady, !bot.isStopping, !Task.isCancelled {
            if await backend.isHealthy(handle, chatURL: bot.record.launch?.ready?.chatURL) {
                guard bot.handle == handle, !bot.isStopping else { return }
                bot.isReady = true
                releaseSlot(bot)
                setPhase(bot, .ready, "")
                return
            }
            // Cancelled: the loop ends by its condition.
            try? await clock.sleep(for: timing.healthInterval)
        }
    }

    // MARK: Following

    /// Reads the bot's log for as long as the launch lasts, and decides what follows its end.
    func follow(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID] else { return }
        let ended = Signal()
        let start = ended.ticket
        let written: AsyncStream<Void>
        do {
            written = try notifier.changes(in: try backend.logDirectory(botID: botID))
        } catch {
            logger.error("A bot's log cannot be followed.", metadata: ["bot_id": "\(botID)", "reason": "\(error)"])
            // The end of the launch is still noticed, and everything is read then.
            written = AsyncStream { _ in }
        }
        let wakes = Signal()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [backend] in
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
        guard !Task.isCancelled, bot.handle == handle else { return }
        if let other = await backend.adopt(botID: botID) {
            // Another supervisor holds the lock: an earlier agent had started it just before it died.
            return attach(bot, other)
        }
        await concludeLaunch(bot)
        bot.handle = nil
        bot.isReady = false
        releaseSlot(bot)
        changed.wake()
        // An operation that waits for this end decides itself.
        if !busy.contains(botID) { await settle(bot) }
    }

    /// Brings everything the log holds into the journal. Packets and position go together, so each goes in once.
    func ingestAll(_ bot: Bot) async {
        guard let directory = try? backend.logDirectory(botID: bot.botID) else { return }
        var reader = LogReader(directory: directory)
        while !Task.isCancelled {
            do {
                let cursor = try await journal.logCursor(bot.botID)
                let batch = reader.read(from: cursor)
                guard batch.nextOffset != cursor else { return }
                var record = bot.record
                let before = record
                let packets = record.ingest(batch.records, missingBytes: batch.missingBytes, at: batch.nextOffset)
                try await journal.append(
                    packets,
                    bot: bot.botID,
                    logOffset: batch.nextOffset,
                    record: record == before ? nil : try record.encoded()
                )
                merge(record, into: bot, before: before)
                if batch.reachedEnd { return }
            } catch {
                logger.error(
                    "Packets cannot be stored; they stay in the bot's log until they can.",
                    metadata: ["bot_id": "\(bot.botID)", "reason": "\(error)"]
                )
                // Cancelled: the loop ends by its condition.
                try? await clock.sleep(for: timing.journalRetry)
            }
        }
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
                setPhase(bot, .starting, "the bot restarted itself")
            }
            perform { fleet in await fleet.checkHealth(botID, handle) }
        }
    }

    // MARK: Ending

    /// Stops the running launch, if there is one, and waits until it is over.
    func endLaunch(_ bot: Bot, grace: Duration) async throws {
        guard let handle = bot.handle else { return }
        bot.isStopping = true
        setPhase(bot, .stopping, "")
        await backend.stop(handle, grace: grace)
        if await wait(grace + timing.stopReserve, until: { bot.handle == nil }) { return }
        logger.warning("A supervisor did not stop its bot in time and is killed.", metadata: ["bot_id": "\(bot.botID)"])
        await backend.kill(handle)
        guard await wait(timing.stopReserve, until: { bot.handle == nil }) else {
            throw RuntimeError(
                .stopFailed,
                "bot \(bot.botID) could not be stopped; process "
                    + "\(handle.supervisor.pid) does not end"
            )
        }
    }

    /// Makes sure that the end of the last launch is known, also where its supervisor was killed.
    func concludeLaunch(_ bot: Bot) async {
        await ingestAll(bot)
        guard let launch = bot.record.launch, !launch.hasEnded else { return }
        await backend.finishLost(botID: bot.botID, launchID: launch.launchID)
        await ingestAll(bot)
        bot.record.launch?.hasEnded = true
    }

    /// The launch is over and nobody waits for it: restart, give up, or leave it be.
    func settle(_ bot: Bot) async {
        guard bot.record.shouldRun, bot.record.failure == nil, bot.record.launch?.isSettled == false else {
            return settlePhase(bot)
        }
        bot.record.launch?.isSettled = true
        var delay: Duration?
        if let failure = permanentFailure(bot.record) {
            bot.record.failure = failure
        } else {
            let lifetime = Duration.milliseconds(Int64(clamping: bot.record.lastExit?.lifetimeMilliseconds ?? 0))
            switch policy.decide(quickFailures: &bot.record.quickFailures, lifetime: lifetime) {
            case .restart(let after): delay = after
            case .giveUp:
                bot.record.failure =
                    "crash loop: it ended \(bot.record.quickFailures) times in a row; last time it "
                    + (bot.record.lastExit.map(Self.describe) ?? "ended")
            }
        }
        bot.generation += 1
        let generation = bot.generation
        // What cannot be saved now is decided again at the next start of the agent.
        do {
            try await save(bot)
        } catch {
            logger.error("A bot's state cannot be saved.", metadata: ["bot_id": "\(bot.botID)", "reason": "\(error)"])
        }
        guard let delay else { return settlePhase(bot) }
        let reason = bot.record.lastExit.map(Self.describe) ?? "it ended"
        setPhase(bot, .backoff, "\(reason); starting again in \(delay)")
        let botID = bot.botID
        perform { fleet in await fleet.restart(botID, generation, after: delay) }
    }

    func restart(_ botID: String, _ generation: UInt64, after delay: Duration) async {
        guard (try? await clock.sleep(for: delay)) != nil else { return }
        await exclusively(botID) {
            guard let bot = bots[botID], bot.generation == generation, bot.handle == nil else { return }
            bot.record.restartCount += 1
            await relaunch(bot)
        }
    }

    /// Starts again without anybody having asked just now.
    func relaunch(_ bot: Bot) async {
        do {
            let profile = try profile(bot.record.profile)
            try await backend.prepare(botID: bot.botID, configuration: [])
            try await launch(bot, profile)
        } catch {
            guard !Task.isCancelled else { return }
            bot.record.failure = RuntimeError.wrapping(error).message
            // The status tells it either way.
            try? await save(bot)
            settlePhase(bot)
        }
    }

    func permanentFailure(_ record: BotRecord) -> String? {
        guard let exit = record.lastExit, exit.launchID == record.launch?.launchID else { return nil }
        if let fatal = record.launch?.fatal { return "the bot reported a fatal problem: \(fatal)" }
        if let problem = exit.launchError { return problem }
        if exit.signal == 0, exit.code == RestartPolicy.configurationExitCode {
            return "its set-up is wrong: " + Self.describe(exit)
        }
        return nil
    }

    static func describe(_ exit: BotRecord.Exit) -> String {
        let lines = exit.lastStderr.split(separator: "\n").suffix(5).joined(separator: " | ")
        return lines.isEmpty ? exit.summary : "\(exit.summary), last on stderr: \(lines)"
    }
}
