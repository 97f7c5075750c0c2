import Glibc
import WireFormat

/// Appends records to a bot's log and rotates it by size, number and age. One writer a log; the holder of
/// `supervisor.lock`.
///
/// A byte that was once readable as part of a whole record is never taken back: where the disk is full in the middle of
/// a write, the records that fitted stay and the others are counted, and a `gap` record says so once there is space
/// again. So an offset that a reader has gone past never comes to mean another record.
struct LogSegmentWriter: ~Copyable {
    struct Limits: Sendable, Equatable {
        /// A segment is closed once it is at least this large.
        var segmentBytes = 16 << 20
        /// Segments kept; the oldest is removed when another is begun.
        var segmentCount = 8
        /// Segments last written longer ago than this are removed; 0 keeps them. By the files' own times, and a clock that
        /// was set ahead makes none older than the time that has passed since.
        var maximumAgeSeconds = 0
    }

    /// Kept free for what must be written even on a full disk: how the launch ended.
    private static let reserveBytes: off_t = 16 << 10
    private static let reserveName = "reserve"

    private let directory: String
    private let limits: Limits
    private var descriptor: Int32 = -1
    private var segmentStart: UInt64 = 0
    private var segmentBytes: UInt64 = 0
    /// Milliseconds since boot.
    private var segmentBegan = BootTime.milliseconds()
    /// By what segments are old; nil before it is asked for.
    private var age: AgeHorizon?
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

    /// Records were dropped and the log does not say so yet.
    var owesGap: Bool { droppedRecords > 0 }

    /// Appends whole records.
    ///
    /// - Parameter count: how many records `records` holds, for the gap record should they not fit on the disk.
    mutating func append(_ records: UnsafeRawBufferPointer, count: Int) {
        guard !records.isEmpty else { return }
        guard settleGap() else { return drop(records.count, count) }
        let written = write(records)
        guard written.bytes < records.count else { return }
        drop(records.count - written.bytes, count - written.records)
    }

    /// Appends whole records.
    mutating func append(_ records: [UInt8], count: Int) {
        records.withUnsafeBytes { append($0, count: count) }
    }

    /// Appends records for which space was reserved.
    ///
    /// - Returns: whether they are in the log.
    mutating func appendUrgent(_ records: UnsafeRawBufferPointer, count: Int) -> Bool {
        for _ in 0..<2 {
            if settleGap() {
                let written = write(records)
                if written.bytes == records.count { return true }
                // The urgent ones are few and small: half of them written is not a case to go on from.
            }
            guard unlinkReserve() else { break }
        }
        return false
    }

    /// Says what was dropped, where something was.
    ///
    /// - Returns: whether nothing is owed any more.
    @discardableResult
    mutating func settleGap() -> Bool {
        guard droppedRecords > 0 else { return true }
        let record = gapRecord()
        guard record.withUnsafeBytes({ write($0).bytes }) == record.count else { return false }
        droppedRecords = 0
        droppedBytes = 0
        return true
    }

    /// Takes the space for `appendUrgent`; where there is none the launch goes on without.
    func reserve() {
        let path = directory + "/" + Self.reserveName
        let file = RegularFile.open(path, O_WRONLY | O_CREAT)
        guard file >= 0 else { return }
        if posix_fallocate(file, 0, Self.reserveBytes) != 0 { unlink(path) }
        close(file)
    }

    private func unlinkReserve() -> Bool { unlink(directory + "/" + Self.reserveName) == 0 }

    /// Returns once everything written is on the disk.
    func flush() {
        if descriptor >= 0 { fsync(descriptor) }
    }

    /// Closes and removes what is too old; to be called now and then where `maximumAgeSeconds` is set.
    ///
    /// - Parameters:
    ///   - sinceBoot: milliseconds.
    ///   - wall: milliseconds since 1970, by a clock that may be wrong.
    mutating func expire(
        sinceBoot: UInt64 = BootTime.milliseconds(),
        wall: UInt64 = SystemClock.milliseconds(CLOCK_REALTIME)
    ) {
        guard limits.maximumAgeSeconds > 0 else { return }
        let closeAfter = max(1, limits.maximumAgeSeconds / max(2, limits.segmentCount))
        // A segment goes as a whole, so it may not be open for long.
        if segmentBytes > 0, sinceBoot.clampedSubtracting(segmentBegan) >= UInt64(clamping: closeAfter) * 1000 {
            _ = beginSegment()
            segmentBegan = sinceBoot
        }
        let segments = LogSegments.list(directory)
        let (uptime, now) = (Int64(clamping: sinceBoot), Int64(clamping: wall))
        // What was written last says what time it was then.
        let newest = segments.compactMap { Self.writtenAt($0) }.max() ?? now
        var horizon = age ?? AgeHorizon(min(now, newest), sinceBoot: uptime)
        horizon.advance(to: now, sinceBoot: uptime)
        age = horizon
        let old = min(now, horizon.time).clampedSubtracting(Int64(clamping: limits.maximumAgeSeconds) * 1000)
        for segment in segments.dropLast() {
            guard let writtenAt = Self.writtenAt(segment), writtenAt < old else { break }
            unlink(segment.path)
        }
    }

