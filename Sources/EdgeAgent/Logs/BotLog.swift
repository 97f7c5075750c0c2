import Dispatch
import FoundationEssentials
import WireFormat

/// Lines of one bot's log as the hub asks for them: a tail, from an offset, from a time on, and following.
///
/// Pulled, not pushed: nothing is read before the one before was taken, so a slow reader holds at most one chunk.
struct BotLog: AsyncSequence, Sendable {
    typealias Element = WireLogChunk
    typealias Failure = any Error

    /// About how much text one chunk holds; one line is always sent whole.
    static let chunkBytes = 128 << 10
    /// A tail is never longer.
    static let maximumTailLines = 100_000

    let directory: String
    let request: WireLogRequest
    let notifier: FileChangeNotifier
    let executor: QueueExecutor

    func makeAsyncIterator() -> Iterator {
        Iterator(source: Source(self), notifier: notifier, directory: directory, isFollowing: request.follow)
    }

    struct Iterator: AsyncIteratorProtocol {
        fileprivate let source: Source
        fileprivate let notifier: FileChangeNotifier
        fileprivate let directory: String
        fileprivate let isFollowing: Bool
        private var changes: AsyncStream<Void>?
        private var isFinished = false

        fileprivate init(source: Source, notifier: FileChangeNotifier, directory: String, isFollowing: Bool) {
            self.source = source
            self.notifier = notifier
            self.directory = directory
            self.isFollowing = isFollowing
        }

        /// The next lines; nil after the last one, which with `follow` never comes. Ends early when cancelled.
        ///
        /// - Throws: `RuntimeError` where the log cannot be watched.
        mutating func next() async throws -> WireLogChunk? {
            try await next(isolation: nil)
        }

        mutating func next(isolation actor: isolated (any Actor)?) async throws(any Error) -> WireLogChunk? {
            // Watching begins before reading, so that nothing written in between is missed.
            if isFollowing, changes == nil { changes = try notifier.changes(in: directory) }
            while !isFinished, !Task.isCancelled {
                let (chunk, reachedEnd) = await source.next()
                if reachedEnd, !isFollowing { isFinished = true }
                if !chunk.lines.isEmpty || (isFinished && chunk.nextOffset > 0) { return chunk }
                if reachedEnd, isFollowing {
                    guard let changes else { return nil }
                    var waiting = changes.makeAsyncIterator()
                    guard await waiting.next(isolation: actor) != nil else { return nil }
                }
            }
            return nil
        }
    }

    /// Reads the files, on the queue for it.
    fileprivate actor Source {
        private let executor: QueueExecutor
        private let directory: String
        private let request: WireLogRequest
        private var reader: LogReader
        private var offset: UInt64?

        nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

        init(_ log: BotLog) {
            executor = log.executor
            directory = log.directory
            request = log.request
            reader = LogReader(directory: log.directory)
        }

        func next() -> (WireLogChunk, reachedEnd: Bool) {
            let start = offset ?? firstOffset()
            let batch = reader.read(from: start, maximumBytes: BotLog.chunkBytes)
            offset = batch.nextOffset
            var chunk = WireLogChunk()
            let end = request.follow ? 0 : request.toOffset
            chunk.nextOffset = end > 0 ? Swift.min(batch.nextOffset, Swift.max(start, end)) : batch.nextOffset
            let isOver = batch.reachedEnd || (end > 0 && batch.nextOffset >= end)
            chunk.reachedEnd = isOver
            if batch.missingBytes > 0 {
                var gap = WireLogLine()
                gap.offset = batch.records.first?.offset ?? batch.nextOffset
                gap.source = .supervisor
                gap.text = Data(#"{"event":"rotated_away","missing_bytes":\#(batch.missingBytes)}"#.utf8)
                chunk.lines.append(gap)
                chunk.missingBytes = batch.missingBytes
            }
            chunk.lines += batch.records.compactMap { record in
                guard record.atUnixMilliseconds >= request.sinceUnixMs, end == 0 || record.offset < end else {
                    return nil
                }
                return Self.line(record, includePackets: request.includePackets)
            }
            return (chunk, isOver)
        }

        private func firstOffset() -> UInt64 {
            switch request.start {
            case .fromOffset(let offset): return offset
            case .tailLines(let count):
                return Self.tailStart(directory, lines: Int(clamping: count), request.sinceUnixMs)
            case nil: return request.sinceUnixMs > 0 ? Self.firstSegment(directory, since: request.sinceUnixMs) : 0
            }
        }

        /// Where the last `lines` lines begin. Goes back segment by segment and remembers offsets only.
        private static func tailStart(_ directory: String, lines: Int, _ since: UInt64) -> UInt64 {
            let wanted = Swift.min(lines, BotLog.maximumTailLines)
            let end = LogSegments.endOffset(directory)
            guard wanted > 0 else { return end }
            var found: [UInt64] = []
            var limit = end
            for segment in LogSegments.list(directory).reversed() {
                var offsets: [UInt64] = []
                var reader = LogReader(directory: directory)
                var position = segment.start
                while position < limit {
                    let batch = reader.read(from: position)
                    guard batch.nextOffset > position else { break }
                    for record in batch.records where record.offset < limit && isShown(record) {
                        offsets.append(record.offset)
                    }
                    if offsets.count > 2 * wanted { offsets.removeFirst(offsets.count - wanted) }
                    position = batch.nextOffset
                    if batch.reachedEnd { break }
                }
                found = offsets + found
                if found.count >= wanted { return found[found.count - wanted] }
                limit = segment.start
            }
            return found.first ?? end
        }

        /// The last segment that begins before `since`; earlier ones hold only older lines.
        private static func firstSegment(_ directory: String, since: UInt64) -> UInt64 {
            var start: UInt64 = 0
            for segment in LogSegments.list(directory) {
                var reader = LogReader(directory: directory)
                let first = reader.read(from: segment.start, maximumBytes: 4 << 10).records.first
                guard let first, first.atUnixMilliseconds < since else { break }
                start = segment.start
            }
            return start
        }

        /// Packets travel by themselves; only what was no packet after all is a line of the log.
        private static func isShown(_ record: LogRecord) -> Bool {
            record.stream != .packet || !PacketFields.isObject(record.text)
        }

        private static func line(_ record: LogRecord, includePackets: Bool) -> WireLogLine? {
            let isPacket = !isShown(record)
            guard includePackets || !isPacket else { return nil }
            var line = WireLogLine()
            line.offset = record.offset
            line.atUnixMs = record.atUnixMilliseconds
            line.truncated = record.isTruncated
            line.text = Data(record.text)
            switch record.stream {
            case .stdout, .packet: line.source = isPacket ? .packet : .stdout
            case .stderr: line.source = .stderr
            case .supervisor: line.source = .supervisor
            }
            return line
        }
    }
}
