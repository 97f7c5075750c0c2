import CLinux
import Glibc
import Synchronization

/// One thread that waits for sockets and timers, and runs the actors pinned to it.
///
/// An actor whose `unownedExecutor` is this loop does its socket calls on the thread that learns about readiness, so
/// nothing hops between threads on the way of a message. The price: such an actor must never block.
///
/// The thread lives until `shutdown()`; jobs given to a loop that has been shut down never run, so shut it down only
/// after everything pinned to it is done. A process normally has one loop and keeps it.
///
/// Signals are blocked on the thread. Therefore a write to a connection the peer has reset yields `EPIPE` and never the
/// `SIGPIPE` that would end the process, also where the write happens inside OpenSSL, and no setting of the process
/// has to be changed (an ignored signal would be inherited by child processes).
///
/// Tasks that prefer its `taskExecutor` run on its thread, too, where sending and receiving needs no hop at all.
///
/// `@unchecked Sendable`: the descriptors never change; `shared` is behind a lock, two flags are atomic; everything marked
/// "loop thread only" is touched only there, which `preconditionOnLoop()` checks.
public final class EpollLoop: SerialExecutor, @unchecked Sendable {
    /// A point in time on the clock that keeps counting while the machine is suspended.
    typealias Instant = ContinuousClock.Instant

    /// Names a scheduled timer.
    struct TimerID: Hashable {
        let deadline: Instant
        fileprivate let number: UInt64
    }

    private enum Work {
        case job(UnownedJob)
        case preferringJob(UnownedJob, LoopTaskExecutor)
        case closure(@Sendable () -> Void)
    }

    private struct Shared {
        var queue: [Work] = []
        var isStopping = false
    }

    private struct Timer {
        let id: TimerID
        let body: () -> Void
    }

    /// Descriptors looked at per `epoll_wait`; more are simply found by the next call.
    private static let maxEventsPerWait = 64
    /// Batches of jobs run before sockets get a look again, so a busy actor cannot starve the others.
    private static let maxBatchesBetweenPolls = 16
    /// How long jobs may go on with `pollBriefly` until they must wait as others do.
    private static let pollingSpell = Duration.milliseconds(20)
    private static let wakeUpTag: UInt64 = 0
    private static let timerTag: UInt64 = 1
    /// The largest read or write in one go; also what bounds the size of arrays that reads return.
    static let scratchBytes = 64 * 1024
    /// Room for `scratchBytes` as TLS records.
    private static let recordScratchBytes = scratchBytes + 4 * 1024

    private let epoll: Int32
    private let wakeUp: Int32
    private let timer: Int32
    private let shared = Mutex(Shared())
    /// Whether there is something in the queue, to be asked without the lock.
    private let hasWork = Atomic(false)
    /// Whether the loop waits for sockets, or is about to, and has to be woken for what is new in the queue.
    private let isSleeping = Atomic(false)
    /// The thread, or zero before it runs.
    private let thread = Atomic<pthread_t>(0)

    // Loop thread only, from here on.
    private var sockets: [UInt64: SocketReadiness] = [:]
    private var nextTag: UInt64 = 2
    /// Sorted, the earliest last. There are a few timers per connection and few connections, so a heap gains nothing.
    private var timers: [Timer] = []
    private var nextTimerNumber: UInt64 = 0
    /// What the kernel's timer is set to.
    private var armedDeadline: Instant?
    /// Whether the earliest timer may be earlier than that.
    private var mustArmTimer = false
    /// Whether a timer will end the spell of polling under way.
    private var isInPollingSpell = false
    /// Jobs of the batch under way that have not begun.
    private var waitingInBatch = 0
    /// What `epoll_wait` reports.
    private let events: UnsafeMutablePointer<epoll_event>
    /// Who wants to be called at the end of this turn: the last who asked, who knows the one before.
    private var turnObserver: (any TurnObserver)?
    /// Memory that bytes pass through on their way to and from sockets, so that a waiting connection holds no buffer.
    /// What is in it is lost with the next call that may use it.
    let scratch: UnsafeMutableRawBufferPointer
    /// The same for TLS records on their way out.
    let recordScratch: UnsafeMutableRawBufferPointer

