import CLinux
import Glibc

/// One launch: spawns the bot, captures its output, stops it, and writes down how it ended. Single-threaded.
struct SupervisedLaunch: ~Copyable {
    /// Once the bot's own process has ended, what it started gets SIGTERM and this long before SIGKILL.
    private static let orphanGraceMilliseconds: UInt64 = 1_000
    /// A process that cannot be killed (another user's, stuck in the kernel) is waited for this long.
    private static let sweepLimitMilliseconds: UInt64 = 10_000

    private let plan: LaunchPlan
    private let directory: String
    private var output: OutputCapture
    private var groups = LaunchControlGroups(existing: [:])
    private var limits = LaunchLimits(
        ResourceLimits(),
        groups: LaunchControlGroups(existing: [:]),
        hasOwnUser: false,
        shortfall: ""
    )
    private var signals: Int32 = -1
    private var bot: pid_t = 0
    private var startedAt: UInt64 = 0
    private var status: Int32?
    private var isStopRequested = false
    /// Steps of the stop that was asked for that are still to come.
    private var stopSteps: ArraySlice<StopSequence.Step> = []
    /// When the next step is due.
    private var nextStepAt: UInt64?
    /// What keeps the bot to itself.
    private var isolation: [IsolationInForce] = []
    /// Where its filter asks.
    private var answers: CallAnswers?
    /// On trial: when the lease is looked at again.
    private var nextLeaseLookAt: UInt64?
    private var isLeaseOver = false
    /// What the bot had started and left running when it ended, in words.
    private var leftBehind: String?
    private var progeny = Progeny()
    /// What could not be ended, in words.
    private var survivors: String?

    init(plan: LaunchPlan, directory: String) {
        self.plan = plan
        self.directory = directory
        mkdir(BotDirectory.logsName, 0o700)
        output = OutputCapture(
            packetPrefix: plan.packetPrefix,
            directory: "\(directory)/\(BotDirectory.logsName)",
            limits: plan.logLimits
        )
    }

