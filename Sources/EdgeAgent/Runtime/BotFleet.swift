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
        /// After a start of the agent, before bots are started again of which the hub may say that they are elsewhere.
        var hubSayLimit = Duration.seconds(5)
        /// The first wait after a start that failed for a reason that passes by itself, and the longest.
        var passingWait: ClosedRange<Duration> = .seconds(2)...(.seconds(60))
    }

    /// A node holds at most this many bots; more is a mistake of whoever places them.
    static let maximumBots = 1_000
    static let workLimit = 16 * maximumBots

    /// Woken whenever a bot's status changed.
    nonisolated let changed = Signal()

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    let backends: RuntimeBackends
    let profiles: [RuntimeProfile]
    let journal: Journal
    let policy: PolicyRegistry
    /// Link tells it what it hears.
    let contact: HubContact
    let backoff: RestartBackoff
    let timing: Timing
    let ports = PortReservation()
    let clock: any Clock<Duration>
    let logger: Logger
    let executor: QueueExecutor
    let notifier: FileChangeNotifier
    let work: AsyncStream<@Sendable () async -> Void>
    let enqueueWork: AsyncStream<@Sendable () async -> Void>.Continuation
    var bots: [String: Bot] = [:]
    var busy: Set<String> = []
    var freeSlots: Int
    var hasRecovered = false
    /// Every bot the journal knows is taken up.
    private var isRecovered = false

    /// One bot as this agent sees it now.
    final class Bot {
        let botID: String
        var record: BotRecord
        var handle: LaunchHandle?
        var phase: WireBotPhase = .stopped
        var reason = ""
        var reasonCode: BotReason?
        var sinceUnixMilliseconds = Journal.wallClock()
        /// We asked the running launch to stop.
        var isStopping = false
        var isReady = false
        /// Why the agent itself ends the running launch, in words that follow "it".
        var livenessProblem: String?
        /// Why what it says cannot be kept just now; the journal's own words.
        var storageProblem: String?
        /// In backoff: when it is started again.
        var nextStartUnixMilliseconds: UInt64 = 0
        var holdsSlot = false
        /// How far the log was read, and how far the journal knows; nil until either is looked up.
        var logPosition: UInt64?
        var savedLogPosition: UInt64?
        /// Somebody wants the bot stopped while what its launch needs is being fetched.
        var isProvisionUnwanted = false
        /// Starts in a row that failed for a reason that passes by itself.
        var passingFailures = 0
        /// Grows with each decision, so that a waiting restart knows it has been overtaken.
        var generation: UInt64 = 0
        /// Somebody writes its record into the journal, and what the record becomes by that is not here yet.
        var isBeingWritten = false
        let written = Signal()

        init(botID: String, record: BotRecord) {
            self.botID = botID
            self.record = record
        }
    }

    /// - Parameters:
    ///   - backends: what the profiles' bots run by; they share the fleet's executor.
    ///   - executor: where files are read.
    ///   - startsAtOnce: how many bots may be starting at the same time; the number of cores by default.
    init(
        backends: RuntimeBackends,
        profiles: [RuntimeProfile],
        journal: Journal,
        executor: QueueExecutor,
        notifier: FileChangeNotifier,
        policy: PolicyRegistry = PolicyRegistry(.standard),
        contact: HubContact = HubContact(),
        backoff: RestartBackoff = RestartBackoff(),
        timing: Timing = Timing(),
        startsAtOnce: Int = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))),
        clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger
    ) {
        self.backends = backends
        self.profiles = profiles
        self.journal = journal
        self.executor = executor
        self.notifier = notifier
        self.policy = policy
        self.contact = contact
        self.backoff = backoff
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
                for notes in backends.notes { group.addTask { await self.passOn(notes) } }
                group.addTask { await self.keepLeases() }
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
            if let handle = await (try? backend(bot))?.adopt(botID: botID) {
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
        await takeUpFound()
        isRecovered = true
        changed.wake()
    }

    /// Returns when it is known which bots there are; what is told or asked before would miss some.
    func waitUntilRecovered() async {
        await wait(nil) { self.isRecovered }
    }

    func resumeStop(_ botID: String) async {
        // A failure is in the status; there is nobody to tell.
        _ = try? await stop(botID, graceMilliseconds: 0)
    }

    /// The bot does not run: takes in how its last launch ended, and starts it again if it should run.
    func resume(_ botID: String) async {
        if bots[botID]?.record.shouldRun == true {
            await contact.waitUntilSpoken(atMost: timing.hubSayLimit, clock: clock)
        }
        await exclusively(botID) {
            guard let bot = bots[botID], bot.handle == nil else { return }
            if bot.record.launch != nil {
                guard await concludeLaunch(bot) else { return }
            }
            if bot.record.isOver {
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
                BotName.problem(botID)
            )
        }
        let profile = try await usableProfile(of: specification)
        let result = await exclusively(botID) {
            await self.attempt { try await self.startExclusively(specification, profile) }
        }
        try result.get()
        return done(botID)
    }

    /// Stops the bot. Done when nothing it started is alive.
    ///
    /// - Parameters:
    ///   - graceMilliseconds: time until SIGKILL, over which the profile's signals are spread; 0 for its own.
    ///   - epoch: no start under a lower one is carried out any more; 0 for a stop that says nothing about that.
    ///   - next: what will be started afterwards; the bot runs on where that would be refused.
    func stop(
        _ botID: String,
        graceMilliseconds: UInt32,
        below epoch: UInt64 = 0,
        before next: WireBotSpecification? = nil
    ) async throws(RuntimeError) -> WireCommandResult {
        if let next { try await requireStartable(next) }
        giveUpProvision(botID)
        let result = await exclusively(botID) {
            await self.attempt {
                let isFenced = await self.fence(botID, below: epoch)
                guard let bot = self.bots[botID] else {
                    if epoch > 0, isFenced { return }
                    throw Self.notFound(botID)
                }
                bot.record.shouldRun = false
                bot.record.clearOutcome()
                bot.generation += 1
                let isSaved = await self.attempt { try await self.save(bot) }
                var sequence = self.stopSequence(bot)
                if graceMilliseconds > 0 {
                    sequence = sequence.spread(over: .milliseconds(clamping: graceMilliseconds))
                }
                // Also where it cannot be noted, as on a full disk: what runs on is worse than what starts again.
                try await self.endLaunch(bot, sequence)
                self.settlePhase(bot)
                try isSaved.get()
            }
        }
        try result.get()
        return done(botID)
    }

    /// Stops the bot and forgets it. A bot that is not here is forgotten already.
    ///
    /// - Parameter epoch: one that was placed here under a higher one stays: the command is older than that; 0 for any.
    func remove(
        _ botID: String,
        keeping kept: BotRemains,
        through epoch: UInt64 = 0
    ) async throws(RuntimeError) -> WireCommandResult {
        if epoch == 0 || bots[botID].map({ $0.record.placementEpoch <= epoch }) ?? true { giveUpProvision(botID) }
        let result = await exclusively(botID) {
            await self.attempt {
                if epoch > 0, let placed = self.bots[botID]?.record.placementEpoch, placed > epoch {
                    throw RuntimeError(
                        .olderEpoch,
                        "bot \(botID) was placed here under epoch \(placed) since; removing what was placed under \(epoch) is refused"
                    )
                }
                // The bot goes on elsewhere under it, or nowhere; a record that is older starts it here no more.
                _ = await self.fence(botID, below: epoch)
                guard let bot = self.bots[botID] else { return try await self.removeFiles(botID, kept) }
                bot.record.shouldRun = false
                bot.generation += 1
                // Where it cannot be saved it is removed all the same, which may make the room.
                _ = await self.attempt { try await self.save(bot) }
                try await self.endLaunch(bot, self.stopSequence(bot))
                try await self.backend(bot).remove(botID: botID, keeping: kept)
                try await self.journal.removeBot(botID, keepsLog: kept.contains(.log))
                self.bots[botID] = nil
                self.changed.wake()
            }
        }
        try result.get()
        return done(botID)
    }

    /// What is left on the disk of a bot that is not held here: a copied workspace that never ran, or one that was kept.
    private func removeFiles(_ botID: String, _ kept: BotRemains) async throws {
        guard !kept.contains(.workspace), BotDirectory.isValid(botID), let backend = backends[.native] else { return }
        guard await backend.adopt(botID: botID) == nil else {
            throw RuntimeError(
                .stopFailed,
                "something runs bot \(botID), and this agent does not know what; end it, then remove the bot again"
            )
        }
        try await backend.remove(botID: botID, keeping: kept)
    }

    /// Hands a message to the bot, once: see `MessageDelivery`.
    func deliver(_ message: WireDeliverMessage) async -> WireCommandResult {
        let delivery = MessageDelivery(message: message, fleet: self, journal: journal, timing: timing, clock: clock)
        let outcome = await delivery.run()
        var result = done(message.botID)
        // Whichever launch runs by now, this is the one that has the message.
        if let known = try? await journal.delivery(bot: message.botID, messageID: message.messageID) {
            result.deliveredLaunchID = known.launchID
            result.deliveredLogOffset = known.logOffset
        }
        // An unknown profile: the bot is still the one it was.
        if let bot = bots[message.botID], let limit = (try? effectiveProfile(bot))?.turnLimit {
            result.turnLimitMs = UInt64(clamping: limit.wholeMilliseconds)
        }
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

    // MARK: Small things

    /// The phase of a bot that does not run.
    func settlePhase(_ bot: Bot) {
        guard bot.handle == nil else { return }
        bot.isStopping = false
        if let failure = bot.record.failure {
            setPhase(bot, .failed, failure, bot.record.failureCode ?? .launchFailed)
        } else if let completion = bot.record.completion {
            setPhase(bot, .stopped, completion, .completed)
        } else if !bot.record.shouldRun, let survivors = bot.record.survivors {
            setPhase(bot, .failed, survivors, .notEnded)
        } else if !bot.record.shouldRun {
            setPhase(bot, .stopped, "")
        }
    }

    func setPhase(_ bot: Bot, _ phase: WireBotPhase, _ reason: String, _ code: BotReason? = nil) {
        guard bot.phase != phase || bot.reason != reason || bot.reasonCode != code else { return }
        if bot.phase != phase {
            bot.sinceUnixMilliseconds = Journal.wallClock()
            logger.info(
                "A bot's phase changed.",
                metadata: ["bot_id": "\(bot.botID)", "phase": "\(phase)", "reason": "\(reason)"]
            )
        }
        bot.phase = phase
        bot.reason = reason
        bot.reasonCode = code
        changed.wake()
    }

    func done(_ botID: String) -> WireCommandResult {
        var result = WireCommandResult()
        result.outcome = .done
        if let bot = bots[botID] { result.botStatus = status(bot) }
        return result
    }

    func profile(_ name: String) throws(RuntimeError) -> RuntimeProfile {
        guard let profile = profiles.first(where: { $0.name == name }) else {
            let known = profiles.map(\.name).joined(separator: ", ")
            throw RuntimeError(.profileNotFound, "this node has no runtime profile \"\(name)\"; it has: \(known)")
        }
        return profile
    }

    /// What runs the bot, also where its profile is gone from the configuration.
    func backend(_ bot: Bot) throws(RuntimeError) -> any EdgeRuntimeBackend {
        try backends.require(bot.record.backend ?? .native)
    }

    func logDirectory(_ botID: String) throws(RuntimeError) -> String {
        guard let bot = bots[botID] else { throw Self.notFound(botID) }
        return try backend(bot).logs(botID: botID)
    }

    /// The bot's profile with what its placement adds.
    func effectiveProfile(_ bot: Bot) throws(RuntimeError) -> RuntimeProfile {
        let profile = try profile(bot.record.profile)
        return bot.record.overrides?.applied(to: profile) ?? profile
    }

    func stopSequence(_ bot: Bot) -> StopSequence {
        (try? profile(bot.record.profile))?.stop ?? StopSequence()
    }

    func releaseSlot(_ bot: Bot) {
        guard bot.holdsSlot else { return }
        bot.holdsSlot = false
        freeSlots += 1
        changed.wake()
    }

    static func notFound(_ botID: String) -> RuntimeError {
        RuntimeError(.botNotFound, "this node holds no bot \(botID)")
    }

    func attempt(_ body: () async throws -> Void) async -> Result<Void, RuntimeError> {
        do {
            return .success(try await body())
        } catch {
            return .failure(.wrapping(error))
        }
    }

    /// Carries out one operation on a bot at a time. Where the wait for its turn is cancelled it is not carried out
    /// out of turn: cancellation only happens when the agent stops, and then every operation ends early.
    func exclusively<Value: Sendable>(_ botID: String, _ body: () async -> Value) async -> Value {
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

    func waitIgnoringCancellation(after ticket: UInt64) async {
        if (try? await changed.wait(after: ticket)) == nil { await Task.yield() }
    }

    /// Waits until the condition holds, looking again after each change.
    ///
    /// - Returns: whether it holds; false after `limit`, or when cancelled.
    @discardableResult
    func wait(_ limit: Duration?, until condition: () -> Bool) async -> Bool {
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
    func perform(_ job: @escaping @Sendable (BotFleet) async -> Void) {
        if case .dropped = enqueueWork.yield({ await job(self) }) {
            logger.error("The agent has too much to do at once; a bot is not looked after.")
        }
    }
}