    /// Starts a loop. Throws `WebSocketError.Code.system` when the process is out of descriptors or threads.
    public static func start() throws(WebSocketError) -> EpollLoop {
        let loop = try EpollLoop()
        try loop.startThread()
        return loop
    }

    private init() throws(WebSocketError) {
        epoll = CLinux_epoll_create()
        wakeUp = CLinux_eventfd_create()
        timer = CLinux_timerfd_create()
        scratch = .allocate(byteCount: Self.scratchBytes, alignment: 64)
        events = .allocate(capacity: Self.maxEventsPerWait)
        events.initialize(repeating: epoll_event(), count: Self.maxEventsPerWait)
        recordScratch = .allocate(byteCount: Self.recordScratchBytes, alignment: 64)
        guard epoll >= 0, wakeUp >= 0, timer >= 0,
            CLinux_epoll_control(epoll, EPOLL_CTL_ADD, wakeUp, EPOLLIN.rawValue, Self.wakeUpTag) == 0,
            CLinux_epoll_control(epoll, EPOLL_CTL_ADD, timer, EPOLLIN.rawValue, Self.timerTag) == 0
        else {
            throw WebSocketError(
                .system,
                "cannot set up an event loop: \(String(systemError: errno)); raise the limit of open files (ulimit -n)"
            )
        }
    }

    deinit {
        for descriptor in [epoll, wakeUp, timer] where descriptor >= 0 {
            close(descriptor)
        }
        scratch.deallocate()
        recordScratch.deallocate()
        events.deallocate()
    }

    private func startThread() throws(WebSocketError) {
        try OwnedThread.start(name: "epoll-loop") { [self] in
            thread.store(pthread_self(), ordering: .relaxed)
            run()
        }
    }

    /// Ends the thread after the work queued so far. Returns at once.
    public func shutdown() {
        shared.withLock { $0.isStopping = true }
        execute {}
    }

    // MARK: Executor

    /// Queues a job of a pinned actor; from any thread.
    public func enqueue(_ job: consuming ExecutorJob) {
        push(.job(UnownedJob(job)))
    }

    /// For `withTaskExecutorPreference`: runs tasks on the loop's thread. They must not block, as nothing there may.
    public var taskExecutor: any TaskExecutor { LoopTaskExecutor(loop: self) }

    fileprivate func enqueue(_ job: UnownedJob, preferring executor: LoopTaskExecutor) {
        push(.preferringJob(job, executor))
    }

    /// Runs a closure on the loop's thread, after what is queued already; from any thread.
    func execute(_ body: @escaping @Sendable () -> Void) {
        push(.closure(body))
    }

    /// Whether the caller is on the loop's thread.
    public var isCurrent: Bool {
        // Relaxed is enough: a thread compares with itself, and only the loop's own thread can find itself here.
        thread.load(ordering: .relaxed) == pthread_self()
    }

    /// Lets `assumeIsolated` work from the loop's own callbacks.
    public func checkIsolated() {
        preconditionOnLoop()
    }

    /// Lets `assumeIsolated` work from the loop's own callbacks.
    public func isIsolatingCurrentContext() -> Bool? {
        isCurrent
    }

    func preconditionOnLoop() {
        precondition(isCurrent, "called off the event loop's thread")
    }

    private func push(_ work: Work) {
        shared.withLock { shared in
            shared.queue.append(work)
            hasWork.store(true, ordering: .sequentiallyConsistent)
        }
        if isSleeping.exchange(false, ordering: .sequentiallyConsistent) {
            var one: UInt64 = 1
            // Cannot fail but by a full counter, and then the loop is being woken already.
            _ = write(wakeUp, &one, MemoryLayout<UInt64>.size)
        }
    }

