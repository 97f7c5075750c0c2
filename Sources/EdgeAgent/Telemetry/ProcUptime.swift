/// `/proc/uptime`: `350735.47 234388.90`, seconds since boot (time asleep included) and the cores' idle seconds.
struct ProcUptime: Equatable, Sendable {
    var seconds: Double

    /// - Throws: `malformed` where it does not start with a number.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var fields = ByteCursor(lines.line() ?? [])
        guard let seconds = fields.decimal() else { throw .malformed("uptime", "it does not start with a number") }
        self.seconds = seconds
    }
}
