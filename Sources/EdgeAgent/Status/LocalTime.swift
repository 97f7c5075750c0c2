import Glibc

/// Wall clock times for people at this machine, in its time zone.
enum LocalTime {
    /// `2026-11-24 10:21:05`.
    static func text(_ unixMilliseconds: UInt64) -> String {
        var seconds = time_t(clamping: unixMilliseconds / 1000)
        var parts = tm()
        guard localtime_r(&seconds, &parts) != nil else { return "?" }
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%d %H:%M:%S", &parts)
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