    /// True when the loop may wait: from then on `push` wakes it. Each of the two first says what it does and then looks
    /// at what the other has said, so that one of them notices.
    private func fallAsleep() -> Bool {
        isSleeping.store(true, ordering: .sequentiallyConsistent)
        guard hasWork.load(ordering: .sequentiallyConsistent) else { return true }
        isSleeping.store(false, ordering: .relaxed)
        return false
    }

    // MARK: Loop

    private func run() {
        let executor = asUnownedSerialExecutor()
        var batch: [Work] = []
        var batchesSincePoll = 0
        while true {
            let (mustPoll, mustStop) = shared.withLock { shared -> (Bool, Bool) in
                swap(&batch, &shared.queue)
                hasWork.store(false, ordering: .relaxed)
                let isIdle = batch.isEmpty
                return (isIdle || batchesSincePoll >= Self.maxBatchesBetweenPolls, isIdle && shared.isStopping)
            }
            if mustStop { return }
            let maySleep = batch.isEmpty
            waitingInBatch = batch.count
            for work in batch {
                waitingInBatch -= 1
                switch work {
                case .job(let job): job.runSynchronously(on: executor)
                case .preferringJob(let job, let preferred):
                    job.runSynchronously(isolatedTo: executor, taskExecutor: preferred.asUnownedTaskExecutor())
                case .closure(let body): body()
                }
            }
            batch.removeAll(keepingCapacity: true)
            endTurn()
            batchesSincePoll += 1
            guard mustPoll else { continue }
            batchesSincePoll = 0
            poll(timeoutMilliseconds: maySleep && fallAsleep() ? -1 : 0)
        }
    }

    /// Waits for sockets and timers and serves those that are ready. Returns how many were.
    @discardableResult
    private func poll(timeoutMilliseconds: Int32) -> Int {
        armTimer()
        let count = epoll_wait(epoll, events, Int32(clamping: Self.maxEventsPerWait), timeoutMilliseconds)
        isSleeping.store(false, ordering: .relaxed)
        // A negative count is EINTR: signals are blocked here, but a debugger may still stop the thread.
        let ready = Int(clamping: max(count, 0))
        for index in 0..<ready {
            handle(&events[index])
        }
        endTurn()
        return ready
    }

    /// For a job on the loop that is about to wait for something to arrive: looks after sockets and timers in its
    /// place, for `pollingSpell` at most, provided that nothing else waits to be run. True when something was
    /// ready and there is still nothing to run, so that it may be worth calling again.
    ///
    /// What arrives in that time reaches the job without its task having been suspended, which costs more than all
    /// else on the way of a small message. A job that is suspended can be cancelled, which is why there is a limit. It
    /// is one timer for all calls within it: a time limit of each would make the kernel set its own timer every time.
    func pollBriefly() -> Bool {
        preconditionOnLoop()
        endTurn()
        if !isInPollingSpell {
            isInPollingSpell = true
            _ = schedule(at: .now + Self.pollingSpell) { [unowned self] in isInPollingSpell = false }
        }
        guard waitingInBatch == 0, fallAsleep() else { return false }
        return poll(timeoutMilliseconds: -1) > 0 && isInPollingSpell && !hasWork.load(ordering: .relaxed)
    }

    /// Calls `observer`, who is not yet to be called, once what runs now is done, before the loop waits for anything:
    /// what several calls have queued until then can leave together, and none of it waits for longer than the work
    /// under way takes.
    func callAtEndOfTurn(_ observer: any TurnObserver) {
        preconditionOnLoop()
        observer.nextTurnObserver = turnObserver
        turnObserver = observer
    }

    private func endTurn() {
        while let observer = turnObserver {
            turnObserver = observer.nextTurnObserver
            observer.nextTurnObserver = nil
            observer.turnEnded()
        }
    }

    private func handle(_ event: inout epoll_event) {
        let tag = CLinux_epoll_tag(&event)
        switch tag {
        case Self.wakeUpTag:
            drain(wakeUp)
        case Self.timerTag:
            drain(timer)
            armedDeadline = nil
            mustArmTimer = true
            runTimers()
        default:
            // Found by a number that is never used again: a closed socket whose description a child that is just being
            // started holds for a moment may still be reported.
            sockets[tag]?.becameReady(CLinux_epoll_events(&event))
        }
    }

