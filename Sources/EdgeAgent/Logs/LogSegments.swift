import Glibc
import WireFormat

/// The segment files of one bot's log.
enum LogSegments {
    static let suffix = ".log"

    /// One segment file and the offset of its first byte in the whole log.
    struct Segment: Sendable, Equatable {
        let start: UInt64
        let path: String
    }

    static func path(directory: String, start: UInt64) -> String {
        let digits = String(start)
        return directory + "/" + String(repeating: "0", count: 20 - digits.count) + digits + suffix
    }

    /// All segments now in the directory, in order. Empty where there is no such directory.
    static func list(_ directory: String) -> [Segment] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var segments: [Segment] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.hasSuffix(suffix), name.utf8.count == 20 + suffix.utf8.count,
                let start = UInt64(decimal: name.dropLast(suffix.count))
            else { continue }
            segments.append(Segment(start: start, path: directory + "/" + name))
        }
        return segments.sorted { $0.start < $1.start }
    }

    /// Position just after the last byte written so far, 0 for an empty log.
    static func endOffset(_ directory: String) -> UInt64 {
        guard let last = list(directory).last else { return 0 }
        var status = stat()
        guard stat(last.path, &status) == 0 else { return last.start }
        return last.start + UInt64(clamping: status.st_size)
    }
}
