import Dispatch
import FoundationEssentials
import Glibc
import Logging
import WireFormat

/// The one owner of this node's bots: what should run, what does run, and what follows when the two differ.
///
/// Every wish is written into the journal before it is acted on, and everything that happened is learned from the
/// bots' logs, where the supervisors write it. So an agent that was killed at any point goes on where it stopped:
/// `recover()` adopts what still runs, takes in what ended meanwhile, and starts again what should run.
///
/// Operations on one bot are carried out one after the other. Between any two steps of one the bot may end by itself;
/// that is told by the task that follows its log, and decided in `settle`.
actor BotFleet {
    /// Waits and limits, injected so that tests need not wait.
    struct Timing: Sendable {
        /// A launch has to show up in its log within this time.
        var startLimit = Duration.seconds(15)
        /// Beyond grace: the supervisor kills, collects and writes down.
        var stopReserve = Duration.seconds(15)
        /// Between two looks at /healthz of a bot that said it is ready.
        var healthInterval = Duration.milliseconds(250)
        /// A message for a bot that is not ready yet is held this long.
        var deliveryLimit = Duration.seconds(30)
        /// One try to hand over a message.
        var deliveryAttempt = Duration.seconds(10)
        var deliveryPause = Duration.milliseconds(250)
        /// After the journal refused to store packets; they stay in the log meanwhile.
        var journalRetry = Duration.seconds(2)
    }

    /// A node holds at most this many bots; more is a mistake of whoever places them.
    static let maximumBots = 1_000
    private static let workLimit = 16 * maximumBots

    /// Woken whenever a bot's status changed.
    nonisolated let changed = Signal()

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private let backend: any EdgeRuntimeBackend
    private let profiles: [RuntimeProfile]
    private let journal: Journal
    private let policy: RestartPolicy
    private let timing: Timing
    private let clock: any Clock<Duration>
    private let logger: Logger
    private let executor: QueueExecutor
    private let notifier: FileChangeNotifier
    private let work: AsyncStream<@Sendable () async -> Void>
    private let enqueueWork: AsyncStream<@Sendable () async -> Void>.Continuation
    private var bots: [String: Bot] = [:]
    private var busy: Set<String> = []
    private var freeSlots: Int
    private var hasRecovered = false

    /// One bot as this agent sees it now.
    private final class Bot {
        let botID: String
        var record: BotRecord
        var handle: LaunchHandle?
        var phase: WireBotPhase = .stopped
        var reason = ""
        var sinceUnixMilliseconds = Journal.wallClock()
        /// We asked the running launch to stop.
        var isStopping = false
        var isReady = false
        var holdsSlot = false
        /// Grows with each decision, so that a waiting restart knows it has been overtaken.
        var generation: UInt64 = 0

        init(botID: String, record: BotRecord) {
            self.botID = botID
            self.record = record
        }
    }

    /// - Parameters:
    ///   - executor: where files are read; also the backend's.
    ///   - startsAtOnce: how many bots may be starting at the same time; the number of cores by default.
    init(
        backend: any EdgeRuntimeBackend,
        profiles: [RuntimeProfile],
        journal: Journal,
        executor: QueueExecutor,
        notifier: FileChangeNotifier,
        policy: RestartPolicy = RestartPolicy(),
        timing: Timing = Timing(),
        startsAtOnce: Int = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))),
        clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger
    ) {
        self.backend = backend
        self.profiles = profiles
        self.journal = journal
        self.executor = executor
        self.notifier = notifier
        self.policy = policy
        self.timing = timing
        self.clock = clock
        self.logger = logger
        freeSlots = startsAtOnce
        (work, enqueueWork) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.workLimit))
    }

    // MARK: Life of the agent

    /// Recovers if that was not done yet, then looks after the bots until cancelled. The bots go on then.
    func run() async throws {
        try await recover()
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                for await job in work { group.addTask { await job() } }
                group.cancelAll()
            }
        } onCancel: {
            enqueueWork.finish()
        }
    }

    /// Takes up every bot the journal knows. Call once, before any command; `run()` does what follows from it.
    ///
    /// - Throws: where the journal cannot be read.
    func recover() async throws {
        guard !hasRecovered else { return }
        hasRecovered = true
        for (botID, bytes) in try await journal.bots() {
            guard let record = BotRecord(bytes) else {
                logger.error("A bot's record is damaged; start the bot again.", metadata: ["bot_id": "\(botID)"])
                continue
            }
            let bot = Bot(botID: botID, record: record)
            bots[botID] = bot
            if let handle = await backend.adopt(botID: botID) {
                logger.info(
                    "Adopted a running bot.",
                    metadata: ["bot_id": "\(botID)", "launch_id": "\(handle.launchID)"]
                )
                attach(bot, handle)
                if !record.shouldRun { perform { fleet in await fleet.resumeStop(botID) } }
            } else {
                perform { fleet in await fleet.resume(botID) }
            }
        }
        changed.wake()
    }

    private func resumeStop(_ botID: String) async {
        // A failure is in the status; there is nobody to tell.
        _ = try? await stop(botID, graceMilliseconds: 0)
    }

    /// The bot does not run: takes in how its last launch ended, and starts it again if it should run.
    private func resume(_ botID: String) async {
        await exclusively(botID) {
            guard let bot = bots[botID], bot.handle == nil else { return }
            if bot.record.launch != nil { await concludeLaunch(bot) }
            if bot.record.failure != nil {
                settlePhase(bot)
            } else if bot.record.shouldRun, bot.record.launch?.isSettled ?? true {
                await relaunch(bot)
            } else {
                await settle(bot)
            }
        }
    }

    // MARK: Commands

    /// Makes the bot exist and run. Done once its process has started.
    func start(_ specification: WireBotSpecification) async throws(RuntimeError) -> WireCommandResult {
        let botID = specification.botID
        guard BotDirectory.isValid(botID) else {
            throw RuntimeError(
                .invalidBotID,
                "a bot id is 1 to 64 of A-Z a-z 0-9 _ -; this is none: "
                    + "\(botID.prefix(80))"
            )
        }
        let profile = try profile(specification.runtimeProfile)
        let answer = await backend.probe(profile)
        guard answer.usable else { throw RuntimeError(.profileNotUsable, answer.reason) }
        let result = await exclusively(botID) {
            await self.attempt { try await self.startExclusively(specification, profile) }
        }
        try result.get()
        return done(botID)
    }

    /// Stops the bot. Done when nothing it started is alive.
    ///
    /// - Parameter graceMilliseconds: 0 for the profile's own.
    func stop(_ botID: String, graceMilliseconds: UInt32) async throws(RuntimeError) -> WireCommandResult {
        let result = await exclusively(botID) {
            await self.attempt {
                guard let bot = self.bots[botID] else { throw Self.notFound(botID) }
                bot.record.shouldRun = false
                bot.record.failure = nil
                bot.generation += 1
                try await self.save(bot)
                let grace = graceMilliseconds > 0 ? Duration.milliseconds(Int64(graceMilliseconds)) : self.grace(bot)
                try await self.endLaunch(bot, grace: grace)
                self.settlePhase(bot)
            }
        }
        try result.get()
        return done(botID)
    }

    /// Stops the bot and forgets it. A bot that is not here is forgotten already.
    func remove(_ botID: String, keepWorkspace: Bool) async throws(RuntimeError) -> WireCommandResult {
        let result = await exclusively(botID) {
            await self.attempt {
                guard let bot = self.bots[botID] else { return }
                bot.record.shouldRun = false
                bot.generation += 1
                try await self.save(bot)
                try await self.endLaunch(bot, grace: self.grace(bot))
                try await self.backend.remove(botID: botID, keepWorkspace: keepWorkspace)
                try await self.journal.removeBot(botID)
                self.bots[botID] = nil
                self.changed.wake()
            }
        }
        try result.get()
        return done(botID)
    }

    /// Hands a message to the bot, once: see `MessageDelivery`.
    func deliver(_ message: WireDeliverMessage) async -> WireCommandResult {
        let delivery = MessageDelivery(message: message, fleet: self, journal: journal, timing: timing, clock: clock)
        let outcome = await delivery.run()
        var result = done(message.botID)
        switch outcome {
        case .done: break
        case .failed(let error):
            result.outcome = .failed
            result.errorCode = error.code
            result.message = error.message
        case .unknown(let reason):
            result.outcome = .unknown
            result.errorCode = "delivery_unknown"
            result.message = reason
        }
        return result
    }

    // MARK: Questions

    /// Every bot this node holds.
    func statuses() -> [WireBotStatus] {
        bots.values.map(status).sorted { $0.botID < $1.botID }
    }

    /// What every running bot uses, over its whole process tree.
    func usage() async -> [WireBotUsage] {
        var usages: [WireBotUsage] = []
        for botID in bots.keys.sorted() {
            if let usage = await backend.usage(botID: botID) { usages.append(usage) }
        }
        return usages
    }

    /// The supervisors of the running bots, by bot: whatever a bot starts stays below its supervisor.
    func supervisors() -> [String: ProcessIdentity] {
        bots.compactMapValues { $0.handle?.supervisor }
    }

    /// Every profile of the node, and whether it can be used.
    func runtimeProfiles() async -> [WireRuntimeProfile] {
        var answers: [WireRuntimeProfile] = []
        for profile in profiles { answers.append(await backend.probe(profile)) }
        return answers
    }

    /// The lines a request asks for, pulled one chunk at a time.
    func logs(_ request: WireLogRequest) throws(RuntimeError) -> BotLog {
        guard bots[request.botID] != nil else { throw Self.notFound(request.botID) }
        let directory = try backend.logDirectory(botID: request.botID)
        return BotLog(directory: directory, request: request, notifier: notifier, executor: executor)
    }

    // MARK: Starting

    private func startExclusively(_ specification: WireBotSpecification, _ profile: RuntimeProfile) async throws {
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
    private func launch(_ bot: Bot, _ profile: RuntimeProfile) async throws {
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
    private func attach(_ bot: Bot, _ handle: LaunchHandle) {
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

    private func watchReadiness(_ botID: String, _ handle: LaunchHandle) async {
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
    private func checkHealth(_ botID: String, _ handle: LaunchHandle) async {
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
    private func follow(_ botID: String, _ handle: LaunchHandle) async {
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
    private func ingestAll(_ bot: Bot) async {
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
    private func merge(_ told: BotRecord, into bot: Bot, before: BotRecord) {
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
    private func endLaunch(_ bot: Bot, grace: Duration) async throws {
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
    private func concludeLaunch(_ bot: Bot) async {
        await ingestAll(bot)
        guard let launch = bot.record.launch, !launch.hasEnded else { return }
        await backend.finishLost(botID: bot.botID, launchID: launch.launchID)
        await ingestAll(bot)
        bot.record.launch?.hasEnded = true
    }

    /// The launch is over and nobody waits for it: restart, give up, or leave it be.
    private func settle(_ bot: Bot) async {
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

    private func restart(_ botID: String, _ generation: UInt64, after delay: Duration) async {
        guard (try? await clock.sleep(for: delay)) != nil else { return }
        await exclusively(botID) {
            guard let bot = bots[botID], bot.generation == generation, bot.handle == nil else { return }
            bot.record.restartCount += 1
            await relaunch(bot)
        }
    }

    /// Starts again without anybody having asked just now.
    private func relaunch(_ bot: Bot) async {
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

    private func permanentFailure(_ record: BotRecord) -> String? {
        guard let exit = record.lastExit, exit.launchID == record.launch?.launchID else { return nil }
        if let fatal = record.launch?.fatal { return "the bot reported a fatal problem: \(fatal)" }
        if let problem = exit.launchError { return problem }
        if exit.signal == 0, exit.code == RestartPolicy.configurationExitCode {
            return "its set-up is wrong: " + Self.describe(exit)
        }
        return nil
    }

    private static func describe(_ exit: BotRecord.Exit) -> String {
        let lines = exit.lastStderr.split(separator: "\n").suffix(5).joined(separator: " | ")
        return lines.isEmpty ? exit.summary : "\(exit.summary), last on stderr: \(lines)"
    }

    // MARK: Small things

    /// The phase of a bot that does not run.
    private func settlePhase(_ bot: Bot) {
        guard bot.handle == nil else { return }
        bot.isStopping = false
        if let failure = bot.record.failure {
            setPhase(bot, .failed, failure)
        } else if !bot.record.shouldRun {
            setPhase(bot, .stopped, "")
        }
    }

    private func setPhase(_ bot: Bot, _ phase: WireBotPhase, _ reason: String) {
        guard bot.phase != phase || bot.reason != reason else { return }
        if bot.phase != phase {
            bot.sinceUnixMilliseconds = Journal.wallClock()
            logger.info(
                "A bot's phase changed.",
                metadata: ["bot_id": "\(bot.botID)", "phase": "\(phase)", "reason": "\(reason)"]
            )
        }
        bot.phase = phase
        bot.reason = reason
        changed.wake()
    }

    private func status(_ bot: Bot) -> WireBotStatus {
        var status = WireBotStatus()
        status.botID = bot.botID
        status.phase = bot.phase
        status.reason = bot.reason
        status.sinceUnixMs = bot.sinceUnixMilliseconds
        status.launchID = bot.record.launch?.launchID ?? ""
        status.pid = bot.handle == nil ? 0 : Int64(bot.record.launch?.bot?.pid ?? 0)
        status.placementEpoch = bot.record.placementEpoch
        status.restartCount = bot.record.restartCount
        status.runtimeProfile = bot.record.profile
        if let exit = bot.record.lastExit {
            status.lastExit.code = exit.code
            status.lastExit.signal = exit.signal
            status.lastExit.atUnixMs = exit.atUnixMilliseconds
            status.lastExit.lastStderr = exit.lastStderr
            status.lastExit.requested = exit.wasRequested
        }
        return status
    }

    private func done(_ botID: String) -> WireCommandResult {
        var result = WireCommandResult()
        result.outcome = .done
        if let bot = bots[botID] { result.botStatus = status(bot) }
        return result
    }

    private func save(_ bot: Bot) async throws {
        try await journal.saveBot(
            bot.botID,
            placementEpoch: bot.record.placementEpoch,
            record: try bot.record.encoded()
        )
    }

    private func profile(_ name: String) throws(RuntimeError) -> RuntimeProfile {
        guard let profile = profiles.first(where: { $0.name == name }) else {
            let known = profiles.map(\.name).joined(separator: ", ")
            throw RuntimeError(.profileNotFound, "this node has no runtime profile \"\(name)\"; it has: \(known)")
        }
        return profile
    }

    private func grace(_ bot: Bot) -> Duration {
        (try? profile(bot.record.profile))?.grace ?? .seconds(10)
    }

    private func releaseSlot(_ bot: Bot) {
        guard bot.holdsSlot else { return }
        bot.holdsSlot = false
        freeSlots += 1
        changed.wake()
    }

    private static func notFound(_ botID: String) -> RuntimeError {
        RuntimeError(.botNotFound, "this node holds no bot \(botID)")
    }

    private func attempt(_ body: () async throws -> Void) async -> Result<Void, RuntimeError> {
        do {
            return .success(try await body())
        } catch {
            return .failure(.wrapping(error))
        }
    }

    /// Carries out one operation on a bot at a time. Where the wait for its turn is cancelled it is not carried out
    /// out of turn: cancellation only happens when the agent stops, and then every operation ends early.
    private func exclusively<Value: Sendable>(_ botID: String, _ body: () async -> Value) async -> Value {
        while !busy.insert(botID).inserted {
            let ticket = changed.ticket
            if busy.contains(botID) { await waitIgnoringCancellation(after: ticket) }
        }
        defer {
            busy.remove(botID)
            changed.wake()
        }
        let value = await body()
        // A launch that ended during the operation was left to it; now nobody waits for it any longer.
        if let bot = bots[botID], bot.handle == nil, bot.record.launch?.hasEnded == true { await settle(bot) }
        return value
    }

    private func waitIgnoringCancellation(after ticket: UInt64) async {
        if (try? await changed.wait(after: ticket)) == nil { await Task.yield() }
    }

    /// Waits until the condition holds, looking again after each change.
    ///
    /// - Returns: whether it holds; false after `limit`, or when cancelled.
    @discardableResult
    private func wait(_ limit: Duration?, until condition: () -> Bool) async -> Bool {
        if condition() { return true }
        let expired = Signal()
        let start = expired.ticket
        return await withTaskGroup(of: Void.self) { group in
            if let limit {
                group.addTask { [clock, changed] in
                    guard (try? await clock.sleep(for: limit)) != nil else { return }
                    expired.wake()
                    changed.wake()
                }
            }
            defer { group.cancelAll() }
            while true {
                let ticket = changed.ticket
                if condition() { return true }
                if expired.ticket != start { return false }
                guard (try? await changed.wait(after: ticket)) != nil else { return false }
            }
        }
    }

    /// Has `run()` carry out something that belongs to no command.
    private func perform(_ job: @escaping @Sendable (BotFleet) async -> Void) {
        if case .dropped = enqueueWork.yield({ await job(self) }) {
            logger.error("The agent has too much to do at once; a bot is not looked after.")
        }
    }
}

// MARK: - For deliveries

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
        guard bot.record.shouldRun, bot.record.failure == nil else {
            throw RuntimeError(.botNotRunning, "bot \(botID) does not run; start it first")
        }
        return nil
    }

    func post(_ recipient: Recipient, body: [UInt8], timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
        try await backend.deliver(recipient.handle, url: recipient.chatURL, body: body, timeout: timeout)
    }

    func logEnd(_ botID: String) throws(RuntimeError) -> UInt64 {
        LogSegments.endOffset(try backend.logDirectory(botID: botID))
    }

    /// Whether the bot's log holds a packet with this message id from `offset` on.
    func logMentions(_ botID: String, messageID: String, from offset: UInt64) throws(RuntimeError) -> Bool {
        var reader = LogReader(directory: try backend.logDirectory(botID: botID))
        var position = offset
        while true {
            let batch = reader.read(from: position)
            let isFound = batch.records.contains {
                $0.stream == .packet && PacketFields($0.text)?.messageID == messageID
            }
            if isFound { return true }
            if batch.reachedEnd || batch.nextOffset == position { return false }
            position = batch.nextOffset
        }
    }
}
