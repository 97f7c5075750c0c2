import CLinux
import Glibc

/// Where the kernel and the distribution keep what is read here; tests point it at a folder of their own.
struct SystemPaths: Sendable {
    var proc = "/proc"
    var etc = "/etc"
    /// Where os-release lies if `/etc` has none.
    var usrLib = "/usr/lib"
    var sys = "/sys"
}

/// The units the kernel counts in, constant while it runs.
struct SystemUnits: Sendable, Equatable {
    /// `USER_HZ`, ticks a second in `/proc`.
    var ticksPerSecond: Double
    var pageBytes: UInt64

    /// This machine's.
    static var current: SystemUnits {
        // sysconf answers -1 only for names it does not know; the fallbacks are the values of every common machine.
        let (ticks, page) = (sysconf(Int32(_SC_CLK_TCK)), sysconf(Int32(_SC_PAGESIZE)))
        return SystemUnits(
            ticksPerSecond: ticks > 0 ? Double(ticks) : 100,
            pageBytes: page > 0 ? UInt64(clamping: page) : 4096
        )
    }
}