    private func drain(_ descriptor: Int32) {
        var value: UInt64 = 0
        // Nothing to read means somebody else's wake-up was already taken; either way the counter is now zero.
        _ = read(descriptor, &value, MemoryLayout<UInt64>.size)
    }

    // MARK: Sockets (loop thread only)

    /// Watches a descriptor, edge-triggered in both directions. Returns the tag that names it, or nil and `errno`.
    func register(_ readiness: SocketReadiness, descriptor: Int32) -> UInt64? {
        preconditionOnLoop()
        let tag = nextTag
        nextTag += 1
        let events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
        guard CLinux_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, events, tag) == 0 else { return nil }
        sockets[tag] = readiness
        return tag
    }

    /// Forgets a descriptor; closing it has already ended the kernel's watching.
    func forget(_ tag: UInt64) {
        preconditionOnLoop()
        sockets[tag] = nil
    }

    // MARK: Timers (loop thread only)

    /// Runs `body` on the loop at `deadline` or soon after.
    func schedule(at deadline: Instant, _ body: @escaping () -> Void) -> TimerID {
        preconditionOnLoop()
        nextTimerNumber += 1
        let id = TimerID(deadline: deadline, number: nextTimerNumber)
        let index = position(of: id)
        if index == timers.count { mustArmTimer = true }
        timers.insert(Timer(id: id, body: body), at: index)
        return id
    }

    /// Forgets a timer; harmless when it has run.
    func cancel(_ id: TimerID) {
        preconditionOnLoop()
        let index = position(of: id)
        if index < timers.count, timers[index].id == id {
            timers.remove(at: index)
        }
    }

    /// Where `id` stands, or would stand, in the descending order of `timers`.
    private func position(of id: TimerID) -> Int {
        var low = 0
        var high = timers.count
        while low < high {
            let middle = (low + high) / 2
            let other = timers[middle].id
            if (other.deadline, other.number) > (id.deadline, id.number) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    private func runTimers() {
        let now = ContinuousClock.now
        while let timer = timers.last, timer.id.deadline <= now {
            timers.removeLast()
            timer.body()
        }
    }

    /// Sets the kernel's timer when the earliest deadline is earlier than what it is set to. A later one is left to a
    /// wake-up that finds nothing due, which is cheaper than a system call for every read that sets a deadline.
    private func armTimer() {
        guard mustArmTimer else { return }
        mustArmTimer = false
        guard let earliest = timers.last?.id.deadline else { return }
        if let armedDeadline, armedDeadline <= earliest { return }
        let wait = max(earliest - ContinuousClock.now, .nanoseconds(1))
        let (seconds, attoseconds) = wait.components
        // The kernel refuses only a closed descriptor or a time that is negative or no whole timespec; ours is open for
        // as long as the loop lives, and the wait is at least 1 ns. Nothing from outside reaches these arguments.
        guard CLinux_timerfd_arm(timer, seconds, max(attoseconds / 1_000_000_000, seconds == 0 ? 1 : 0)) == 0 else {
            preconditionFailure("timerfd_settime refused a valid time")
        }
        armedDeadline = earliest
    }
}

/// Something that is called at the end of a loop's turn.
protocol TurnObserver: AnyObject {
    func turnEnded()
    /// For the loop, which makes a list of those it is to call.
    var nextTurnObserver: (any TurnObserver)? { get set }
}

/// Runs tasks on a loop's thread.
///
/// Not the loop itself: a job of an actor on the loop belongs to a task that may prefer another executor for what is
/// not the actor's, and must be run as what it is.
private final class LoopTaskExecutor: TaskExecutor {
    private let loop: EpollLoop

    init(loop: EpollLoop) {
        self.loop = loop
    }

    func enqueue(_ job: consuming ExecutorJob) {
        loop.enqueue(UnownedJob(job), preferring: self)
    }
}
