import WireFormat

/// How long an HTTP connection may keep the hub waiting.
///
///     waiting for a request ── head ──► exchange: the body comes, the answer goes ── both done ──► waiting …
///
/// Waiting for a request has a limit, reading a body and writing an answer have a budget each that only the peer's
/// slowness uses up, and what a stranger asks for must be over in a time. An answer that never ends (events, logs) is
/// under the budget for writing alone.
struct HTTPPatience: Sendable {
    struct Limits: Sendable, Equatable {
        /// From the connection to the end of its first request's head, TLS included.
        var head = Duration.seconds(20)
        /// Between two requests; that the head of the next has begun does not count.
        var idle = Duration.seconds(60)
        /// The same for who has proved no credential.
        var strangerIdle = Duration.seconds(15)
        /// From a stranger's request to the end of its answer.
        var strangerExchange = Duration.seconds(60)
        /// Longer than the routes wait for a body, who answer 408 (`JSONCoding.bodyTimeout`).
        var reading = Duration.seconds(40)
        var writing = Duration.seconds(30)
        /// A budget is earned back at this rate; what a link of the slowest kind brings.
        var bytesPerSecond = 1024.0

        /// The same, so many times shorter.
        func divided(by divisor: Int) -> Limits {
            Limits(
                head: head / divisor,
                idle: idle / divisor,
                strangerIdle: strangerIdle / divisor,
                strangerExchange: strangerExchange / divisor,
                reading: reading / divisor,
                writing: writing / divisor,
                bytesPerSecond: bytesPerSecond
            )
        }
    }

    private let limits: Limits
    private var reading: ProgressBudget
    private var writing: ProgressBudget
    /// Requests whose body or answer is not done.
    private var open = 0
    private var isBodyComing = false
    private var isReading = false
    private var waitsSince: ContinuousClock.Instant
    private var exchangeBegan: ContinuousClock.Instant
    /// Bytes of answers that were handed over since `pending` was looked at, and what had not left then.
    private var written = 0
    private var pending = 0

    init(_ limits: Limits = Limits(), now: ContinuousClock.Instant) {
        self.limits = limits
        reading = ProgressBudget(grace: limits.reading, bytesPerSecond: limits.bytesPerSecond)
        writing = ProgressBudget(grace: limits.writing, bytesPerSecond: limits.bytesPerSecond)
        waitsSince = now
        exchangeBegan = now
    }

    mutating func headRead(now: ContinuousClock.Instant) {
        if open == 0 { exchangeBegan = now }
        open += 1
        isBodyComing = true
        reading.reset()
        // Asked for before, and the body comes by the same.
        if isReading { reading.wait(now: now) }
    }

    mutating func bodyRead(_ bytes: Int, now: ContinuousClock.Instant) {
        reading.progress(bytes, now: now)
    }

    mutating func bodyEnded() {
        isBodyComing = false
        reading.reset()
    }

    /// The hub is ready to take more; until `readCompleted` it is the peer that is waited for.
    mutating func readAsked(now: ContinuousClock.Instant) {
        isReading = true
        if isBodyComing { reading.wait(now: now) }
    }

    mutating func readCompleted(now: ContinuousClock.Instant) {
        isReading = false
        reading.rest(now: now)
    }

    /// A part of an answer was handed over.
    mutating func wrote(_ bytes: Int) { written += bytes }

    /// An answer was handed over to its end.
    mutating func answered(now: ContinuousClock.Instant) {
        open = max(0, open - 1)
        waitsSince = now
    }

    /// Looks at how many bytes wait for the peer to take them.
    mutating func look(pendingBytes: Int, now: ContinuousClock.Instant) {
        if pendingBytes == 0 {
            // The last of an answer has left: only now does the connection rest.
            if pending > 0 { waitsSince = max(waitsSince, now) }
            writing.reset()
        } else {
            writing.progress(pending + written - pendingBytes, now: now)
            writing.wait(now: now)
        }
        pending = pendingBytes
        written = 0
    }

    /// The next limit, and what is said when it is reached; nil while nothing is waited for.
    func deadline(isKnown: Bool) -> (at: ContinuousClock.Instant, reason: RefusalReason)? {
        let isBusy = open > 0 || pending > 0
        var all: [(at: ContinuousClock.Instant, reason: RefusalReason)] = []
        if let deadline = writing.deadline { all.append((deadline, .slowReader)) }
        if let deadline = reading.deadline { all.append((deadline, .slowBody)) }
        if isBusy {
            if !isKnown { all.append((exchangeBegan + limits.strangerExchange, .slowStranger)) }
        } else {
            all.append((waitsSince + (isKnown ? limits.idle : limits.strangerIdle), .idle))
        }
        return all.min { $0.at < $1.at }
    }
}
