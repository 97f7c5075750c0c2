// `CLinux` reaches the system's headers as well, and whichever of the two a compiler meets first is where it finds them.
import CLinux
import Glibc
import WireFormat

/// Time that nobody sets, for single-threaded processes that have no clock injected.
enum MonotonicTime {
    static func milliseconds() -> UInt64 { SystemClock.milliseconds(CLOCK_MONOTONIC) }
}

/// The time since the machine was booted, sleep included. The same for every process of the machine.
enum BootTime {
    static func milliseconds() -> UInt64 { SystemClock.milliseconds(CLOCK_BOOTTIME) }
}

/// The machine's clocks.
enum SystemClock {
    /// What a clock shows, not below 0 (it may have been set to before 1970), nor beyond what can be computed with.
    static func milliseconds(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        let seconds = min(UInt64(clamping: time.tv_sec), OutsideBounds.count.upperBound / 1_000)
        return seconds * 1_000 + UInt64(clamping: time.tv_nsec) / 1_000_000
    }
}
