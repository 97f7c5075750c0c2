import Glibc

/// Appends records to a bot's log and rotates it by size. One writer a log; the holder of `supervisor.lock`.
///
/// A file never ends in part of a record for longer than one write: what a full disk cut off is taken back. While
/// nothing can be written the records are counted, and a `gap` record says so once there is space again.
struct LogSegmentWriter: ~Copyable {
    struct Limits: Sendable, Equatable {
        /// A segment is closed once it is at least this large.
        var segmentBytes = 16 << 20
        /// Segments kept; the oldest is removed when another is begun.
        var segmentCount = 8
    }

    private let directory: String
    private let limits: Limits
    private var descriptor: Int32 = -1
    private var segmentStart: UInt64 = 0
    private var segmentBytes: UInt64 = 0
    private var droppedRecords = 0
    private var droppedBytes = 0
    private var droppedSince = timespec()

    /// Opens the log for appending; a record cut short by a crash of the writer before is taken back.
    init(directory: String, limits: Limits) {
        self.directory = directory
        self.limits = limits
        if let last = LogSegments.list(directory).last { resume(last) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    var endOffset: UInt64 { segmentStart + segmentBytes }

    /// Appends whole records.
    ///
    /// - Parameter count: how many records `records` holds, for the gap record should they not fit on the disk.
    mutating func append(_ records: [UInt8], count: Int) {
        guard !records.isEmpty else { return }
        if droppedRecords > 0 {
            guard write(gapRecord()) else { return drop(records, count) }
            droppedRecords = 0
            droppedBytes = 0
        }
        if !write(records) { drop(records, count) }
    }

    /// Returns once everything written is on the disk.
    func flush() {
        if descriptor >= 0 { fsync(descriptor) }
    }

    private mutating func resume(_ segment: LogSegments.Segment) {
        descriptor = open(segment.path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        segmentStart = segment.start
        var end = lseek(descriptor, 0, SEEK_END)
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while end > 0 {
            let from = max(0, end - off_t(block.count))
            let count = pread(descriptor, &block, Int(end - from), from)
            guard count > 0 else { break }
            if let newline = block[..<count].lastIndex(of: UInt8(ascii: "\n")) {
                end = from + off_t(newline) + 1
                break
            }
            end = from
        }
        ftruncate(descriptor, end)
        lseek(descriptor, end, SEEK_SET)
        segmentBytes = UInt64(end)
    }

    private mutating func write(_ records: [UInt8]) -> Bool {
        if descriptor < 0 || segmentBytes >= UInt64(limits.segmentBytes) {
            guard beginSegment() else { return false }
        }
        var written = 0
        while written < records.count {
            let count = records.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + written }, $0.count - written)
            }
            if count < 0 {
                if errno == EINTR { continue }
                // No half record stays behind.
                ftruncate(descriptor, off_t(segmentBytes))
                lseek(descriptor, off_t(segmentBytes), SEEK_SET)
                return false
            }
            written += count
        }
        segmentBytes += UInt64(written)
        return true
    }

    private mutating func beginSegment() -> Bool {
        let start = endOffset
        let next = open(
            LogSegments.path(directory: directory, start: start),
            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
            0o600
        )
        guard next >= 0 else { return false }
        if descriptor >= 0 { close(descriptor) }
        descriptor = next
        segmentStart = start
        segmentBytes = 0
        for old in LogSegments.list(directory).dropLast(max(1, limits.segmentCount)) { unlink(old.path) }
        return true
    }

    private mutating func drop(_ records: [UInt8], _ count: Int) {
        if droppedRecords == 0 { droppedSince = LogTimestamp.now() }
        droppedRecords += count
        droppedBytes += records.count
    }

    private func gapRecord() -> [UInt8] {
        let now = LogTimestamp.text(LogTimestamp.now())
        let since = String(decoding: LogTimestamp.text(droppedSince), as: UTF8.self)
        let text =
            #"{"event":"gap","dropped_records":\#(droppedRecords),"#
            + #""dropped_bytes":\#(droppedBytes),"since":"\#(since)"}"#
        var record: [UInt8] = []
        Array(text.utf8).withUnsafeBytes {
            LogRecord.write(to: &record, timestamp: now, stream: .supervisor, isTruncated: false, text: $0)
        }
        return record
    }
}
