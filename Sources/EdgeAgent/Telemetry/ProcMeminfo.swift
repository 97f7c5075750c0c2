import WireFormat

/// `/proc/meminfo`: `Name:  12345 kB`, one a line.
struct ProcMeminfo: Equatable, Sendable {
    var totalBytes: UInt64
    /// What can be given to programs without swapping.
    var availableBytes: UInt64
    var swapTotalBytes: UInt64
    var swapFreeBytes: UInt64

    /// - Throws: `malformed` where the total is missing, or nothing tells what is available.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var total, available, free, buffers, cached, swapTotal, swapFree: UInt64?
        while let line = lines.line() {
            var fields = ByteCursor(line)
            guard let name = fields.field() else { continue }
            // Comparing the length first spares most of the sixty lines any further look.
            switch name.count {
            case 9 where name.elementsEqual("MemTotal:".utf8): total = fields.unsigned()
            case 13 where name.elementsEqual("MemAvailable:".utf8): available = fields.unsigned()
            case 8 where name.elementsEqual("MemFree:".utf8): free = fields.unsigned()
            case 8 where name.elementsEqual("Buffers:".utf8): buffers = fields.unsigned()
            case 7 where name.elementsEqual("Cached:".utf8): cached = fields.unsigned()
            case 10 where name.elementsEqual("SwapTotal:".utf8): swapTotal = fields.unsigned()
            case 9 where name.elementsEqual("SwapFree:".utf8): swapFree = fields.unsigned()
            default: continue
            }
        }
        guard let total else { throw .malformed("meminfo", "there is no usable \"MemTotal\" line") }
        // Kernels before 3.14 do not estimate; this is the sum `free` used to show.
        guard let available = available ?? free.map({ $0 &+ (buffers ?? 0) &+ (cached ?? 0) }) else {
            throw .malformed("meminfo", "there is no usable \"MemAvailable\" line")
        }
        totalBytes = total.clampedMultiplied(by: 1024)
        availableBytes = min(available.clampedMultiplied(by: 1024), totalBytes)
        swapTotalBytes = (swapTotal ?? 0).clampedMultiplied(by: 1024)
        swapFreeBytes = min((swapFree ?? 0).clampedMultiplied(by: 1024), swapTotalBytes)
    }
}