    mutating func run() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGHUP, SIG_IGN)
        CLinux_set_child_subreaper()
        signals = CLinux_signalfd_create([SIGTERM, SIGINT, SIGCHLD, 0])
        startedAt = MonotonicTime.milliseconds()
        ExitFile.reserve()
        if let problem = spawn() {
            var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
            event.launchID = plan.launchID
            event.code = 127
            event.signal = 0
            event.requested = false
            event.lifetimeMilliseconds = 0
            event.launchError = problem
            end(event)
            return
        }
        announce()
        // From here on it mostly waits, and needs little of what brought it here.
        ProgramMemory.giveBack()
        capture()
        sweep()
        output.drain()
        conclude()
    }

    // MARK: Spawning

    /// - Returns: what went wrong, or nil.
    private mutating func spawn() -> String? {
        var outputPipe: [Int32] = [-1, -1]
        var errorPipe: [Int32] = [-1, -1]
        guard CLinux_pipe(&outputPipe) == 0, CLinux_pipe(&errorPipe) == 0 else {
            return "no pipe for the bot's output: \(String(errno: errno))"
        }
        defer {
            close(outputPipe[1])
            close(errorPipe[1])
        }
        // A bot may open `/dev/stdout`, which asks the pipe for its owner. Where that fails it can still write to what it has.
        if let user = plan.user {
            for end in [outputPipe[1], errorPipe[1]] { _ = fchown(end, user.uid, user.gid) }
        }
        output.attach(output: outputPipe[0], errors: errorPipe[0])
        let ends = (outputPipe[1], errorPipe[1])
        do throws(IsolationFailure) {
            var outcome = try launch(mayAsk: true, ends)
            if case .notAsked = outcome {
                groups.remove()
                outcome = try launch(mayAsk: false, ends)
            }
            switch outcome {
            case .started(let pid, _):
                bot = pid
                progeny.first = pid
            case .notJoined(let problem), .failed(let problem): return problem
            case .notAsked: return "\(plan.executable) could not be started: its system calls cannot be filtered"
            }
            return nil
        } catch {
            return "\(plan.executable) could not be isolated: \(error.reason)"
        }
    }

    private mutating func launch(mayAsk: Bool, _ ends: (Int32, Int32)) throws(IsolationFailure) -> BotLauncher.Outcome {
        let kept = try LaunchIsolation(plan, .current(), mayAsk: mayAsk)
        isolation = kept.inForce
        var outcome = launch(LaunchControlGroups(making: plan.controlGroups), plan.controlGroupShortfall, kept, ends)
        if case .notJoined(let reason) = outcome {
            // A bot without limits is told of and is still worth more than none.
            groups.remove()
            outcome = launch(LaunchControlGroups(existing: [:]), reason, kept, ends)
        }
        if case .started(_, let listener) = outcome, listener >= 0, let cage = kept.cage {
            answers = CallAnswers(listener, cage)
        }
        return outcome
    }

    private mutating func launch(
        _ groups: consuming LaunchControlGroups,
        _ shortfall: String,
        _ isolation: borrowing LaunchIsolation,
        _ ends: (output: Int32, error: Int32)
    ) -> BotLauncher.Outcome {
        self.groups = groups
        limits = LaunchLimits(
            plan.limits,
            groups: self.groups,
            hasOwnUser: plan.user.map { $0.uid != 0 } ?? false,
            shortfall: shortfall
        )
        return BotLauncher.launch(
            plan,
            groups: self.groups,
            limits: limits,
            isolation: isolation,
            output: ends.output,
            error: ends.error
        )
    }

    private mutating func announce() {
        let start = ProcessIdentity.current(bot)?.startTime ?? 0
        var event = SupervisorEvent(event: SupervisorEvent.Name.started)
        event.launchID = plan.launchID
        event.pid = bot
        event.startTime = start
        event.limits = limits.inForce.isEmpty ? nil : limits.inForce
        event.isolation = isolation
        let own = ProcessIdentity.current(getpid())?.startTime ?? 0
        let state = SupervisorState(
            launchID: plan.launchID,
            supervisor: ProcessIdentity(pid: getpid(), startTime: own),
            bot: ProcessIdentity(pid: bot, startTime: start),
            controlGroups: groups.directories
        )
        // Tells the next agent whom to find here; what must not be lost stands in the log.
        try? Files.replace(SupervisorState.fileName, with: state.json, mode: 0o600)
        output.record(event)
    }

    // MARK: Running

    private mutating func capture() {
        if plan.isLeased { nextLeaseLookAt = MonotonicTime.milliseconds() }
        while status == nil {
            let idle = output.idleMilliseconds.map { MonotonicTime.milliseconds() + $0 }
            let due = [nextStepAt, nextLeaseLookAt, idle].compactMap(\.self).min()
            guard let ready = wait(timeout(until: due)) else { break }
            if ready == 0 { output.tick() }
            if let due = nextStepAt, MonotonicTime.milliseconds() >= due { takeNextStep() }
            if let due = nextLeaseLookAt, MonotonicTime.milliseconds() >= due { lookAtLease() }
        }
    }

    private mutating func lookAtLease() {
        switch RuntimeLease.read(RuntimeLease.fileName) {
        case .released: nextLeaseLookAt = nil
        case .until(let end) where end > BootTime.milliseconds():
            nextLeaseLookAt = MonotonicTime.milliseconds() + RuntimeLease.lookMilliseconds
        case .until:
            nextLeaseLookAt = nil
            isLeaseOver = true
            // Nothing that a copy on trial did is kept, so it is not asked.
            stopSteps = []
            killEverything()
        }
    }

    /// Waits for output or a signal, and takes it.
    ///
    /// - Returns: how many of them there were; nil where waiting is not possible.
    private mutating func wait(_ milliseconds: Int32) -> Int? {
        let (outputEnd, errorEnd) = output.descriptors
        var wanted = (
            pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
            pollfd(fd: outputEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: errorEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: answers?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
        )
        let ready = withUnsafeMutableBytes(of: &wanted) {
            poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 4, milliseconds)
        }
        guard ready >= 0 else { return errno == EINTR ? 1 : nil }
        if wanted.1.revents != 0 || wanted.2.revents != 0 {
            output.take(output: wanted.1.revents != 0, errors: wanted.2.revents != 0)
        }
        if wanted.3.revents != 0, answers?.answer() == false { answers = nil }
        if wanted.0.revents != 0 { handleSignals() }
        return Int(clamping: ready)
    }

    private mutating func handleSignals() {
        while true {
            let number = CLinux_signalfd_read(signals)
            if number < 0 { break }
            if number == SIGTERM || number == SIGINT { requestStop() }
        }
        reap()
    }

    private mutating func requestStop() {
        guard !isStopRequested else { return }
        isStopRequested = true
        var sequence = plan.stop
        if let bytes = try? Files.read(SupervisorState.stopFileName),
            let asked = StopSequence(encoded: String(decoding: bytes, as: UTF8.self))
        {
            sequence = asked
        }
        stopSteps = sequence.steps[...]
        takeNextStep()
    }

    /// Sends the next signal of the stop sequence, or kills when there is none left.
    private mutating func takeNextStep() {
        guard let step = stopSteps.popFirst() else { return killEverything() }
        nextStepAt = MonotonicTime.milliseconds() + step.milliseconds
        // The bot leads its session and group and is not reaped yet, so the number is still its own.
        if status == nil { kill(-bot, step.signal) }
    }

    private mutating func killEverything() {
        if status == nil { kill(-bot, SIGKILL) }
        groups.kill()
        // Where there are no groups, and what has left them.
        progeny.end()
        status = progeny.status
        // Again shortly: it may be stuck in the kernel.
        nextStepAt = MonotonicTime.milliseconds() + 50
    }

    private mutating func reap() {
        progeny.reap()
        status = progeny.status
    }

    // MARK: The end

    /// The bot's own process has ended: end everything else it started, and go on reading meanwhile. It is over when the kernel
    /// knows of nobody any more.
    private mutating func sweep() {
        let begin = MonotonicTime.milliseconds()
        // After the grace of a stop that was asked for there is none left.
        var killAfter = begin + Self.orphanGraceMilliseconds
        if isStopRequested, stopSteps.isEmpty, let due = nextStepAt { killAfter = min(killAfter, due) }
        var isAsked = false
        while true {
            reap()
            let left = remaining()
            if left.isEmpty, progeny.isExtinct { break }
            let words = SystemProcesses.words(left.map(\.pid))
            if leftBehind == nil, !isStopRequested, !isLeaseOver { leftBehind = words }
            let now = MonotonicTime.milliseconds()
            if now >= begin + Self.sweepLimitMilliseconds {
                survivors = words ?? "processes that make others before they can be ended"
                break
            }
            if now >= killAfter {
                groups.kill()
                progeny.end()
                for process in left { process.signal(SIGKILL) }
            } else if !isAsked {
                for process in left { process.signal(SIGTERM) }
                isAsked = true
            }
            _ = wait(20)
        }
    }

    /// What the bot started and is still alive.
    private func remaining() -> [ProcessIdentity] {
        var left = Set(SystemProcesses.descendants(of: getpid()).filter { !$0.isZombie }.map(\.identity))
        for pid in groups.members() {
            if let identity = ProcessIdentity.current(pid), identity.isAlive { left.insert(identity) }
        }
        return Array(left)
    }

    private mutating func conclude() {
        let ended = status ?? 0
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        event.launchID = plan.launchID
        event.pid = bot
        event.code = CLinux_exit_code(ended)
        event.signal = CLinux_exit_signal(ended)
        event.requested = isStopRequested
        event.lifetimeMilliseconds = MonotonicTime.milliseconds() - startedAt
        event.lastStderr = String(decoding: output.lastErrors.text, as: UTF8.self)
        if isLeaseOver { event.leaseOver = true }
        event.leftBehind = leftBehind
        event.survivors = survivors
        let memoryKills = groups.memoryKills()
        if memoryKills > 0 { event.memoryKills = memoryKills }
        end(event)
    }

    /// Writes the end down, where it cannot get lost before it is said in the log.
    private mutating func end(_ event: SupervisorEvent) {
        ExitFile.write(event)
        // Where even the reserve does not help, the agent finds it in that file.
        _ = output.conclude(event)
        groups.remove()
    }

    private func timeout(until due: UInt64?) -> Int32 {
        guard let due else { return -1 }
        let now = MonotonicTime.milliseconds()
        return due > now ? Int32(clamping: due - now) : 0
    }
}
