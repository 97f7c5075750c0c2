import Foundation
import WireFormat

/// The hub's two clocks: a monotonic one that decides, and the time of day, which is shown, stored and compared with what is
/// stored.
struct HubClock: Sendable {
    /// Never jumps; health, timeouts and rate limits are counted in it.
    let now: @Sendable () -> ContinuousClock.Instant
    /// The time of day. For people, and for when stored things end.
    let date: @Sendable () -> Date
    /// Suspends until the instant. Throws `CancellationError` when the task is cancelled.
    let sleep: @Sendable (ContinuousClock.Instant) async throws -> Void
    /// What is destroyed for its age is older than this many days, hours or minutes before here. Not after `date`.
    let horizon: @Sendable () -> Date
    /// Whether it is sure that what has passed since the machine was off has passed.
    let isSettled: @Sendable () -> Bool

    init(
        now: @escaping @Sendable () -> ContinuousClock.Instant,
        date: @escaping @Sendable () -> Date,
        sleep: @escaping @Sendable (ContinuousClock.Instant) async throws -> Void,
        horizon: (@Sendable () -> Date)? = nil,
        isSettled: @escaping @Sendable () -> Bool = { true }
    ) {
        self.now = now
        self.date = date
        self.sleep = sleep
        self.horizon = horizon ?? date
        self.isSettled = isSettled
    }

    /// The machine's clocks as they are; a hub goes by a `JudgedClock`.
    static let system = HubClock(
        now: { ContinuousClock.now },
        date: { Date() },
        sleep: { try await ContinuousClock().sleep(until: $0, tolerance: nil) }
    )
}

extension Date {
    /// Milliseconds since 1970, as times are stored; within the years 1 to 9999.
    var unixMilliseconds: Int64 {
        Self.bounded(Int64(saturating: (timeIntervalSince1970 * 1000).rounded()))
    }

    /// The date so many milliseconds after 1970, or the nearest in the years 1 to 9999: others cannot be written down.
    init(unixMilliseconds: Int64) {
        self.init(timeIntervalSince1970: Double(Self.bounded(unixMilliseconds)) / 1000)
    }

    private static func bounded(_ unixMilliseconds: Int64) -> Int64 {
        guard Defence.numberBounds.isUp else { return unixMilliseconds }
        let years = OutsideBounds.unixMilliseconds
        return min(max(unixMilliseconds, years.lowerBound), years.upperBound)
    }

    /// RFC 3339, UTC, with milliseconds.
    var rfc3339: String {
        let total = unixMilliseconds
        let days = total >= 0 ? total / 86_400_000 : (total - 86_399_999) / 86_400_000
        let rest = total - days * 86_400_000
        // Days to a civil date, with years that start in March so that the leap day comes last.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ value: Int64, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return padded(year, 4) + "-" + padded(month, 2) + "-" + padded(day, 2) + "T"
            + padded(rest / 3_600_000, 2) + ":" + padded(rest / 60_000 % 60, 2) + ":" + padded(rest / 1000 % 60, 2)
            + "." + padded(rest % 1000, 3) + "Z"
    }
}

extension Duration {
    /// The length in whole milliseconds, rounded toward zero.
    var milliseconds: Int64 { wholeMilliseconds }

    /// The length in seconds.
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
