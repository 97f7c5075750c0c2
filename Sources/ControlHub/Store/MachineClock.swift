import Glibc
import WireFormat

/// The machine's clocks as they are.
enum MachineClock {
    /// Milliseconds since boot, suspended time included.
    static func sinceBoot() -> Int64 { milliseconds(CLOCK_BOOTTIME) }

    /// Milliseconds since 1970, which may be anything; not below 0.
    static func wall() -> Int64 { max(0, milliseconds(CLOCK_REALTIME)) }

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        let milliseconds = Int64(clamping: time.tv_sec).clampedMultiplied(by: 1000)
            .clampedAdding(Int64(clamping: time.tv_nsec) / 1_000_000)
        return min(milliseconds, OutsideBounds.unixMilliseconds.upperBound)
    }
}
