import Logging
import Synchronization
import WireFormat

/// Why the hub turned somebody away. The label of `controlhub_refusals_total`.
enum RefusalReason: String, CaseIterable, Sendable {
    /// A node's token that nobody has, or that has expired; closed with 4401.
    case nodeTokenUnknown = "node_token_unknown"
    /// Closed with 4403.
    case nodeTokenRevoked = "node_token_revoked"
    /// A wrong node's token beyond the bounds; 503.
    case nodeTokenLimit = "node_token_limit"
    /// A node with a good token that must wait for its turn; 503.
    case nodeAdmission = "node_admission"
    /// A node that opens too many sessions or connections; 4429 or 503.
    case nodeSessions = "node_sessions"
    /// A node with a good token that did not say Hello in time; 4408.
    case helloTimeout = "hello_timeout"
    /// 401.
    case operatorTokenUnknown = "operator_token_unknown"
    /// 429.
    case operatorTokenLimit = "operator_token_limit"
    case signInUnknown = "sign_in_unknown"
    case signInLimit = "sign_in_limit"
    /// A code that is not known, was used or has expired, or a request that cannot be one.
    case pairingCode = "pairing_code"
    case pairingLimit = "pairing_limit"
    /// Connections of strangers that had to make room: for others of their address, or of anybody.
    case evictedAddress = "evicted_address"
    case evictedTotal = "evicted_total"
    /// No connection was free, and none could be freed.
    case connectionLimit = "connection_limit"
    /// The process may open nothing more: connections wait to be accepted.
    case noDescriptors = "no_descriptors"
    /// Connections that were too slow: to send a request's head, to send its body, to take the answer, or altogether.
    case slowHead = "slow_head"
    case slowBody = "slow_body"
    case slowReader = "slow_reader"
    case slowStranger = "slow_stranger"
    /// The database could not say whether a node's token is good; closed with 1012.
    case storage = "storage"
    /// Nothing was asked for in time on a connection that was kept open.
    case idle = "idle"
}

/// Decides which refusals are worth a line in the log: the first of a reason, and then one line for all of an interval.
struct RefusalLog: Sendable {
    /// A flood of a day writes 8,640 lines of each reason.
    static let interval = Duration.seconds(10)

    struct Line: Sendable, Equatable {
        let reason: RefusalReason
        /// Since the line before.
        let count: Int
        /// The last one's address.
        let address: String?
    }

    private struct Pending: Sendable {
        var since: ContinuousClock.Instant
        var count = 0
        var address: String?
    }

    private var pending: [RefusalReason: Pending] = [:]

    /// A refusal; the line to write for it now, if any.
    mutating func note(_ reason: RefusalReason, address: String?, now: ContinuousClock.Instant) -> Line? {
        var entry = pending[reason] ?? Pending(since: now - Self.interval)
        entry.count += 1
        entry.address = address ?? entry.address
        pending[reason] = entry
        return take(reason, now: now)
    }

    /// The lines that are due.
    mutating func due(now: ContinuousClock.Instant) -> [Line] {
        RefusalReason.allCases.compactMap { take($0, now: now) }
    }

    private mutating func take(_ reason: RefusalReason, now: ContinuousClock.Instant) -> Line? {
        guard let entry = pending[reason], now - entry.since >= Self.interval else { return nil }
        guard entry.count > 0 else {
            pending[reason] = nil
            return nil
        }
        pending[reason] = Pending(since: now)
        return Line(reason: reason, count: entry.count, address: entry.address)
    }
}

/// Counts everybody who was turned away, for `/metrics`, and tells the log of it at a bounded rate.
final class Refusals: Sendable {
    private struct State {
        var counts: [RefusalReason: UInt64] = [:]
        var log = RefusalLog()
    }

    private let clock: HubClock
    private let logger: Logger
    private let state = Mutex(State())

    init(clock: HubClock, logger: Logger) {
        self.clock = clock
        self.logger = logger
    }

    /// Since the hub started, every reason among them.
    var counts: [(reason: RefusalReason, count: UInt64)] {
        state.withLock { state in RefusalReason.allCases.map { ($0, state.counts[$0] ?? 0) } }
    }

    /// Counts one. Callable from anywhere, also from an event loop.
    func note(_ reason: RefusalReason, address: String? = nil) {
        guard Defence.refusalsCounted.isUp else { return }
        let now = clock.now()
        let line = state.withLock { state in
            state.counts[reason, default: 0] += 1
            return state.log.note(reason, address: address, now: now)
        }
        if let line { write(line) }
    }

    /// Writes what is due; for a round every few seconds.
    func report() {
        let now = clock.now()
        for line in state.withLock({ $0.log.due(now: now) }) { write(line) }
    }

    private func write(_ line: RefusalLog.Line) {
        // Connections that were not used any more are nothing to look after.
        let level: Logger.Level = line.reason == .idle ? .debug : .notice
        logger.log(
            level: level,
            "turned away",
            metadata: [
                "reason": "\(line.reason.rawValue)", "count": "\(line.count)", "last_address": "\(line.address ?? "-")",
            ]
        )
    }
}
