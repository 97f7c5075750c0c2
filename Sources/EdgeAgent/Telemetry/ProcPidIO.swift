import WireFormat

/// `/proc/<pid>/io`: what a process, and the children it has waited for, read from and wrote to storage.
struct ProcPidIO: Equatable, Sendable {
    var readBytes: UInt64 = 0
    var writtenBytes: UInt64 = 0

    /// Lines that are not understood are passed over; the kernel may be built without the accounting.
    init(parsing bytes: ArraySlice<UInt8>) {
        var lines = ByteCursor(bytes)
        while let line = lines.line() {
            var fields = ByteCursor(line)
            guard let name = fields.field() else { continue }
            if name.elementsEqual("read_bytes:".utf8) { readBytes = fields.unsigned() ?? 0 }
            if name.elementsEqual("write_bytes:".utf8) { writtenBytes = fields.unsigned() ?? 0 }
        }
    }
}

/// `/proc/<pid>/smaps_rollup`: memory with shared pages counted in parts.
enum ProcSmapsRollup {
    /// Nil where the line is missing: kernel threads, processes that have just ended.
    static func proportionalBytes(parsing bytes: ArraySlice<UInt8>) -> UInt64? {
        var lines = ByteCursor(bytes)
        while let line = lines.line() {
            var fields = ByteCursor(line)
            if fields.field()?.elementsEqual("Pss:".utf8) == true {
                return fields.unsigned().map { $0.clampedMultiplied(by: 1024) }
            }
        }
        return nil
    }
}
