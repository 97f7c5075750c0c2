import Foundation
import Logging
import Synchronization
import WireFormat

/// Watches the machine's wall clock, and follows it where it has jumped and stays.
final class ClockKeeper: Sendable {
    static let period = Duration.seconds(5)
    private static let roundsPerMark = 12

    private let clock: JudgedClock
    private let store: ClockStore
    private let logger: Logger
    private let rounds = Mutex(0)
    private let late = Mutex<ClockStore.Latecomers?>(nil)

    init(clock: JudgedClock, store: ClockStore, logger: Logger) {
        (self.clock, self.store, self.logger) = (clock, store, logger)
    }

    /// To be called every `period`.
    func round() async throws {
        if let latecomers = late.withLock({ $0 }) {
            try await store.carry(latecomers)
            late.withLock { $0 = nil }
        }
        switch clock.observe() {
        case .steady: break
        case .jumped(let by):
            logger.warning(
                """
                the machine's clock has jumped. The hub goes on by its own time, and follows when the clock has stayed so; \
                nothing is expired or deleted for it. If the clock is wrong now, set it right
                """,
                metadata: ["by_seconds": "\(by / 1000)"]
            )
        case .isBack: logger.notice("the machine's clock is back where it was before it jumped")
        case .stays(let step): return try await follow(step)
        }
        let isDue = rounds.withLock { rounds in
            defer { rounds = (rounds + 1) % Self.roundsPerMark }
            return rounds == 0
        }
        guard isDue else { return }
        try await store.save(clock.mark())
    }

    /// The last word of a hub that stops.
    func end() async throws { try await store.save(clock.mark()) }

    private func follow(_ step: JudgedTime.Step) async throws {
        let date = Date(unixMilliseconds: clock.mark().time)
        let latecomers = try await store.carry(step, clock.mark(after: step), at: date)
        clock.take(step)
        late.withLock { $0 = latecomers }
        logger.warning(
            "the hub has set its time by the machine's clock. What waited goes on waiting, and nothing counts as older for it",
            metadata: [
                "by_seconds": "\(step.by / 1000)", "is_return": "\(step.undoes != nil)",
                "before": "\(date.rfc3339)",
            ]
        )
    }
}
