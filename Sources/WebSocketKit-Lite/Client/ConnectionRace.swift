/// Which of a host's addresses to connect to, and when: Happy Eyeballs (RFC 8305 §5) as a machine without I/O.
///
/// One attempt begins at once. The next begins when the one before has failed, or has had `attemptDelay` to itself.
/// The first that succeeds wins; the others are abandoned. Each attempt has a limit, and so has the race.
///
///     running --succeeded--> won      --all failed--> allFailed      --total limit--> timedOut
struct ConnectionRace: Sendable {
    typealias Instant = ContinuousClock.Instant

    /// The times of a race.
    struct Limits: Equatable, Sendable {
        /// How long an attempt has before the next address is tried beside it (RFC 8305 §8 recommends 250 ms).
        var attemptDelay = Duration.milliseconds(250)
        /// How long one address may take to answer.
        var attempt = Duration.seconds(10)
        /// How long the whole race may take.
        var total = Duration.seconds(30)
    }

    enum Outcome: Equatable, Sendable {
        case won(Int)
        case allFailed
        case timedOut
    }

    /// What is to be done. Addresses are named by their place in the order of preference.
    enum Action: Equatable, Sendable {
        /// Begin to connect.
        case start(Int)
        /// Close the attempt or the connection.
        case abandon(Int)
        /// The race is over; the last action.
        case finish(Outcome)
    }

    private struct Attempt {
        let index: Int
        let deadline: Instant
    }

    private let count: Int
    private let limits: Limits
    private let deadline: Instant
    private var next = 0
    private var nextStart: Instant
    private var running: [Attempt] = []
    private var actions: [Action] = []
    private(set) var outcome: Outcome?

    /// - Parameter count: How many addresses there are.
    init(count: Int, limits: Limits = Limits(), now: Instant) {
        self.count = count
        self.limits = limits
        deadline = now + limits.total
        nextStart = now
        advance(now)
    }

    /// The next thing to do; nil until something happens or `nextDeadline` passes.
    mutating func nextAction() -> Action? {
        actions.isEmpty ? nil : actions.removeFirst()
    }

    /// When `tick` is due; nil once the race is over.
    var nextDeadline: Instant? {
        guard outcome == nil else { return nil }
        let waiting = next < count ? [nextStart] : []
        return (waiting + running.map(\.deadline) + [deadline]).min()
    }

    /// An attempt has connected.
    mutating func succeeded(_ index: Int, now: Instant) {
        guard outcome == nil, running.contains(where: { $0.index == index }) else {
            // It was abandoned, and connected before it heard of that.
            actions.append(.abandon(index))
            return
        }
        running.removeAll { $0.index == index }
        finish(.won(index))
    }

    /// An attempt has failed.
    mutating func failed(_ index: Int, now: Instant) {
        guard outcome == nil, running.contains(where: { $0.index == index }) else { return }
        running.removeAll { $0.index == index }
        nextStart = now
        advance(now)
    }

    /// Time has passed.
    mutating func tick(now: Instant) {
        advance(now)
    }

    private mutating func advance(_ now: Instant) {
        guard outcome == nil else { return }
        guard now < deadline else { return finish(.timedOut) }
        for late in running where late.deadline <= now {
            running.removeAll { $0.index == late.index }
            actions.append(.abandon(late.index))
            nextStart = now
        }
        if next < count, nextStart <= now {
            running.append(Attempt(index: next, deadline: now + limits.attempt))
            actions.append(.start(next))
            next += 1
            nextStart = now + limits.attemptDelay
        }
        if running.isEmpty {
            finish(.allFailed)
        }
    }

    private mutating func finish(_ outcome: Outcome) {
        self.outcome = outcome
        actions += running.map { .abandon($0.index) }
        running = []
        actions.append(.finish(outcome))
    }

    /// Sorts addresses so that the families take turns, beginning with the system's first choice and keeping its order
    /// within each (RFC 8305 §4): where one family is broken, every second attempt is a good one.
    static func interleaved<Address>(_ addresses: [Address], family: (Address) -> Int32) -> [Address] {
        guard let first = addresses.first.map(family) else { return [] }
        var own = addresses.filter { family($0) == first }[...]
        var other = addresses.filter { family($0) != first }[...]
        var result: [Address] = []
        while !own.isEmpty || !other.isEmpty {
            if let address = own.popFirst() { result.append(address) }
            if let address = other.popFirst() { result.append(address) }
        }
        return result
    }
}
