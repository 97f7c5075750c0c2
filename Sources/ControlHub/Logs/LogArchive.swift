import Foundation
import Glibc
import SwiftProtobuf
import Synchronization
import WireFormat

/// Copies of bots' logs on the hub, for the time when their node is away.
///
/// ```
/// logs/<bot>/<node>/<20-digit offset>.log     one segment; named by the offset of its first line in the bot's log
/// segment: frame, frame, …                    see `LogFrame`
/// ```
/// Frames are appended whole; what a crash has cut or left behind them is taken off when the log is opened again, and fetched
/// again from the node. Damage in an earlier segment ends what is read of it, and is told as missing. Beyond the budget the oldest segment of the bot goes. Nothing is synchronised to disk, because the node has it.
actor LogArchive {
    /// A bot's log is dropped in such parts of its budget.
    private static let segmentCount = 8

    private struct Key: Hashable {
        let bot: BotID
        let node: NodeID
    }

    /// The end of one log.
    private struct Tail {
        var file: Int32
        var segment: UInt64
        var bytes: Int
        /// Of the log, where to go on.
        var end: UInt64
    }

    /// Where a frame begins.
    struct Position: Sendable {
        fileprivate var segment: UInt64
        fileprivate var byte: Int
        /// Lines of the first frame to leave out.
        fileprivate var skipped = 0
        /// Of the log: everything before it was read or is not wanted.
        fileprivate var end: UInt64
    }

    private let files: HubFolder
    /// Of the logs, in it.
    private let root: String
    private let budgetBytes: Int
    private let executor = QueueExecutor(label: "control-hub.logs")
    private var tails: [Key: Tail] = [:]

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - directory: made when first needed.
    ///   - budgetBytes: of each bot's log.
    init(directory: String, budgetBytes: Int) {
        (files, root) = HubFolder.split(directory)
        self.budgetBytes = budgetBytes
    }

    deinit {
        for tail in tails.values { close(tail.file) }
    }

    // MARK: Writing

    /// Where to go on reading a bot's log; 0 where nothing is kept.
    func end(_ bot: BotID, on node: NodeID) throws -> UInt64 { try open(Key(bot: bot, node: node))?.end ?? 0 }

    /// Keeps what follows. Throws `storageFull`, or where the file cannot be written; nothing is kept then.
    func append(_ chunk: WireLogChunk, of bot: BotID, on node: NodeID) throws {
        guard let first = chunk.lines.first else { return }
        let key = Key(bot: bot, node: node)
        var tail = try open(key) ?? begin(key, at: first.offset)
        if tail.bytes >= budgetBytes / Self.segmentCount {
            let next = try begin(key, at: max(first.offset, tail.end))
            close(tail.file)
            tail = next
            // `try?`: it goes with the next.
            for old in segments(key).dropLast(Self.segmentCount) where Defence.logCopies.isUp {
                try? files.remove(path(key, old))
            }
        }
        let frame = try LogFrame.bytes(chunk, at: place(key, tail.segment, tail.bytes))
        do {
            try write(frame, to: tail)
            tail.bytes += frame.count
            tail.end = max(tail.end, chunk.nextOffset)
            tails[key] = tail
        } catch {
            // Half a frame is none.
            ftruncate(tail.file, off_t(clamping: tail.bytes))
            tails[key] = tail
            throw error
        }
    }

    /// Forgets the logs of bots that are not among these.
    func keepOnly(_ bots: Set<BotID>) {
        for (key, tail) in tails where !bots.contains(key.bot) {
            close(tail.file)
            tails[key] = nil
        }
        // Absent where nothing was ever kept.
        for name in (try? files.names(in: root)) ?? [] where !bots.contains(BotID(rawValue: name)) {
            try? files.removeTree("\(root)/\(name)")  // tried again next time
        }
    }

    /// Forgets a bot's log.
    func forget(_ bot: BotID) {
        for (key, tail) in tails where key.bot == bot {
            close(tail.file)
            tails[key] = nil
        }
        try? files.removeTree("\(root)/\(bot.rawValue)")  // absent where nothing was kept
    }

    /// A segment that may go.
    private struct Segment {
        let key: Key
        let offset: UInt64
        let bytes: Int64
        let writtenAt: Date
    }

    /// Keeps the copies of all bots within a size, and each bot's within its own wherever it was placed; the oldest segments of
    /// who has most go first, and never the one that is being written.
    ///
    /// - Parameter since: what was written before goes as well.
    func keep(totalBytes: Int64, since: Date?) {
        var segments = Dictionary(grouping: allSegments(), by: \.key.bot)
        for (bot, own) in segments {
            segments[bot] = own.sorted { $0.writtenAt < $1.writtenAt }.filter { segment in
                guard let since, segment.writtenAt < since else { return true }
                return !drop(segment)
            }
        }
        func bytes(_ own: [Segment]) -> Int64 { own.reduce(0) { $0.clampedAdding($1.bytes) } }
        let sizes = segments.mapValues(bytes)
        // A segment more than the budget is there while the newest is begun.
        let level = min(
            RetentionPlan.level(Array(sizes.values), limit: totalBytes),
            Int64(clamping: budgetBytes + 2 * budgetBytes / Self.segmentCount)
        )
        for (bot, own) in segments {
            var left = sizes[bot] ?? 0
            for segment in own where left > level {
                if drop(segment) { left -= segment.bytes }
            }
        }
    }

    private func drop(_ segment: Segment) -> Bool {
        guard tails[segment.key]?.segment != segment.offset else { return false }
        // `try?`: what cannot be removed is not gone.
        return (try? files.remove(path(segment.key, segment.offset))) != nil
    }

    private func allSegments() -> [Segment] {
        // Absent where nothing is kept.
        func names(_ name: String) -> [String] { (try? files.names(in: name)) ?? [] }
        return names(root).flatMap { bot in
            names("\(root)/\(bot)").flatMap { node -> [Segment] in
                let key = Key(bot: BotID(rawValue: bot), node: NodeID(rawValue: node))
                return segments(key).compactMap { offset in
                    // Gone meanwhile: then it takes nothing.
                    guard let facts = try? files.facts(path(key, offset)) else { return nil }
                    return Segment(key: key, offset: offset, bytes: facts.bytes, writtenAt: facts.modifiedAt)
                }
            }
        }
    }

    // MARK: Reading

    /// What is kept of a log as a node would send it; nil where nothing is.
    nonisolated func subscription(_ request: WireLogRequest, on node: NodeID) async -> LogSubscription? {
        let bot = BotID(rawValue: request.botID)
        guard let start = await position(request, bot, node) else { return nil }
        let cursor = Cursor(start)
        return LogSubscription(
            next: {
                while let position = cursor.position {
                    guard let (chunk, next) = await self.frame(at: position, of: bot, on: node) else { return nil }
                    cursor.advance(to: next)
                    let wanted = Self.cut(chunk, to: request, skipping: position.skipped)
                    if !wanted.lines.isEmpty { return wanted }
                }
                return nil
            },
            cancel: { cursor.cancel() }
        )
    }

    private static func cut(_ chunk: WireLogChunk, to request: WireLogRequest, skipping count: Int) -> WireLogChunk {
        var chunk = chunk
        chunk.lines.removeFirst(min(count, chunk.lines.count))
        if case .fromOffset(let offset) = request.start { chunk.lines.removeAll { $0.offset < offset } }
        if request.toOffset > 0 { chunk.lines.removeAll { $0.offset >= request.toOffset } }
        if request.sinceUnixMs > 0 { chunk.lines.removeAll { $0.atUnixMs < request.sinceUnixMs } }
        return chunk
    }

    private func position(_ request: WireLogRequest, _ bot: BotID, _ node: NodeID) -> Position? {
        let key = Key(bot: bot, node: node)
        let segments = segments(key)
        guard let first = segments.first else { return nil }
        switch request.start {
        case .tailLines(let count): return tail(key, segments, lines: Int(clamping: count))
        case .fromOffset(let offset): return Position(beginning: segments.last { $0 <= offset } ?? first)
        case nil: return Position(beginning: first)
        }
    }

    private func tail(_ key: Key, _ segments: [UInt64], lines wanted: Int) -> Position? {
        var found = 0
        for segment in segments.reversed() {
            var frames: [(start: Position, lines: Int)] = []
            var position = Position(beginning: segment)
            while let (chunk, next) = frame(key, position) {
                frames.append((position, chunk.lines.count))
                position = next
            }
            for frame in frames.reversed() {
                found += frame.lines
                guard found < wanted else {
                    var start = frame.start
                    start.skipped = found - wanted
                    return start
                }
            }
        }
        return segments.first.map(Position.init(beginning:))
    }

    private func frame(at position: Position, of bot: BotID, on node: NodeID) -> (WireLogChunk, Position)? {
        next(Key(bot: bot, node: node), position)
    }

    /// The frame at a position, or the first of the next segment where this one has no more.
    private func next(_ key: Key, _ position: Position) -> (WireLogChunk, Position)? {
        if let found = frame(key, position) { return found }
        var position = position
        for next in segments(key) where next > position.segment {
            // Behind the last frame that can be read there was more, which a crash of the machine or the disk has damaged.
            let lost = bytes(path(key, position.segment)) > position.byte
            guard var (chunk, after) = frame(key, Position(beginning: next)) else {
                position = Position(segment: next, byte: 0, end: position.end)
                continue
            }
            if lost {
                let missing = max(1, (chunk.lines.first?.offset ?? next).clampedSubtracting(position.end))
                chunk.missingBytes = max(chunk.missingBytes, missing)
            }
            return (chunk, after)
        }
        return nil
    }

    /// The frame at a position, and the one after it.
    private func frame(_ key: Key, _ position: Position) -> (WireLogChunk, Position)? {
        guard let file = try? files.open(path(key, position.segment), O_RDONLY) else { return nil }  // nothing is kept
        defer { close(file) }
        let size = Int(clamping: lseek(file, 0, SEEK_END))
        guard let head = read(file, LogFrame.lengthBytes, at: position.byte) else { return nil }
        let length = Int(clamping: LogFrame.number(head))
        let begin = position.byte + LogFrame.lengthBytes
        // Checked before anything is allocated for it.
        guard length > 0, begin + length <= size, let body = read(file, length, at: begin),
            let chunk = LogFrame.chunk(body, at: place(key, position.segment, position.byte))
        else { return nil }
        let end = max(position.end, chunk.nextOffset)
        return (chunk, Position(segment: position.segment, byte: begin + length, end: end))
    }

    private func bytes(_ path: String) -> Int64 {
        // Gone meanwhile: then nothing of it was lost.
        (try? files.facts(path))?.bytes ?? 0
    }

    private func read(_ file: Int32, _ count: Int, at byte: Int) -> Data? {
        var data = Data(count: count)
        var filled = 0
        while filled < count {
            let got = data.withUnsafeMutableBytes {
                pread(file, $0.baseAddress.map { $0 + filled }, count - filled, off_t(clamping: byte + filled))
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { return nil }
            filled += got
        }
        return data
    }

    // MARK: Files

    private func folder(_ key: Key) -> String { "\(root)/\(key.bot.rawValue)/\(key.node.rawValue)" }

    private func path(_ key: Key, _ segment: UInt64) -> String {
        let digits = String(segment)
        return "\(folder(key))/\(String(repeating: "0", count: 20 - digits.count))\(digits).log"
    }

    private func place(_ key: Key, _ segment: UInt64, _ byte: Int) -> LogFrame.Place {
        LogFrame.Place(log: "\(key.bot.rawValue)/\(key.node.rawValue)", segment: segment, byte: byte)
    }

    private func segments(_ key: Key) -> [UInt64] {
        // Absent where nothing is kept.
        let names = (try? files.names(in: folder(key))) ?? []
        return names.filter { $0.hasSuffix(".log") }.compactMap { UInt64(decimal: $0.dropLast(4)) }.sorted()
    }

    /// The end of what is kept; nil where nothing is.
    private func open(_ key: Key) throws -> Tail? {
        if let tail = tails[key] { return tail }
        guard let last = segments(key).last else { return nil }
        var position = Position(beginning: last)
        while let (_, next) = frame(key, position) { position = next }
        let file = try open(path(key, last), O_WRONLY)
        ftruncate(file, off_t(clamping: position.byte))
        let tail = Tail(file: file, segment: last, bytes: position.byte, end: position.end)
        tails[key] = tail
        return tail
    }

    private func begin(_ key: Key, at offset: UInt64) throws -> Tail {
        do {
            try files.makeFolder(folder(key))
        } catch {
            throw HubError(.storageFull, "The log of bot \(key.bot) cannot be kept in \(folder(key)).", cause: error)
        }
        let file = try open(path(key, offset), O_WRONLY | O_CREAT)
        return Tail(file: file, segment: offset, bytes: 0, end: offset)
    }

    private func open(_ name: String, _ flags: Int32) throws -> Int32 {
        do throws(HubFolder.Failure) {
            return try files.open(name, flags)
        } catch {
            throw HubError(.storageFull, "\(error.path) cannot be written: \(error.reason).")
        }
    }

    private func write(_ frame: Data, to tail: Tail) throws {
        var written = 0
        while written < frame.count {
            let count = frame.withUnsafeBytes {
                pwrite(
                    tail.file,
                    $0.baseAddress.map { $0 + written },
                    $0.count - written,
                    off_t(clamping: tail.bytes + written)
                )
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("the copy of a log") }
            written += count
        }
    }

    private func failure(_ path: String) -> HubError {
        HubError(.storageFull, "\(path) cannot be written: \(String(cString: strerror(errno))). Free some space.")
    }
}

/// Where a reader of the archive is; nil once it was cancelled.
private final class Cursor: Sendable {
    private let state: Mutex<LogArchive.Position?>

    init(_ position: LogArchive.Position) { state = Mutex(position) }

    var position: LogArchive.Position? { state.withLock { $0 } }

    func advance(to next: LogArchive.Position) {
        state.withLock { position in position = position == nil ? nil : next }
    }

    func cancel() { state.withLock { $0 = nil } }
}

extension LogArchive.Position {
    /// The beginning of a segment.
    fileprivate init(beginning segment: UInt64) {
        self.init(segment: segment, byte: 0, end: segment)
    }
}