    /// Milliseconds since 1970.
    private static func writtenAt(_ segment: LogSegments.Segment) -> Int64? {
        var status = stat()
        guard stat(segment.path, &status) == 0 else { return nil }
        return Int64(clamping: status.st_mtim.tv_sec).clampedMultiplied(by: 1000)
    }

    private mutating func resume(_ segment: LogSegments.Segment) {
        descriptor = RegularFile.open(segment.path, O_RDWR)
        guard descriptor >= 0 else { return }
        segmentStart = segment.start
        let length = lseek(descriptor, 0, SEEK_END)
        var end = length
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while end > 0 {
            let from = max(0, end - off_t(clamping: block.count))
            let count = pread(descriptor, &block, Int(clamping: end - from), from)
            guard count > 0 else { break }
            if let newline = block[..<count].lastIndex(of: UInt8(ascii: "\n")) {
                end = from + off_t(clamping: newline) + 1
                break
            }
            end = from
        }
        if end < length { ftruncate(descriptor, end) }
        lseek(descriptor, end, SEEK_SET)
        segmentBytes = UInt64(clamping: end)
        segmentBegan = BootTime.milliseconds()
    }

    /// Writes as many whole records as the disk takes.
    private mutating func write(_ records: UnsafeRawBufferPointer) -> (bytes: Int, records: Int) {
        if descriptor < 0 || segmentBytes >= UInt64(clamping: limits.segmentBytes) {
            guard beginSegment() else { return (0, 0) }
        }
        var written = 0
        while written < records.count {
            let count = Glibc.write(descriptor, records.baseAddress.map { $0 + written }, records.count - written)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            written += count
        }
        var whole = written
        var kept = 0
        if written < records.count {
            // Readers take whole records only, so what follows the last newline was seen by nobody.
            let fitted = records[..<written]
            whole = fitted.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            kept = fitted.reduce(0) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
            ftruncate(descriptor, off_t(clamping: segmentBytes) + off_t(clamping: whole))
            lseek(descriptor, off_t(clamping: segmentBytes) + off_t(clamping: whole), SEEK_SET)
        }
        segmentBytes += UInt64(clamping: whole)
        return (whole, kept)
    }

    private mutating func beginSegment() -> Bool {
        let start = endOffset
        let next = RegularFile.open(LogSegments.path(directory: directory, start: start), O_WRONLY | O_CREAT | O_TRUNC)
        guard next >= 0 else { return false }
        if descriptor >= 0 { close(descriptor) }
        descriptor = next
        segmentStart = start
        segmentBytes = 0
        segmentBegan = BootTime.milliseconds()
        guard Defence.logSegments.isUp else { return true }
        for old in LogSegments.list(directory).dropLast(max(1, limits.segmentCount)) { unlink(old.path) }
        return true
    }

    private mutating func drop(_ bytes: Int, _ count: Int) {
        if droppedRecords == 0 { droppedSince = LogTimestamp.now() }
        droppedRecords += count
        droppedBytes += bytes
    }

    private func gapRecord() -> [UInt8] {
        let now = LogTimestamp.text(LogTimestamp.now())
        let since = String(decoding: LogTimestamp.text(droppedSince), as: UTF8.self)
        let text =
            #"{"event":"gap","reason":"disk_full","dropped_records":\#(droppedRecords),"#
            + #""dropped_bytes":\#(droppedBytes),"since":"\#(since)"}"#
        var record: [UInt8] = []
        Array(text.utf8).withUnsafeBytes {
            LogRecord.write(to: &record, timestamp: now, stream: .supervisor, isTruncated: false, text: $0)
        }
        return record
    }
}
