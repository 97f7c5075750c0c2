/// `/proc/<pid>/statm`: `size resident shared text lib data dt`, in pages.
struct ProcStatm: Equatable, Sendable {
    var residentPages: UInt64

    /// - Throws: `malformed` where there are not two numbers.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var fields = ByteCursor(lines.line() ?? [])
        guard fields.unsigned() != nil, let resident = fields.unsigned() else {
            throw .malformed("self/statm", "it does not start with two numbers")
        }
        residentPages = resident
    }
}
