/// `/proc/loadavg`: `0.20 0.18 0.12 1/80 11206`.
struct ProcLoadavg: Equatable, Sendable {
    /// Mean number of tasks running or waiting for a disk, over 1, 5 and 15 minutes.
    var oneMinute: Double
    var fiveMinutes: Double
    var fifteenMinutes: Double

    /// - Throws: `malformed` where there are not three numbers.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var fields = ByteCursor(lines.line() ?? [])
        guard let one = fields.decimal(), let five = fields.decimal(), let fifteen = fields.decimal() else {
            throw .malformed("loadavg", "it does not start with three numbers")
        }
        (oneMinute, fiveMinutes, fifteenMinutes) = (one, five, fifteen)
    }
}
