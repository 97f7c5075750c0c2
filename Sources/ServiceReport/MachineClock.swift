import Glibc

/// The machine's clocks as they are.
public enum MachineClock {
    /// Milliseconds since boot, suspended time included.
    public static func sinceBoot() -> Int64 { milliseconds(CLOCK_BOOTTIME) }

    /// Milliseconds since 1970 by the wall clock, which may show anything; not below 0, nor beyond the year 9999.
    public static func wall() -> Int64 { milliseconds(CLOCK_REALTIME) }

    private static let last: Int64 = 253_402_300_799

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        // Within bounds before anything is computed: a clock can be set to any number.
        let seconds = min(max(0, Int64(clamping: time.tv_sec)), last)
        return seconds * 1000 + min(max(0, Int64(clamping: time.tv_nsec)), 999_999_999) / 1_000_000
    }
}
