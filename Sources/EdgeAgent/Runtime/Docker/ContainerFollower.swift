import Glibc
import WireFormat

/// Looks after one launch in a container, from its start or its adoption to its end: brings what it prints into the bot's
/// log, carries out a stop, and writes down how it ended.
///
/// ```
/// inspect ──runs──► announce ─► copy the log while it grows ──────┐
///    ▲───────────── the log's stream, or the container, has ended ◄─┘
///    └──over──► copy the rest ─► exit status into the log ─► remove the container
/// ```
/// While the engine is away it waits and tries again: the container may run on, and nobody can know.
actor ContainerFollower {
    /// Between two tries to reach the engine.
    private static let retry: ClosedRange<Duration> = .milliseconds(200)...(.seconds(10))
    /// Between SIGKILL and the next one.
    private static let killAgain = Duration.seconds(2)
    /// Between two looks at the log of a container that runs and whose log's stream ends at once.
    private static let look: ClosedRange<Duration> = .milliseconds(20)...(.seconds(10))
    /// A stream that others hold open, as who looks at the log by the engine does, gives the last lines of a container that has ended
    /// within this time.
    private static let lastLines = Duration.seconds(1)

    nonisolated let handle: LaunchHandle
    private let engine: EngineClient
    private let directory: BotDirectory
    private let record: ContainerRecord
    private let limits: [LimitInForce]
    private let isolation: [IsolationInForce]
    private let notes: LaunchNotes
    private let executor: QueueExecutor
    private var output: ContainerOutput?
    private let ended = Signal()
    private(set) var isOver = false
    private var isStopRequested: Bool
    private var wasKilled = false
    private var process: ProcessIdentity?
    private var work: Task<Void, Never>?
    private var stopping: Task<Void, Never>?

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - lock: of the bot's directory; the follower closes it.
    ///   - limits, isolation: for the launch's first record.
    init(
        engine: EngineClient,
        directory: BotDirectory,
        plan: LaunchPlan,
        record: ContainerRecord,
        lock: Int32,
        limits: [LimitInForce],
        isolation: [IsolationInForce],
        notes: LaunchNotes,
        executor: QueueExecutor
    ) {
        self.engine = engine
        self.directory = directory
        self.record = record
        self.limits = limits
        self.isolation = isolation
        self.notes = notes
        self.executor = executor
        handle = LaunchHandle(
            botID: directory.botID,
            launchID: record.launchID,
            carrier: .container(id: record.reference)
        )
        output = ContainerOutput(directory: directory, plan: plan, logOffset: record.logOffset, lock: lock)
        isStopRequested = access(directory.stopRequest, F_OK) == 0
    }

    /// Begins, and goes on until the launch is over.
    func begin() {
        guard work == nil, !isOver else { return }
        // Not a child of the call that starts a launch: the launch outlives that call. It ends with the launch, or by
        // `leave`.
        work = Task { await self.follow() }
    }

    /// Lets go of the launch, as if the agent had died.
    func leave() async {
        work?.cancel()
        stopping?.cancel()
        await work?.value
        output = nil
        isOver = true
        ended.wake()
    }

    /// Returns once the launch is over, or when cancelled.
    func waitUntilEnded() async {
        while !isOver {
            let ticket = ended.ticket
            if isOver { return }
            guard (try? await ended.wait(after: ticket)) != nil else { return }
        }
    }

    // MARK: Following

    private func follow() async {
        var pause = Self.retry.lowerBound
        var look = Self.look.lowerBound
        while !Task.isCancelled {
            do throws(EngineError) {
                let container = try await engine.inspect(record.reference)
                notes[handle.botID] = nil
                announce(container.state)
                if container.state.running {
                    let hasCome = try await copyWhileRunning(thenRest: look)
                    look = hasCome ? Self.look.lowerBound : min(look * 2, Self.look.upperBound)
                } else {
                    try await copyLog(follow: false)
                    return await conclude(container.state)
                }
                pause = Self.retry.lowerBound
            } catch {
                if error.isNotFound { return await conclude(nil) }
                guard error != .cancelled else { return }
                notes[handle.botID] = "its container cannot be watched: \(error.reason)"
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, Self.retry.upperBound)
            }
        }
    }

    private enum Turn {
        case copied(Result<Bool, EngineError>)
        case containerEnded
        case rested
    }

    /// Copies the log while it grows, until its stream or the container has ended; where the stream has and the container has not,
    /// rests before it returns.
    ///
    /// - Returns: whether anything came.
    private func copyWhileRunning(thenRest rest: Duration) async throws(EngineError) -> Bool {
        let outcome = await withTaskGroup(of: Turn.self) { group -> Result<Bool, EngineError> in
            defer { group.cancelAll() }
            group.addTask { .copied(await self.copied(follow: true)) }
            group.addTask { await self.waitForContainer() }
            var copied: Result<Bool, EngineError>?
            var hasEnded = false
            while let turn = await group.next() {
                switch turn {
                case .copied(let result):
                    if case .failure = result { return hasEnded ? .success(true) : result }
                    if hasEnded { return result }
                    copied = result
                    group.addTask { await Self.rested(rest) }
                case .containerEnded:
                    if let copied { return copied }
                    hasEnded = true
                    group.addTask { await Self.rested(Self.lastLines) }
                case .rested: return copied ?? .success(true)
                }
            }
            return copied ?? .success(true)
        }
        return try outcome.get()
    }

    private func waitForContainer() async -> Turn {
        do throws(EngineError) {
            try await engine.waitForEnd(record.reference)
            return .containerEnded
        } catch {
            // Then only the log's stream tells. An engine that is out of order breaks that as well.
            return await Self.rested(.seconds(86_400))
        }
    }

    private static func rested(_ time: Duration) async -> Turn {
        try? await Task.sleep(for: time)  // cut short where nobody waits any more
        return .rested
    }

    private func copied(follow: Bool) async -> Result<Bool, EngineError> {
        do throws(EngineError) {
            return .success(try await copyLog(follow: follow))
        } catch {
            return .failure(error)
        }
    }

    /// - Returns: whether anything came.
    @discardableResult
    private func copyLog(follow: Bool) async throws(EngineError) -> Bool {
        guard let since = output?.beginReading() else { return false }
        let body = try await engine.logs(record.reference, since: since, follow: follow)
        var hasCome = false
        while let bytes = try await body.next() {
            // Let go of meanwhile, as by `leave`: what comes late is read again.
            guard !Task.isCancelled else { throw .cancelled }
            hasCome = true
            try output?.feed(bytes)
        }
        output?.endReading(isLast: !follow)
        return hasCome
    }

    private func announce(_ state: EngineModels.Container.State) {
        if let pid = state.pid, pid > 0, process?.pid != pid { process = Self.process(pid, record.containerID) }
        guard output?.hasStarted == false, state.status != "created" else { return }
        var event = SupervisorEvent(event: SupervisorEvent.Name.started)
        event.launchID = handle.launchID
        // A container that is over already has none any more; something must tell that there was one.
        event.pid = state.pid ?? 0
        event.startTime = process?.startTime ?? 0
        event.limits = limits.isEmpty ? nil : limits
        event.isolation = isolation.isEmpty ? nil : isolation
        output?.announce(event)
    }

    /// The container's first process, where it runs and this agent sees it.
    func firstProcess() async -> ProcessIdentity? {
        guard !isOver else { return nil }
        // Just adopted: nobody has asked the engine yet. One that does not answer tells nothing.
        if process == nil, let state = try? await engine.inspect(record.reference).state, let pid = state.pid, pid > 0 {
            process = Self.process(pid, record.containerID)
        }
        return process
    }

    /// The container's first process, where this agent sees the same processes as the engine.
    private static func process(_ pid: Int32, _ containerID: String?) -> ProcessIdentity? {
        guard let identity = ProcessIdentity.current(pid), let containerID,
            let groups = try? Files.read("/proc/\(pid)/cgroup")
        else { return nil }
        return String(decoding: groups, as: UTF8.self).contains(containerID) ? identity : nil
    }

    private func conclude(_ state: EngineModels.Container.State?) async {
        let event = ContainerEnd.event(
            launchID: handle.launchID,
            state: state,
            isRequested: isStopRequested,
            wasKilled: wasKilled,
            lastStderr: output?.lastErrors.text ?? []
        )
        output?.conclude(event)
        // What cannot be removed now is removed before the next launch.
        try? await engine.remove(record.reference)
        unlink(directory.containerRecord)
        unlink(directory.stopRequest)
        notes[handle.botID] = nil
        output = nil
        isOver = true
        stopping?.cancel()
        ended.wake()
    }

    // MARK: Ending

    /// Carries out the steps, then SIGKILL until it is over. Returns at once.
    func stop(_ sequence: StopSequence) {
        guard !isOver, stopping == nil else { return }
        isStopRequested = true
        // Without this file (a full disk) an agent that takes over in the middle would call the end unasked.
        try? Files.replace(directory.stopRequest, with: Array(sequence.encoded.utf8), mode: 0o600)
        // Outlives the call that asks; ends with the launch, or by `leave`.
        stopping = Task { await self.carryOut(sequence) }
    }

    private func carryOut(_ sequence: StopSequence) async {
        for step in sequence.steps {
            // One that cannot be delivered is followed by the next, and by SIGKILL.
            await send(StopSequence.name(of: step.signal))
            await wait(.milliseconds(clamping: step.milliseconds))
            if isOver || Task.isCancelled { return }
        }
        while !isOver, !Task.isCancelled {
            await kill()
            await wait(Self.killAgain)
        }
    }

    /// SIGKILL to everything in the container.
    func kill() async {
        guard !isOver else { return }
        wasKilled = true
        await send("SIGKILL")
    }

    private func send(_ signal: String) async {
        do throws(EngineError) {
            try await engine.kill(record.reference, signal: signal)
        } catch {
            guard !isOver, error != .cancelled else { return }
            notes[handle.botID] = "its container cannot be stopped: \(error.reason)"
        }
    }

    private func wait(_ limit: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.waitUntilEnded() }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }
}
