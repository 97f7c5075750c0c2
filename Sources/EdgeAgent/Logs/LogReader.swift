import Glibc
import WireFormat

/// Reads a bot's log forward, record by record, across segments. Calls block for as long as the disk takes.
struct LogReader: ~Copyable {
    /// What a read found.
    struct Batch: Sendable {
        var records: [LogRecord] = []
        /// Where to go on.
        var nextOffset: UInt64
        /// Bytes between the wanted offset and the first record that were there once and are rotated away.
        var missingBytes: UInt64 = 0
        /// Lines that are no records; something else wrote into the log.
        var damagedLines = 0
        /// There was nothing more to read at the time.
        var reachedEnd = false
    }

    private let directory: String
    private let streams: Set<LogStream>
    private var descriptor: Int32 = -1
    private var segmentStart: UInt64 = 0
    private var block: [UInt8] = []

    /// - Parameter streams: whose records are wanted; others are gone past without being looked at any closer, which
    ///   is many times as fast.
    init(directory: String, streams: Set<LogStream> = Set(LogStream.allCases)) {
        self.directory = directory
        self.streams = streams
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// The whole records from `offset` on.
    ///
    /// - Parameter maximumBytes: about how much is read at once; one record is always read whole.
    mutating func read(from offset: UInt64, maximumBytes: Int = 256 << 10) -> Batch {
        var batch = Batch(nextOffset: offset)
        guard seek(&batch) else {
            batch.reachedEnd = true
            return batch
        }
        var wanted = maximumBytes
        var hasRetried = false
        while true {
            let count = fill(from: batch.nextOffset.clampedSubtracting(segmentStart), wanted)
            let taken = takeRecords(count, into: &batch)
            if taken > 0 { return batch }
            if count < wanted {
                // The rest of this segment is no whole record: either it is still being written, or there is a next
                // one.
                guard let next = LogSegments.list(directory).first(where: { $0.start > segmentStart }) else {
                    batch.reachedEnd = true
                    return batch
                }
                // The writer may have gone on here between our read and its rotation: look once more.
                if next.start > batch.nextOffset, !hasRetried {
                    hasRetried = true
                    continue
                }
                hasRetried = false
                guard advance(to: next, &batch) else {
                    batch.reachedEnd = true
                    return batch
                }
                continue
            }
            // A record longer than the block: read more of it.
            wanted *= 2
            if wanted > Self.maximumRecordBytes * 2 {
                guard LogSegments.list(directory).contains(where: { $0.start > segmentStart }) else {
                    // Where the file had grown when the machine went down, it may hold anything, mostly zeros. The next
                    // writer takes that back, so nobody may have gone past it.
                    batch.reachedEnd = true
                    return batch
                }
                batch.nextOffset += UInt64(clamping: count)
                batch.damagedLines += 1
                wanted = maximumBytes
            }
        }
    }

    /// A line of 1 MiB and what stands in front of it.
    private static let maximumRecordBytes = 1 << 20 + 128

    /// Opens the segment that holds the wanted offset, or the first one after it.
    private mutating func seek(_ batch: inout Batch) -> Bool {
        if descriptor >= 0, batch.nextOffset >= segmentStart {
            var status = stat()
            if fstat(descriptor, &status) == 0, batch.nextOffset < segmentStart + UInt64(clamping: status.st_size) {
                return true
            }
        }
        let segments = LogSegments.list(directory)
        guard let first = segments.first else {
            // A file that is held open would keep its directory from being gone, and who waits for that from seeing it.
            if descriptor >= 0 { close(descriptor) }
            descriptor = -1
            return false
        }
        if batch.nextOffset < first.start {
            batch.missingBytes = first.start.clampedSubtracting(batch.nextOffset)
            batch.nextOffset = first.start
        }
        guard let segment = segments.last(where: { $0.start <= batch.nextOffset }) else { return false }
        return openSegment(segment)
    }

    private mutating func openSegment(_ segment: LogSegments.Segment) -> Bool {
        let next = RegularFile.open(segment.path, O_RDONLY)
        guard next >= 0 else { return false }
        if descriptor >= 0 { close(descriptor) }
        descriptor = next
        segmentStart = segment.start
        return true
    }

    private mutating func fill(from position: UInt64, _ wanted: Int) -> Int {
        // No more than there is: a reader of a quiet log costs next to nothing.
        var status = stat()
        guard fstat(descriptor, &status) == 0, UInt64(clamping: status.st_size) > position else { return 0 }
        let available = min(wanted, Int(clamping: UInt64(clamping: status.st_size) - position))
        if block.count < available { block = [UInt8](repeating: 0, count: available) }
        var filled = 0
        while filled < available {
            let count = block.withUnsafeMutableBytes {
                pread(
                    descriptor,
                    $0.baseAddress.map { $0 + filled },
                    available - filled,
                    off_t(clamping: position) + off_t(clamping: filled)
                )
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            filled += count
        }
        return filled
    }

    private func takeRecords(_ count: Int, into batch: inout Batch) -> Int {
        block.withUnsafeBytes { block in
            guard let base = block.baseAddress else { return 0 }
            var taken = 0
            while taken < count, let newline = memchr(base + taken, 0x0A, count - taken) {
                let length = UnsafeRawPointer(newline) - (base + taken)
                let line = UnsafeRawBufferPointer(start: base + taken, count: length)
                switch LogRecord.Head(line) {
                case let head? where streams.contains(head.stream):
                    batch.records.append(LogRecord(head, line, offset: batch.nextOffset))
                case .some: break
                case nil: batch.damagedLines += 1
                }
                batch.nextOffset += UInt64(clamping: length) + 1
                taken += length + 1
            }
            return taken
        }
    }

    private mutating func advance(to next: LogSegments.Segment, _ batch: inout Batch) -> Bool {
        guard openSegment(next) else { return false }
        // A closed segment ends where the next one starts; what is not there any more is skipped and counted.
        batch.missingBytes += next.start.clampedSubtracting(batch.nextOffset)
        batch.nextOffset = next.start
        return true
    }
}
